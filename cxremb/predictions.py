"""A run's predictions as arrays, and its figures as functions of which patients are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import DataError, did_you_mean, name_list
from cxremb.evaluation.arrays import Reals, Rows, cluster_numbers
from cxremb.evaluation.averages import Piece, few, judged_pieces, label_pieces, macro, mean_of
from cxremb.evaluation.bootstrap import Difference, Plan, Statistic, cluster_count, differences
from cxremb.evaluation.metrics import called_positive
from cxremb.training.runs import Run

Ids = NDArray[np.str_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """n predictions of one part of a run: an item comes once for each repeat and seed."""

    run_id: str
    unit: str
    task: str
    labels: tuple[str, ...]  # (k,)
    items: Ids  # (n,)
    studies: Ids
    patients: Ids
    repeats: Numbers  # (n,)
    folds: Numbers
    seeds: Numbers
    y: Reals  # (n, k) NaN where missing
    prob: Reals  # (n, k)
    logit: Reals  # (n, k)

    @property
    def pools(self) -> list[Numbers]:
        """The rows of each repeat and seed: scores of two of them are never ranked against each other."""
        pairs = np.column_stack([self.repeats, self.seeds])
        which = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        return [np.flatnonzero(which == number) for number in range(int(which.max(initial=-1)) + 1)]

    @property
    def units(self) -> list[tuple[str, int, int, int]]:
        """(item, repeat, fold, seed) of each row."""
        columns = (self.items, self.repeats, self.folds, self.seeds)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def take(self, rows: Numbers | NDArray[np.bool_]) -> "Predictions":
        """Some of the rows."""
        names = ("items", "studies", "patients", "repeats", "folds", "seeds", "y", "prob", "logit")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def of_label(self, label: str | None) -> "Predictions":
        """One label against the rest, on the rows where it is known; the only one if left out.

        Raises `DataError` if there is no such label, or several and none was named.
        """
        if label not in self.labels if label else len(self.labels) > 1:
            what = f"has no label {label!r}" if label else f"has {len(self.labels)} labels"
            near = did_you_mean(label or "", self.labels)
            raise DataError(f"run {self.run_id} {what}", hint=f"{near}name one with --label: {name_list(self.labels)}")
        column = [self.labels.index(label) if label else 0]
        alone = {name: getattr(self, name)[:, column] for name in ("y", "prob", "logit")}
        found = replace(self, task="binary", labels=(self.labels[column[0]],), **alone)
        return found.take(~np.isnan(found.y[:, 0]))


def predictions_of(run: Run, part: str = "test") -> Predictions:
    """The predictions of one part, in the order of the table. Raises `StoreError` if it is gone or damaged."""
    table = run.predictions
    table = table.filter(pc.equal(table["part"], part))
    labels = tuple(run.record["labels"])
    k = len(labels)
    values = {name: table[name].to_numpy().astype(np.float64) for name in ("y_true", "y_prob", "y_logit")}
    y, prob, logit = (column.reshape(-1, k) for column in values.values())  # of each item the labels in order
    ids = {name: np.array(table[f"{name}_id"].to_pylist()[::k], dtype=np.str_) for name in ("item", "study", "patient")}
    places = {name: table[name].to_numpy()[::k].astype(np.int64) for name in ("repeat", "fold", "seed")}
    return Predictions(
        run_id=run.run_id,
        unit=str(run.record["unit"]),
        task=str(run.record["task"]),
        labels=labels,
        items=ids["item"],
        studies=ids["study"],
        patients=ids["patient"],
        repeats=places["repeat"],
        folds=places["fold"],
        seeds=places["seed"],
        y=y,
        prob=prob,
        logit=logit,
    )


def figure(metric: str, found: Predictions, clusters: Rows) -> tuple[Statistic, str | None]:
    """(the mean over pools of a figure as a function of how often each cluster is drawn, why it bears no interval).

    Of several labels it is the macro figure. clusters: (n,) numbers of patients from 0. Raises `DataError` where pools
    of a task with several labels are not of the same patients.
    """
    c, pools = cluster_count(clusters), found.pools
    if len(found.labels) == 1:
        names = found.labels if len(pools) == 1 else [f"repeat or seed {at + 1}" for at in range(len(pools))]
        pieces = [
            Piece(name, found.y[rows, 0], prob, called_positive(prob), clusters[rows])
            for name, rows in zip(names, pools, strict=True)
            for prob in [found.prob[rows, 0]]
        ]
        return mean_of([partial(one.metric, metric) for one in judged_pieces(pieces, c)]), few(pieces)
    if len({frozenset(clusters[rows].tolist()) for rows in pools}) > 1:
        raise DataError(f"the repeats of run {found.run_id} are of other patients", hint="name one label with --label")
    means, reasons = [], []
    for rows in pools:
        y, prob, own = found.y[rows], found.prob[rows], clusters[rows]
        pieces = label_pieces(y, prob, own, found.task, found.labels)
        means.append(macro(metric, pieces, (y, prob), own, found.task))
        reasons.append(few(pieces))
    return mean_of(means), next((reason for reason in reasons if reason), None)


def no_interval(run: Run) -> str | None:
    """Why the main figures of a run bear no interval, or None where they could."""
    found = predictions_of(run)
    found = found.of_label(None) if len(found.labels) == 1 else found
    try:
        return figure("auroc", found, cluster_numbers(found.patients, len(found.y)))[1]
    except DataError as error:  # repeats of other patients
        return str(error)


def difference_of(
    a: Predictions, b: Predictions, metrics: Sequence[str] = ("auroc",), plan: Plan | None = None
) -> Mapping[str, Difference]:
    """Metric -> A minus B, each the mean over its pools, under the same draws of the patients that both have.

    A and B may have other numbers of repeats and seeds. Raises `DataError` if their patients differ.
    """
    if set(a.patients.tolist()) != set(b.patients.tolist()):
        raise DataError(f"runs {a.run_id} and {b.run_id} judge other patients", hint="train both on the same rows")
    clusters_a, clusters_b = (cluster_numbers(one.patients, len(one.y)) for one in (a, b))
    found = {}
    for metric in metrics:
        (first, why), (second, why_too) = figure(metric, a, clusters_a), figure(metric, b, clusters_b)
        found[metric] = differences([(first, second)], clusters_a, plan or Plan(), why or why_too)[0]
    return found
