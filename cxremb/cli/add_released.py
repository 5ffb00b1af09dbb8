"""`cxremb data add` for collections that are published: each is a folder with its tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import add
from cxremb.cli.add import OwnName
from cxremb.cli.collection import show
from cxremb.cli.options import DEFAULT_ROOT, Readers, Root, Uncertain
from cxremb.cli.output import AsFormat, Format

app = add.app  # the commands below stand beside those of other collections
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Holds the tables, and the films anywhere below.")]
UNSURE = {  # kind -> what it is, and an example
    "chexpert": (
        "CheXpert: 14 labels that may be uncertain; radiologists for the small parts. Full or small films.",
        "data add chexpert CheXpert-v1.0-small/",
    ),
    "chexpert_plus": (
        "CheXpert Plus: CheXpert's films with reports, and labels read from three texts of each. PNG or DICOM.",
        "data add chexpert_plus chexpertplus/",
    ),
    "brax": ("BRAX: Brazilian films with CheXpert's 14 labels.", "data add brax brax/1.1.0/"),
}
PLAIN = {  # as UNSURE
    "nih": (
        "NIH ChestX-ray14: 14 findings, the official split, boxes, and Google's labels if they are there.",
        "data add nih nih/",
    ),
    "padchest": (
        "PadChest: stemmed Spanish reports, labels by physicians or by a network.",
        "data add padchest padchest/",
    ),
    "rsna": (
        "RSNA Pneumonia Detection Challenge: boxes of pneumonia; with its map also the patients.",
        "data add rsna rsna/",
    ),
    "siim": ("SIIM-ACR Pneumothorax: which films show one. Patients are not known.", "data add siim siim/"),
}


def plain(kind: str, says: str, example: str) -> Callable[..., None]:
    """The command of a collection that has no options of its own."""

    def command(folder: Folder, name: OwnName = None, root: Root = DEFAULT_ROOT, fmt: AsFormat = Format.table) -> None:
        add_folder(kind, folder, name, root=root, fmt=fmt)

    command.__doc__ = f"{says}\n\nExample: cxremb {example}"
    return command


def unsure(kind: str, says: str, example: str) -> Callable[..., None]:
    """The command of a collection whose labeller may be uncertain."""

    def command(
        folder: Folder,
        uncertain: Annotated[Uncertain, typer.Option(help="What an uncertain label (-1) becomes.")] = Uncertain.ignore,
        name: OwnName = None,
        root: Root = DEFAULT_ROOT,
        fmt: AsFormat = Format.table,
    ) -> None:
        add_folder(kind, folder, name, root=root, fmt=fmt, uncertain=uncertain.value)

    command.__doc__ = f"{says}\n\nExample: cxremb {example}"
    return command


for make, commands in ((unsure, UNSURE), (plain, PLAIN)):
    for kind, (says, example) in commands.items():
        app.command(kind)(make(kind, says, example))


@app.command("vindr")
def vindr(
    folder: Folder,
    readers: Annotated[Readers, typer.Option(help="What three readers make together.")] = Readers.majority,
    name: OwnName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """VinDr-CXR, in PhysioNet's form or Kaggle's: three radiologists for each film. Patients are not known.

    Example: cxremb data add vindr vindr-cxr/1.0.0/
    """
    add_folder("vindr", folder, name, root=root, fmt=fmt, readers=readers.value)


def add_folder(kind: str, folder: Path, name: str | None, *, root: Path, fmt: Format, **options: str) -> None:
    """Add it and show what was added."""
    from cxremb.api.data import add
    from cxremb.cli.progress import bar

    show(add(kind, folder, name=name, root=root, progress=bar, **options), fmt)
