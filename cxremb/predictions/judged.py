"""Predictions, and every figure, interval and difference that is made of them: all of "numbers that hold" in one file.

1. A *pool* is the rows of one repeat and seed: every item once. Scores of two pools are of different models, so they
   are never ranked against each other: a figure is the mean over the pools.
2. Rows of one patient are alike, so an interval resamples patients, once for all pools and labels (`bootstrap`).
   Repeats and seeds add no patients: the interval does not shrink as if they were more rows.
3. A difference resamples the same patients for both sides.
4. Thresholds and calibrations are chosen on the validation rows of each model, and never judged on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import DataError, did_you_mean, name_list
from cxremb.evaluation.arrays import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    TASKS,
    Reals,
    Rows,
    checked_probabilities,
    checked_table,
    cluster_numbers,
    missing_names,
    refuse_not_finite,
)
from cxremb.evaluation.bootstrap import (
    USUAL,
    Difference,
    Interval,
    Resampling,
    Statistic,
    cluster_count,
    differences,
    intervals,
    mean_of,
    refuse_unknown,
    resampled,
    why_not,
)
from cxremb.evaluation.calibrate import METHODS, Calibration
from cxremb.evaluation.metrics import THRESHOLD, binary_metrics, called_positive, mean_or_none
from cxremb.evaluation.multi import both_answers, likeliest, multiclass_metrics, multilabel_metrics, row_values
from cxremb.evaluation.ranking import FLOOR, divided
from cxremb.evaluation.reliability import logit as log_odds
from cxremb.evaluation.threshold import choose_threshold
from cxremb.types import PARTS

Ids = NDArray[np.generic]  # text, or numbers
Numbers = NDArray[np.int64]
Figures = Mapping[str, Mapping[str, float | None]]  # label, macro or micro -> metric -> value

COLUMNS = ("part", "items", "studies", "patients", "repeat", "fold", "seed", "y", "prob", "logit")
PER_LABEL = ("y", "prob", "logit")


@dataclass(frozen=True, eq=False)
class Predictions:
    """n predictions of one run: an item comes once for each repeat and seed. Raises `DataError` for uneven columns."""

    run: str  # its id; the arm's name until it has one
    dataset: str
    unit: str  # what a row is: image or study
    task: str  # one of `TASKS`
    labels: tuple[str, ...]  # (k,)
    part: Ids  # (n,) val or test
    items: Ids  # (n,)
    studies: Ids
    patients: Ids
    repeat: Numbers  # (n,) with fold and seed: which model predicts the row
    fold: Numbers
    seed: Numbers
    y: Reals  # (n, k) 0 or 1, NaN where missing
    prob: Reals  # (n, k)
    logit: Reals  # (n, k)
    threshold: Reals | float = THRESHOLD  # of a single label, (n,) or one: from which probability on it is positive

    def __post_init__(self) -> None:
        n, k = len(self.items), len(self.labels)
        for what, given, known in (("task", {self.task}, TASKS), ("part", set(self.part.tolist()), PARTS)):
            if wrong := given - set(known):
                raise DataError(f"there is no {what} {wrong.pop()}", hint=f"it is one of {', '.join(known)}")
        for name in COLUMNS:
            if (shape := getattr(self, name).shape) != ((n, k) if name in PER_LABEL else (n,)):
                raise DataError(f"{n} items of {k} labels, but {name} has shape {shape}", hint="give one value a row")
        if not (np.isin(self.y, (0.0, 1.0)) | (np.isnan(self.y) & (self.task == MULTILABEL))).all():
            raise DataError("y holds values other than 0 and 1", hint="leave unlabelled rows out")
        if self.items.dtype.kind == "O" and missing_names(self.items).any():
            raise DataError("not every row says which item it is", hint="give items one id a row")

    # Which rows.

    def take(self, rows: Rows | Numbers | NDArray[np.bool_]) -> "Predictions":
        """Some of the rows."""
        own = self.threshold if isinstance(self.threshold, float) else self.threshold[rows]
        return replace(self, threshold=own, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def of_part(self, part: str) -> "Predictions":
        """The rows of val, or of test."""
        return self.take(self.part == part)

    def of_label(self, label: str | None) -> "Predictions":
        """One label against the rest, on the rows where it is known; the only one if left out.

        Raises `DataError` if there is no such label, or several and none was named.
        """
        if label not in self.labels if label else len(self.labels) > 1:
            what = f"has no label {label!r}" if label else f"has {len(self.labels)} labels"
            near = did_you_mean(label or "", self.labels)
            raise DataError(f"run {self.run} {what}", hint=f"{near}name one with --label: {name_list(self.labels)}")
        column = [self.labels.index(label) if label else 0]
        known = self.take(~np.isnan(self.y[:, column[0]]))
        alone = {name: getattr(known, name)[:, column] for name in PER_LABEL}
        return replace(known, task=BINARY, labels=(self.labels[column[0]],), **alone)

    @property
    def pools(self) -> list["Predictions"]:
        """The rows of each repeat and seed, in their order."""
        groups = self._groups(self.repeat, self.seed)
        return [self] if len(groups) < 2 else [self.take(rows) for rows in groups]

    @property
    def models(self) -> list[Rows]:
        """The row numbers of each model: of each repeat, fold and seed."""
        return self._groups(self.repeat, self.fold, self.seed)

    def by_study(self) -> "Predictions":
        """One row for the items of a study, in the order of studies: its probability is their mean.

        All else is the same in them, for a study has one patient, one label and one fold.
        """
        rows = [np.unique(self.studies, return_inverse=True)[1], self.repeat, self.fold, self.seed]
        places, first, which = np.unique(np.column_stack(rows), axis=0, return_index=True, return_inverse=True)
        prob = np.zeros((len(places), len(self.labels)))
        np.add.at(prob, which.reshape(-1), self.prob)
        prob /= np.bincount(which.reshape(-1))[:, None]
        logit = np.log(np.clip(prob, 1e-12, None)) if self.task == MULTICLASS else log_odds(prob)
        found = self.take(first)
        return replace(found, unit="study", items=found.studies, prob=prob, logit=logit)

    # Figures.

    @property
    def headline(self) -> str:
        """The label under which the main figures stand: the one there is, or `macro`."""
        return self.labels[0] if len(self.labels) == 1 else "macro"

    def figures(self) -> Figures:
        """Label -> metric -> the mean over pools; with several labels also `macro`, and of a multi-label set `micro`.

        None where one pool lacks it. Raises `DataError` for what are no probabilities.
        """
        found = [pool._figures() for pool in self.pools]
        return {
            label: {metric: mean_or_none([one[label][metric] for one in found]) for metric in figures}
            for label, figures in found[0].items()
        }

    def interval(self, metrics: Sequence[str] = USUAL, resampling: Resampling | None = None) -> dict[str, Interval]:
        """Metric -> headline figure and its interval. low and high are None where some label of some pool has fewer
        than ten positives, negatives or patients: `reason` says which. Raises `DataError` for an unknown metric.
        """
        refuse_unknown(metrics)
        clusters = cluster_numbers(self.patients, len(self.items))
        statistics = [self._statistic(metric, clusters) for metric in metrics]
        found = intervals(statistics, clusters, resampling or Resampling(), reason=self.no_interval())
        return dict(zip(metrics, found, strict=True))

    def difference(
        self, other: "Predictions", metrics: Sequence[str] = USUAL, resampling: Resampling | None = None
    ) -> dict[str, Difference]:
        """Metric -> headline figure of these minus that of `other`, under the same draws of the patients of both.

        They may have other numbers of repeats and seeds. Raises `DataError` if their patients differ.
        """
        refuse_unknown(metrics)
        if not np.array_equal(np.unique(self.patients), np.unique(other.patients)):
            raise DataError(f"runs {self.run} and {other.run} judge other patients", hint="train both on the same rows")
        clusters, theirs = (cluster_numbers(one.patients, len(one.items)) for one in (self, other))
        pairs = [(self._statistic(metric, clusters), other._statistic(metric, theirs)) for metric in metrics]
        reason = self.no_interval() or other.no_interval()
        found = differences(pairs, clusters, resampling or Resampling(), reason=reason)
        return dict(zip(metrics, found, strict=True))

    def no_interval(self) -> str | None:
        """Why these rows bear no interval, or None."""
        alone = len(self.labels) == 1
        for pool in self.pools:
            clusters = cluster_numbers(pool.patients, len(pool.items))
            reasons = []
            for column in (columns := [0] if alone else both_answers(pool.y)):
                rows = ~np.isnan(pool.y[:, column])
                if reason := why_not(pool.y[rows, column], clusters[rows]):
                    reasons.append(reason if alone else f"{self.labels[column]}: {reason}")
            if not columns:
                return "no label has both answers"
            if reasons:
                return reasons[0] + (f" (and {len(reasons) - 1} others)" if len(reasons) > 1 else "")
        return None

    # What is chosen on validation rows.

    def at_thresholds(self, val: "Predictions", rule: str = "youden", floor: float = FLOOR) -> "Predictions":
        """Each row with the threshold of its model, chosen on that model's rows of `val` (`evaluation.threshold`).

        Raises `DataError` for several labels, and as `calibrated`.
        """
        if len(self.labels) > 1:
            raise DataError(f"one threshold for a {self.task} task", hint="choose one for each label")
        own = np.full(len(self.items), np.nan)
        for rows, chosen_on in self._with_own(val, "threshold"):
            own[rows] = choose_threshold(chosen_on.y[:, 0], chosen_on.prob[:, 0], rule, floor=floor).threshold
        return replace(self, threshold=own)

    def calibrated(
        self, val: "Predictions", method: str = "temperature"
    ) -> tuple["Predictions", tuple[Calibration, ...]]:
        """(these with the probabilities of each model calibrated on its rows of `val`, what was fitted for each).

        method: one of `evaluation.calibrate.METHODS`. Raises `DataError` unless `val` holds validation rows of every
        model, with both answers, and none of the rows that are calibrated; and as the method does.
        """
        prob, logit, fitted = np.empty_like(self.prob), np.empty_like(self.logit), []
        for rows, chosen_on in self._with_own(val, method):
            refuse_not_finite(chosen_on.logit, "y_logit")
            found = METHODS[method](chosen_on.y, chosen_on.logit, self.task)
            logit[rows], prob[rows] = found.apply(self.logit[rows], self.task)
            fitted.append(found)
        return replace(self, prob=prob, logit=logit), tuple(fitted)

    def _with_own(self, val: "Predictions", what: str) -> list[tuple[Rows, "Predictions"]]:
        """(rows of a model, what may be chosen on for it) of each model, once it is known that nothing is in both."""
        for name in set(np.unique(val.part).tolist()) - {"val"}:
            raise DataError(f"a {what} cannot be chosen on {name} rows", hint="give the validation rows of the fold")
        if (self.part == "val").any():
            raise DataError("chosen on the val rows and applied to val rows", hint="apply it to test")
        found = []
        for number, rows in enumerate(models := self.models, 1):
            model = (getattr(val, name) == getattr(self, name)[rows[0]] for name in ("repeat", "fold", "seed"))
            own = val.take(np.logical_and.reduce(list(model)))
            if not len(own.items):
                what = f"model {number} of {len(models)} has no validation rows"
                raise DataError(what, hint="use a split that has a val part")
            if shared := int(np.isin(self.items[rows], own.items).sum()):
                what = f"{shared} of {len(rows)} test rows are among the val rows it was chosen on"
                raise DataError(what, hint="choose it once per fold, on that fold's validation rows")
            if not ((own.y == 1).any() and (own.y == 0).any()):
                what = f"the validation rows have one class, so no {what} can be chosen"
                raise DataError(what, hint="use larger folds")
            found.append((rows, own))
        return found

    # How a figure follows from the rows.

    def _figures(self) -> Figures:
        """The figures of one pool."""
        if len(self.labels) == 1:
            return {self.labels[0]: binary_metrics(self.y[:, 0], self.prob[:, 0], self.threshold)}
        metrics = multiclass_metrics if self.task == MULTICLASS else multilabel_metrics
        return metrics(self.y, self.prob, self.labels)

    def _statistic(self, metric: str, clusters: Rows) -> Statistic:
        """The headline figure as a function of how often each patient is drawn. clusters: (n,) their numbers."""
        c = cluster_count(clusters)
        groups = self._groups(self.repeat, self.seed)
        return mean_of([self.take(rows)._of_pool(metric, clusters[rows], c) for rows in groups])

    def _of_pool(self, metric: str, clusters: Rows, c: int) -> Statistic:
        """As `_statistic`, of one pool, which need not have all c patients."""
        if len(self.labels) == 1:
            y, prob = checked_probabilities(self.y[:, 0], self.prob[:, 0])
            called = called_positive(prob, self.threshold)
            return resampled(metric, y, prob, called=called, clusters=clusters, c=c)
        classes = self.task == MULTICLASS
        if classes and metric in {"mcc", "prevalence"}:
            raise DataError(f"no interval for {metric} of several classes", hint="ask for auroc, accuracy or f1")
        y, prob = checked_table(self.y, self.prob, one_hot=classes)
        called = likeliest(prob) if classes else called_positive(prob)
        if classes and metric in {"accuracy", "loss", "brier"}:  # no mean over the classes
            sums = np.zeros((c, 2))
            np.add.at(sums, clusters, np.column_stack([row_values(y, prob, called)[metric], np.ones(len(y))]))
            return lambda counts: divided(counts @ sums[:, 0], counts @ sums[:, 1])
        metric = "recall" if classes and metric == "balanced_accuracy" else metric

        def of_label(column: int) -> Statistic:
            known = ~np.isnan(y[:, column])
            own = {"called": called[known, column], "clusters": clusters[known], "c": c}
            return resampled(metric, y[known, column], prob[known, column], **own)

        return mean_of([of_label(column) for column in both_answers(y)])

    def _groups(self, *columns: Numbers) -> list[Rows]:
        """The row numbers of each combination of values, combinations in order."""
        which = np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].reshape(-1)
        return [np.flatnonzero(which == number) for number in range(int(which.max(initial=-1)) + 1)]
