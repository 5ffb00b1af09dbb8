"""Probabilities that mean what they say: one or two numbers fitted on validation rows, applied to others."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.parts import Origin, Part, observed_cells, origin_of, probabilities
from cxremb.evaluation.reliability import logistic_line

STEEPEST = 12.0  # of log(1 / T): beyond e^12 or e^-12 the validation rows do not bound the temperature


@dataclass(frozen=True)
class Calibration:
    """logit -> slope * logit + intercept, and the rows it was fitted on: never judge it on those."""

    method: str
    slope: float
    intercept: float
    origin: Origin

    @property
    def temperature(self) -> float:
        """What logits are divided by: above 1 the model was overconfident."""
        return 1 / self.slope

    def apply(self, target: Part) -> Reals:
        """The calibrated probabilities, in the shape of the logits. Raises `DataError` for rows it was fitted on."""
        self.origin.admit(target)
        return probabilities(self.slope * target.y_logit + self.intercept, target.task)


def fit_temperature(validation: Part) -> Calibration:
    """One temperature for all logits, of the least negative log likelihood (Guo et al. 2017). Ranks stay as they are.

    Of a multi-label task the cells that are known share it. Raises `DataError` for another part than val, one class, or
    when no finite temperature is best: all rows are answered rightly, or the logits point the wrong way.
    """
    origin = origin_of(validation, "temperature")

    def pull(steepness: float) -> float:
        """How the loss grows with the slope e^steepness: the loss is convex, so this crosses 0 once."""
        return excess(validation, float(np.exp(steepness)))

    if pull(-STEEPEST) >= 0 or pull(STEEPEST) <= 0:
        told = "no temperature fits: the validation rows are all answered rightly, or no better than by chance"
        raise DataError(told, hint="leave the probabilities as they are, or use larger folds")
    return Calibration("temperature", float(np.exp(brentq(pull, -STEEPEST, STEEPEST, xtol=1e-12))), 0.0, origin)


def fit_platt(validation: Part) -> Calibration:
    """A slope and an intercept of the logit, by logistic regression on smoothed classes (Platt 1999).

    Smoothing, (p + 1) / (p + 2) and 1 / (q + 2) for p positives and q negatives, keeps the answer finite where the
    classes are apart. For binary tasks. Raises `DataError` for another part than val, one class, another task, or equal
    logits.
    """
    if validation.task != "binary":
        raise DataError(f"Platt's method is for binary tasks, not {validation.task}", hint="use a temperature")
    origin = origin_of(validation, "calibration")
    positives, negatives = float(validation.y_true.sum()), float((1 - validation.y_true).sum())
    targets = np.where(validation.y_true == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    line = logistic_line(validation.y_logit, targets)
    if line is None:
        raise DataError("all validation rows have the same logit", hint="train longer, or on other features")
    return Calibration("platt", *line, origin)


def excess(validation: Part, slope: float) -> float:
    """The derivative of the negative log likelihood by the slope."""
    logits, known = validation.y_logit, observed_cells(validation.y_true)
    gap = probabilities(slope * logits, validation.task)[known] - validation.y_true[known]
    return float((gap * logits[known]).sum())
