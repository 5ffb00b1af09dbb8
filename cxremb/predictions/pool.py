"""What is computed of one pool, the rows of one repeat and seed: its figures, and what an interval is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import DataError
from cxremb.evaluation import multi
from cxremb.evaluation.arrays import (
    MULTICLASS,
    Flags,
    Reals,
    Rows,
    checked_probabilities,
    checked_table,
)
from cxremb.evaluation.bootstrap import (
    Difference,
    Interval,
    Resampling,
    Statistic,
    intervals,
    mean_of,
    resampled,
    why_not,
)
from cxremb.evaluation.delong import Placed, mean_placed, place
from cxremb.evaluation.metrics import binary_metrics, called_positive, ratio_parts, row_parts
from cxremb.evaluation.precision import precision_interval
from cxremb.evaluation.ranking import defined, divided
from cxremb.evaluation.shares import Share, mean_share, share_of

# Figures that lie between 0 and 1 and are ratios of sums over rows.
SHARES = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1")
BALANCED = {"balanced_accuracy": ("recall", "specificity")}  # the mean of two
NO_LABEL = "no label has both answers"
PRECISION = "average_precision"
AT_A_RATE = {"specificity_at_sensitivity_95": 1, "sensitivity_at_specificity_95": 0}  # of which class the rate is given
FEWEST_AT_A_RATE = 40  # patients of that class: two lie beyond a rate of .95, and of fewer no interval would hold


@dataclass(frozen=True)
class Pool:
    """n rows, every item once. Clusters are numbers below c, the same in all pools; they need not all be here."""

    task: str
    labels: tuple[str, ...]
    y: Reals  # (n, k) 0 or 1, NaN where missing
    prob: Reals  # (n, k)
    threshold: Reals | float  # of a single label, (n,) or one
    folds: NDArray[np.int64]  # (n,) whose model judges the row
    clusters: Rows  # (n,)
    c: int

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Label -> metric -> value; with several labels also `macro`, and of a multi-label set `micro`."""
        if len(self.labels) == 1:
            return {self.labels[0]: binary_metrics(self.y[:, 0], self.prob[:, 0], self.threshold, folds=self.folds)}
        metrics = multi.multiclass_metrics if self.task == MULTICLASS else multi.multilabel_metrics
        return metrics(self.y, self.prob, self.labels, folds=self.folds)

    def no_interval(self) -> str | None:
        """Why these rows bear no interval, or None."""
        alone, reasons = len(self.labels) == 1, []
        for column in (columns := self.averaged):
            rows = ~np.isnan(self.y[:, column])
            if reason := why_not(self.y[rows, column], self.clusters[rows]):
                reasons.append(reason if alone else f"{self.labels[column]}: {reason}")
        if not columns:
            return NO_LABEL
        return reasons[0] + (f" (and {len(reasons) - 1} others)" if len(reasons) > 1 else "") if reasons else None

    def too_few(self, metric: str) -> str | None:
        """Why a rate at a given rate bears no interval where other figures do, or None."""
        kind = AT_A_RATE.get(metric)
        counts = [] if kind is None else [self.patients(column, kind) for column in self.averaged]
        if not counts or min(counts) >= FEWEST_AT_A_RATE:
            return None
        who = f"{'positive' if kind else 'negative'} patients"
        return f"only {min(counts)} {who}: an interval at a rate of .95 needs {FEWEST_AT_A_RATE}"

    def patients(self, column: int, kind: int) -> int:
        """How many clusters have rows of a class, 1 or 0."""
        return len(np.unique(self.clusters[self.y[:, column] == kind]))

    @property
    def averaged(self) -> list[int]:
        """The labels that the headline averages: those with both answers, or the only one."""
        return [0] if len(self.labels) == 1 else multi.both_answers(self.y)

    def area(self) -> Placed:
        """The headline AUROC within folds, and what each of the c clusters adds to its error."""
        _, prob, _ = self.checked
        found = []
        for column in self.averaged:
            known = ~np.isnan(self.y[:, column])
            y, score, folds = self.y[known, column], prob[known, column], self.folds[known]
            found.append(place(y, score, self.clusters[known], folds=folds, c=self.c))
        return mean_placed(found) if found else Placed(None, np.zeros(self.c), np.zeros(self.c))

    def share(self, metric: str) -> Share:
        """A headline figure of `SHARES`, and what each of the c clusters adds to its error."""
        y, prob, called = self.checked
        if self.task == MULTICLASS and len(self.labels) > 1:
            if metric == "accuracy":  # no mean over the classes
                own = multi.row_values(y, prob, called)[metric]
                return share_of(own, np.ones(len(y)), clusters=self.clusters, c=self.c)
            metric = "recall" if metric == "balanced_accuracy" else metric
        found = []
        for column in self.averaged:
            known = ~np.isnan(y[:, column])
            parts = row_parts(y[known, column], prob[known, column], called[known, column])
            sums = [ratio_parts(parts, name) for name in BALANCED.get(metric, (metric,))]
            who = self.clusters[known]
            found.append(mean_share([share_of(*each, clusters=who, c=self.c) for each in sums]))
        if not found:
            return Share(None, np.zeros(self.c), 0, 0)
        mean = mean_share(found)  # of several labels, which may be known unequally well, no number of rows is the most
        return mean if len(found) == 1 else replace(mean, rows=np.inf)

    def statistic(self, metric: str) -> Statistic:
        """The headline figure as a function of how often each of the c clusters is drawn."""
        y, prob, called = self.checked
        if self.task == MULTICLASS and len(self.labels) > 1:
            if metric in {"mcc", "prevalence"}:
                raise DataError(f"no interval for {metric} of several classes", hint="ask for auroc, accuracy or f1")
            if metric in {"accuracy", "loss", "brier"}:  # no mean over the classes
                sums = np.zeros((self.c, 2))
                own = multi.row_values(y, prob, called)[metric]
                np.add.at(sums, self.clusters, np.column_stack([own, np.ones(len(y))]))
                return lambda counts: divided(counts @ sums[:, 0], counts @ sums[:, 1])
            metric = "recall" if metric == "balanced_accuracy" else metric

        return mean_of([self.of_label(metric, column) for column in self.averaged])

    def of_label(self, metric: str, column: int) -> Statistic:
        """A figure of one label as a function of how often each of the c clusters is drawn."""
        y, prob, called = self.checked
        known = ~np.isnan(y[:, column])
        of_row = {"called": called[known, column], "clusters": self.clusters[known], "folds": self.folds[known]}
        return resampled(metric, y[known, column], prob[known, column], **of_row, c=self.c)

    @cached_property
    def checked(self) -> tuple[Reals, Reals, Flags]:
        """((n, k) classes, (n, k) probabilities, (n, k) what is called positive). Raises `DataError` as the figures."""
        if len(self.labels) == 1:
            y, prob = checked_probabilities(self.y[:, 0], self.prob[:, 0])
            return y[:, None], prob[:, None], called_positive(prob, self.threshold)[:, None]
        classes = self.task == MULTICLASS
        y, prob = checked_table(self.y, self.prob, one_hot=classes)
        return y, prob, multi.likeliest(prob) if classes else called_positive(prob)


def linear(metric: str) -> bool:
    """Whether neither its interval nor a difference of it needs resampling."""
    return metric == "auroc" or metric in SHARES


def no_interval(pools: Sequence[Pool], metric: str | None = None) -> str | None:
    """Why these rows bear no interval, or none of this figure, or None."""
    reasons = [pool.no_interval() for pool in pools] + [pool.too_few(metric) for pool in pools if metric]
    return next(filter(None, reasons), None)


def intervals_of(
    pools: Sequence[Pool], metrics: Sequence[str], *, clusters: Rows, how: Resampling
) -> dict[str, Interval]:
    """Metric -> headline figure, the mean over pools, and its interval. clusters: as of `bootstrap.intervals`."""
    drawn = [metric for metric in metrics if not (linear(metric) or metric == PRECISION)]
    figures = [statistic_of(pools, metric) for metric in drawn]
    found = dict(zip(drawn, intervals(figures, clusters, how, reason=no_interval(pools)), strict=True))
    for metric in metrics:
        own = found.get(metric) or interval_of(pools, metric, how.level)
        why = no_interval(pools, metric)
        found[metric] = Interval(own.value, None, None, reason=why) if why else own
    return {metric: found[metric] for metric in metrics}


def interval_of(pools: Sequence[Pool], metric: str, level: float) -> Interval:
    """Of a figure that needs no resampling, the mean over pools."""
    if metric == PRECISION:
        each = [(pool, column) for pool in pools for column in pool.averaged]
        once = np.ones((1, max((pool.c for pool in pools), default=0)))
        values = [defined(pool.of_label(metric, column)(once)) for pool, column in each]
        return precision_interval(values, [pool.patients(column, 1) for pool, column in each], level)
    return area_of(pools).interval(level) if metric == "auroc" else mean_of_shares(pools, metric).interval(level)


def gap_of(a: Sequence[Pool], b: Sequence[Pool], metric: str, *, level: float) -> Difference:
    """A minus B, of a figure for which `linear` holds."""
    if metric == "auroc":
        return area_of(a).difference(area_of(b), level)
    return mean_of_shares(a, metric).difference(mean_of_shares(b, metric), level)


def area_of(pools: Sequence[Pool]) -> Placed:
    """The AUROC within folds, the mean over pools."""
    return mean_placed([pool.area() for pool in pools])


def mean_of_shares(pools: Sequence[Pool], metric: str) -> Share:
    """A figure of `SHARES`, the mean over pools."""
    return mean_share([pool.share(metric) for pool in pools])


def statistic_of(pools: Sequence[Pool], metric: str) -> Statistic:
    """Any figure as a function of how often each patient is drawn, the mean over pools."""
    return mean_of([pool.statistic(metric) for pool in pools])
