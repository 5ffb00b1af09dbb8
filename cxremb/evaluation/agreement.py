"""How far probabilities are from what happens: with intervals over patients, and beside what chance alone would show.

Of folds, whose models are on different scales, each figure is made as the calibration line of `metrics` is: one slope,
and an intercept for each fold. Intervals are of the cluster-robust variance (Liang & Zeger 1986; Field & Welsh 2007).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from cxremb.evaluation.arrays import Reals, Rows, split_rows
from cxremb.evaluation.bootstrap import UNDEFINED, Interval
from cxremb.evaluation.reliability import BINS, equal_mass, logistic_line, logit, sigmoid
from cxremb.evaluation.shares import degrees

Folds = NDArray[np.int64]
FURTHEST = 60.0  # of an intercept: no probability of double precision is further from its logit
DRAWS = 2000  # of labels: the 95th percentile is then off by a thousandth


@dataclass(frozen=True)
class Influenced:
    """A figure and what each cluster adds to its error; `exp` of both where it is a logarithm."""

    value: float
    influence: Reals  # (c,)


def ece_by_chance(
    prob: Reals, folds: Folds | None = None, *, bins: int = BINS, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """(mean, 95th percentile) of the ECE that these probabilities have if each is right: labels are drawn from them.

    prob: (n,), n > 0. An ECE below the second is no sign that they are wrong (Vaicenavicius et al. 2019).
    """
    bounds, place = 0, np.zeros(len(prob), dtype=np.intp)
    for rows in split_rows(folds, len(prob)):
        place[rows] = bounds + equal_mass(prob[rows], bins)
        bounds += bins
    inside = np.zeros((len(prob), bounds))
    inside[np.arange(len(prob)), place] = 1.0
    rng = np.random.default_rng(seed)
    found = []
    block = max(1, 1_000_000 // len(prob))
    for start in range(0, draws, block):
        happened = rng.random((min(block, draws - start), len(prob))) < prob
        found.append(np.abs((happened - prob) @ inside).sum(axis=1) / len(prob))
    every = np.concatenate(found)
    return float(every.mean()), float(np.quantile(every, 0.95))


def calibration_slope(
    y: Reals, prob: Reals, clusters: Rows, *, c: int, folds: Folds | None = None
) -> Influenced | None:
    """The slope of the calibration line (Cox 1958); None where no finite one is best.

    Arrays are checked ones, (n,); clusters: (n,) numbers below c.
    """
    x = logit(prob)
    if (line := logistic_line(x, y, folds)) is None:
        return None
    slope, scores, information = line[0], np.zeros(len(y)), 0.0
    for rows in two_classes(y, folds):
        moved = slope * x[rows]
        fitted = sigmoid(moved + offset_intercept(y[rows], moved))
        weight = fitted * (1 - fitted)
        apart = x[rows] - (weight @ x[rows]) / weight.sum()  # what the intercept of the fold does not explain
        scores[rows] = (y[rows] - fitted) * apart
        information += float(weight @ apart**2)
    return Influenced(slope, summed(scores / information, clusters, c))


def in_the_large(y: Reals, prob: Reals, clusters: Rows, *, c: int) -> Influenced | None:
    """The intercept with the slope held at 1 (Cox 1958; Van Calster et al. 2019): below 0, probabilities are too high.

    None with one class. Arguments as `calibration_slope`.
    """
    if not 0 < y.sum() < len(y):
        return None
    x = logit(prob)
    intercept = offset_intercept(y, x)
    fitted = sigmoid(x + intercept)
    return Influenced(intercept, summed((y - fitted) / float((fitted * (1 - fitted)).sum()), clusters, c))


def folds_in_the_large(y: Reals, prob: Reals, folds: Folds | None) -> tuple[float, float] | None:
    """The least and the greatest such intercept of a fold: they cancel where all are one. None with one fold."""
    found = [offset_intercept(y[rows], logit(prob[rows])) for rows in two_classes(y, folds)]
    return (min(found), max(found)) if len(found) > 1 else None


def log_observed_expected(y: Reals, prob: Reals, clusters: Rows, *, c: int) -> Influenced | None:
    """The logarithm of O/E: positives over the sum of their probabilities. None where either is 0."""
    observed, expected = float(y.sum()), float(prob.sum())
    if not observed or not expected:
        return None
    return Influenced(float(np.log(observed / expected)), summed(y / observed - prob / expected, clusters, c))


def mean_interval(
    found: Sequence[Influenced | None], *, level: float = 0.95, scale: Callable[[float], float] = float
) -> Interval:
    """The mean over pools, whose clusters are the same, with Student's t; no value where one lacks it.

    scale: what becomes of value and ends, such as `exp` of a logarithm.
    """
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return Interval(None, None, None, reason=UNDEFINED)
    value = sum(one.value for one in known) / len(known)
    influence = np.mean([one.influence for one in known], axis=0)
    clusters = int((influence != 0).sum())
    error = float(np.sqrt(influence @ influence * clusters / max(1, clusters - 1)))
    reach = float(stdtrit(degrees(influence, clusters - 1), (1 + level) / 2)) * error
    return Interval(scale(value), scale(value - reach), scale(value + reach))


def offset_intercept(y: Reals, x: Reals) -> float:
    """What is added to logits so that as many positives are expected as there are. Both classes are there."""

    def excess(intercept: float) -> float:
        return float((sigmoid(x + intercept) - y).sum())

    return float(brentq(excess, -FURTHEST - np.abs(x).max(), FURTHEST + np.abs(x).max(), xtol=1e-12))


def two_classes(y: Reals, folds: Folds | None) -> list[Rows]:
    """The rows of each fold that has both classes."""
    return [rows for rows in split_rows(folds, len(y)) if 0 < y[rows].sum() < len(rows)]


def summed(values: Reals, clusters: Rows, c: int) -> Reals:
    """(c,) the sums over each cluster."""
    return np.bincount(clusters, weights=values, minlength=c).astype(np.float64)
