"""The variance of an AUROC, and of the difference of two on the same rows, without resampling.

DeLong, DeLong & Clarke-Pearson (1988) in the fast form of Sun & Xu (2014), n log n instead of all pairs; with clusters,
Obuchowski (1997), which is the same when every row is a cluster of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, Rows, checked, cluster_numbers
from cxremb.evaluation.bootstrap import cluster_count, why_not

PERFECT = "the variance is 0: the ranks leave nothing to vary, which is not to say that other patients would not"


@dataclass(frozen=True)
class Area:
    """An AUROC with its standard error and normal interval, cut to [0, 1]; `reason` says why there is none."""

    value: float | None
    error: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True)
class AreaDifference:
    """AUROC of A minus that of B on the same rows; p is two-sided, against no difference."""

    value: float | None
    error: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Placed:
    """Where each row stands among those of the other class, as its distance from the area, summed per cluster."""

    area: float
    positives: Reals  # (c,)
    negatives: Reals  # (c,)


def delong(y_true: ArrayLike, y_score: ArrayLike, clusters: ArrayLike | None = None, *, level: float = 0.95) -> Area:
    """The AUROC and how precisely it is known.

    y_true: (n,) 0 or 1. y_score: (n,) finite. clusters: (n,) such as the patient; None takes rows as independent. There
    is no interval with fewer than ten positives, negatives or clusters. Raises `DataError` as `auroc`.
    """
    y, score = checked(y_true, y_score, "y_score")
    numbers = own_clusters(clusters, len(y))
    if not 0 < y.sum() < len(y):
        return Area(None, None, None, None, why_not(y, numbers))
    placed = place(y, score, numbers)
    if reason := why_not(y, numbers):
        return Area(placed.area, None, None, None, reason)
    spread = variance(y, placed.positives, placed.negatives, clusters=numbers)
    if spread <= 0:
        return Area(placed.area, None, None, None, PERFECT)
    error = float(np.sqrt(spread))
    reach = quantile(level) * error
    return Area(placed.area, error, max(0.0, placed.area - reach), min(1.0, placed.area + reach))


def delong_difference(
    y_true: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> AreaDifference:
    """AUROC of A minus that of B on the same rows. Arguments and errors as `delong`."""
    y, first = checked(y_true, score_a, "score_a")
    _, second = checked(y_true, score_b, "score_b")
    numbers = own_clusters(clusters, len(y))
    if not 0 < y.sum() < len(y):
        return AreaDifference(None, None, None, None, None, why_not(y, numbers))
    a, b = (place(y, score, numbers) for score in (first, second))
    value = a.area - b.area
    if reason := why_not(y, numbers):
        return AreaDifference(value, None, None, None, None, reason)
    # the difference is itself a mean over pairs, so its variance is that of the differences of the places
    spread = variance(y, a.positives - b.positives, a.negatives - b.negatives, clusters=numbers)
    if spread <= 0:
        same = AreaDifference(0.0, 0.0, 0.0, 0.0, 1.0)
        return same if value == 0 else AreaDifference(value, None, None, None, None, PERFECT)
    error = float(np.sqrt(spread))
    reach = quantile(level) * error
    return AreaDifference(value, error, value - reach, value + reach, float(2 * ndtr(-abs(value) / error)))


def place(y: Reals, score: Reals, clusters: Rows) -> Placed:
    """The structural components of one area, per cluster. Both classes are there."""
    above = share_below(score[y == 1], score[y == 0])
    below = 1 - share_below(score[y == 0], score[y == 1])
    area = float(above.mean())
    c = cluster_count(clusters)
    positives, negatives = np.zeros(c), np.zeros(c)
    np.add.at(positives, clusters[y == 1], above - area)
    np.add.at(negatives, clusters[y == 0], below - area)
    return Placed(area, positives, negatives)


def share_below(score: Reals, others: Reals) -> Reals:
    """The share of `others` that each score is above, a tie counting one half."""
    ordered = np.sort(others)
    left, right = np.searchsorted(ordered, score, "left"), np.searchsorted(ordered, score, "right")
    return np.asarray((left + right) / (2 * len(others)), dtype=np.float64)


def variance(y: Reals, positives: Reals, negatives: Reals, *, clusters: Rows) -> float:
    """What positives, negatives and their sharing a cluster add (Obuchowski 1997). positives, negatives: (c,)."""
    m, n = float(y.sum()), float((1 - y).sum())
    with_positives, with_negatives = (len(np.unique(clusters[y == kind])) for kind in (1, 0))
    c = cluster_count(clusters)
    return float(
        unbiased(with_positives) * (positives @ positives) / m**2
        + unbiased(with_negatives) * (negatives @ negatives) / n**2
        + 2 * unbiased(c) * (positives @ negatives) / (m * n)
    )


def unbiased(count: int) -> float:
    """What makes a sum of squares about the mean of so many clusters unbiased; without effect on one."""
    return count / max(1, count - 1)


def own_clusters(clusters: ArrayLike | None, n: int) -> Rows:
    """(n,) cluster numbers; every row its own if there are none."""
    return np.arange(n, dtype=np.intp) if clusters is None else cluster_numbers(clusters, n)


def quantile(level: float) -> float:
    """How many standard errors the interval reaches to each side."""
    if not 0 < level < 1:
        raise DataError(f"level {level}", hint="ask for level 0.95")
    return float(ndtri((1 + level) / 2))
