"""What a training needs to go on after it was stopped, and what stopped ones have left behind."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EIO
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxremb.errors import StoreError
from cxremb.store.clean import bury
from cxremb.store.dataset import Dataset
from cxremb.store.expected import read_object
from cxremb.store.files import cleaning, replace_file, writing

if TYPE_CHECKING:
    from torch import Tensor

RECORD = "told"  # the name of a checkpoint's record among the metadata of its file
OLD_DAYS = 7  # from then on `cxremb store gc` frees what was left: until then somebody may mean to go on
KINDS = ("training", "draft", "gone")  # the last two: a run half written, or half removed


@dataclass(frozen=True)
class Leftover:
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


def leftovers(dataset: Dataset) -> list[Leftover]:
    """Of each of `KINDS`, whether stopped or at work; what was left longest ago first."""
    found = []
    for folder in (path for kind in KINDS for path in dataset.paths.runs.glob(f".{kind}-*")):
        with suppress(FileNotFoundError):  # it has just become a run, or is being removed
            facts = [path.stat() for path in (folder, *folder.rglob("*"))]
            days = (time.time() - max(fact.st_mtime for fact in facts)) / 86_400
            found.append(Leftover(folder, days, sum(fact.st_size for fact in facts[1:])))
    return sorted(found, key=lambda one: -one.days)


def free(leftover: Leftover) -> None:
    """Remove it. Raises `StoreError` while a training is at work in it."""
    with cleaning(leftover.folder):
        bury(leftover.folder, ".gone-")


@dataclass(frozen=True)
class Checkpoint:
    """A training after an epoch: the weights of that and of the best, the optimiser's memory, and plain data.

    Chance is not in it: what is drawn in an epoch follows from the seed and the number of the epoch.
    """

    network: "Mapping[str, Tensor]"
    kept: "Mapping[str, Tensor]"
    optimiser: "Mapping[int, Mapping[str, Tensor]]"
    record: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """`path`, a safetensors file, replaced in one step. Raises `StoreError` if it cannot be written."""
    import torch

    named = {f"network.{name}": tensor for name, tensor in checkpoint.network.items()}
    named |= {f"kept.{name}": tensor for name, tensor in checkpoint.kept.items()}
    for number, memory in checkpoint.optimiser.items():
        named |= {f"optimiser.{number}.{name}": tensor for name, tensor in memory.items()}
    # cloned: safetensors refuses two names for one piece of memory, and other layouts than the plain one
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()
    }
    replace_file(path, partial(write_tensors, tensors, checkpoint.record))


def write_tensors(tensors: "Mapping[str, Tensor]", record: Mapping[str, Any], path: Path) -> None:
    """`path`, a safetensors file. Raises `OSError` for a full disk too, of which its library makes another error."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, {RECORD: json.dumps(record)})
    except SafetensorError as error:
        raise OSError(EIO, str(error)) from error


def read_checkpoint(path: Path) -> Checkpoint | None:
    """What `path` holds; None if it is not there. Raises `StoreError` if it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    found: dict[str, dict[str, Tensor]] = {"network": {}, "kept": {}}
    optimiser: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            record = read_object(file.metadata()[RECORD])
            for key in file.keys():  # noqa: SIM118 - not a dict
                kind, _, name = key.partition(".")
                if kind == "optimiser":
                    number, _, name = name.partition(".")
                    optimiser.setdefault(int(number), {})[name] = file.get_tensor(key)
                else:
                    found[kind][name] = file.get_tensor(key)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: damaged ({error})", hint="delete it: the training starts from its beginning"
        ) from error
    return Checkpoint(found["network"], found["kept"], optimiser, record)
