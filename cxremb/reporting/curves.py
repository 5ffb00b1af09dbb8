"""The numbers behind curves, at a fixed number of points whatever the rows: ROC, precision and recall, reliability.

Folds are different models, so their scores are never ranked against each other: a curve is made of each model's own
test rows, and the mean is taken at each point of the grid (vertical averaging, Fawcett 2006).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cxremb.evaluation.arrays import Reals, Rows, cluster_numbers
from cxremb.evaluation.bootstrap import cluster_count, cluster_counts
from cxremb.evaluation.ranking import columns
from cxremb.evaluation.reliability import reliability_table
from cxremb.predictions import Predictions

POINTS = 101  # of a curve
RESAMPLES = 200  # of patients, behind a band: its edge is a line on paper, not a figure in a table
GRID = np.linspace(0, 1, POINTS)
BINS = 20  # of a histogram


@dataclass(frozen=True)
class Curve:
    """Mean values on `GRID`, and a pointwise band of 95%; None where the rows bear no interval."""

    value: Reals  # (POINTS,)
    low: Reals | None
    high: Reals | None
    reason: str | None = None  # why there is no band


@dataclass(frozen=True)
class RankedRows:
    """The rows of one model and label, from the highest probability down. `share` of the curve is its own."""

    y: Reals  # (n,)
    ends: Rows  # the last row of each run of equal probabilities
    clusters: Rows
    pool: int


Height = Callable[[Reals, Reals], Reals]  # (true, false) positives so far (t + 1,) -> value on GRID (POINTS,)
Weight = Callable[[float, float], float]  # (positives, negatives) -> how much a model counts


def roc(test: Predictions) -> Curve | None:
    """Sensitivity at each 1 - specificity. A model counts as many times as it has pairs, so that the area is the AUROC
    within models. None with one class.
    """
    return averaged(test, roc_height, lambda positives, negatives: positives * negatives)


def precision_recall(test: Predictions) -> Curve | None:
    """Precision at each recall, not interpolated: that of the highest threshold that reaches it (Davis & Goadrich
    2006). A model counts as many times as it has positives. None with one class.
    """
    return averaged(test, precision_height, lambda positives, _: positives)


def roc_height(true: Reals, false: Reals) -> Reals:
    """Sensitivity on the grid; rows of equal probability make one slanted step."""
    return np.asarray(np.interp(GRID, false / false[-1], true / true[-1]), dtype=np.float64)


def precision_height(true: Reals, false: Reals) -> Reals:
    """Precision on the grid."""
    at = np.searchsorted(true[1:] / true[-1], np.maximum(GRID, 1e-9) - 1e-12)  # at 0: where the first positive is
    called = true[1:] + false[1:]
    return np.asarray(true[1:][at] / called[at], dtype=np.float64)


def averaged(test: Predictions, height: Height, weight: Weight) -> Curve | None:
    """The mean curve of all models and labels, and a band from resampled patients."""
    clusters = cluster_numbers(test.patients, len(test.items))
    units = list(ranked_rows(test, clusters))
    whole = mean_curve(units, np.ones((1, cluster_count(clusters))), height=height, weight=weight)
    if whole is None:
        return None
    if reason := test.no_interval():
        return Curve(whole[0], None, None, reason)
    drawn = []
    for counts in cluster_counts(clusters, RESAMPLES, 0):
        found = mean_curve(units, counts, height=height, weight=weight)
        drawn.append(found if found is not None else np.empty((0, POINTS)))
    low, high = np.nanquantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    return Curve(whole[0], low, high)


def ranked_rows(test: Predictions, clusters: Rows) -> Iterator[RankedRows]:
    """The rows of each model and label."""
    pools = np.unique(np.column_stack([test.repeat, test.seed]), axis=0, return_inverse=True)[1].reshape(-1)
    for rows in test.models:
        for column in range(len(test.labels)):
            known = rows[~np.isnan(test.y[rows, column])]
            if not len(known):
                continue
            order = known[np.argsort(-test.prob[known, column], kind="stable")]
            prob = test.prob[order, column]
            ends = np.append(np.flatnonzero(np.diff(prob)), len(prob) - 1)
            pool = int(pools[rows[0]]) * len(test.labels) + column
            yield RankedRows(test.y[order, column], ends, clusters[order], pool)


def mean_curve(units: list[RankedRows], counts: Reals, *, height: Height, weight: Weight) -> Reals | None:
    """(b, POINTS) the mean curve for each of b draws; a model with one class is left out, None where all are.

    Within a repeat, seed and label models count by `weight`; these in turn count alike.
    """
    total: dict[int, Reals] = {}
    weights: dict[int, Reals] = {}
    for unit in units:
        times = columns(counts, unit.clusters)
        true, false = np.cumsum(times * unit.y, axis=1), np.cumsum(times * (1 - unit.y), axis=1)
        true, false = (np.pad(columns(side, unit.ends), ((0, 0), (1, 0))) for side in (true, false))
        for draw in range(len(counts)):
            positives, negatives = float(true[draw, -1]), float(false[draw, -1])
            if not (positives and negatives):
                continue
            own = weight(positives, negatives)
            total.setdefault(unit.pool, np.zeros((len(counts), POINTS)))[draw] += own * height(true[draw], false[draw])
            weights.setdefault(unit.pool, np.zeros(len(counts)))[draw] += own
    if not total:
        return None
    with np.errstate(invalid="ignore"):  # a draw in which no model of a pool has both classes is no curve
        means = [total[pool] / weights[pool][:, None] for pool in total]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Reliability:
    """Mean probability and share of positives in bins of equal mass: of each model, and over all of them."""

    models: tuple[tuple[tuple[float, float], ...], ...]
    mean: tuple[tuple[float, float], ...]


def reliability(test: Predictions) -> Reliability:
    """Of a single label. The mean is over models, bin by bin, weighted by rows."""
    models, sums = [], np.zeros((0, 3))
    for rows in test.models:
        bins = reliability_table(test.y[rows, 0], test.prob[rows, 0])
        models.append(tuple((one.predicted, one.observed) for one in bins))
        own = np.array([[one.n, one.n * one.predicted, one.n * one.observed] for one in bins]).reshape(-1, 3)
        both = np.zeros((max(len(sums), len(own)), 3))
        both[: len(sums)] += sums
        both[: len(own)] += own
        sums = both
    return Reliability(tuple(models), tuple((p / n, o / n) for n, p, o in sums.tolist()))


def histogram(test: Predictions, answer: int) -> Reals:
    """(BINS,) the share of the rows with this answer in each twentieth of the probabilities, of a single label."""
    inside = test.prob[test.y[:, 0] == answer, 0]
    counts = np.histogram(inside, BINS, (0, 1))[0]
    return np.asarray(counts / max(1, len(inside)), dtype=np.float64)
