"""The figures of binary predictions. A figure that is undefined is None, never NaN and never a made-up 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError

Reals = NDArray[np.float64]
Rows = NDArray[np.intp]

THRESHOLD = 0.5  # a row is called positive from here on
SMALLEST = float(
    np.finfo(np.float64).eps
)  # log(0) has no value: a sure, wrong answer costs 36 nats, as in scikit-learn

# What one row adds, and each metric as (numerator, denominator): sums of these over any rows, whatever their weights.
COLUMNS = ("tp", "fp", "fn", "tn", "loss", "squared")
EVERY_ROW = {"tp": 1, "fp": 1, "fn": 1, "tn": 1}
RATIOS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "loss": ({"loss": 1}, EVERY_ROW),
    "accuracy": ({"tp": 1, "tn": 1}, EVERY_ROW),
    "precision": ({"tp": 1}, {"tp": 1, "fp": 1}),
    "recall": ({"tp": 1}, {"tp": 1, "fn": 1}),
    "specificity": ({"tn": 1}, {"tn": 1, "fp": 1}),
    "f1": ({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}),
    "brier": ({"squared": 1}, EVERY_ROW),
    "prevalence": ({"tp": 1, "fn": 1}, EVERY_ROW),
}


def binary_metrics(y_true: ArrayLike, y_prob: ArrayLike, threshold: float = THRESHOLD) -> dict[str, float | None]:
    """Metric -> value or None. A row is called positive when its probability is `threshold` or more.

    y_true: (n,) 0 or 1. y_prob: (n,) probabilities of 1. prevalence, majority_accuracy and all_positive_f1 need
    no model: the others mean little without them. f1 is None when nothing is positive and nothing is called so,
    0.0 when positives are all missed. Raises `DataError` for NaN, other classes or values outside [0, 1].
    """
    y, prob = checked_probabilities(y_true, y_prob)
    totals = row_parts(y, prob, threshold).sum(axis=0)
    values = {metric: defined(ratio(totals, metric)) for metric in RATIOS}
    share = values["prevalence"]
    return {
        **values,
        "auroc": auroc(y, prob),
        "average_precision": average_precision(y, prob),
        "majority_accuracy": None if share is None else max(share, 1 - share),
        "all_positive_f1": None if share is None else 2 * share / (1 + share),
    }


def auroc(y_true: ArrayLike, y_score: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """The chance that a positive row scores above a negative one, a tie counting one half; None with one class.

    y_true: (n,) 0 or 1. y_score: (n,) finite, on any scale. weights: (n,) how often each row counts, none negative.
    Raises `DataError` for anything else. The Mann-Whitney statistic (Hanley & McNeil 1982).
    """
    y, score = checked(y_true, y_score, "y_score")
    weight = np.ones_like(y) if weights is None else checked_weights(weights, len(y))
    return defined(weighted_auroc(ranked(y, score), weight[None]))


def average_precision(y_true: ArrayLike, y_score: ArrayLike) -> float | None:
    """The precision at each distinct threshold, weighted by the recall it adds; None without positives.

    Arguments and errors as `auroc`. A step-wise sum, since linear interpolation flatters (Davis & Goadrich 2006).
    """
    y, score = checked(y_true, y_score, "y_score")
    if not y.any():
        return None
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last row of each run of ties
    found = np.cumsum(y[order])[ends]  # true positives at each threshold
    return float(np.diff(found, prepend=0.0) @ (found / (ends + 1)) / found[-1])


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


def row_parts(y: Reals, prob: Reals, threshold: float = THRESHOLD) -> Reals:
    """(n, 6) what each row adds to `COLUMNS`. Arrays are checked ones."""
    called = prob >= threshold
    likely = np.clip(np.where(y == 1, prob, 1 - prob), SMALLEST, 1 - SMALLEST)
    counts = [called & (y == 1), called & (y == 0), ~called & (y == 1), ~called & (y == 0)]
    return np.column_stack([*counts, -np.log(likely), (prob - y) ** 2]).astype(np.float64)


def ratio(totals: Reals, metric: str) -> Reals:
    """A metric of `RATIOS` from (..., 6) sums over `COLUMNS`; NaN where there is nothing to divide by."""
    part, whole = (
        sum(times * totals[..., COLUMNS.index(name)] for name, times in side.items()) for side in RATIOS[metric]
    )
    return divided(np.asarray(part), np.asarray(whole))


def divided(part: Reals, whole: Reals) -> Reals:
    """The quotients, NaN where `whole` is 0."""
    quotients = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotients, where=whole > 0)
    return quotients


def defined(value: Reals) -> float | None:
    """One number, or None for NaN."""
    number = float(value.item())
    return None if np.isnan(number) else number


def checked(y_true: ArrayLike, y_score: ArrayLike, name: str) -> tuple[Reals, Reals]:
    """(n,) classes and (n,) scores as float64. Raises `DataError` unless classes are 0 or 1 and scores finite."""
    y, score = np.asarray(y_true, dtype=np.float64), np.asarray(y_score, dtype=np.float64)
    if y.ndim != 1 or y.shape != score.shape:
        raise DataError(f"y_true has shape {y.shape}, {name} {score.shape}", hint="give both one value a row")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("y_true holds values other than 0 and 1", hint="leave unlabelled rows out")
    if bad := int((~np.isfinite(score)).sum()):
        raise DataError(f"{bad} of {len(y)} values of {name} are not finite", hint="train with a lower learning rate")
    return y, score


def checked_probabilities(y_true: ArrayLike, y_prob: ArrayLike, name: str = "y_prob") -> tuple[Reals, Reals]:
    """As `checked`, and every score lies in [0, 1]."""
    y, prob = checked(y_true, y_prob, name)
    if bad := int(((prob < 0) | (prob > 1)).sum()):
        raise DataError(f"{bad} of {len(y)} values of {name} lie outside [0, 1]", hint="give probabilities, not logits")
    return y, prob


def checked_weights(weights: ArrayLike, n: int) -> Reals:
    """(n,) float64. Raises `DataError` unless all are finite and none is negative."""
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise DataError(f"weights must be {n} finite numbers, none negative", hint="leave them out to count rows once")
    return weight
