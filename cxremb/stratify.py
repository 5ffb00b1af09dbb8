"""The figures of a run per group of its test rows, by any SQL expression over what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import MULTICLASS, missing_names
from cxremb.evaluation.bootstrap import USUAL, Difference, Interval, Resampling
from cxremb.grouping import FINDING, column_of, expression_of
from cxremb.labels import rows_of
from cxremb.predictions import Predictions
from cxremb.predictions.gaps import gaps_of, questions
from cxremb.predictions.missed import RATES, Missed, Sides, missed
from cxremb.store.dataset import Dataset
from cxremb.tabular import Tabular
from cxremb.training.runs import Run

MISSING = "(missing)"
MOST_GROUPS = 50  # a column with more is a number or an id, not a grouping
LESS_IS_BETTER = ("loss", "brier")
NO_ORDER = ("prevalence",)
METRICS = ("auroc", "accuracy", "recall", "specificity")
MOST_FINDINGS = 20  # findings that are judged: the most frequent
TERMS = "problems"  # the label set whose labels are findings, where there is one
NO_THRESHOLD = "the answer is the likeliest of several classes"
AT_VAL = "_at_val_threshold"  # what a rate at the threshold of the validation rows is called, behind its name


@dataclass(frozen=True)
class Stratum:
    """One group: how much of it there is, and its figures."""

    name: str
    rows: int
    positives: int
    clusters: int
    metrics: dict[str, Interval]
    gaps: dict[str, Difference] = field(default_factory=dict)  # the group minus the other rows: `predictions.gaps`


@dataclass(frozen=True)
class Strata:
    """The groups, largest first, and the one with the worst figure among those that bear an interval.

    Being the worst of several is partly chance: its own interval is not corrected for having been picked, its gap is.
    """

    groups: list[Stratum]
    by: str
    worst: Stratum | None
    reason: str | None = None  # why none is the worst
    questions: int = 0  # how many gaps hold together: of two groups that are each other's rest, one


@dataclass(frozen=True, repr=False)
class Stratified(Tabular):
    """The figures of each group, and what a reader must know of how the groups came about."""

    run_id: str
    label: str
    by: str
    strata: Strata
    notes: tuple[str, ...]
    caveats: tuple[str, ...] = ()  # those of the run: they stand beside every figure
    missed: Missed = field(default_factory=Missed)  # sensitivity and specificity at one threshold for all

    def to_arrow(self) -> pa.Table:
        """A row for each group and metric: its counts, the figure and its interval, or why there is none.

        Metrics are those at 0.5; `recall_at_val_threshold` and `specificity_at_val_threshold` are at the threshold of
        the validation rows.
        """
        rows = []
        for group in self.strata.groups:
            found = [(metric, figure, group.gaps.get(metric)) for metric, figure in group.metrics.items()]
            if own := self.missed.groups.get(group.name):
                found += [(f"{rate}{AT_VAL}", own.figures[rate], own.gaps[rate]) for rate in RATES]
            counts = {"group": group.name, "rows": group.rows, "positives": group.positives}
            rows += [counts | {"metric": name} | asdict(figure) | gap_columns(gap) for name, figure, gap in found]
        return pa.Table.from_pylist(rows)

    def heading(self) -> str:
        """What was grouped, in one line."""
        return f"run {self.run_id}, label {self.label}, test rows by {self.by}"


def stratify(
    dataset: Dataset, run: Run, by: str, *, label: str | None = None, resampling: Resampling | None = None
) -> Stratified:
    """The run's test figures per group, with patient-cluster intervals, the worst group, and who is missed more.

    by: one of `PRESETS`, or an SQL expression over the columns of `images` and `studies`, facts by their names (sex),
    `reports['findings']` and `labels['problems']['nodule']`. A group that is too small has reasons in place of
    intervals. Raises `QueryError` for wrong SQL, `DataError` for an expression without one value a row or with too
    many, and as `Predictions.of_label`.
    """
    found = run.predictions().of_label(label)
    notes = []
    if len(pools := found.pools) > 1:
        found = pools[0]
        notes.append(
            f"of the first of {len(pools)} repeats and seeds: scores of several models are not ranked together"
        )
    if by == FINDING:
        sides, more = sides_by_finding(dataset, found)
    else:
        sides, more = sides_of(column_of(dataset, found, expression_of(dataset, by)), len(found.items)), []
    groups = judged(found, sides, METRICS, resampling=resampling)
    if words := run.verbatim_on(found):
        more.append(words)
    if run.record.task == MULTICLASS:
        at_one = Missed(reason=NO_THRESHOLD)
    else:
        at_one = missed(found, run.predictions("val").of_label(label), sides, resampling=resampling)
    return Stratified(run.run_id, found.labels[0], by, groups, (*notes, *more), tuple(run.caveats), at_one)


def strata(
    predictions: Predictions,
    column: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    resampling: Resampling | None = None,
) -> Strata:
    """The figures and intervals of each value of a column.

    column: (n,) such as the view, a finding, or whether a section is missing; None and NaN make a group of their own.
    metrics: the first decides which group is worst. A figure that a group is too small for has a reason instead of an
    interval. Raises `DataError` for more than 50 groups.
    """
    by = metrics[0] if metrics else ""
    if not by or by in NO_ORDER:
        raise DataError(f"no group is worst by {by or 'nothing'}", hint="name auroc, accuracy or f1 first")
    return judged(predictions, sides_of(column, len(predictions.items)), metrics, resampling=resampling)


def sides_of(column: ArrayLike, n: int) -> Sides:
    """Each value of a column, its rows against all others. Raises as `group_names`."""
    names = group_names(column, n)
    return {name: (names == name, names != name) for name in sorted(set(names.tolist()))}


def judged(
    predictions: Predictions, sides: Sides, metrics: Sequence[str], *, resampling: Resampling | None = None
) -> Strata:
    """The groups, largest first, with figures and gaps, and the worst of them."""
    pairs = {name: (predictions.take(own), predictions.take(rest)) for name, (own, rest) in sides.items()}
    found = [stratum(name, own, metrics, resampling=resampling) for name, (own, _) in pairs.items()]
    gaps = gaps_of(list(pairs.values()), metrics)
    found = [replace(group, gaps=own) for group, own in zip(found, gaps, strict=True)]
    worst = with_worst(sorted(found, key=lambda group: -group.rows), metrics[0])
    return replace(worst, questions=questions(list(pairs.values())))


def gap_columns(gap: Difference | None) -> dict[str, float | None]:
    """Those of `Stratified.to_arrow`."""
    return {f"gap{name and '_'}{name}": getattr(gap, name or "value", None) for name in ("", "low", "high", "p")}


def stratum(name: str, rows: Predictions, metrics: Sequence[str], *, resampling: Resampling | None = None) -> Stratum:
    """One group with its figures."""
    found = rows.interval(metrics, resampling)
    return Stratum(name, len(rows.items), int(rows.y.sum()), len(np.unique(rows.patients)), found)


def with_worst(groups: list[Stratum], by: str) -> Strata:
    """The groups, and the worst of those that bear an interval, if there are two."""
    judged = [group for group in groups if group.metrics[by].low is not None]
    if len(judged) < 2:
        return Strata(groups, by, None, f"{len(judged)} of {len(groups)} groups bear an interval")
    sign = -1 if by in LESS_IS_BETTER else 1
    return Strata(groups, by, min(judged, key=lambda group: sign * (group.metrics[by].value or 0.0)))


def group_names(column: ArrayLike, n: int) -> NDArray[np.str_]:
    """(n,) the name of each row's group. Raises `DataError` for another length or too many groups."""
    values = np.asarray(column)
    if values.shape != (n,):
        raise DataError(f"{n} rows, but the column has shape {values.shape}", hint="give one value a row")
    missing = missing_names(values)
    names = np.array([MISSING if gone else str(value) for value, gone in zip(values.tolist(), missing, strict=True)])
    if (count := len(np.unique(names))) > MOST_GROUPS:
        raise DataError(f"{count} groups, more than {MOST_GROUPS}", hint="group the column into ranges first")
    return names


def sides_by_finding(dataset: Dataset, found: Predictions) -> tuple[Sides, list[str]]:
    """For each finding: the positive rows that have it, against all negative rows. Groups share their negatives.

    A finding comes with positives only, so a group of its rows alone would have no AUROC.
    """
    label_set = finding_set(dataset)
    terms = terms_of(rows_of(dataset, label_set))
    y = found.y[:, 0]
    has: dict[str, list[int]] = {}
    for row, study in enumerate(found.studies.tolist()):
        for term in terms.get(study, ()) if y[row] == 1 else ():
            has.setdefault(term, []).append(row)
    if not has:
        raise DataError(f"no positive test row has a label of {label_set}", hint="group by an SQL expression instead")
    names = sorted(has, key=lambda term: (-len(has[term]), term))
    negative = y == 0
    sides = {}
    for name in names[:MOST_FINDINGS]:
        own = np.isin(np.arange(len(y)), has[name])
        sides[name] = own | negative, ~own
    count = int(negative.sum())
    notes = [f"each group: the positive rows with that label of {label_set}, against all {count:,} negative"]
    if len(names) > MOST_FINDINGS:
        notes.append(f"{len(names) - MOST_FINDINGS} rarer ones are not shown")
    return sides, notes


def finding_set(dataset: Dataset) -> str:
    """`problems`, else the first set of terms, else the first of several labels. Raises `DataError` without any."""
    about: Mapping[str, Mapping[str, object]] = dataset.descriptor.get("label_sets", {})
    found = [name for task in ("terms", "multilabel") for name, one in about.items() if one["task"] == task]
    if not found:
        raise DataError(
            f"{dataset.name}: no label set lists findings",
            hint="add one with `cxremb data label NAME --file TABLE`, or group by SQL",
        )
    return TERMS if TERMS in found else found[0]


def terms_of(rows: pa.Table) -> dict[str, Sequence[str]]:
    """Study -> the labels that are 1."""
    terms: dict[str, list[str]] = {}
    positive = rows.filter(pc.equal(rows["value"], 1.0))
    for study, label in zip(positive["study_id"].to_pylist(), positive["label"].to_pylist(), strict=True):
        terms.setdefault(study, []).append(label)
    return dict(terms)
