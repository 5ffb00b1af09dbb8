"""Where things are: the store root, and what is said on the way."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from cxremb.store import remote
from cxremb.store.dataset import Dataset, open_dataset

remarks = logging.getLogger("cxremb")  # choices that were made for the user; the command line shows them on stderr


def store_root(root: str | Path | None) -> Path:
    """The store root: `root`, else the environment's `CXREMB_STORES`, else ./stores.

    Of an address, such as s3://bucket/prefix, the folder of this machine in front of it, brought up to date.
    """
    return remote.opened(root or os.environ.get("CXREMB_STORES") or "stores")


def data_set(dataset: str | None, root: str | Path | None) -> Dataset:
    """The data set of that name; without a name the only one. Raises `DataError` where there is none or several."""
    return open_dataset(store_root(root), dataset)


def remark(notes: Iterable[str], *, shown: bool = False) -> None:
    """Tell the user what was chosen for them. shown: the command line shows it with the result, and here no more."""
    for note in notes:
        remarks.warning(note, extra={"shown": shown})
