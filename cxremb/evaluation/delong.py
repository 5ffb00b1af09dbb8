"""The variance of an AUROC, and of the difference of two on the same rows, without resampling.

DeLong, DeLong & Clarke-Pearson (1988) in the fast form of Sun & Xu (2014), n log n instead of all pairs; with clusters,
Obuchowski (1997), which is the same when every row is a cluster of its own. Scores of two models are not on one scale,
so pairs are of one fold, and folds count by their pairs (Parker et al. 2007; Forman & Scholz 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, Rows, checked, checked_folds, cluster_numbers, split_rows
from cxremb.evaluation.bootstrap import Difference, Interval, cluster_count, why_not
from cxremb.evaluation.metrics import mean_or_none
from cxremb.evaluation.ranking import share_below
from cxremb.evaluation.shares import ALIKE, NOTHING, degrees

ONE_CLASS = "no fold has both classes"
CONSTANT = "the score is constant within each fold"
PERFECT = "the ranks leave nothing to vary, which is not to say that other patients would not"
BOUND = "the classes are apart: a one-sided bound, by the rule of three"
LEFT_OUT = "{} of {} folds have one class and are left out"


@dataclass(frozen=True)
class Area:
    """An AUROC with its standard error and interval; `reason` says why there is none."""

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
    """An AUROC within folds, and what each of c clusters adds to its error; a mean of several is one again.

    A cluster's share is the sum over its rows of how far each stands from the area of its fold, among the rows of the
    other class there, as a part of the whole figure.
    """

    area: float | None  # None: no fold has both classes
    positives: Reals  # (c,) shares of the positive rows; they sum to 0 but for small samples' factors
    negatives: Reals  # (c,)
    free: tuple[float, float] = (1.0, 1.0)  # degrees of freedom of either
    fewest: int = 0  # clusters with positives, or with negatives: the smaller number
    left_out: int = 0  # folds of one class
    folds: int = 0  # all of them
    constant: bool = False  # the score is the same for all rows of each fold

    @property
    def influence(self) -> Reals:
        """(c,) what each cluster adds to the error: its squares add up to the variance."""
        return self.positives + self.negatives

    @property
    def variance(self) -> float:
        """What positives, negatives and their sharing a cluster add (Obuchowski 1997)."""
        return float(self.influence @ self.influence)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite 1946), fewer where few clusters make most of it."""
        sides = zip((self.positives, self.negatives), self.free, strict=True)
        sums = [(float(own @ own), degrees(own, most)) for own, most in sides]
        below = sum(square**2 / own for square, own in sums)
        return sum(square for square, _ in sums) ** 2 / below if below > 0 else 1.0

    def minus(self, other: "Placed") -> "Placed":
        """The difference of two areas of the same clusters: it is a mean over pairs as they are."""
        return replace(
            mean_placed([self, other]),
            area=None if self.area is None or other.area is None else self.area - other.area,
            positives=self.positives - other.positives,
            negatives=self.negatives - other.negatives,
        )

    def interval(self, level: float = 0.95) -> Interval:
        """On the scale of logits, where it holds near 1 too (Pepe 2003; Qin & Hotilovac 2008), with Student's t.

        Where all positives rank above all negatives it is one-sided, by the rule of three: if one in n clusters of the
        smaller class ranked otherwise, none of n would so 1 time in 20 (Hanley & Lippman-Hand 1983).
        """
        if (area := self.area) is None:
            return Interval(None, None, None, reason=ONE_CLASS)
        remark = LEFT_OUT.format(self.left_out, self.folds) if self.left_out else None
        if self.variance <= NOTHING:
            bound = (1 - level) ** (1 / max(1, self.fewest))
            if self.constant or NOTHING < area < 1 - NOTHING:
                return Interval(area, None, None, reason=CONSTANT if self.constant else PERFECT)
            low, high = (bound, 1.0) if area > 0.5 else (0.0, 1 - bound)
            return Interval(area, low, high, remark=remark or BOUND)
        reach = quantile(level, self.freedom) * self.variance**0.5 / (area * (1 - area))
        low, high = (float(expit(logit(area) + side * reach)) for side in (-1, 1))
        return Interval(area, low, high, remark=remark)

    def difference(self, other: "Placed", level: float = 0.95) -> Difference:
        """Self minus the other, with Student's t; none where no cluster is ranked differently."""
        gap = self.minus(other)
        if gap.area is None:
            return Difference(None, None, None, None, reason=ONE_CLASS)
        if gap.variance <= NOTHING:
            return Difference(gap.area, None, None, None, reason=ALIKE)
        error, freedom = gap.variance**0.5, gap.freedom
        reach = quantile(level, freedom) * error
        p = float(2 * stdtr(freedom, -abs(gap.area) / error))
        return Difference(gap.area, gap.area - reach, gap.area + reach, p)


def delong(
    y_true: ArrayLike,
    y_score: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    folds: ArrayLike | None = None,
    level: float = 0.95,
) -> Area:
    """The AUROC and how precisely it is known.

    y_true: (n,) 0 or 1. y_score: (n,) finite. clusters: (n,) such as the patient; None takes rows as independent.
    folds: (n,) which model each score is of: pairs are of one fold. There is no interval with fewer than ten positives,
    negatives or clusters. Raises `DataError` as `auroc`.
    """
    y, score = checked(y_true, y_score, "y_score")
    numbers = own_clusters(clusters, len(y))
    if not 0 < y.sum() < len(y):
        return Area(None, None, None, None, why_not(y, numbers))
    placed = place(y, score, numbers, folds=checked_folds(folds, len(y)))
    if reason := why_not(y, numbers, "cluster"):
        return Area(placed.area, None, None, None, reason)
    found = placed.interval(level)
    return Area(found.value, None if found.low is None else placed.variance**0.5, found.low, found.high, found.reason)


def delong_difference(
    y_true: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    level: float = 0.95,
) -> AreaDifference:
    """AUROC of A minus that of B on the same rows. Arguments and errors as `delong`."""
    y, first = checked(y_true, score_a, "score_a")
    _, second = checked(y_true, score_b, "score_b")
    numbers = own_clusters(clusters, len(y))
    if not 0 < y.sum() < len(y):
        return AreaDifference(None, None, None, None, None, why_not(y, numbers))
    a, b = (place(y, score, numbers, folds=checked_folds(folds, len(y))) for score in (first, second))
    if reason := why_not(y, numbers, "cluster"):
        return AreaDifference(a.minus(b).area, None, None, None, None, reason)
    found, error = a.difference(b, level), a.minus(b).variance ** 0.5
    error = None if found.low is None else error
    return AreaDifference(found.value, error, found.low, found.high, found.p, found.reason)


def place(
    y: Reals, score: Reals, clusters: Rows, *, folds: NDArray[np.int64] | None = None, c: int | None = None
) -> Placed:
    """The area and its structural components per cluster, of checked arrays. c: how many clusters there are.

    Only rows of one fold are ranked against each other, and a fold counts by its pairs; a fold of one class is left
    out. A cluster that has the share h of a fold's rows of a class pulls their mean towards itself: its share is
    divided by the root of 1 - h (Bell & McCaffrey 2002), which for single rows is DeLong's m / (m - 1).
    """
    c = cluster_count(clusters) if c is None else c
    places = split_rows(folds, len(y))
    judged = [rows for rows in places if 0 < y[rows].sum() < len(rows)]
    if not judged:
        return Placed(None, np.zeros(c), np.zeros(c), left_out=len(places), folds=len(places))
    pairs = np.array([y[rows].sum() * (1 - y[rows]).sum() for rows in judged])
    weights = (pairs / pairs.sum()).tolist()
    ranks = [
        {1: share_below(own[of == 1], own[of == 0]), 0: 1 - share_below(own[of == 0], own[of == 1])}
        for own, of in ((score[rows], y[rows]) for rows in judged)
    ]
    areas = [float(rank[1].mean()) for rank in ranks]
    area = float(pairs @ areas / pairs.sum())  # in this order it is exactly .5 where all are
    sums, free, counts = [], [], []
    for kind in (1, 0):
        influence, expected = np.zeros(c), np.zeros(c)
        for rows, rank, own, weight in zip(judged, ranks, areas, weights, strict=True):
            which = clusters[rows[y[rows] == kind]]
            share = np.bincount(which, minlength=c) / len(which)
            alone = share.max() == 1  # nothing in the fold says how such clusters vary: it is seen beside the others
            off = np.bincount(which, weights=rank[kind] - (area if alone else own), minlength=c) * weight / len(which)
            influence += off if alone else off / np.sqrt(1 - share)
            expected += (weight * share) ** 2 * (1.0 if alone else 1 - share)
        there = int((expected > 0).sum())
        sums.append(influence)
        counts.append(there)
        free.append(float(expected.sum() ** 2 / (expected @ expected)) * max(1, there - len(judged)) / there)
    constant = all(score[rows].min() == score[rows].max() for rows in judged)
    left_out, fewest = len(places) - len(judged), min(counts)
    return Placed(area, sums[0], sums[1], (free[0], free[1]), fewest, left_out, len(places), constant)


def mean_placed(parts: Sequence[Placed]) -> Placed:
    """The mean of areas over the same clusters: of labels, or of repeats and seeds. None where one lacks it."""
    positives, negatives, free = (
        np.mean([getattr(part, name) for part in parts], axis=0) for name in ("positives", "negatives", "free")
    )
    return Placed(
        mean_or_none([part.area for part in parts]),
        positives,
        negatives,
        free=(float(free[0]), float(free[1])),
        fewest=min(part.fewest for part in parts),
        left_out=sum(part.left_out for part in parts),
        folds=sum(part.folds for part in parts),
        constant=all(part.constant for part in parts),
    )


def own_clusters(clusters: ArrayLike | None, n: int) -> Rows:
    """(n,) cluster numbers; every row its own if there are none."""
    return np.arange(n, dtype=np.intp) if clusters is None else cluster_numbers(clusters, n)


def quantile(level: float, freedom: float) -> float:
    """How many standard errors the interval reaches to each side."""
    if not 0 < level < 1:
        raise DataError(f"level {level}", hint="ask for level 0.95")
    return float(stdtrit(freedom, (1 + level) / 2))
