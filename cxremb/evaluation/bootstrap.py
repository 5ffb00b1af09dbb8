"""How far a figure would move with other patients: intervals and paired differences that resample whole clusters.

Rows of one patient are alike, so resampling rows would count the same evidence several times and come out too narrow.
Method: the percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over clusters (Field & Welsh 2007).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import DataError, count_of
from cxremb.evaluation.arrays import Flags, Reals, Rows
from cxremb.evaluation.metrics import COUNTED, counted, row_parts
from cxremb.evaluation.ranking import RANKED, defined, within_folds
from cxremb.processes import in_order, usable_cores
from cxremb.types import Progress, ticks

METRICS = (*RANKED, *COUNTED)
USUAL = ("auroc", "accuracy", "f1")
FEWEST = 10  # patients with positive rows, and with negative ones: fewer say nothing about others
MOST_SKIPPED = 0.01  # of the resamples: those in which a figure is undefined are not the same as the others
UNDEFINED = "undefined on these rows"
FLAT = "the same in nearly all resamples, which is not to say that other patients would not move it"
BLOCK_VALUES = 250_000  # 2 MB an array: what is read again is then still in a core's cache

Statistic = Callable[[Reals], Reals]  # (b, c) how often each cluster is taken -> (b,) values, NaN where undefined


@dataclass(frozen=True)
class Interval:
    """A figure and its interval; `reason` says why there is none, `remark` what to know of one that there is."""

    value: float | None
    low: float | None
    high: float | None
    skipped: int = 0  # resamples left out, because the figure is undefined in them
    reason: str | None = None
    remark: str | None = None


@dataclass(frozen=True)
class Difference:
    """A minus B on the same rows; p is two-sided, against no difference."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    skipped: int = 0
    reason: str | None = None


def unheard(n: int) -> None:
    """Nobody counts what is done."""


@dataclass(frozen=True)
class Resampling:
    """How to resample. The same seed draws the same clusters, however many figures are asked for."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0
    drawn: Callable[[int], None] = field(default=unheard, repr=False, compare=False)  # told how many more are done

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            given = f"{self.resamples} resamples at level {self.level}"
            raise DataError(given, hint="ask for 1000 resamples at level 0.95")


@contextmanager
def watched(progress: Progress, what: str, times: int = 1) -> Iterator[Resampling]:
    """The usual resampling, and somebody watches. times: how often all resamples are drawn in what is to come."""
    usual = Resampling()
    with ticks(progress, what, times * usual.resamples) as done:
        yield replace(usual, drawn=done)


def resampled(
    metric: str,
    y: Reals,
    prob: Reals,
    *,
    called: Flags,
    clusters: Rows,
    c: int,
    folds: NDArray[np.int64] | None = None,
) -> Statistic:
    """A metric of `METRICS` of these rows as a function of how often each of c clusters is taken.

    Arrays are checked ones, (n,); clusters: (n,) numbers from 0 to c - 1. folds: (n,) whose model the row is of. What
    needs a sort is sorted here, once.
    """
    if metric in COUNTED:
        parts = row_parts(y, prob, called)
        sums = np.zeros((c, parts.shape[1]))
        np.add.at(sums, clusters, parts)
        return lambda counts: counted(counts @ sums, metric)
    return within_folds(metric, y, prob, folds=folds, clusters=clusters)


def mean_of(statistics: Sequence[Statistic]) -> Statistic:
    """The mean of figures, of labels or of pools, NaN where one of them is."""

    def mean(counts: Reals) -> Reals:
        total = np.full(len(counts), 0.0 if statistics else np.nan)
        for statistic in statistics:
            total += statistic(counts)
        return total / max(1, len(statistics))

    return mean


def intervals(
    statistics: Sequence[Statistic], clusters: Rows, resampling: Resampling, *, reason: str | None = None
) -> list[Interval]:
    """The interval of any figures that can be computed from how often each cluster is taken.

    clusters: (n,) numbers from 0 to c - 1. reason: why these rows bear none. A figure over weighted rows becomes one
    over clusters by `lambda counts: figure(columns(counts, clusters))`.
    """
    drawn = replicates(statistics, clusters, resampling, resamples=0 if reason else resampling.resamples)
    values = [observed(statistic, clusters) for statistic in statistics]
    found = []
    for value, row in zip(values, drawn, strict=True):
        count, why = skipped(row, value, reason)
        low, high = span(row, resampling.level) if why is None else (None, None)
        flat = low is not None and low == high
        found.append(Interval(value, *((None, None) if flat else (low, high)), count, FLAT if flat else why))
    return found


def differences(
    pairs: Sequence[tuple[Statistic, Statistic]], clusters: Rows, resampling: Resampling, *, reason: str | None = None
) -> list[Difference]:
    """The paired difference of any two figures, first minus second, under the same draws. Arguments as `intervals`.

    p inverts the interval: twice the smaller tail beyond 0, with one added above and below the line, so that it
    is never 0 (Davison & Hinkley 1997, section 4.2). A resample counts if the metric is defined for both.
    """
    flat = [statistic for pair in pairs for statistic in pair]
    drawn = replicates(flat, clusters, resampling, resamples=0 if reason else resampling.resamples)
    values = [observed(statistic, clusters) for statistic in flat]
    found = []
    for at in range(0, len(flat), 2):
        a, b = values[at], values[at + 1]
        value = None if a is None or b is None else a - b
        row = drawn[at] - drawn[at + 1]
        count, why = skipped(row, value, reason)
        low, high = span(row, resampling.level) if why is None else (None, None)
        if low is None or low == high:
            found.append(Difference(value, None, None, None, count, why or FLAT))
        else:
            found.append(Difference(value, low, high, two_sided_p(row), count))
    return found


def cluster_count(clusters: Rows) -> int:
    """How many clusters there are."""
    return int(clusters.max(initial=-1)) + 1


def observed(statistic: Statistic, clusters: Rows) -> float | None:
    """The figure, every cluster taken once."""
    return defined(statistic(np.ones((1, cluster_count(clusters)))))


def replicates(statistics: Sequence[Statistic], clusters: Rows, resampling: Resampling, *, resamples: int) -> Reals:
    """(statistics, resamples): every figure under the same draws; NaN where undefined.

    Blocks of resamples are drawn one after the other and computed side by side, on all cores.
    """
    values, start, cores = np.empty((len(statistics), resamples)), 0, usable_cores()
    if not statistics:
        return values
    blocks = cluster_counts(clusters, resamples, resampling.seed)
    found = in_order(lambda counts: [statistic(counts) for statistic in statistics], blocks, readers=cores, ahead=cores)
    for counts, of_block in found:
        stop = start + len(counts)
        for row, of_statistic in zip(values, of_block, strict=True):
            row[start:stop] = of_statistic
        resampling.drawn(len(counts))
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
    count = int(np.isnan(drawn).sum())
    if reason is None and value is None:
        reason = UNDEFINED
    elif reason is None and count > MOST_SKIPPED * len(drawn):
        reason = f"undefined in {count:,} of {len(drawn):,} resamples"
    return count, reason


def why_not(y: Reals, clusters: Rows, cluster: str = "patient") -> str | None:
    """Why these rows bear no interval, or None. Counted are clusters: four films of a patient are one patient."""
    counts = {kind: len(np.unique(clusters[y == number])) for kind, number in (("positive", 1), ("negative", 0))}
    few = [count_of(count, f"{kind} {cluster}") for kind, count in counts.items() if count < FEWEST]
    return f"only {' and '.join(few)}: an interval needs {FEWEST} of each" if few else None


def refuse_unknown(metrics: Sequence[str]) -> None:
    """Raises `DataError` for a metric that cannot be resampled."""
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise DataError(f"no interval for {', '.join(unknown)}", hint=f"choose among {', '.join(METRICS)}")
