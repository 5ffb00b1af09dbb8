"""The figures of binary predictions. A figure that is undefined is None, never NaN and never a made-up 0."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, checked_folds, checked_probabilities, reals
from cxremb.evaluation.ranking import RANKED, defined, divided, within_folds
from cxremb.evaluation.reliability import ece, likely, logistic_line, logit

THRESHOLD = 0.5  # a row is called positive from here on
BASELINES = ("prevalence", "majority_accuracy", "all_positive_f1")  # they need no model

# What one row adds, and each metric as (numerator, denominator): sums of these over any rows, whatever their weights.
COLUMNS = ("tp", "fp", "fn", "tn", "loss", "squared")
EVERY_ROW = {"tp": 1, "fp": 1, "fn": 1, "tn": 1}
RATIOS: dict[str, tuple[Mapping[str, int], Mapping[str, int]]] = {
    "loss": ({"loss": 1}, EVERY_ROW),
    "accuracy": ({"tp": 1, "tn": 1}, EVERY_ROW),
    "precision": ({"tp": 1}, {"tp": 1, "fp": 1}),
    "recall": ({"tp": 1}, {"tp": 1, "fn": 1}),
    "specificity": ({"tn": 1}, {"tn": 1, "fp": 1}),
    "f1": ({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}),
    "brier": ({"squared": 1}, EVERY_ROW),
    "prevalence": ({"tp": 1, "fn": 1}, EVERY_ROW),
}
WITHIN = (*RANKED, "ece", "calibration_slope", "calibration_intercept")
POOLED = "_pooled"  # ends the name of such a figure of the rows of all folds as one
COUNTED = (*RATIOS, "balanced_accuracy", "mcc")  # all that `counted` makes of the sums


def binary_metrics(
    y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike = THRESHOLD, *, folds: ArrayLike | None = None
) -> dict[str, float | None]:
    """Metric -> value or None. A row is called positive when its probability is `threshold` or more.

    y_true: (n,) 0 or 1. y_prob: (n,) probabilities of 1. threshold: one number, or (n,) each row's own, such as the
    one that was chosen on the validation rows of its fold. folds: (n,) whose model gave the probability; figures of
    `WITHIN` are made within each, and stand beside those of all rows as one, whose names end in `_pooled`.
    prevalence, majority_accuracy and all_positive_f1 need no model: the others mean little without them. f1 is None
    when nothing is positive and nothing is called so, 0.0 when positives are all missed. Raises `DataError` for NaN,
    other classes or values outside [0, 1].
    """
    y, prob = checked_probabilities(y_true, y_prob)
    return figures(y, prob, called_positive(prob, threshold), folds=checked_folds(folds, len(y)))


def figures(y: Reals, prob: Reals, called: Flags, *, folds: NDArray[np.int64] | None = None) -> dict[str, float | None]:
    """As `binary_metrics`, of checked arrays and of what was called positive by any rule."""
    totals = row_parts(y, prob, called).sum(axis=0)
    values = {metric: defined(counted(totals, metric)) for metric in COUNTED}
    share = values["prevalence"]
    pooled = by_fold(y, prob)
    within = pooled if folds is None or len(np.unique(folds)) < 2 else by_fold(y, prob, folds)
    return {
        **values,
        **within,
        "majority_accuracy": None if share is None else max(share, 1 - share),
        "all_positive_f1": None if share is None else 2 * share / (1 + share),
        **{f"{metric}{POOLED}": value for metric, value in pooled.items()},
    }


def by_fold(y: Reals, prob: Reals, folds: NDArray[np.int64] | None = None) -> dict[str, float | None]:
    """The figures of `WITHIN`, each fold by itself: probabilities of two models are not on one scale."""
    once = np.ones((1, len(y)))
    slope, intercept = logistic_line(logit(prob), y, folds) or (None, None)
    ranks = {metric: defined(within_folds(metric, y, prob, folds=folds)(once)) for metric in RANKED}
    return ranks | {"ece": ece(y, prob, folds=folds), "calibration_slope": slope, "calibration_intercept": intercept}


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None without any, or where one is missing, for leaving it out would flatter or harm."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def called_positive(prob: Reals, threshold: ArrayLike = THRESHOLD) -> Flags:
    """(n,) True where the probability is its threshold or more. Raises `DataError` for a bad threshold."""
    limit = reals(threshold, "threshold")
    if limit.shape not in {(), prob.shape} or np.isnan(limit).any():
        raise DataError(f"{len(prob)} rows, but a threshold of shape {limit.shape}", hint="give one, or one a row")
    return np.asarray(prob >= limit, dtype=bool)


def row_parts(y: Reals, prob: Reals, called: Flags) -> Reals:
    """(n, 6) what each row adds to `COLUMNS`. Arrays are checked ones."""
    counts = [called & (y == 1), called & (y == 0), ~called & (y == 1), ~called & (y == 0)]
    loss = -np.log(likely(np.where(y == 1, prob, 1 - prob)))
    return np.column_stack([*counts, loss, (prob - y) ** 2]).astype(np.float64)


def counted(totals: Reals, metric: str) -> Reals:
    """A metric of `COUNTED` from (..., 6) sums over `COLUMNS`; NaN where there is nothing to divide by."""
    if metric == "balanced_accuracy":
        return (counted(totals, "recall") + counted(totals, "specificity")) / 2
    if metric == "mcc":
        return matthews(totals)
    return divided(*ratio_parts(totals, metric))


def ratio_parts(totals: Reals, metric: str) -> tuple[Reals, Reals]:
    """The (...,) numerators and denominators of a metric of `RATIOS`, from (..., 6) of `COLUMNS`."""
    part, whole = (
        sum(times * totals[..., COLUMNS.index(name)] for name, times in side.items()) for side in RATIOS[metric]
    )
    return np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)


def matthews(totals: Reals) -> Reals:
    """The correlation of answers and classes (Matthews 1975); NaN where either is constant."""
    tp, fp, fn, tn = (totals[..., COLUMNS.index(name)] for name in EVERY_ROW)
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return divided(tp * tn - fp * fn, spread)
