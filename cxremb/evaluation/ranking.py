"""Figures that only the order of the scores decides. All take weights, so that a resample costs no sort.

Scores of two models are not on one scale. Means over pairs and positives are made within each fold, and folds are
weighted by what the figure is a mean over (Parker et al. 2007; Forman & Scholz 2010). A rate at a given rate is no
mean: in a fold of ten positives a sensitivity of .95 is all of them. It is made of all folds, on one scale
(`on_one_scale`).
"""

from collections.abc import Callable, Sequence
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
    return defined(within_folds("auroc", y, score)(row_weights(weights, len(y))))


def average_precision(y_true: ArrayLike, y_score: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """The precision at each distinct threshold, weighted by the recall it adds; None without positives.

    Arguments and errors as `auroc`. A step-wise sum, since linear interpolation flatters (Davis & Goadrich 2006).
    """
    y, score = checked(y_true, y_score, "y_score")
    ranking = ranked(y, score)
    return defined(precision_so_far(ranking, *called_so_far(ranking, row_weights(weights, len(y)))))


def specificity_at_sensitivity(y_true: ArrayLike, y_score: ArrayLike, floor: float = FLOOR) -> float | None:
    """The best specificity of any threshold whose sensitivity is `floor` or more; None with one class.

    Arguments and errors as `auroc`. A point that some threshold reaches, never one interpolated between two.
    """
    y, score = checked(y_true, y_score, "y_score")
    ranking = ranked(y, score)
    return defined(specificity_at(ranking, *called_so_far(ranking, row_weights(None, len(y))), floor=floor))


def sensitivity_at_specificity(y_true: ArrayLike, y_score: ArrayLike, floor: float = FLOOR) -> float | None:
    """The best sensitivity of any threshold whose specificity is `floor` or more; None with one class.

    As `specificity_at_sensitivity`. Calling nothing positive is one of the thresholds, so 0.0 can be the answer.
    """
    y, score = checked(y_true, y_score, "y_score")
    return specificity_at_sensitivity(1 - y, -score, floor)


@dataclass(frozen=True)
class Ranking:
    """Rows of each class from the highest score down, and how the two lie between one another.

    A threshold of interest lies below each of the r distinct scores that positives have.
    """

    positives: Rows  # (p,) rows
    negatives: Rows  # (q,) rows
    true: Rows  # (r,) how many of `positives` are called at each threshold
    false: Rows  # (r,) ... of `negatives`
    higher: Rows  # (r,) how many of `negatives` score more than the positives that it adds


def ranked(y: Reals, score: Reals, clusters: Rows | None = None) -> Ranking:
    """The ranking of checked arrays. clusters: (n,) what is weighted in the place of each row."""
    order = np.argsort(-score, kind="stable")
    positives, negatives = order[y[order] == 1], order[y[order] == 0]
    falling = -score[positives]
    true = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)[: len(falling)]) + 1
    sides = (np.searchsorted(-score[negatives], falling[true - 1], side) for side in ("right", "left"))
    whose = np.arange(len(y)) if clusters is None else clusters
    return Ranking(whose[positives], whose[negatives], true, *sides)


def called_so_far(ranking: Ranking, weights: Reals) -> tuple[Reals, Reals]:
    """((b, p + 1), (b, q + 1)) the weight of the first positives and negatives; first of none.

    weights: (b, n) of the rows, or clusters, that the ranking names.
    """
    true, false = (np.zeros((len(weights), len(rows) + 1)) for rows in (ranking.positives, ranking.negatives))
    np.cumsum(np.take(weights, ranking.positives, axis=1), axis=1, out=true[:, 1:])
    np.cumsum(np.take(weights, ranking.negatives, axis=1), axis=1, out=false[:, 1:])
    return true, false


def area(ranking: Ranking, true: Reals, false: Reals) -> Reals:
    """(b,) the AUROC, NaN where a class has none. true, false: of `called_so_far`."""
    beaten = false[:, -1:] - (columns(false, ranking.false) + columns(false, ranking.higher)) / 2
    wins = np.einsum("ij,ij->i", np.diff(columns(true, ranking.true), prepend=0.0, axis=1), beaten)
    return divided(wins, true[:, -1] * false[:, -1])


def precision_so_far(ranking: Ranking, true: Reals, false: Reals) -> Reals:
    """(b,) the average precision, NaN without positives. true, false: of `called_so_far`."""
    right = columns(true, ranking.true)
    called = right + columns(false, ranking.false)
    precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
    return divided((np.diff(right, prepend=0.0, axis=1) * precision).sum(axis=1), true[:, -1])


def specificity_at(ranking: Ranking, true: Reals, false: Reals, *, floor: float = FLOOR) -> Reals:
    """(b,) the best specificity where the sensitivity is `floor` or more, NaN where a class has none.

    true, false: of `called_so_far`. Between two thresholds of interest the sensitivity stays and the specificity falls.
    """
    right = columns(true, np.append(0, ranking.true))
    # a quotient of whole numbers is rounded just as the literal 0.95 is: 19 of 20 reaches 0.95, and 1 - 1/20 may not
    reached = divided(right, np.broadcast_to(true[:, -1:], right.shape)) >= floor
    first = np.append(0, ranking.false)[reached.argmax(axis=1)]
    rejected = false[:, -1] - np.take_along_axis(false, first[:, None], axis=1)[:, 0]
    return divided(rejected, np.where(true[:, -1] > 0, false[:, -1], 0))


def columns(values: Reals, places: Rows) -> Reals:
    """(b, m) some columns, row by row in memory: `values[:, places]` lies column by column, which is slow to read."""
    return np.take(values, places, axis=1)


SENSITIVITY = "sensitivity_at_specificity_95"  # a specificity, where the classes change places
FIGURES: dict[str, Callable[[Ranking, Reals, Reals], Reals]] = {
    "auroc": area,
    "average_precision": precision_so_far,
    "specificity_at_sensitivity_95": specificity_at,
    SENSITIVITY: specificity_at,
}
RANKED = tuple(FIGURES)
ON_ONE_SCALE = ("specificity_at_sensitivity_95", SENSITIVITY)
FOLD_WEIGHTS: dict[str, Callable[[Reals, Reals], Reals]] = {  # from the positives and negatives of a fold
    "auroc": lambda positives, negatives: positives * negatives,  # pairs
    "average_precision": lambda positives, _: positives,
    "specificity_at_sensitivity_95": lambda _, negatives: negatives,
    SENSITIVITY: lambda _, negatives: negatives,
}


def within_folds(
    metric: str, y: Reals, score: Reals, *, folds: NDArray[np.int64] | None = None, clusters: Rows | None = None
) -> Callable[[Reals], Reals]:
    """A metric of `RANKED` within each fold, or of folds on one scale, as a function of (b, n) row weights; NaN where
    no fold has both classes.

    y, score, folds: (n,), checked. clusters: (n,) whose weight a row has; weights are then (b, clusters). Folds of one
    class are left out, by the classes that the weights leave them. Sorted here, once.
    """
    if metric == SENSITIVITY:
        y, score = 1 - y, -score
    whose = np.arange(len(y)) if clusters is None else clusters
    parts = split_rows(folds, len(y))
    if metric in ON_ONE_SCALE and len(parts) > 1:
        parts = [rows for rows in parts if 0 < y[rows].sum() < len(rows)]
        score = on_one_scale(y, score, parts)
        parts = [np.concatenate(parts)] if parts else []
    rankings = [ranked(y[rows], score[rows], whose[rows]) for rows in parts]

    def figure(weights: Reals) -> Reals:
        total, whole = np.zeros(len(weights)), np.zeros(len(weights))
        for ranking in rankings:
            true, false = called_so_far(ranking, weights)
            positives, negatives = true[:, -1], false[:, -1]
            counts = np.where((positives > 0) & (negatives > 0), FOLD_WEIGHTS[metric](positives, negatives), 0.0)
            total += counts * np.where(counts > 0, FIGURES[metric](ranking, true, false), 0.0)
            whole += counts
        return divided(total, whole)

    return figure


def on_one_scale(y: Reals, score: Reals, folds: Sequence[Rows]) -> Reals:
    """(n,) scores that can be compared across folds: where each stands among the negatives of its own fold.

    folds: the rows of each, which have both classes; other rows get 0. Where that is the same, the positives of the
    fold decide, so that within a fold order and ties stay as they were. Placement values (Pepe & Cai 2004): their ROC
    curve is that of one fold, averaged over the folds of the positives (Janes & Pepe 2009; the fold is the covariate).
    """
    places = np.zeros((2, len(y)))
    for rows in folds:
        own = score[rows]
        places[:, rows] = [share_below(own, own[y[rows] == kind]) for kind in (0, 1)]
    order = np.lexsort(places[::-1])
    steps = np.any(np.diff(places[:, order], prepend=-1.0) != 0, axis=0)
    scale = np.zeros(len(y))
    scale[order] = np.cumsum(steps)
    return scale


def share_below(score: Reals, others: Reals) -> Reals:
    """The share of `others` that each score is above, a tie counting one half."""
    ordered = np.sort(others)
    left, right = np.searchsorted(ordered, score, "left"), np.searchsorted(ordered, score, "right")
    return np.asarray((left + right) / (2 * len(others)), dtype=np.float64)


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
