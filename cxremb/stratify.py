"""The figures of a run per group of its test rows, by any SQL expression over what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError, QueryError, name_list
from cxremb.evaluation.arrays import missing_names
from cxremb.evaluation.bootstrap import USUAL, Difference, Interval, Resampling
from cxremb.labels import rows_of
from cxremb.predictions import Predictions
from cxremb.predictions.gaps import gaps_of
from cxremb.store.conditions import condition_error
from cxremb.store.dataset import Dataset
from cxremb.store.facts import MAPS_OF_A_STUDY, almost_numbers, fact_columns
from cxremb.store.scans import quoted
from cxremb.store.sql import query
from cxremb.tabular import Tabular
from cxremb.training.runs import Run

MISSING = "(missing)"
MOST_GROUPS = 50  # a column with more is a number or an id, not a grouping
LESS_IS_BETTER = ("loss", "brier")
NO_ORDER = ("prevalence",)
METRICS = ("auroc", "accuracy", "recall", "specificity")
FINDING, MISSING_SECTION, NO_INDEXING = "finding", "missing section", "no-indexing"
PRESETS = ("view", FINDING, MISSING_SECTION, NO_INDEXING)
MOST_NAMED = 12  # columns in a hint
MOST_FINDINGS = 20  # findings that are judged: the most frequent
EXAMPLES = (
    "give an expression of one row, such as view, width > 2000, age >= 60, reports['findings'] is null, or a preset: "
    + (", ".join(PRESETS))
)
TERMS = "problems"  # the label set whose labels are findings, where there is one

# One row for each test item.
FACTS = """
WITH judged AS (
    SELECT DISTINCT item_id, study_id, patient_id FROM predictions
    WHERE run_id = {run} AND dataset = {dataset} AND part = 'test'
),
films AS ({films}),
{maps},
known AS (
    SELECT *{chosen} FROM judged LEFT JOIN films USING ({key})
    LEFT JOIN written USING (study_id) LEFT JOIN labelled USING (study_id)
)
SELECT item_id AS item, (
{expression}
)::VARCHAR AS stratum FROM known
"""
FILMS = {
    "image": """SELECT image_id AS item_id, image_id, view, view_raw, path, sha256, width, height
        FROM images WHERE dataset = {dataset}""",
    "study": """SELECT study_id, string_agg(DISTINCT view, '+' ORDER BY view) AS view, count(*) AS films
        FROM images WHERE dataset = {dataset} GROUP BY study_id""",
}

COLUMNS = {
    "image": ("image_id", "view", "view_raw", "path", "sha256", "width", "height", "study_id", "patient_id"),
    "study": ("view", "films", "study_id", "patient_id"),
}


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


@dataclass(frozen=True, repr=False)
class Stratified(Tabular):
    """The figures of each group, and what a reader must know of how the groups came about."""

    run_id: str
    label: str
    by: str
    strata: Strata
    notes: tuple[str, ...]
    caveats: tuple[str, ...] = ()  # those of the run: they stand beside every figure

    def to_arrow(self) -> pa.Table:
        """A row for each group and metric: its counts, the figure and its interval, or why there is none."""
        return pa.Table.from_pylist(
            [
                {"group": group.name, "rows": group.rows, "positives": group.positives, "metric": metric}
                | asdict(figure)
                | gap_columns(group.gaps.get(metric))
                for group in self.strata.groups
                for metric, figure in group.metrics.items()
            ]
        )

    def heading(self) -> str:
        """What was grouped, in one line."""
        return f"run {self.run_id}, label {self.label}, test rows by {self.by}"


def stratify(
    dataset: Dataset, run: Run, by: str, *, label: str | None = None, resampling: Resampling | None = None
) -> Stratified:
    """The run's test figures per group, with patient-cluster intervals, and the worst group.

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
        groups, more = by_finding(dataset, found, resampling)
    else:
        column = column_of(dataset, found, expression_of(dataset, by))
        groups, more = strata(found, column, metrics=METRICS, resampling=resampling), []
    if words := run.verbatim_on(found):
        more.append(words)
    return Stratified(run.run_id, found.labels[0], by, groups, (*notes, *more), tuple(run.caveats))


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
    names = group_names(column, len(predictions.items))
    found = {}
    for name in sorted(set(names.tolist())):
        own = predictions.take(names == name)
        found[name] = stratum(name, own, metrics, resampling=resampling), own, predictions.take(names != name)
    return with_worst(sorted(with_gaps(found, metrics), key=lambda group: -group.rows), by)


def with_gaps(found: Mapping[str, tuple[Stratum, Predictions, Predictions]], metrics: Sequence[str]) -> list[Stratum]:
    """The groups, each with its gaps. found: name -> the group, its rows, the other rows."""
    gaps = gaps_of([(own, rest) for _, own, rest in found.values()], metrics)
    return [replace(group, gaps=own) for (group, *_), own in zip(found.values(), gaps, strict=True)]


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


def expression_of(dataset: Dataset, by: str) -> str:
    """The SQL behind a preset; anything else is SQL already."""
    if by == MISSING_SECTION:
        names = sorted(set(pc.drop_null(dataset.reports["section"]).to_pylist()))
        cases = [f"CASE WHEN reports[{quoted(name)}] IS NULL THEN {quoted(name)} END" for name in names]
        return f"coalesce(nullif(concat_ws(', ', {', '.join(cases)}), ''), 'none')" if cases else "'no report'"
    if by == NO_INDEXING:
        return "CASE WHEN labels['problems']['No Indexing'] = 1 THEN 'No Indexing' ELSE 'indexed' END"
    return by


def column_of(dataset: Dataset, found: Predictions, expression: str) -> NDArray[np.object_]:
    """(n,) the value of an expression for each row, None where it is null."""
    names = {"run": quoted(found.run), "dataset": quoted(dataset.name)}
    maps = MAPS_OF_A_STUDY.format(**names)
    key = "item_id" if found.unit == "image" else "study_id"
    films = FILMS[found.unit].format(**names)
    chosen = fact_columns(dataset, found.unit, expression)
    question = FACTS.format(**names, films=films, maps=maps, key=key, chosen=chosen, expression=expression)
    try:
        table = query(dataset.paths.root, question)
    except QueryError as error:
        raise condition_error(error, what_there_is(dataset, found.unit, expression)) from error
    values = dict(zip(table["item"].to_pylist(), table["stratum"].to_pylist(), strict=True))
    items = found.items.tolist()
    if len(values) < table.num_rows or not values.keys() >= set(items):
        counts = f"{table.num_rows:,} values for {len(values):,} rows"
        raise DataError(f"{expression!r} gives {counts}", hint=EXAMPLES)
    return np.array([values[item] for item in items], dtype=np.object_)


def what_there_is(dataset: Dataset, unit: str, expression: str) -> str:
    """A hint for an expression that SQL refused: the columns of a row, and facts that are no numbers for a few."""
    facts = name_list(sorted(set(dataset.facts["name"].to_pylist())), MOST_NAMED)
    kept = f"its table has {facts}" if facts else "no other column of its table is kept"
    return "; ".join([*almost_numbers(dataset, expression), EXAMPLES, f"a row has {', '.join(COLUMNS[unit])}", kept])


def by_finding(dataset: Dataset, found: Predictions, resampling: Resampling | None = None) -> tuple[Strata, list[str]]:
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
    negatives = np.flatnonzero(y == 0)
    groups = {}
    for name in names[:MOST_FINDINGS]:
        own = found.take(np.concatenate([np.array(has[name], dtype=np.int64), negatives]))
        rest = found.take(np.setdiff1d(np.arange(len(y)), has[name]))
        groups[name] = stratum(name, own, METRICS, resampling=resampling), own, rest
    notes = [f"each group: the positive rows with that label of {label_set}, against all {len(negatives):,} negative"]
    if len(names) > MOST_FINDINGS:
        notes.append(f"{len(names) - MOST_FINDINGS} rarer ones are not shown")
    return with_worst(with_gaps(groups, METRICS), "auroc"), notes


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
