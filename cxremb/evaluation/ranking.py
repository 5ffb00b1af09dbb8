"""Figures that only the order of the scores decides. All take weights, so that a resample costs no sort.

Scores of two models are not on one scale: figures are made within each fold, and folds are weighted by what the figure
is a mean over (Parker et al. 2007; Forman & Scholz 2010).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.evaluation.arrays import Reals, Rows, checked, checked_weights, split_rows

FLOOR = 0.95  # the sensitivity, or specificity, at which the other one is read


def auroc(y_true: ArrayLike, y_score: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """The chance that a positive row scores above a negative one, a tie counting one half; None with one class.

    y_true: (n,) 0 or 1. y_score: (n,) finite, on any scale. weights: (n,) how often each row counts, none negative.
    Raises `DataError` for anything else. The Mann-Whitney statistic (Hanley & McNeil 1982).
    """
    y, score = checked(y_true, y_score, "y_score")
    return defined(weighted_auroc(ranked(y, score), row_weights(weights, len(y))))


def average_precision(y_true: ArrayLike, y_score: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """The precision at each distinct threshold, weighted by the recall it adds; None without positives.

    Arguments and errors as `auroc`. A step-wise sum, since linear interpolation flatters (Davis & Goadrich 2006).
    """
    y, score = checked(y_true, y_score, "y_score")
    return defined(weighted_average_precision(swept(y, score), row_weights(weights, len(y))))


def specificity_at_sensitivity(y_true: ArrayLike, y_score: ArrayLike, floor: float = FLOOR) -> float | None:
    """The best specificity of any threshold whose sensitivity is `floor` or more; None with one class.

    Arguments and errors as `auroc`. A point that some threshold reaches, never one interpolated between two.
    """
    y, score = checked(y_true, y_score, "y_score")
    return defined(weighted_specificity(swept(y, score), row_weights(None, len(y)), floor))


def sensitivity_at_specificity(y_true: ArrayLike, y_score: ArrayLike, floor: float = FLOOR) -> float | None:
    """The best sensitivity of any threshold whose specificity is `floor` or more; None with one class.

    As `specificity_at_sensitivity`. Calling nothing positive is one of the thresholds, so 0.0 can be the answer.
    """
    y, score = checked(y_true, y_score, "y_score")
    return defined(weighted_sensitivity(swept(y, score), row_weights(None, len(y)), floor))


@dataclass(frozen=True)
class Ranking:
    """Who beats whom, worked out once for any weights."""

    positives: Rows  # (p,) rows
    negatives: Rows  # (q,) rows, by score
    below: Rows  # (p,) how many of `negatives` score less than each positive
    upto: Rows  # (p,) ... less or the same


def ranked(y: Reals, score: Reals) -> Ranking:
    """The ranking of checked arrays."""
    positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    left = np.searchsorted(score[negatives], score[positives], "left")
    right = np.searchsorted(score[negatives], score[positives], "right")
    return Ranking(positives, negatives, left, right)


def weighted_auroc(ranking: Ranking, weights: Reals) -> Reals:
    """(b,) the AUROC under each of b sets of row weights, NaN where a class has none. weights: (b, n)."""
    beaten = np.zeros((len(weights), len(ranking.negatives) + 1))
    np.cumsum(weights[:, ranking.negatives], axis=1, out=beaten[:, 1:])
    positive = weights[:, ranking.positives]
    wins = np.einsum("ij,ij->i", positive, beaten[:, ranking.below])
    wins_or_ties = np.einsum("ij,ij->i", positive, beaten[:, ranking.upto])
    return divided((wins + wins_or_ties) / 2, positive.sum(axis=1) * beaten[:, -1])


@dataclass(frozen=True)
class Sweep:
    """Rows from the highest score down; a threshold lies after each run of equal scores."""

    order: Rows  # (n,) rows
    ends: Rows  # (t,) the place of the last row of each run
    y: Reals  # (n,) classes in that order


def swept(y: Reals, score: Reals) -> Sweep:
    """The sweep of checked arrays."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    return Sweep(order, np.flatnonzero(last), y[order])


def called_so_far(sweep: Sweep, weights: Reals) -> tuple[Reals, Reals]:
    """((b, t + 1), (b, t + 1)) weight of the positives and negatives called at each threshold; first nothing is."""
    ordered = weights[:, sweep.order]
    true, false = (np.zeros((len(weights), len(sweep.ends) + 1)) for _ in range(2))
    true[:, 1:] = np.cumsum(ordered * sweep.y, axis=1)[:, sweep.ends]
    false[:, 1:] = np.cumsum(ordered * (1 - sweep.y), axis=1)[:, sweep.ends]
    return true, false


def weighted_average_precision(sweep: Sweep, weights: Reals) -> Reals:
    """(b,) the average precision under each of b sets of row weights, NaN without positives. weights: (b, n)."""
    true, false = called_so_far(sweep, weights)
    called = true + false
    precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    return divided((np.diff(true, axis=1) * precision[:, 1:]).sum(axis=1), true[:, -1])


def weighted_specificity(sweep: Sweep, weights: Reals, floor: float = FLOOR) -> Reals:
    """(b,) `specificity_at_sensitivity` under each of b sets of row weights, NaN where a class has none."""
    true, false = called_so_far(sweep, weights)
    # a quotient of whole numbers is rounded just as the literal 0.95 is: 19 of 20 reaches 0.95, and 1 - 1/20 may not
    reached = divided(true, np.broadcast_to(true[:, -1:], true.shape)) >= floor
    first = reached.argmax(axis=1)[:, None]
    rejected = false[:, -1:] - np.take_along_axis(false, first, axis=1)
    return divided(rejected[:, 0], np.where(true[:, -1] > 0, false[:, -1], 0))


def weighted_sensitivity(sweep: Sweep, weights: Reals, floor: float = FLOOR) -> Reals:
    """(b,) `sensitivity_at_specificity` under each of b sets of row weights, NaN where a class has none."""
    true, false = called_so_far(sweep, weights)
    kept = divided(false[:, -1:] - false, np.broadcast_to(false[:, -1:], false.shape)) >= floor
    last = np.maximum(kept.sum(axis=1) - 1, 0)[:, None]
    return divided(np.take_along_axis(true, last, axis=1)[:, 0], np.where(false[:, -1] > 0, true[:, -1], 0))


Weighted = Callable[[Sweep, Reals], Reals]
SWEPT: dict[str, Weighted] = {
    "average_precision": weighted_average_precision,
    "specificity_at_sensitivity_95": weighted_specificity,
    "sensitivity_at_specificity_95": weighted_sensitivity,
}


RANKED = ("auroc", *SWEPT)
Weighing = Callable[[Reals, Reals], Reals]
FOLD_WEIGHTS: dict[str, Weighing] = {  # from the positives and negatives of a fold
    "auroc": lambda positives, negatives: positives * negatives,  # pairs
    "average_precision": lambda positives, _: positives,
    "specificity_at_sensitivity_95": lambda _, negatives: negatives,
    "sensitivity_at_specificity_95": lambda positives, _: positives,
}


def within_folds(
    metric: str, y: Reals, score: Reals, *, folds: NDArray[np.int64] | None = None
) -> Callable[[Reals], Reals]:
    """A metric of `RANKED` within each fold as a function of (b, n) row weights; NaN where no fold has both classes.

    y, score, folds: (n,), checked. Folds of one class are left out, by the classes that the weights leave them.
    """
    places = split_rows(folds, len(y))
    sorts = [sorted_once(metric, y[rows], score[rows]) for rows in places]

    def figure(weights: Reals) -> Reals:
        total, whole = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, of_fold in zip(places, sorts, strict=True):
            own = weights[:, rows]
            positives, negatives = own @ y[rows], own @ (1 - y[rows])
            counts = np.where((positives > 0) & (negatives > 0), FOLD_WEIGHTS[metric](positives, negatives), 0.0)
            total += counts * np.where(counts > 0, of_fold(own), 0.0)
            whole += counts
        return divided(total, whole)

    return figure


def sorted_once(metric: str, y: Reals, score: Reals) -> Callable[[Reals], Reals]:
    """A metric of `RANKED` of rows of one model as a function of (b, n) row weights."""
    if metric == "auroc":
        ranking = ranked(y, score)
        return lambda weights: weighted_auroc(ranking, weights)
    sweep, weighted = swept(y, score), SWEPT[metric]
    return lambda weights: weighted(sweep, weights)


def row_weights(weights: ArrayLike | None, n: int) -> Reals:
    """(1, n) checked weights, or ones."""
    return (np.ones(n) if weights is None else checked_weights(weights, n))[None]


def divided(part: Reals, whole: Reals) -> Reals:
    """The quotients, NaN where `whole` is 0."""
    quotients = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotients, where=whole > 0)
    return quotients


def defined(value: Reals) -> float | None:
    """One number, or None for NaN."""
    number = float(value.item())
    return None if np.isnan(number) else number
