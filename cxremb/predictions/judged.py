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
from cxremb.evaluation import multi
from cxremb.evaluation.arrays import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    TASKS,
    Reals,
    Rows,
    cluster_names,
    cluster_numbers,
    missing_names,
    numbered,
    refuse_not_finite,
)
from cxremb.evaluation.bootstrap import (
    USUAL,
    Difference,
    Interval,
    Resampling,
    differences,
    refuse_unknown,
)
from cxremb.evaluation.calibrate import METHODS, Calibration
from cxremb.evaluation.delong import Placed
from cxremb.evaluation.metrics import THRESHOLD, mean_or_none
from cxremb.evaluation.ranking import FLOOR
from cxremb.evaluation.reliability import logit as log_odds
from cxremb.evaluation.threshold import SENSITIVITY, choose_threshold
from cxremb.predictions.pool import Pool, area_of, gap_of, intervals_of, linear, no_interval, statistic_of
from cxremb.types import PARTS

Ids = NDArray[np.generic]  # text, or numbers
Numbers = NDArray[np.int64]
Figures = Mapping[str, Mapping[str, float | None]]  # label, macro or micro -> metric -> value

COLUMNS = ("part", "items", "studies", "patients", "repeat", "fold", "seed", "y", "prob", "logit")
PER_LABEL = ("y", "prob", "logit")
NOT_ALWAYS = ("threshold", "text_in_train")  # columns that may be one value, or none


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
    text_in_train: NDArray[np.bool_] | None = None  # (n,) its text stands word for word in train; None: reads none

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
        given = {name: getattr(self, name) for name in (*COLUMNS, *NOT_ALWAYS)}
        return replace(self, **{name: own[rows] for name, own in given.items() if np.ndim(own)})

    def of_part(self, part: str) -> "Predictions":
        """The rows of val, or of test."""
        return self.take(self.part == part)

    def of_label(self, label: str | None) -> "Predictions":
        """One label against the rest, where it is known; the only one if left out. A row of classes that exclude each
        other is called the likeliest, here as among all. Raises `DataError` unless exactly one label is meant.
        """
        if label not in self.labels if label else len(self.labels) > 1:
            what = f"has no label {label!r}" if label else f"has {len(self.labels)} labels"
            near = did_you_mean(label or "", self.labels)
            raise DataError(f"run {self.run} {what}", hint=f"{near}name one with --label: {name_list(self.labels)}")
        column = [self.labels.index(label) if label else 0]
        known = self.take(~np.isnan(self.y[:, column[0]]))
        alone = {name: getattr(known, name)[:, column] for name in PER_LABEL}
        if self.task == MULTICLASS:
            alone["threshold"] = multi.likeliest_from(known.prob, column[0])
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
        return self._merged("study", self.studies)

    def by_patient(self) -> "Predictions":
        """One row for the items of a patient with the same answers, as `by_study`: each patient counts once, and twice
        where studies of both answers are among them.
        """
        answers = np.unique(np.nan_to_num(self.y, nan=-1.0), axis=0, return_inverse=True)[1].reshape(-1)
        return self._merged("patient", self.patients, answers)

    def _merged(self, unit: str, ids: Ids, *more: Rows) -> "Predictions":
        """One row for the rows of one model that are equal in the columns, with the mean of their probabilities."""
        which = numbered(ids, *more, self.repeat, self.fold, self.seed)
        first = np.unique(which, return_index=True)[1]
        prob = np.zeros((len(first), len(self.labels)))
        np.add.at(prob, which, self.prob)
        prob /= np.bincount(which, minlength=len(first))[:, None]
        logit = np.log(np.clip(prob, 1e-12, None)) if self.task == MULTICLASS else log_odds(prob)
        return replace(self.take(first), unit=unit, items=ids[first], prob=prob, logit=logit)

    # Figures.

    @property
    def headline(self) -> str:
        """The label under which the main figures stand: the one there is, or `macro`."""
        return self.labels[0] if len(self.labels) == 1 else "macro"

    def figures(self) -> Figures:
        """Label -> metric -> the mean over pools; with several labels also `macro`, and of a multi-label set `micro`.

        None where one pool lacks it. Raises `DataError` for what are no probabilities.
        """
        found = [pool.figures() for pool in self.arrays()]
        return {
            label: {metric: mean_or_none([one[label][metric] for one in found]) for metric in figures}
            for label, figures in found[0].items()
        }

    def interval(self, metrics: Sequence[str] = USUAL, resampling: Resampling | None = None) -> dict[str, Interval]:
        """Metric -> headline figure and its interval. low and high are None where some label of some pool has fewer
        than ten patients with positive rows, or with negative ones, or fewer than 40 at a given rate: `reason` says
        which. AUROC, shares and average precision need no resampling. Raises `DataError` for an unknown metric.
        """
        refuse_unknown(metrics)
        clusters = cluster_numbers(self.patients, len(self.items))
        return intervals_of(self.arrays(), metrics, clusters=clusters, how=resampling or Resampling())

    def difference(
        self, other: "Predictions", metrics: Sequence[str] = USUAL, resampling: Resampling | None = None
    ) -> dict[str, Difference]:
        """Metric -> headline figure of these minus that of `other`, over the patients of both, as `interval`.

        They may have other numbers of repeats and seeds. Raises `DataError` if their patients differ.
        """
        refuse_unknown(metrics)
        if not np.array_equal(np.unique(self.patients), np.unique(other.patients)):
            raise DataError(f"runs {self.run} and {other.run} judge other patients", hint="train both on the same rows")
        how, reason = resampling or Resampling(), self.no_interval() or other.no_interval()
        clusters, sides = cluster_numbers(self.patients, len(self.items)), (self.arrays(), other.arrays())
        drawn = [metric for metric in metrics if not linear(metric)]
        pairs = [(statistic_of(sides[0], metric), statistic_of(sides[1], metric)) for metric in drawn]
        found = dict(zip(drawn, differences(pairs, clusters, how, reason=reason), strict=True))
        for metric in set(metrics) - set(drawn):
            own = gap_of(*sides, metric, level=how.level)
            found[metric] = Difference(own.value, None, None, None, reason=reason) if reason else own
        return {metric: found[metric] for metric in metrics}

    def area(self) -> Placed:
        """The headline AUROC within folds, the mean over pools, and what each patient adds to its error: (c,), in the
        order of `np.unique(patients)`, so that those of two models of the same patients can be subtracted.
        """
        return area_of(self.arrays())

    def no_interval(self) -> str | None:
        """Why these rows bear no interval, or None."""
        return no_interval(self.arrays())

    # What is chosen on validation rows.

    def at_thresholds(self, val: "Predictions", rule: str = "youden", floor: float = FLOOR) -> "Predictions":
        """Each row with the threshold of its model, chosen on rows of `val` (`evaluation.threshold`, `with_own`).

        Raises `DataError` for several labels, and as `calibrated`.
        """
        if len(self.labels) > 1:
            raise DataError(f"one threshold for a {self.task} task", hint="choose one for each label")
        own = np.full(len(self.items), np.nan)
        for rows, on in self.with_own(val, "threshold", pooled=rule == SENSITIVITY):
            own[rows] = choose_threshold(on.y[:, 0], on.prob[:, 0], rule, floor=floor, clusters=on.patients).threshold
        return replace(self, threshold=own)

    def calibrated(
        self, val: "Predictions", method: str = "temperature"
    ) -> tuple["Predictions", tuple[Calibration, ...]]:
        """(these with the probabilities of each model calibrated on its rows of `val`, what was fitted for each).

        method: one of `evaluation.calibrate.METHODS`. Raises `DataError` unless `val` holds validation rows of every
        model, with both answers, and none of the rows that are calibrated; and as the method does.
        """
        prob, logit, fitted = np.empty_like(self.prob), np.empty_like(self.logit), []
        for rows, chosen_on in self.with_own(val, method):
            refuse_not_finite(chosen_on.logit, "y_logit")
            found = METHODS[method](chosen_on.y, chosen_on.logit, self.task)
            logit[rows], prob[rows] = found.apply(self.logit[rows], self.task)
            fitted.append(found)
        return replace(self, prob=prob, logit=logit), tuple(fitted)

    def with_own(self, val: "Predictions", what: str, *, pooled: bool = False) -> list[tuple[Rows, "Predictions"]]:
        """(rows of a model, what may be chosen on for it) of each model, once it is known that nothing is in both.

        That is its own validation rows; pooled, those of all folds but of the patients it is judged on, since the
        validation rows of one fold are test rows of another.
        """
        names = ("repeat", "seed") if pooled else ("repeat", "fold", "seed")
        for name in set(np.unique(val.part).tolist()) - {"val"}:
            raise DataError(f"a {what} cannot be chosen on {name} rows", hint="give the validation rows of the fold")
        if (self.part == "val").any():
            raise DataError("chosen on the val rows and applied to val rows", hint="apply it to test")
        found = []
        for number, rows in enumerate(models := self.models, 1):
            model = (getattr(val, name) == getattr(self, name)[rows[0]] for name in names)
            own = val.take(np.logical_and.reduce(list(model)))
            own = own.take(~np.isin(own.patients, self.patients[rows])) if pooled else own
            if not len(own.items):
                what = f"model {number} of {len(models)} has no validation rows"
                raise DataError(what, hint="use a split that has a val part")
            if shared := int(np.isin(self.items[rows], own.items).sum()):
                what = f"{shared} of {len(rows)} test rows are among the val rows it was chosen on"
                raise DataError(what, hint="choose it once per fold, on that fold's validation rows")
            if not ((own.y == 1).any() and (own.y == 0).any()):
                raise DataError(f"the validation rows have one class: no {what} can be chosen", hint="use larger folds")
            found.append((rows, own))
        return found

    # How a figure follows from the rows.

    def arrays(self, names: Ids | None = None) -> list[Pool]:
        """The arrays of each repeat and seed, with clusters that are the same in all of them: `names`, or patients."""
        names = cluster_names(self.patients) if names is None else names
        clusters, c = np.searchsorted(names, self.patients), len(names)

        def pool(rows: Rows) -> Pool:
            return Pool(
                task=self.task,
                labels=self.labels,
                y=self.y[rows],
                prob=self.prob[rows],
                threshold=self.threshold[rows] if isinstance(self.threshold, np.ndarray) else self.threshold,
                folds=self.fold[rows],
                clusters=clusters[rows],
                c=c,
            )

        return [pool(rows) for rows in self._groups(self.repeat, self.seed)] or [pool(np.arange(0, dtype=np.intp))]

    def _groups(self, *columns: Numbers) -> list[Rows]:
        """The row numbers of each combination of values, combinations in order."""
        which = numbered(*columns)
        return [np.flatnonzero(which == number) for number in range(int(which.max(initial=-1)) + 1)]
