"""Figures of a run's test rows: per label and over all, pooled over folds, averaged over repeats and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.evaluate.arrays import Reals, Rows, cluster_numbers
from cxremb.evaluate.bootstrap import Interval, Judged, Plan, Statistic, intervals, judge, why_not
from cxremb.evaluate.metrics import THRESHOLD, binary_metrics
from cxremb.features import Features
from cxremb.store.layout import METRICS
from cxremb.train.tables import Fitted

INTERVALS = ("auroc", "accuracy", "f1")
MACRO = "macro"  # the mean over the labels for which a figure is defined
Figures = Mapping[str, Mapping[str, float | None]]  # label, or macro -> metric -> value


@dataclass(frozen=True)
class Judgement:
    """Test rows of one or more folds, each row once."""

    y: Reals  # (t, k), NaN where missing
    prob: Reals  # (t, k)
    patients: NDArray[np.str_]  # (t,)


def headline(labels: Sequence[str]) -> str:
    """The label under which a run's main figures stand."""
    return labels[0] if len(labels) == 1 else MACRO


def metrics_table(features: Features, fitted: Sequence[Fitted]) -> pa.Table:
    """Columns `layout.METRICS`.

    Part `test` pools the folds of each repeat and seed, and is the mean over these, with patient-cluster intervals of
    `INTERVALS` under the headline; `test.fold0` and such are one model, `test.repeat0.seed0` one pool of several.
    Validation figures are left to SQL: the epoch was chosen on them.
    """
    tests = {one.place: judgement(features, one) for one in fitted}
    pools = [
        (f"test.repeat{repeat}.seed{seed}", pooled([tests[place] for place in places]))
        for (repeat, seed), places in groupby(tests, key=lambda place: (place.repeat, place.seed))
    ]
    parts = {"test": [pool for _, pool in pools]}
    if len(pools) > 1:
        parts |= {name: [pool] for name, pool in pools}
    if len(tests) > len(pools):
        one_pool = len(pools) == 1
        parts |= {f"test.{f'fold{place.fold}' if one_pool else place.name}": [test] for place, test in tests.items()}
    rows = []
    for part, judged in parts.items():
        spans = spans_of(features, judged) if part == "test" else {}
        for label, figures in mean_figures([figures_of(features, one) for one in judged]).items():
            for metric, value in figures.items():
                span = spans.get(metric) if label == headline(features.labels) else None
                low, high = (span.low, span.high) if span else (None, None)
                row = {"part": part, "label": label, "metric": metric, "value": value, "low": low, "high": high}
                rows.append(row)
    return pa.Table.from_pylist(rows, schema=METRICS)


def judgement(features: Features, one: Fitted) -> Judgement:
    """The test rows of one model."""
    test = one.parts == "test"
    rows = one.rows[test]
    return Judgement(features.y[rows], one.prob[test], features.patient_ids[rows])


def pooled(tests: Sequence[Judgement]) -> Judgement:
    """The test rows of several folds as one."""
    columns = zip(*((test.y, test.prob, test.patients) for test in tests), strict=True)
    return Judgement(*(np.concatenate(column) for column in columns))


def figures_of(features: Features, test: Judgement) -> dict[str, dict[str, float | None]]:
    """Label -> metric -> value or None; of several labels also `macro`. Of a multi-class set, the likeliest is called.

    The macro accuracy of a multi-class set is that over all classes: the share of rows whose class was named.
    """
    found = {}
    for column, label in enumerate(features.labels):
        there = ~np.isnan(test.y[:, column])
        threshold = called_from(features, test.prob)[there]
        found[label] = binary_metrics(test.y[there, column], test.prob[there, column], threshold)
    if len(features.labels) > 1:
        found[MACRO] = mean_figures([{MACRO: figures} for figures in found.values()])[MACRO]
        if features.task == "multiclass":
            found[MACRO]["accuracy"] = float(hits(test).mean()) if len(test.y) else None
    return found


def called_from(features: Features, prob: Reals) -> Reals:
    """(t,) the probability from which a label is called: one half, or that of the likeliest class."""
    return np.asarray(prob.max(axis=1)) if features.task == "multiclass" else np.full(len(prob), THRESHOLD)


def hits(test: Judgement) -> Reals:
    """(t,) 1 where the likeliest class is the true one."""
    return np.asarray(test.prob.argmax(axis=1) == test.y.argmax(axis=1), dtype=np.float64)


def mean_figures(found: Sequence[Figures]) -> dict[str, dict[str, float | None]]:
    """The mean of each figure over those that are defined; None if none is."""
    means: dict[str, dict[str, float | None]] = {}
    for label, figures in found[0].items():
        means[label] = {}
        for metric in figures:
            known = [value for one in found if (value := one[label][metric]) is not None]
            means[label][metric] = sum(known) / len(known) if known else None
    return means


def spans_of(features: Features, tests: Sequence[Judgement]) -> dict[str, Interval]:
    """Metric of `INTERVALS` -> interval of the headline figure: all its parts under the same draws of patients."""
    everyone = cluster_numbers(np.concatenate([test.patients for test in tests]), sum(len(test.y) for test in tests))
    bounds = np.cumsum([len(test.y) for test in tests])[:-1]
    clusters, count = np.split(everyone, bounds), int(everyone.max()) + 1
    pairs = list(zip(tests, clusters, strict=True))
    labels = [one for test, numbers in pairs for one in judged_labels(features, test, numbers, count)]
    named = [judge(np.ones(len(test.y)), hits(test), hits(test) == 1, numbers, count) for test, numbers in pairs]
    over = dict.fromkeys(INTERVALS, labels)
    if features.task == "multiclass":
        over["accuracy"] = named
    statistics = [mean_statistic(over[metric], metric) for metric in INTERVALS]
    found = intervals(statistics, everyone, Plan(), why_no_span(features, tests[0], clusters[0]))
    return dict(zip(INTERVALS, found, strict=True))


def judged_labels(features: Features, test: Judgement, clusters: Rows, count: int) -> list[Judged]:
    """Each label's predictions, ready to be resampled."""
    found = []
    for column in range(len(features.labels)):
        there = ~np.isnan(test.y[:, column])
        y, prob = test.y[there, column], test.prob[there, column]
        found.append(judge(y, prob, prob >= called_from(features, test.prob)[there], clusters[there], count))
    return found


def mean_statistic(judged: Sequence[Judged], metric: str) -> Statistic:
    """The mean of a metric over several sets of predictions, of those for which a resample defines it."""

    def statistic(counts: Reals) -> Reals:
        values = np.stack([one.metric(metric, counts) for one in judged])
        known = ~np.isnan(values)
        means = np.full(values.shape[1], np.nan)
        np.divide(np.where(known, values, 0).sum(axis=0), known.sum(axis=0), out=means, where=known.any(axis=0))
        return means

    return statistic


def why_no_span(features: Features, test: Judgement, clusters: Rows) -> str | None:
    """Why these rows bear no interval: there must be one label, at least, with enough of both kinds."""
    reasons = []
    for column in range(len(features.labels)):
        there = ~np.isnan(test.y[:, column])
        reasons.append(why_not(test.y[there, column], clusters[there]))
    return None if None in reasons else reasons[0]
