"""What a training reads: rows that all its members share, and which of them each member learns from. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINARY, MULTICLASS, MULTILABEL = TASKS = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True)
class Rows:
    """n rows that all members of a training share."""

    blocks: Mapping[str, NDArray[np.float32]]  # modality -> (n, dim); a bag of views: (n, views, dim), zero-padded
    present: Mapping[str, NDArray[np.bool_]]  # modality -> (n,), or (n, views) of a bag: False where nothing is there
    y: NDArray[np.float64]  # (n, k) 0 or 1, NaN where missing; binary: k = 1; multiclass: one-hot; multilabel
    task: str  # one of TASKS
    groups: NDArray[np.str_]  # (n,) patient of each row, for inner splits


@dataclass(frozen=True)
class Member:
    """One model of a training: a fold, a repeat, a seed."""

    train: NDArray[np.int64]  # rows
    watched: NDArray[np.int64]  # rows whose loss may choose the epoch
    seed: int
    watched_name: str = "val"  # their phase in the history: val, or test where there is no val: nothing is chosen then
    name: str = ""  # such as repeat0.fold3: what errors call it, and the prefix of its weights


def called(member: Member) -> str:
    """What opens a sentence about it: `repeat0.fold3: `, or nothing where it has no name."""
    return f"{member.name}: " if member.name else ""
