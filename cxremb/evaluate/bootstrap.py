"""How far a figure would move with other patients: intervals and paired differences that resample whole clusters.

Rows of one patient are alike, so resampling rows would count the same evidence several times and come out too narrow.
Method: the percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over clusters (Field & Welsh 2007).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluate.metrics import (
    RATIOS,
    Ranking,
    Reals,
    Rows,
    checked_probabilities,
    defined,
    ranked,
    ratio,
    row_parts,
    weighted_auroc,
)

METRICS = ("auroc", *RATIOS)
USUAL = ("auroc", "accuracy", "f1")
FEWEST = 10  # of positives, negatives and clusters: the percentiles of fewer say nothing about other patients
BLOCK_VALUES = 1_000_000  # 8 MB an array: about ten live at once


@dataclass(frozen=True)
class Interval:
    """A figure and its percentile interval; `reason` says why there is none."""

    value: float | None
    low: float | None
    high: float | None
    skipped: int = 0  # resamples left out, because the figure is undefined in them
    reason: str | None = None


@dataclass(frozen=True)
class Difference:
    """A minus B on the same rows; p is two-sided, against no difference."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    skipped: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Judged:
    """One set of predictions, prepared so that a resample costs no sort."""

    ranking: Ranking
    sums: Reals  # (c, 6) per cluster, over `COLUMNS`
    clusters: Rows  # (n,) the cluster of each row, 0 to c - 1

    def metric(self, name: str, counts: Reals) -> Reals:
        """(b,) the metric with each cluster taken as often as `counts`, (b, c), says; NaN where undefined."""
        if name == "auroc":
            return weighted_auroc(self.ranking, counts[:, self.clusters])
        return ratio(counts @ self.sums, name)


def cluster_intervals(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    y_prob: ArrayLike,
    clusters: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metric -> value and interval. clusters: (n,) whose rows stay together, such as the patient.

    y_true: (n,) 0 or 1. y_prob: (n,) probabilities of 1. metrics: of `METRICS`. The same seed draws the same
    clusters. low and high are None with fewer than ten positives, negatives or clusters. Raises `DataError` as
    `binary_metrics`, and for a row without a cluster or an unknown metric.
    """
    refuse_bad_plan(metrics, resamples, level)
    y, prob = checked_probabilities(y_true, y_prob)
    numbers = cluster_numbers(clusters, len(y))
    reason = why_not(y, numbers)
    judged = judge(y, prob, numbers)
    values = observed(judged, metrics)
    drawn = replicates([judged], metrics, 0 if reason else resamples, seed)[0]
    return {
        metric: Interval(values[metric], *span(drawn[row], level), *skipped(drawn[row], values[metric], reason))
        for row, metric in enumerate(metrics)
    }


def paired_difference(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    clusters: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Metric -> A minus B, both on the same rows and the same resampled clusters. Arguments as `cluster_intervals`.

    p inverts the interval: twice the smaller tail beyond 0, with one added above and below the line, so that it
    is never 0 (Davison & Hinkley 1997, section 4.2). A resample counts if the metric is defined for both.
    """
    refuse_bad_plan(metrics, resamples, level)
    y, first = checked_probabilities(y_true, prob_a, "prob_a")
    _, second = checked_probabilities(y_true, prob_b, "prob_b")
    numbers = cluster_numbers(clusters, len(y))
    reason = why_not(y, numbers)
    pair = [judge(y, prob, numbers) for prob in (first, second)]
    a, b = (observed(judged, metrics) for judged in pair)
    drawn_a, drawn_b = replicates(pair, metrics, 0 if reason else resamples, seed)
    results = {}
    for row, metric in enumerate(metrics):
        left, right = a[metric], b[metric]
        value = None if left is None or right is None else left - right
        drawn = drawn_a[row] - drawn_b[row]
        told = skipped(drawn, value, reason)
        results[metric] = Difference(value, *span(drawn, level), two_sided_p(drawn), *told)
    return results


def judge(y: Reals, prob: Reals, clusters: Rows) -> Judged:
    """Predictions ready to be resampled. Arrays are checked ones."""
    parts = row_parts(y, prob)
    sums = np.zeros((int(clusters.max(initial=-1)) + 1, parts.shape[1]))
    np.add.at(sums, clusters, parts)
    return Judged(ranked(y, prob), sums, clusters)


def observed(judged: Judged, metrics: Sequence[str]) -> dict[str, float | None]:
    """Metric -> value, every cluster taken once."""
    once = np.ones((1, len(judged.sums)))
    return {metric: defined(judged.metric(metric, once)) for metric in metrics}


def replicates(arms: Sequence[Judged], metrics: Sequence[str], resamples: int, seed: int) -> NDArray[np.float64]:
    """(arms, metrics, resamples): every arm under the same draws; NaN where undefined."""
    values = np.empty((len(arms), len(metrics), resamples))
    start = 0
    for counts in cluster_counts(arms[0], resamples, seed):
        stop = start + len(counts)
        for i, judged in enumerate(arms):
            for j, metric in enumerate(metrics):
                values[i, j, start:stop] = judged.metric(metric, counts)
        start = stop
    return values


def cluster_counts(judged: Judged, resamples: int, seed: int) -> Iterator[Reals]:
    """(b, c) blocks of how often each of c clusters is drawn, with replacement, in c draws; `resamples` in all.

    The draws depend on the seed alone, not on how they fall into blocks.
    """
    rng = np.random.default_rng(seed)
    c = len(judged.sums)
    block = max(1, BLOCK_VALUES // max(1, len(judged.clusters)))
    for start in range(0, resamples, block):
        b = min(block, resamples - start)
        drawn = rng.integers(c, size=(b, c)) + c * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * c).reshape(b, c).astype(np.float64)


def span(drawn: Reals, level: float) -> tuple[float | None, float | None]:
    """(low, high) percentiles of what is defined; None without any."""
    kept = drawn[~np.isnan(drawn)]
    if not len(kept):
        return None, None
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_sided_p(drawn: Reals) -> float | None:
    """The bootstrap p of a difference; None when nothing was drawn."""
    kept = drawn[~np.isnan(drawn)]
    if not len(kept):
        return None
    tail = min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(kept) + 1))


def skipped(drawn: Reals, value: float | None, reason: str | None) -> tuple[int, str | None]:
    """(resamples left out, why there is no interval or None)."""
    if reason is None and value is None:
        reason = "undefined on these rows"
    elif reason is None and np.isnan(drawn).all():
        reason = "undefined in every resample"
    return int(np.isnan(drawn).sum()), reason


def why_not(y: Reals, clusters: Rows) -> str | None:
    """Why these rows bear no interval, or None."""
    counts = {"positives": int(y.sum()), "negatives": int((1 - y).sum()), "clusters": len(np.unique(clusters))}
    few = [f"{count} {what}" for what, count in counts.items() if count < FEWEST]
    return f"only {' and '.join(few)}: an interval needs {FEWEST} of each" if few else None


def cluster_numbers(clusters: ArrayLike, n: int) -> Rows:
    """(n,) numbers from 0, equal where `clusters` are. Raises `DataError` unless every row has one."""
    names = np.asarray(clusters)
    if names.shape != (n,):
        raise DataError(f"{n} rows, but clusters has shape {names.shape}", hint="give one cluster a row")
    if missing := sum(name is None or name != name for name in names.tolist()):  # noqa: PLR0124 - true of NaN alone
        raise DataError(f"{missing} of {n} rows have no cluster", hint="give each row its patient, or its own id")
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def refuse_bad_plan(metrics: Sequence[str], resamples: int, level: float) -> None:
    """Raises `DataError` for what cannot be resampled."""
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise DataError(f"no interval for {', '.join(unknown)}", hint=f"choose among {', '.join(METRICS)}")
    if resamples < 1 or not 0 < level < 1:
        raise DataError(f"{resamples} resamples at level {level}", hint="ask for 1000 resamples at level 0.95")
