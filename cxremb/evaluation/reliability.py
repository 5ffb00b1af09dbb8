"""Whether a probability means what it says: bins of equal mass, and the line through the logits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.evaluation.arrays import Reals, Rows, checked_probabilities, split_rows

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


def ece(y: Reals, prob: Reals, bins: int = BINS, *, folds: NDArray[np.int64] | None = None) -> float | None:
    """The mean distance of probability and share of positives over bins of equal mass, weighted by rows.

    Arrays are checked ones; None without rows. folds: (n,); bins are of one fold, since what one model says too much
    and another too little would cancel. Equal mass, since bins of equal width leave most of them nearly
    empty (Nixon et al. 2019; Roelofs et al. 2022). It is above 0 by chance alone, more so with few rows.
    """
    if not len(y):
        return None
    places = split_rows(folds, len(y))
    gaps = [np.bincount(equal_mass(prob[rows], bins), weights=(y - prob)[rows]) for rows in places]
    return float(np.abs(np.concatenate(gaps)).sum() / len(y))


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


def logistic_line(x: Reals, target: Reals, folds: NDArray[np.int64] | None = None) -> tuple[float, float] | None:
    """(slope, intercept) of the unpenalised logistic regression of `target` on `x`; None where none is finite.

    x: (n,) finite. target: (n,) 0 or 1, or shares between them. Cox (1958): of calibrated logits the slope is 1 and the
    intercept 0; a slope below 1 is overconfidence. folds: (n,) whose model each logit is of: they share the slope, each
    has an intercept of its own, and the mean of these over rows is given; those of one class have none, and are left
    out. There is no answer if x does not overlap between the classes in any fold (separation; Albert & Anderson 1984),
    is constant, or one class is missing.
    """
    places = [rows for rows in split_rows(folds, len(x)) if (target[rows] > 0).any() and (target[rows] < 1).any()]
    if separable(x, target, places):
        return None
    every = np.concatenate(places)
    own = np.zeros((len(x), len(places)))
    for column, rows in enumerate(places):
        own[rows, column] = 1.0
    x, target, own = x[every], target[every], own[every]
    centre, spread = float(x.mean()), float(x.std())
    design = np.column_stack([(x - centre) / spread, own])
    line = np.zeros(design.shape[1])
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
            intercept = float(own.mean(axis=0) @ line[1:])
            return float(line[0] / spread), float(intercept - line[0] * centre / spread)
    return None


def separable(x: Reals, target: Reals, places: list[Rows]) -> bool:
    """Whether in all folds a threshold on x parts the rows that may be 1 from those that may be 0, but for ties on it.

    The ones must lie on the same side in all folds: else one slope cannot run away.
    """
    ways = [parting(x[rows], target[rows]) for rows in places]
    return not ways or any(all(way[side] for way in ways) for side in (0, 1))


def parting(x: Reals, target: Reals) -> tuple[bool, bool]:
    """(whether the ones lie above the zeros, whether below), ties allowed; both where x is constant."""
    ones, zeros = x[target > 0], x[target < 1]
    return bool(ones.min() >= zeros.max()), bool(zeros.min() >= ones.max())


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
