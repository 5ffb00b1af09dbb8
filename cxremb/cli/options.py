"""Options that several commands share."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import completion

DEFAULT_ROOT = Path("stores")
OWN_LABELS = "the data set's own"  # the label set that its dataset.json names, else the only one


class Uncertain(StrEnum):
    """What a label of -1 becomes."""

    ignore = "ignore"
    zero = "zero"
    one = "one"


class Readers(StrEnum):
    """What several readers of one study make together."""

    majority = "majority"
    any = "any"
    all = "all"


Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


@dataclass
class Called:
    """What a call is about, for the commands that its messages name (`cli.pasted`)."""

    root: Path = DEFAULT_ROOT
    dataset: str | None = None
    run: str | None = None  # by which the data set is known where none is named


CALLED: ContextVar[Called] = ContextVar("CALLED")  # of the call that is under way


def remember_root(value: Path) -> Path:
    """The store root, kept; of an address the folder of this machine in front of it, brought up to date."""
    from cxremb.store.mirror import folder_of
    from cxremb.store.remote import opened

    CALLED.get(Called()).root = folder_of(value)
    return opened(value)


def take_root(ctx: typer.Context, value: Path) -> Path:
    """The same of an option, but that a shell that asks for words does not wait for a network."""
    from cxremb.store.mirror import folder_of

    return folder_of(value) if ctx.resilient_parsing else remember_root(value)


def remember_dataset(value: str | None) -> str | None:
    """The data set, kept if it is named."""
    CALLED.get(Called()).dataset = value
    return value


def remember_run(value: str) -> str:
    """A run, kept."""
    CALLED.get(Called()).run = value
    return value


Root = Annotated[
    Path,
    typer.Option(
        "--root",
        envvar="CXREMB_STORES",
        help="The store root: a folder, or s3://BUCKET/PREFIX.",
        show_default="./stores",
        callback=take_root,
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="The data set; may be left out while there is only one.",
        show_default=False,
        autocompletion=completion.datasets,
        callback=remember_dataset,
    ),
]
RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run id, or its first letters: any part of it that no other run has.",
        callback=remember_run,
        autocompletion=completion.runs,
    ),
]
WhereRunsAre = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Runs of this data set alone; of all of them if left out.",
        show_default=False,
        autocompletion=completion.datasets,
        callback=remember_dataset,
    ),
]
