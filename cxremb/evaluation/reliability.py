"""Whether a probability means what it says: bins of equal mass, and the line through the logits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxremb.evaluation.arrays import Reals, Rows, checked_probabilities

BINS = 10
SMALLEST = float(
    np.finfo(np.float64).eps
)  # log(0) has no value: a sure, wrong answer costs 36 nats, as in scikit-learn
STEPS, CLOSE = 100, 1e-10  # Newton doubles its digits a step: a dozen reach the closeness, from anywhere


@dataclass(frozen=True)
class Bin:
    """Some rows of neighbouring probability."""

    n: int
    low: float  # the least and the greatest probability in it
    high: float
    predicted: float  # mean probability
    observed: float  # share of positives


def reliability_table(y_true: ArrayLike, y_prob: ArrayLike, bins: int = BINS) -> list[Bin]:
    """The reliability diagram as rows, from the lowest probability up: at most `bins` bins of nearly equal mass.

    y_true: (n,) 0 or 1. y_prob: (n,). Equal probabilities share a bin, whatever their order, so many ties make fewer
    bins. Raises `DataError` as `binary_metrics`.
    """
    y, prob = checked_probabilities(y_true, y_prob)
    table = []
    for number in np.unique(places := equal_mass(prob, bins)):
        inside = places == number
        own = prob[inside]
        summary = (float(own.min()), float(own.max()), float(own.mean()), float(y[inside].mean()))
        table.append(Bin(int(inside.sum()), *summary))
    return table


def ece(y: Reals, prob: Reals, bins: int = BINS) -> float | None:
    """The mean distance of probability and share of positives over bins of equal mass, weighted by rows.

    Arrays are checked ones; None without rows. Equal mass, since bins of equal width leave most of them nearly
    empty (Nixon et al. 2019; Roelofs et al. 2022). It is above 0 by chance alone, more so with few rows.
    """
    if not len(y):
        return None
    gaps = np.bincount(equal_mass(prob, bins), weights=y - prob)
    return float(np.abs(gaps).sum() / len(y))


def equal_mass(prob: Reals, bins: int) -> Rows:
    """(n,) the bin of each row: by the middle of the places that it and its ties take in the order."""
    ordered = np.sort(prob)
    first, past = np.searchsorted(ordered, prob, "left"), np.searchsorted(ordered, prob, "right")
    return ((first + past - 1) * bins // (2 * max(1, len(prob)))).astype(np.intp)


def logit(prob: Reals) -> Reals:
    """The log odds; a probability of 0 or 1 is taken as `SMALLEST` away from it."""
    inside = likely(prob)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def likely(prob: Reals) -> Reals:
    """The probabilities, kept off 0 and 1."""
    return np.clip(prob, SMALLEST, 1 - SMALLEST)


def logistic_line(x: Reals, target: Reals) -> tuple[float, float] | None:
    """(slope, intercept) of the unpenalised logistic regression of `target` on `x`; None where none is finite.

    x: (n,) finite. target: (n,) 0 or 1, or shares between them. Cox (1958): of calibrated logits the slope is 1 and the
    intercept 0; a slope below 1 is overconfidence. There is no answer if x does not overlap between the classes
    (separation; Albert & Anderson 1984), is constant, or one class is missing.
    """
    if separable(x, target):
        return None
    centre, spread = float(x.mean()), float(x.std())
    design = np.column_stack([(x - centre) / spread, np.ones(len(x))])
    line = np.zeros(2)
    for _ in range(STEPS):
        fitted = sigmoid(design @ line)
        curvature = design.T @ (design * (fitted * (1 - fitted))[:, None])
        try:
            whole = np.asarray(np.linalg.solve(curvature, design.T @ (target - fitted)), dtype=np.float64)
        except np.linalg.LinAlgError:  # so nearly separated that every fitted probability is 0 or 1
            return None
        step = shortened(design, target, line, step=whole)
        line = line + step
        if np.abs(step).max() < CLOSE:
            return float(line[0] / spread), float(line[1] - line[0] * centre / spread)
    return None


def separable(x: Reals, target: Reals) -> bool:
    """Whether some threshold on x parts the rows that may be 1 from those that may be 0, but for ties on it."""
    ones, zeros = x[target > 0], x[target < 1]
    if not (len(ones) and len(zeros)) or x.min() == x.max():
        return True
    return bool(ones.min() >= zeros.max() or zeros.min() >= ones.max())


def shortened(design: Reals, target: Reals, line: Reals, *, step: Reals) -> Reals:
    """The Newton step, halved until the likelihood does not fall: from far away a whole one may overshoot."""
    here = log_likelihood(design @ line, target)
    while log_likelihood(design @ (line + step), target) < here - CLOSE * abs(here) and np.abs(step).max() > CLOSE:
        step = step / 2
    return step


def log_likelihood(x: Reals, target: Reals) -> float:
    """Of logits x, in nats."""
    return float((target * x - np.logaddexp(0, x)).sum())


def sigmoid(x: Reals) -> Reals:
    """The probability of a logit, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)), dtype=np.float64)
