"""Figures of a run's test rows: per label and over all, pooled over folds, averaged over repeats and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.evaluation.arrays import Reals, cluster_numbers
from cxremb.evaluation.averages import few, label_pieces, macro, macro_intervals, mean_of, repeat_intervals
from cxremb.evaluation.bootstrap import Interval, Plan, cluster_intervals, intervals
from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.multi import multiclass_metrics, multilabel_metrics
from cxremb.features import Features
from cxremb.store.layout import METRICS
from cxremb.training.tables import Fitted

INTERVALS = ("auroc", "accuracy", "f1")
Figures = Mapping[str, Mapping[str, float | None]]  # label, macro or micro -> metric -> value


@dataclass(frozen=True)
class Judgement:
    """Test rows of one or more folds, each row once."""

    y: Reals  # (t, k), NaN where missing
    prob: Reals  # (t, k)
    patients: NDArray[np.str_]  # (t,)


def headline(labels: Sequence[str]) -> str:
    """The label under which a run's main figures stand."""
    return labels[0] if len(labels) == 1 else "macro"


def metrics_table(features: Features, fitted: Sequence[Fitted]) -> pa.Table:
    """Columns `layout.METRICS`.

    Part `test` pools the folds of each repeat and seed, and is the mean over these, with patient-cluster intervals of
    `INTERVALS` under the headline; `test.fold0` and such are one model, `test.repeat0.seed0` one pool of several.
    Validation figures are left to SQL: the epoch was chosen on them.
    """
    parts, rows = parts_judged(features, fitted), []
    for part, judged in parts.items():
        spans = spans_of(features, judged) if part == "test" else {}
        for label, figures in mean_figures([figures_of(features, one) for one in judged]).items():
            for metric, value in figures.items():
                span = spans.get(metric) if label == headline(features.labels) else None
                low, high = (span.low, span.high) if span else (None, None)
                row = {"part": part, "label": label, "metric": metric, "value": value, "low": low, "high": high}
                rows.append(row)
    return pa.Table.from_pylist(rows, schema=METRICS)


def parts_judged(features: Features, fitted: Sequence[Fitted]) -> dict[str, list[Judgement]]:
    """Part -> what its figures are the mean of."""
    tests = {one.place: judgement(features, one) for one in fitted}
    pools = {
        f"test.repeat{repeat}.seed{seed}": pooled([tests[place] for place in places])
        for (repeat, seed), places in groupby(tests, key=lambda place: (place.repeat, place.seed))
    }
    parts = {"test": list(pools.values())}
    if len(pools) > 1:
        parts |= {name: [pool] for name, pool in pools.items()}
    if len(tests) > len(pools):
        alone = len(pools) == 1
        parts |= {f"test.{f'fold{place.fold}' if alone else place.name}": [test] for place, test in tests.items()}
    return parts


def judgement(features: Features, one: Fitted) -> Judgement:
    """The test rows of one model."""
    test = one.parts == "test"
    rows = one.rows[test]
    return Judgement(features.y[rows], one.prob[test], features.patient_ids[rows])


def pooled(tests: Sequence[Judgement]) -> Judgement:
    """The rows of several as one."""
    return Judgement(*(np.concatenate([getattr(test, name) for test in tests]) for name in ("y", "prob", "patients")))


def figures_of(features: Features, test: Judgement) -> Figures:
    """Label -> metric -> value or None; with several labels also `macro`, and of a multi-label set `micro`."""
    if len(features.labels) == 1:
        return {features.labels[0]: binary_metrics(test.y[:, 0], test.prob[:, 0])}
    metrics = multiclass_metrics if features.task == "multiclass" else multilabel_metrics
    return metrics(test.y, test.prob, features.labels)


def mean_figures(found: Sequence[Figures]) -> Figures:
    """The mean of each figure; None where one lacks it, for leaving that one out would flatter or harm."""
    means: dict[str, dict[str, float | None]] = {}
    for label, figures in found[0].items():
        for metric in figures:
            known = [value for one in found if (value := one[label][metric]) is not None]
            means.setdefault(label, {})[metric] = sum(known) / len(known) if len(known) == len(found) else None
    return means


def spans_of(features: Features, tests: Sequence[Judgement]) -> dict[str, Interval]:
    """Metric of `INTERVALS` -> interval of the headline figure. Repeats of one patient are drawn together."""
    if len(tests) > 1:
        return spans_over_pools(features, tests)
    test, task = tests[0], features.task
    if len(features.labels) == 1:
        return cluster_intervals(test.y[:, 0], test.prob[:, 0], test.patients, metrics=INTERVALS)
    return macro_intervals(test.y, test.prob, test.patients, task=task, metrics=INTERVALS)


def spans_over_pools(features: Features, tests: Sequence[Judgement]) -> dict[str, Interval]:
    """As `spans_of`, of the mean over pools. Several labels: only where all pools have the same patients."""
    everyone = pooled(tests)
    sizes = [len(test.y) for test in tests]
    if len(features.labels) == 1:
        which = np.repeat(np.arange(len(tests)), sizes)
        return repeat_intervals(everyone.y[:, 0], everyone.prob[:, 0], everyone.patients, which, metrics=INTERVALS)
    if len({frozenset(test.patients.tolist()) for test in tests}) > 1:
        return {}
    clusters = cluster_numbers(everyone.patients, len(everyone.y))
    named = list(zip(tests, np.split(clusters, np.cumsum(sizes)[:-1]), strict=True))
    pieces = [label_pieces(test.y, test.prob, numbers, features.task) for test, numbers in named]
    statistics = [
        mean_of(
            [
                macro(metric, own, (test.y, test.prob), numbers, features.task)
                for own, (test, numbers) in zip(pieces, named, strict=True)
            ]
        )
        for metric in INTERVALS
    ]
    return dict(zip(INTERVALS, intervals(statistics, clusters, Plan(), few(pieces[0])), strict=True))
