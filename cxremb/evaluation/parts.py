"""Predictions that know which part they are of, so that what was chosen on one part is never judged on the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, checked, missing_names, reals, refuse_not_finite
from cxremb.evaluation.reliability import sigmoid

PARTS = ("train", "val", "test")
CHOICES_ARE_MADE_ON = "val"
TASKS = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True, eq=False)
class Part:
    """The predictions of one part of one fold; checked when made.

    name: train, val or test. items: (n,) what each row is, such as the image: no item is in two parts of a fold.
    y_true, y_logit: (n,) of a binary task, (n, k) of others; of a multi-label task NaN in y_true is missing. Raises
    `DataError` for anything else.
    """

    name: str
    items: NDArray[np.generic]
    y_true: Reals
    y_logit: Reals
    task: str = "binary"

    @property
    def prob(self) -> Reals:
        """The probabilities, in the shape of the logits."""
        return probabilities(self.y_logit, self.task)

    def __post_init__(self) -> None:
        if self.name not in PARTS or self.task not in TASKS:
            raise DataError(
                f"part {self.name} of task {self.task}", hint=f"parts: {', '.join(PARTS)}; {', '.join(TASKS)}"
            )
        if self.task == "binary":
            checked(self.y_true, self.y_logit, "y_logit")
        elif self.y_true.ndim != 2 or self.y_true.shape != self.y_logit.shape:
            raise DataError(f"y_true {self.y_true.shape}, y_logit {self.y_logit.shape}", hint="give both (n, k)")
        if not (np.isin(self.y_true, (0.0, 1.0)) | (np.isnan(self.y_true) & (self.task == "multilabel"))).all():
            raise DataError("y_true holds values other than 0 and 1", hint="leave unlabelled rows out")
        refuse_not_finite(self.y_logit, "y_logit")
        if self.items.shape != self.y_logit.shape[:1] or missing_names(self.items).any():
            raise DataError("not every row says which item it is", hint="give items one id a row")


def part(name: str, items: ArrayLike, y_true: ArrayLike, y_logit: ArrayLike, task: str = "binary") -> Part:
    """A part of anything that can become arrays. A binary task may come as one column. Errors as `Part`."""
    y, logits = reals(y_true, "y_true"), reals(y_logit, "y_logit")
    if task == "binary" and y.ndim == logits.ndim == 2 and y.shape[1] == logits.shape[1] == 1:
        y, logits = y[:, 0], logits[:, 0]
    return Part(name, np.asarray(items), y, logits, task)


@dataclass(frozen=True)
class Origin:
    """What a choice was made on."""

    name: str
    items: frozenset[object]

    def admit(self, target: Part) -> None:
        """Raises `DataError` if the target is, or shares an item with, what the choice was made on."""
        if target.name == self.name:
            raise DataError(
                f"chosen on the {self.name} rows and applied to {target.name} rows", hint="apply it to test"
            )
        if shared := len(self.items & frozenset(target.items.tolist())):
            raise DataError(
                f"{shared} of {len(target.items)} {target.name} rows are among the {self.name} rows it was chosen on",
                hint="choose it once per fold, on that fold's validation rows",
            )


def origin_of(source: Part, what: str) -> Origin:
    """Where a choice comes from. Raises `DataError` unless that is the validation part, and holds both answers."""
    if source.name != CHOICES_ARE_MADE_ON:
        raise DataError(f"a {what} cannot be chosen on {source.name} rows", hint="give the validation rows of the fold")
    if not ((source.y_true == 1).any() and (source.y_true == 0).any()):
        raise DataError(f"the validation rows have one class, so no {what} can be chosen", hint="use larger folds")
    return Origin(source.name, frozenset(source.items.tolist()))


def probabilities(logits: Reals, task: str) -> Reals:
    """The probabilities of logits: softmax over the columns of a multi-class task, else each cell on its own."""
    if task != "multiclass":
        return sigmoid(logits)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)


def observed_cells(y_true: Reals) -> Flags:
    """Where a label is known."""
    return ~np.isnan(y_true)
