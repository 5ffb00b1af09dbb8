"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ROOT = Path("stores")
OWN_LABELS = "the data set's own"  # the label set that its dataset.json names, else the only one

Root = Annotated[Path, typer.Option("--root", envvar="CXREMB_STORES", help="The store root.", show_default="./stores")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="The data set; may be left out while there is only one.", show_default=False),
]
