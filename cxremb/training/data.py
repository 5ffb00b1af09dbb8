"""What a training reads, rows that all its members share and which of them each learns from; and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # completion reads the names of heads, and loads no Arrow for it
    from cxremb.store.stored_rows import Block

Weights = Mapping[str, NDArray[Any]]

BINARY, MULTICLASS, MULTILABEL = TASKS = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True)
class Place:
    """Where one model of a run stands."""

    repeat: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """The prefix of its weights, less the dot."""
        return f"repeat{self.repeat}.fold{self.fold}.seed{self.seed}"


@dataclass(frozen=True)
class Rows:
    """n rows that all members of a training share."""

    blocks: Mapping[str, "Block"]  # modality -> (n, dim); a bag of views: as (n, views, dim), zero-padded
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
    y: NDArray[np.float64] | None = None  # (n, k) labels of its own for all rows; None: those that the rows have


@dataclass(frozen=True)
class Epoch:
    """How the model of the end of an epoch does on one part. None: undefined, as precision without a positive call.

    Precision, recall and F1 of several labels or classes are the mean over those with both answers (macro), undefined
    where one of them has none, as in `evaluation.multi`.
    """

    epoch: int  # from 1; 0: the start of a fine-tuning
    phase: str  # train or val; test where there is no val
    loss: float  # mean negative log likelihood, no class weights
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Trained:
    """One member: the weights of the epoch that was kept, with their standardisation, and every epoch's figures."""

    weights: Weights  # takes raw store vectors: `mean`, `scale`, `limit`, then the parameters of `HeadSpec.shapes`
    epoch: int  # 0: the loss was no number from the first epoch on, and the weights are good for nothing
    history: Sequence[Epoch]
    diverged: int | None = None  # the epoch in which the loss stopped being a number; an earlier one was kept
    scales: Mapping[str, float] = field(default_factory=dict)  # modality -> how much it counts, where that was measured
    crossed: NDArray[np.float64] | None = None  # (watched rows, outputs) logits by stacks that were solved on others


def called(member: Member) -> str:
    """What opens a sentence about it: `repeat0.fold3: `, or nothing where it has no name."""
    return f"{member.name}: " if member.name else ""
