"""What a training needs to go on after it was stopped, and what stopped ones have left behind."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from cxremb.store.dataset import Dataset
from cxremb.store.files import cleaning, writing

OLD_DAYS = 7  # from then on `cxremb store gc` frees what was left: until then somebody may mean to go on
KINDS = ("training", "draft", "gone")  # the last two: a run half written, or half removed


@dataclass(frozen=True)
class Left:
    """A folder that a stopped job has left under `runs`."""

    folder: Path
    days: float  # since anything was written into it
    size_bytes: int

    @property
    def old(self) -> bool:
        """Whether nobody is likely to come back to it."""
        return self.days >= OLD_DAYS


@contextmanager
def resumable(dataset: Dataset, key: str) -> Iterator[Path]:
    """The folder for the checkpoints of one training, held against cleaners. It is gone when the training is done.

    key: of all that decides the training. A block that is left by an exception keeps its checkpoints, if it has any.
    """
    folder = dataset.paths.runs / f".training-{key}"
    with writing(folder):
        try:
            yield folder
        except BaseException:
            if not any(folder.glob("*.safetensors")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def left_behind(dataset: Dataset) -> list[Left]:
    """Of each of `KINDS`, whether stopped or at work; what was left longest ago first."""
    found = []
    for folder in (path for kind in KINDS for path in dataset.paths.runs.glob(f".{kind}-*")):
        with suppress(FileNotFoundError):  # it has just become a run, or is being removed
            facts = [path.stat() for path in (folder, *folder.rglob("*"))]
            days = (time.time() - max(fact.st_mtime for fact in facts)) / 86_400
            found.append(Left(folder, days, sum(fact.st_size for fact in facts[1:])))
    return sorted(found, key=lambda left: -left.days)


def free(left: Left) -> None:
    """Remove it. Raises `StoreError` while a training is at work in it."""
    with cleaning(left.folder):
        grave = left.folder.with_name(f".gone-{uuid4().hex}")
        left.folder.rename(grave)
    shutil.rmtree(grave)
