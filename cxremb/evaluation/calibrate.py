"""Probabilities that mean what they say: one or two numbers fitted on some rows, and applied to others.

`Predictions.calibrated` sees to it that these rows are validation rows, and the others are not among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.reliability import logistic_line, sigmoid

STEEPEST = 12.0  # of log(1 / T): beyond e^12 or e^-12 the validation rows do not bound the temperature


@dataclass(frozen=True)
class Calibration:
    """logit -> slope * logit + intercept. Never judge it on the rows that it was fitted on."""

    method: str
    slope: float
    intercept: float

    @property
    def temperature(self) -> float:
        """What logits are divided by: above 1 the model was overconfident."""
        return 1 / self.slope

    def apply(self, logits: Reals, task: str) -> tuple[Reals, Reals]:
        """(the calibrated logits, their probabilities), both in the shape of the logits."""
        calibrated = self.slope * logits + self.intercept
        return calibrated, probabilities(calibrated, task)


def fit_temperature(y: Reals, logits: Reals, task: str) -> Calibration:
    """One temperature for all logits, of the least negative log likelihood (Guo et al. 2017). Ranks stay as they are.

    y, logits: (n, k), NaN in y where missing: of a multi-label task the cells that are known share it. Raises
    `DataError` when no finite temperature is best: all rows are answered rightly, or the logits point the wrong way.
    """

    def pull(steepness: float) -> float:
        """How the loss grows with the slope e^steepness: the loss is convex, so this crosses 0 once."""
        return excess(y, logits, task, slope=float(np.exp(steepness)))

    if pull(-STEEPEST) >= 0 or pull(STEEPEST) <= 0:
        problem = "no temperature fits: the validation rows are all answered rightly, or no better than by chance"
        raise DataError(problem, hint="leave the probabilities as they are, or use larger folds")
    return Calibration("temperature", float(np.exp(brentq(pull, -STEEPEST, STEEPEST, xtol=1e-12))), 0.0)


def fit_platt(y: Reals, logits: Reals, task: str = "binary") -> Calibration:
    """A slope and an intercept of the logit, by logistic regression on smoothed classes (Platt 1999).

    y, logits: (n,) or (n, 1) of a binary task. Smoothing, (p + 1) / (p + 2) and 1 / (q + 2) for p positives and q
    negatives, keeps the answer finite where the classes are apart. Raises `DataError` for another task or equal logits.
    """
    if task != "binary":
        raise DataError(f"Platt's method is for binary tasks, not {task}", hint="use a temperature")
    y, logits = y.ravel(), logits.ravel()
    positives, negatives = float(y.sum()), float((1 - y).sum())
    line = logistic_line(logits, np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)))
    if line is None:
        raise DataError("all validation rows have the same logit", hint="train longer, or on other features")
    return Calibration("platt", *line)


METHODS: Mapping[str, Callable[[Reals, Reals, str], Calibration]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
}


def excess(y: Reals, logits: Reals, task: str, *, slope: float) -> float:
    """The derivative of the negative log likelihood by the slope."""
    known = ~np.isnan(y)
    gap = probabilities(slope * logits, task)[known] - y[known]
    return float((gap * logits[known]).sum())


def probabilities(logits: Reals, task: str) -> Reals:
    """The probabilities of logits: softmax over the columns of a multi-class task, else each cell on its own."""
    if task != "multiclass":
        return sigmoid(logits)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)
