"""Predictions whose every number is given: no run, no training."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from cxremb.evaluation.bootstrap import USUAL, Difference, Interval, Resampling
from cxremb.evaluation.reliability import logit as log_odds
from cxremb.predictions import Predictions


def within(y: ArrayLike, score: ArrayLike, fold: ArrayLike) -> float:
    """The AUROC within folds, weighted by pairs: scikit-learn's of each fold that has both classes."""
    y, score, fold = (np.asarray(values) for values in (y, score, fold))
    places = [fold == one for one in np.unique(fold)]
    judged = [rows for rows in places if 0 < (y[rows] == 1).sum() < rows.sum()]
    pairs = [(y[rows] == 1).sum() * (y[rows] == 0).sum() for rows in judged]
    return float(np.average([roc_auc_score(y[rows], score[rows]) for rows in judged], weights=pairs))


def predicted(
    y: ArrayLike,
    prob: ArrayLike,
    patients: Any = None,
    *,
    pools: ArrayLike | None = None,
    task: str = "binary",
    items: ArrayLike | None = None,
    part: str = "test",
    logit: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    fold: ArrayLike | None = None,
) -> Predictions:
    """n rows of one or of k labels, `label 1` to `label k`; each its own patient, all of one model, if left out."""
    prob = np.asarray(prob, dtype=np.float64)
    y, n = np.asarray(y, dtype=np.float64), len(prob)
    several = prob.ndim == 2
    table = prob if several else prob[:, None]
    items = np.arange(n) if items is None else np.asarray(items)
    zero = np.zeros(n, dtype=np.int64)
    return Predictions(
        run="given",
        dataset="given",
        unit="image",
        task=task,
        labels=tuple(f"label {column + 1}" for column in range(table.shape[1])),
        part=np.full(n, part),
        items=items,
        studies=items,
        patients=np.arange(n) if patients is None else np.asarray(patients),
        repeat=zero if pools is None else np.asarray(pools),
        fold=zero if fold is None else np.asarray(fold, dtype=np.int64),
        seed=zero,
        y=y if several else y[:, None],
        prob=table,
        logit=log_odds(np.nan_to_num(table))
        if logit is None
        else np.asarray(logit, dtype=np.float64).reshape(table.shape),
        threshold=0.5 if threshold is None else np.broadcast_to(np.asarray(threshold, dtype=np.float64), n),
    )


def intervals_of(
    y: ArrayLike,
    prob: ArrayLike,
    patients: Any,
    *,
    metrics: tuple[str, ...] = USUAL,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **more: Any,
) -> dict[str, Interval]:
    """`Predictions.interval` of these rows."""
    return predicted(y, prob, patients, **more).interval(metrics, Resampling(resamples, level, seed))


def difference_of(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: Any,
    *,
    metrics: tuple[str, ...] = USUAL,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **more: Any,
) -> dict[str, Difference]:
    """`Predictions.difference` of two sets of probabilities of these rows."""
    a, b = (predicted(y, prob, patients, **more) for prob in (first, second))
    return a.difference(b, metrics, Resampling(resamples, level, seed))
