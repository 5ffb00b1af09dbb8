"""Predictions whose every number is given, for simulations: no run on disk."""

import numpy as np
from numpy.typing import NDArray

from cxremb.predictions import Predictions

Reals = NDArray[np.float64]


def predictions(
    y: Reals, prob: Reals, patients: NDArray[np.integer], fold: NDArray[np.integer] | None = None, part: str = "test"
) -> Predictions:
    """Rows of one label, each its own item and study. Arrays are (n,). fold: one model if left out."""
    n = len(y)
    rows, zero = np.arange(n), np.zeros(n, dtype=np.int64)
    return Predictions(
        run="simulated",
        dataset="simulated",
        unit="image",
        task="binary",
        labels=("abnormal",),
        part=np.full(n, part),
        items=rows,
        studies=rows,
        patients=patients,
        repeat=zero,
        fold=zero if fold is None else fold.astype(np.int64),
        seed=zero,
        y=y[:, None],
        prob=prob[:, None],
        logit=np.log(prob / (1 - prob))[:, None],
    )


def sigmoid(score: Reals) -> Reals:
    """The probability of a logit."""
    return np.asarray(1 / (1 + np.exp(-score)), dtype=np.float64)
