"""How far a figure would move with other patients: intervals and paired differences that resample whole clusters.

Rows of one patient are alike, so resampling rows would count the same evidence several times and come out too narrow.
Method: the percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over clusters (Field & Welsh 2007).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, Rows, checked_probabilities, cluster_numbers
from cxremb.evaluation.metrics import COUNTED, THRESHOLD, called_positive, counted, row_parts
from cxremb.evaluation.ranking import SWEPT, Ranking, Sweep, defined, ranked, swept, weighted_auroc

METRICS = ("auroc", *SWEPT, *COUNTED)
USUAL = ("auroc", "accuracy", "f1")
FEWEST = 10  # of positives, negatives and clusters: the percentiles of fewer say nothing about other patients
BLOCK_VALUES = 1_000_000  # 8 MB an array: about ten live at once

Statistic = Callable[[Reals], Reals]  # (b, c) how often each cluster is taken -> (b,) values, NaN where undefined


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
class Plan:
    """How to resample. The same seed draws the same clusters, however many figures are asked for."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            told = f"{self.resamples} resamples at level {self.level}"
            raise DataError(told, hint="ask for 1000 resamples at level 0.95")


@dataclass(frozen=True)
class Judged:
    """One set of predictions, prepared so that a resample costs no sort."""

    ranking: Ranking
    sweep: Sweep
    sums: Reals  # (c, 6) per cluster, over `metrics.COLUMNS`
    clusters: Rows  # (n,) the cluster of each row, 0 to c - 1

    def metric(self, name: str, counts: Reals) -> Reals:
        """(b,) the metric with each cluster taken as often as `counts`, (b, c), says; NaN where undefined."""
        if name in COUNTED:
            return counted(counts @ self.sums, name)
        weights = counts[:, self.clusters]
        return weighted_auroc(self.ranking, weights) if name == "auroc" else SWEPT[name](self.sweep, weights)


def cluster_intervals(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    y_prob: ArrayLike,
    clusters: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    threshold: ArrayLike = THRESHOLD,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metric -> value and interval. clusters: (n,) whose rows stay together, such as the patient.

    y_true: (n,) 0 or 1. y_prob: (n,) probabilities of 1. metrics: of `METRICS`. threshold: as `binary_metrics`. The
    same seed draws the same clusters. low and high are None with fewer than ten positives, negatives or clusters.
    Raises `DataError` as `binary_metrics`, and for a row without a cluster or an unknown metric.
    """
    plan = Plan(resamples, level, seed)
    refuse_unknown(metrics)
    y, prob = checked_probabilities(y_true, y_prob)
    numbers = cluster_numbers(clusters, len(y))
    judged = judge(y, prob, called_positive(prob, threshold), numbers, cluster_count(numbers))
    found = intervals([partial(judged.metric, metric) for metric in metrics], numbers, plan, why_not(y, numbers))
    return dict(zip(metrics, found, strict=True))


def paired_difference(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    clusters: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    threshold: ArrayLike = THRESHOLD,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Metric -> A minus B, both on the same rows and the same resampled clusters. Arguments as `cluster_intervals`.

    p inverts the interval: twice the smaller tail beyond 0, with one added above and below the line, so that it
    is never 0 (Davison & Hinkley 1997, section 4.2). A resample counts if the metric is defined for both.
    """
    plan = Plan(resamples, level, seed)
    refuse_unknown(metrics)
    y, first = checked_probabilities(y_true, prob_a, "prob_a")
    _, second = checked_probabilities(y_true, prob_b, "prob_b")
    numbers = cluster_numbers(clusters, len(y))
    c = cluster_count(numbers)
    a, b = (judge(y, prob, called_positive(prob, threshold), numbers, c) for prob in (first, second))
    pairs = [(partial(a.metric, metric), partial(b.metric, metric)) for metric in metrics]
    return dict(zip(metrics, differences(pairs, numbers, plan, why_not(y, numbers)), strict=True))


def intervals(statistics: Sequence[Statistic], clusters: Rows, plan: Plan, reason: str | None = None) -> list[Interval]:
    """The interval of any figures that can be computed from how often each cluster is taken.

    clusters: (n,) numbers from 0 to c - 1. reason: why these rows bear none. A figure over weighted rows becomes one
    over clusters by `lambda counts: figure(counts[:, clusters])`.
    """
    drawn = replicates(statistics, clusters, plan, 0 if reason else plan.resamples)
    values = [observed(statistic, clusters) for statistic in statistics]
    return [
        Interval(value, *span(row, plan.level), *skipped(row, value, reason))
        for value, row in zip(values, drawn, strict=True)
    ]


def differences(
    pairs: Sequence[tuple[Statistic, Statistic]], clusters: Rows, plan: Plan, reason: str | None = None
) -> list[Difference]:
    """The paired difference of any two figures, first minus second, under the same draws. Arguments as `intervals`."""
    flat = [statistic for pair in pairs for statistic in pair]
    drawn = replicates(flat, clusters, plan, 0 if reason else plan.resamples)
    values = [observed(statistic, clusters) for statistic in flat]
    found = []
    for at in range(0, len(flat), 2):
        a, b = values[at], values[at + 1]
        value = None if a is None or b is None else a - b
        row = drawn[at] - drawn[at + 1]
        found.append(Difference(value, *span(row, plan.level), two_sided_p(row), *skipped(row, value, reason)))
    return found


def judge(y: Reals, prob: Reals, called: Flags, clusters: Rows, c: int) -> Judged:
    """Predictions ready to be resampled. Arrays are checked ones; c: how many clusters there are, here or elsewhere."""
    parts = row_parts(y, prob, called)
    sums = np.zeros((c, parts.shape[1]))
    np.add.at(sums, clusters, parts)
    return Judged(ranked(y, prob), swept(y, prob), sums, clusters)


def cluster_count(clusters: Rows) -> int:
    """How many clusters there are."""
    return int(clusters.max(initial=-1)) + 1


def observed(statistic: Statistic, clusters: Rows) -> float | None:
    """The figure, every cluster taken once."""
    return defined(statistic(np.ones((1, cluster_count(clusters)))))


def replicates(statistics: Sequence[Statistic], clusters: Rows, plan: Plan, resamples: int) -> Reals:
    """(statistics, resamples): every figure under the same draws; NaN where undefined."""
    values = np.empty((len(statistics), resamples))
    start = 0
    for counts in cluster_counts(clusters, resamples, plan.seed):
        stop = start + len(counts)
        for row, statistic in enumerate(statistics):
            values[row, start:stop] = statistic(counts)
        start = stop
    return values


def cluster_counts(clusters: Rows, resamples: int, seed: int) -> Iterator[Reals]:
    """(b, c) blocks of how often each of c clusters is drawn, with replacement, in c draws; `resamples` in all.

    The draws depend on the seed alone, not on how they fall into blocks.
    """
    rng = np.random.default_rng(seed)
    c = cluster_count(clusters)
    block = max(1, BLOCK_VALUES // max(1, len(clusters)))
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


def refuse_unknown(metrics: Sequence[str]) -> None:
    """Raises `DataError` for a metric that cannot be resampled."""
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise DataError(f"no interval for {', '.join(unknown)}", hint=f"choose among {', '.join(METRICS)}")
