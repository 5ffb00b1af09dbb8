"""What a shell offers at Tab: names of what lies under the store root, read off folders and JSON, without libraries.

An error is no offer: a shell that waits for a word has no place to show one.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import typer

MADE = ("patient-5fold", "holdout", "image-80-20")  # splits that are made when they are first asked for
Offers = Iterator[tuple[str, str]]  # a word, and what a shell that shows more says beside it


def quiet(offers: Callable[[typer.Context, str], Offers]) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """The offers as a list, each once; empty where what they are read from is damaged or cannot be read."""

    @wraps(offers)
    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        try:
            return list(dict(offers(ctx, incomplete)).items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    return complete


def data_sets(ctx: typer.Context) -> list[Path]:
    """The folders of the data sets that are meant: the one that the line names already, else all."""
    from cxremb.store.mirror import folder_of

    root = ctx.params.get("root") or folder_of(os.environ.get("CXREMB_STORES") or "stores")
    found = sorted(path.parent for path in root.glob("[!.]*/dataset.json"))
    named = ctx.params.get("dataset")
    return [folder for folder in found if named in (None, folder.name)]


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@quiet
def datasets(ctx: typer.Context, incomplete: str) -> Offers:
    """Data sets."""
    ctx.params.pop("dataset", None)  # the word that is being written
    for folder in data_sets(ctx):
        yield folder.name, "data set"


@quiet
def encoders(ctx: typer.Context, incomplete: str) -> Offers:
    """Every encoder of the table."""
    from cxremb.encoders.table import ENCODERS

    for name, spec in ENCODERS.items():
        yield name, spec.modality


def stores_of(ctx: typer.Context, modality: str | None = None) -> Offers:
    """Encoders that have a store, then the stores in full; of one modality where the table knows the encoder's."""
    from cxremb.encoders.table import ENCODERS

    names = sorted({path.name for folder in data_sets(ctx) for path in folder.glob("embeddings/[!.]*@*")})
    wanted = []
    for name in names:
        spec = ENCODERS.get(name.partition("@")[0])
        if modality is None or spec is None or spec.modality == modality:
            wanted.append((name, spec.modality if spec else "store"))
    yield from ((name.partition("@")[0], what) for name, what in wanted)
    yield from wanted


@quiet
def stores(ctx: typer.Context, incomplete: str) -> Offers:
    """Stores of films and of texts."""
    yield from stores_of(ctx)


@quiet
def image_stores(ctx: typer.Context, incomplete: str) -> Offers:
    """Stores of films."""
    yield from stores_of(ctx, "image")


@quiet
def text_stores(ctx: typer.Context, incomplete: str) -> Offers:
    """Stores of texts."""
    yield from stores_of(ctx, "text")


@quiet
def runs(ctx: typer.Context, incomplete: str) -> Offers:
    """Ids of runs, newest first, without controls; where the word begins with no date, what stands behind it."""
    folders = [path.parent for one in data_sets(ctx) for path in one.glob("runs/[!.]*/run.json")]
    for folder in sorted(folders, key=lambda folder: folder.name, reverse=True):
        record = read(folder / "run.json")
        if str(record["arm"]).startswith("control:"):
            continue
        for word in (folder.name, folder.name.rpartition("-")[2]):
            if word.startswith(incomplete or "2"):
                yield word, f"{record['arm']} on {record['label_set']}"
                break


@quiet
def label_sets(ctx: typer.Context, incomplete: str) -> Offers:
    """Label sets that can be learned."""
    for folder in data_sets(ctx):
        for name, about in read(folder / "dataset.json")["label_sets"].items():
            if about["task"] != "terms":
                yield name, about["task"]


@quiet
def splits(ctx: typer.Context, incomplete: str) -> Offers:
    """Splits that are stored, and those that are made when they are asked for."""
    yield from ((name, "made when asked for") for name in MADE)
    for folder in data_sets(ctx):
        for path in sorted(folder.glob("splits/[!.]*@*.parquet")):
            yield path.stem.partition("@")[0], "stored"


@quiet
def presets(ctx: typer.Context, incomplete: str) -> Offers:
    """Recipes."""
    from cxremb.training.presets import PRESETS

    for name, preset in PRESETS.items():
        yield name, preset.network or preset.head


@quiet
def heads(ctx: typer.Context, incomplete: str) -> Offers:
    """Heads on vectors."""
    from cxremb.training.heads import HEADS

    yield from ((name, "a head on stored vectors") for name in HEADS)
