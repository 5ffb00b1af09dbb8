"""Label sets: read as matrices, and made by the user from SQL, from a file, or from readings by a policy."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.datasets.label_table import COLUMNS, SHAPE, label_cells
from cxremb.errors import DataError, did_you_mean, name_list
from cxremb.ids import find_id
from cxremb.store.commit import SET_BY_COMMIT, Draft, again_if_taken, commit_dataset, drafting, writing_tables
from cxremb.store.dataset import Dataset, read_dataset, verified
from cxremb.store.label_rows import LabelRows, gone_with, made_here
from cxremb.store.layout import is_name
from cxremb.store.pseudonyms import known_as, pseudonym_of, why_unknown
from cxremb.store.readings import check_policy, decide, in_words, read_readings
from cxremb.store.sql import query
from cxremb.types import EXAMPLES, LabelSet, Policy

BEFORE_DEFAULTS = "normal_abnormal"  # of data sets that name no default, as those that were added before there was one
BRING = 'bring labels: `cxremb data label NAME --sql "select ..."`'

Row = tuple[str, str, float]  # study, label, value


@dataclass(frozen=True)
class Labels:
    """A label set as a matrix: n studies that have a value, k labels."""

    label_set: str
    task: str  # as in `types.LabelSet`
    version: str  # 12 hexadecimal digits of the SHA-256 of its definition and rows
    names: tuple[str, ...]  # (k,)
    study_ids: tuple[str, ...]  # (n,) in the order of the table
    values: NDArray[np.float64]  # (n, k) 0 or 1; NaN where missing


def label_set_of(dataset: Dataset, label_set: str | None = None) -> str:
    """The label set of that name; without a name the data set's own default, else the only one that can be trained on.

    Sets that were made here count where the collection brought none: making one changes no command that names none.
    Raises `DataError`, listing the sets there are, if there is none or nothing says which of several.
    """
    about = dataset.descriptor.get("label_sets", {})
    trainable = [name for name in about if about[name]["task"] != "terms"]
    default = dataset.descriptor.get("default_label_set") or BEFORE_DEFAULTS
    brought = [name for name in trainable if not made_here(about[name])] or trainable
    if label_set is not None or default in trainable or len(brought) == 1:
        return label_set or (default if default in trainable else brought[0])
    if not trainable:
        raise DataError(f"{dataset.name}: no label set to learn from or to audit", hint=BRING)
    raise DataError(
        f"{dataset.name} has several label sets and no default: {name_list(trainable)}",
        hint=f"say --label-set {' or '.join(trainable)}",
    )


def read_labels(dataset: Dataset, label_set: str | None = None) -> Labels:
    """A label set to train on; which, if none is named, `label_set_of` says.

    Raises `DataError`, listing the sets there are, if it is unknown or only lists terms.
    """
    label_set = label_set_of(dataset, label_set)
    about = dataset.descriptor.get("label_sets", {})
    trainable = [name for name in about if about[name]["task"] != "terms"]
    hint = f"say --label-set {' or '.join(trainable)}" if trainable else "add a collection that has labels"
    if label_set not in about:
        hint = did_you_mean(label_set, trainable) + hint
        raise DataError(f"{dataset.name}: no label set called {label_set!r}; it has {name_list(about) or 'none'}", hint)
    if label_set not in trainable:
        raise DataError(f"{dataset.name}: {label_set!r} only lists terms: there is nothing to train on", hint)
    rows = rows_of(dataset, label_set)
    studies, names = (rows[name].combine_chunks().dictionary_encode() for name in ("study_id", "label"))
    order = tuple(about[label_set]["labels"])
    column = np.array([order.index(name) for name in names.dictionary.to_pylist()], dtype=np.int64)
    values = np.full((len(studies.dictionary), len(order)), np.nan)
    values[studies.indices.to_numpy(), column[names.indices.to_numpy()]] = rows["value"].to_numpy()
    return Labels(
        label_set=label_set,
        task=about[label_set]["task"],
        version=about[label_set]["version"],
        names=order,
        study_ids=tuple(studies.dictionary.to_pylist()),
        values=values,
    )


def rows_of(dataset: Dataset, label_set: str) -> pa.Table:
    """The rows of one label set, in the order of the table."""
    return dataset.labels.filter(pc.equal(dataset.labels["label_set"], label_set))


def label_with_sql(dataset: Dataset, about: LabelSet, text: str) -> Dataset:
    """The data set with a label set from SQL that selects study_id, label and value. Its order of rows means nothing.

    about: an empty task is inferred. Raises `QueryError` if the SQL is wrong, `DataError` for rows that cannot be
    labels: unknown studies, a (study, label) that comes twice, nulls, values other than 0 and 1.
    """
    table = query(dataset.paths.root, text)
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise DataError(f"the SQL selects no {', '.join(missing)}; it selects {', '.join(table.column_names)}", SHAPE)
    rows = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
    return store_labels(dataset, about, rows, origin={"sql": text})


def label_from_file(dataset: Dataset, about: LabelSet, path: Path) -> Dataset:
    """The data set with a label set from a table in UTF-8 (see `tablefile`): a row for each study and label, or a
    column for each label, as `datasets.label_table` reads them.

    Raises `DataError`, as `label_with_sql` does, and for a file that cannot be read.
    """
    return store_labels(dataset, about, label_cells(path, dataset), origin={"file": path.name})


def label_from_readings(dataset: Dataset, about: LabelSet, policy: Policy) -> Dataset:
    """The data set with a label set that a policy makes of readings which came with the collection.

    about: without a task it has that of the label set whose readings they are, without a policy its words. Raises
    `DataError` if there are no such readings or no such policy.
    """
    check_policy(policy)
    found = dict(read_readings(dataset, policy.of))
    several = any(len(readings) > 1 for readings in found.values())
    known = dataset.descriptor.get("label_sets", {}).get(policy.of, {})
    about = replace(
        about, task=about.task or known.get("task", "multilabel"), policy=about.policy or in_words(policy, several)
    )
    rows = [
        (study, label, value) for study, readings in found.items() for label, value in decide(policy, readings).items()
    ]
    return store_labels(dataset, about, rows, origin={"readings": policy.of})


def checked(dataset: Dataset, rows: Iterable[Sequence[Any]], origin: Mapping[str, str]) -> list[Row]:
    """The rows, once they can be labels. Raises `DataError` that counts what cannot, and names the first ten."""
    rows = list(rows)
    if not rows:
        see = f"look into {origin['file']}" if "file" in origin else "ask with `cxremb sql` to see why"
        raise DataError("no rows: nothing to label with", hint=see)
    refuse(
        [row for row in rows if None in row or "" in row], "with a null", "leave a row out where its value is missing"
    )
    known = set(dataset.studies["study_id"].to_pylist())
    own = pseudonym_of(dataset)
    several = f"; where the store holds several data sets, add: where dataset = '{dataset.name}'"
    named = [(find_id(str(study), known), str(label), number(value)) for study, label, value in rows]
    named = [(known_as(study, known, own), label, value) for study, label, value in named]
    refuse(
        [study for study, _, _ in named if study not in known],
        f"of studies that {dataset.name} does not have",
        f"{why_unknown(dataset)}its studies are called {name_list(sorted(known), 3)}" + several * ("sql" in origin),
    )
    refuse([row for row in named if row[2] not in (0, 1)], "whose value is neither 0 nor 1", SHAPE)
    times = Counter((study, label) for study, label, _ in named)
    once = "give each study and label one value" if "file" in origin else f"select distinct, or group by{several}"
    refuse([pair for pair, n in times.items() if n > 1], "that come more than once", once)
    return named


def refuse(found: Sequence[Any], what: str, hint: str) -> None:
    """Raises `DataError` if anything was found."""
    if found:
        first = ", ".join(dict.fromkeys(map(str, found[:EXAMPLES])))
        raise DataError(f"{len(found):,} rows {what}: {first}{', ...' if len(found) > EXAMPLES else ''}", hint=hint)


def number(value: Any) -> float:
    """A cell as a number; NaN for what is none, which the check that follows refuses."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def infer_task(rows: Sequence[Row]) -> str:
    """One label: binary. More than two, of which exactly one is 1 in every study: multiclass. Else multilabel."""
    labels = {label for _, label, _ in rows}
    ones = Counter(study for study, _, value in rows if value == 1)
    one_each = set(ones.values()) == {1} and ones.keys() == {study for study, _, _ in rows}
    if len(labels) == 1:
        return "binary"
    return "multiclass" if len(labels) > 2 and one_each else "multilabel"


def store_labels(
    dataset: Dataset, about: LabelSet, rows: Iterable[Sequence[Any]], *, origin: Mapping[str, str]
) -> Dataset:
    """The data set with this label set in it, in place of an earlier one of that name that was made here too.

    It is the data set as it is now, whatever has been added since `dataset` was opened. Raises `DataError` if the
    collection brought a set of that name with it, if the rows cannot be labels, or the task does not fit them.
    """
    if not is_name(about.name):
        raise DataError(f"{about.name!r} cannot name a label set", hint="use letters, digits, _ - and .")
    rows = list(rows)
    return again_if_taken(lambda: commit_labels(dataset, about, rows, origin=origin))


def commit_labels(
    dataset: Dataset, about: LabelSet, rows: Sequence[Sequence[Any]], *, origin: Mapping[str, str]
) -> Dataset:
    """As `store_labels`, once. Raises `VersionTaken` if another machine has changed the data set meanwhile."""
    with writing_tables(dataset.paths):
        current = read_dataset(dataset.paths.descriptor)
        if about.name in (sets := current.descriptor.get("label_sets", {})) and not made_here(sets[about.name]):
            raise DataError(
                f"{current.name}: the label set {about.name!r} came with the collection and stays as it is",
                hint="choose another name",
            )
        named = checked(current, rows, origin)
        about = LabelSet(about.name, about.task or infer_task(named), about.means, policy=about.policy)
        with drafting(current.paths, ["labels"]) as drafts:
            found = write_labels(current, drafts["labels"], about, rows=named, origin=origin)
            keep = {name: value for name, value in current.descriptor.items() if name not in SET_BY_COMMIT}
            keep["notes"] = [note for note in keep.get("notes", ()) if note["what"] != gone_with(about.name)]
            others = {name: facts for name, facts in current.descriptor["tables"].items() if name != "labels"}
            return commit_dataset(current.paths, drafts, {**keep, "label_sets": {**sets, **found}}, kept=others)


def write_labels(
    dataset: Dataset, draft: Draft, about: LabelSet, *, rows: Sequence[Row], origin: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What dataset.json says of the set, whose rows are in the draft after those of all other sets."""
    by_study: dict[str, dict[str, float]] = {}
    for study, label, value in rows:
        by_study.setdefault(study, {})[label] = value
    for batch in pq.ParquetFile(verified(dataset, "labels")).iter_batches():
        others = batch.filter(pc.not_equal(batch["label_set"], about.name))
        draft.extend(pa.Table.from_batches([others]))
    labelled = LabelRows([(about, origin)], draft.add)
    for study, values in by_study.items():
        labelled.add(study, {about.name: values})
    found = labelled.finish()
    if not found:
        raise DataError(
            f"the label set {about.name!r} has nothing to tell apart: {labelled.sets[about.name].why_alike()}",
            hint="give studies with 1 and studies with 0",
        )
    return found
