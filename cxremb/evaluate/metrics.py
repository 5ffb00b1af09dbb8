"""The figures of binary predictions. A figure that is undefined is None, never NaN and never a made-up 0."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError

Reals = NDArray[np.float64]

# log(0) has no value: a sure and wrong answer costs 36 nats, as in scikit-learn
SMALLEST = float(np.finfo(np.float64).eps)


def auroc(y_true: ArrayLike, y_score: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """The chance that a positive row scores above a negative one, a tie counting one half; None with one class.

    y_true: (n,) 0 or 1. y_score: (n,) finite, on any scale. weights: (n,) how often each row counts, none negative.
    Raises `DataError` for anything else. The Mann-Whitney statistic from one sort (Hanley & McNeil 1982).
    """
    y, score = checked(y_true, y_score, "y_score")
    weight = np.ones_like(y) if weights is None else checked_weights(weights, len(y))
    order = np.argsort(score, kind="stable")
    ends = tie_ends(score[order])
    positive = np.diff(np.cumsum((weight * y)[order])[ends], prepend=0.0)  # (distinct scores,)
    negative = np.diff(np.cumsum((weight * (1 - y))[order])[ends], prepend=0.0)
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negative) - 0.5 * negative
    return float(positive @ below / pairs)


def average_precision(y_true: ArrayLike, y_score: ArrayLike) -> float | None:
    """The precision at each distinct threshold, weighted by the recall it adds; None without positives.

    Arguments as `auroc`. The step-wise sum that scikit-learn computes: no interpolation (Davis & Goadrich 2006).
    """
    y, score = checked(y_true, y_score, "y_score")
    order = np.argsort(-score, kind="stable")
    ends = tie_ends(score[order])
    found = np.cumsum(y[order])[ends]  # true positives at each threshold
    if not len(y) or found[-1] == 0:
        return None
    precision = found / (ends + 1)
    return float(np.diff(found, prepend=0.0) @ precision / found[-1])


def binary_metrics(y_true: ArrayLike, y_prob: ArrayLike, threshold: float = 0.5) -> dict[str, float | None]:
    """Metric -> value or None. A row counts as called positive when its probability is `threshold` or more.

    y_true: (n,) 0 or 1. y_prob: (n,) probabilities of 1. The last three, prevalence, majority_accuracy and
    all_positive_f1, need no model: no other figure means anything without them. f1 is None when nothing is
    positive and nothing is called so. Raises `DataError` for NaN, other classes or values outside [0, 1].
    """
    y, prob = checked_probabilities(y_true, y_prob)
    called = prob >= threshold
    tp, fp = int(y[called].sum()), int((1 - y)[called].sum())
    fn, tn = int(y[~called].sum()), int((1 - y)[~called].sum())
    n, positives = len(y), tp + fn
    clipped = np.clip(prob, SMALLEST, 1 - SMALLEST)
    losses = -np.log(np.where(y == 1, clipped, 1 - clipped))
    return {
        "loss": ratio(float(losses.sum()), n),
        "accuracy": ratio(tp + tn, n),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, positives),
        "specificity": ratio(tn, tn + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "auroc": auroc(y, prob),
        "average_precision": average_precision(y, prob),
        "brier": ratio(float(((prob - y) ** 2).sum()), n),
        "prevalence": ratio(positives, n),
        "majority_accuracy": ratio(max(positives, n - positives), n),
        "all_positive_f1": ratio(2 * positives, n + positives),
    }


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None when there is nothing to divide by."""
    return part / whole if whole else None


def tie_ends(ordered: Reals) -> NDArray[np.intp]:
    """The last row of each run of equal values, in a sorted array."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, dtype=np.intp)


def checked(y_true: ArrayLike, y_score: ArrayLike, name: str = "y_prob") -> tuple[Reals, Reals]:
    """(n,) classes and (n,) scores as float64. Raises `DataError` unless classes are 0 or 1 and scores finite."""
    y, score = np.asarray(y_true, dtype=np.float64), np.asarray(y_score, dtype=np.float64)
    if y.ndim != 1 or y.shape != score.shape:
        raise DataError(f"y_true has shape {y.shape}, {name} {score.shape}", hint="give one value a row to both")
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
