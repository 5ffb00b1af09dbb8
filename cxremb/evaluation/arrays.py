"""What figures are made of, checked once: anything else is refused by name, so that no NaN reaches a table."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError

Reals = NDArray[np.float64]
Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]

BINARY, MULTICLASS, MULTILABEL = TASKS = ("binary", "multiclass", "multilabel")
TOO_HOT = "train with a lower learning rate"


def checked(y_true: ArrayLike, y_score: ArrayLike, name: str) -> tuple[Reals, Reals]:
    """(n,) classes and (n,) scores as float64. Raises `DataError` unless classes are 0 or 1 and scores finite."""
    y, score = reals(y_true, "y_true"), reals(y_score, name)
    if y.ndim != 1 or y.shape != score.shape:
        raise DataError(f"y_true has shape {y.shape}, {name} {score.shape}", hint="give both one value a row")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("y_true holds values other than 0 and 1", hint="leave unlabelled rows out")
    refuse_not_finite(score, name)
    return y, score


def checked_probabilities(y_true: ArrayLike, y_prob: ArrayLike, name: str = "y_prob") -> tuple[Reals, Reals]:
    """As `checked`, and every score lies in [0, 1]."""
    y, prob = checked(y_true, y_prob, name)
    refuse_outside(prob, name)
    return y, prob


def checked_table(y_true: ArrayLike, y_prob: ArrayLike, *, one_hot: bool) -> tuple[Reals, Reals]:
    """(n, k) classes and (n, k) probabilities as float64.

    one_hot: every row has exactly one 1, and its probabilities add up to 1. Otherwise a NaN in y_true is a label that
    is missing. Raises `DataError` for anything else.
    """
    y, prob = reals(y_true, "y_true"), reals(y_prob, "y_prob")
    if y.ndim != 2 or y.shape != prob.shape or not y.shape[1]:
        raise DataError(
            f"y_true has shape {y.shape}, y_prob {prob.shape}", hint="give both a row an item, a column a label"
        )
    if not (np.isin(y, (0.0, 1.0)) | np.isnan(y)).all():
        raise DataError("y_true holds values other than 0, 1 and missing", hint="give labels as 0 and 1")
    refuse_not_finite(prob, "y_prob")
    refuse_outside(prob, "y_prob")
    if one_hot:
        refuse_not_one_hot(y, prob)
    return y, prob


def cluster_numbers(clusters: ArrayLike, n: int) -> Rows:
    """(n,) numbers from 0, equal where `clusters` are. Raises `DataError` unless every row has one."""
    names = np.asarray(clusters)
    if names.shape != (n,):
        raise DataError(f"{n} rows, but clusters has shape {names.shape}", hint="give one cluster a row")
    return np.searchsorted(cluster_names(names), names).astype(np.intp)


def cluster_names(names: NDArray[np.generic]) -> NDArray[np.generic]:
    """(c,) the clusters there are, in order. names: (n,). Raises `DataError` unless every row has one."""
    if missing := int(missing_names(names).sum()):
        n = len(names)
        raise DataError(f"{missing} of {n} rows have no cluster", hint="give each row its patient, or its own id")
    return np.unique(names)


def numbered(*columns: NDArray[np.generic]) -> Rows:
    """(n,) the number of each row's combination of values, combinations in order. columns: (n,) each."""
    which = np.zeros(len(columns[0]), dtype=np.intp)
    for column in columns:
        values, own = np.unique(column, return_inverse=True)
        which = np.unique(which * len(values) + own, return_inverse=True)[1]  # few, so that products stay small
    return which


def split_rows(folds: NDArray[np.int64] | None, n: int) -> list[Rows]:
    """The row numbers of each fold, in order; all of them as one where there are none."""
    if folds is None:
        return [np.arange(n, dtype=np.intp)]
    return [np.flatnonzero(folds == fold).astype(np.intp) for fold in np.unique(folds)]


def checked_folds(folds: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    """(n,) fold numbers, or None. Raises `DataError` unless every row has one."""
    if folds is None:
        return None
    if (shape := np.shape(folds)) != (n,):
        raise DataError(f"{n} rows, but folds has shape {shape}", hint="give each row the fold whose model scored it")
    return np.unique(np.asarray(folds), return_inverse=True)[1].astype(np.int64)


def missing_names(names: NDArray[np.generic]) -> Flags:
    """(n,) True where there is None or NaN."""
    return np.array([name is None or name != name for name in names.tolist()], dtype=bool)  # noqa: PLR0124 - NaN alone


def checked_weights(weights: ArrayLike, n: int) -> Reals:
    """(n,) float64. Raises `DataError` unless all are finite and none is negative."""
    weight = reals(weights, "weights")
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise DataError(f"weights must be {n} finite numbers, none negative", hint="leave them out to count rows once")
    return weight


def reals(values: ArrayLike, name: str) -> Reals:
    """The array as float64. Raises `DataError` for what is no number."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} holds something that is no number", hint="give numbers, one a row") from None


def refuse_not_finite(values: Reals, name: str) -> None:
    """Raises `DataError` for NaN and infinity."""
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{bad} of {values.size} values of {name} are not finite", hint=TOO_HOT)


def refuse_outside(prob: Reals, name: str) -> None:
    """Raises `DataError` for what is no probability."""
    if bad := int(((prob < 0) | (prob > 1)).sum()):
        raise DataError(
            f"{bad} of {prob.size} values of {name} lie outside [0, 1]", hint="give probabilities, not logits"
        )


def refuse_not_one_hot(y: Reals, prob: Reals) -> None:
    """Raises `DataError` unless each row is of one class and has one whole to share out."""
    if bad := int((np.isnan(y).any(axis=1) | (np.nansum(y, axis=1) != 1)).sum()):
        raise DataError(f"{bad} of {len(y)} rows are not of exactly one class", hint="use the multi-label figures")
    if bad := int((np.abs(prob.sum(axis=1) - 1) > 1e-3).sum()):  # float32 softmax over many classes is off by 1e-6
        raise DataError(f"the probabilities of {bad} of {len(y)} rows do not add up to 1", hint="give the softmax")
