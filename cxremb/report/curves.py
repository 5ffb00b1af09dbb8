"""The numbers that the figures are drawn from: ROC points and mean training history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.predictions import Predictions
from cxremb.report.figures import Point

FIGURES = ("loss", "accuracy", "precision", "recall", "f1")
CURVE_POINTS = 400  # more cannot be told apart at the figure's size


@dataclass(frozen=True)
class MeanEpoch:
    """Means over the folds of one arm that reached this epoch."""

    arm: str
    epoch: int
    phase: str  # train or val; test where there is no val
    folds: int
    loss: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def roc_points(test: Predictions) -> list[Point]:
    """(1 - specificity, sensitivity) at every threshold, from (0, 0) to (1, 1); empty with one class.

    Rows of equal probability make one slanted step (Fawcett 2006). Above `CURVE_POINTS` points, evenly spaced ones are
    kept. Of several labels all cells are one.
    """
    y, prob = test.y.ravel(), test.prob.ravel()
    if len(np.unique(y)) < 2:
        return []
    order = np.argsort(-prob, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(prob[order])), len(y) - 1)  # the last row of each tie
    hits, alarms = np.cumsum(y[order])[steps], np.cumsum(1 - y[order])[steps]
    points = [(0.0, 0.0), *zip((alarms / alarms[-1]).tolist(), (hits / hits[-1]).tolist(), strict=True)]
    if len(points) <= CURVE_POINTS:
        return points
    return [points[index] for index in np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(int)]


def mean_history(arm: str, history: pa.Table) -> list[MeanEpoch]:
    """Means over the folds, epoch by epoch, train before val. history: columns `layout.HISTORY`."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in history.to_pylist():
        groups.setdefault((row["epoch"], row["phase"]), []).append(row)
    return [
        MeanEpoch(arm, epoch, phase, len(rows), *(mean([row[name] for row in rows]) for name in FIGURES))
        for (epoch, phase), rows in sorted(groups.items())
    ]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the defined values; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
