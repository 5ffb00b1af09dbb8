"""Folds that keep a patient, and everyone with the very same report, on one side. Stored once, then reused."""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import DataError, SplitError, StoreError
from cxremb.labels import binary_labels
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table
from cxremb.store.layout import JOINED, SPLITS

METHOD = 1  # enters the key: raise it whenever the same input would give other folds
LINKS = ("patient", "report")
KEY_LENGTH = 12

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class SplitSpec:
    """What the folds promise. `group`: what two studies may share only within one part, some of `LINKS`."""

    name: str = "grouped-5fold"
    folds: int = 5
    repeats: int = 1
    group: tuple[str, ...] = LINKS
    seed: int = 0


DEFAULT = SplitSpec()


@dataclass(frozen=True)
class StoredSplit:
    """A split on disk: `key` names what it was made from, `table` has the columns of `SPLITS`."""

    name: str
    key: str
    path: Path
    table: pa.Table


@dataclass(frozen=True)
class Roll:
    """The n studies that take part, by study_id, so that no other order of the input makes other folds."""

    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    values: tuple[float, ...]  # the label
    texts: tuple[str, ...]  # normalised; "" when there is none or reports do not link


def stored_split(dataset: Dataset, label_set: str, spec: SplitSpec = DEFAULT) -> StoredSplit:
    """The split of the studies that have a label of `label_set`: read if the same was stored before, else made.

    Raises `DataError` for a label set that is unknown or has several labels a study, `SplitError` as
    `make_split`, `StoreError` if the file is damaged or cannot be written.
    """
    labels = binary_labels(dataset, label_set)
    studies = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    texts = report_texts(dataset.reports)
    key = split_key(enrol(studies, texts, labels, spec), spec)
    path = dataset.paths.splits / f"{spec.name}@{key}.parquet"
    if not path.is_file():
        told = {"split": spec.name, "key": key, "spec": json.dumps(asdict(spec))}
        replace_table(path, make_split(studies, texts, labels, spec).replace_schema_metadata(told))
    return StoredSplit(spec.name, key, path, read_split(path))


def make_split(
    studies: Mapping[str, str], texts: Mapping[str, str], labels: Mapping[str, float], spec: SplitSpec = DEFAULT
) -> pa.Table:
    """One row per repeat, fold and labelled study, in that order; columns of `SPLITS`.

    studies: study_id -> patient_id. texts: study_id -> report; missing or empty links nobody. labels: study_id ->
    class; a study without one (or with NaN) takes no part. Groups, the connected components of what `spec.group`
    names, go whole into 2 x folds bins of equal size and class shares; fold k tests on bins 2k and 2k + 1, chooses on
    bin 2k + 2 and trains on the others, so each study is tested once a repeat. Repeat r is seeded with seed + r.

    Raises `SplitError` when no such folds exist: one class only, fewer groups than bins, a group larger than a
    fold, a class that some part would lack; `DataError` for a label of an unknown study.
    """
    roll = enrol(studies, texts, labels, spec)
    groups = group_numbers(roll, spec.group)
    classes = np.unique(np.array(roll.values), return_inverse=True)[1].astype(np.int64)
    refuse_impossible(groups, classes, spec)
    tables = []
    for repeat in range(spec.repeats):
        bins = balanced_bins(groups, classes, 2 * spec.folds, spec.seed + repeat)
        for fold in range(spec.folds):
            parts = part_names(bins, fold, 2 * spec.folds)
            refuse_missing_class(parts, classes, roll.values, f"repeat {repeat}, fold {fold}")
            tables.append(fold_table(roll, parts, spec.name, repeat, fold))
    return pa.concat_tables(tables)


def fold_parts(table: pa.Table, repeat: int, fold: int) -> dict[str, str]:
    """study_id -> train, val or test. Raises `SplitError` if the split has no such repeat and fold."""
    rows = table.filter(pc.and_(pc.equal(table["repeat"], repeat), pc.equal(table["fold"], fold)))
    if not rows.num_rows:
        there = {name: sorted(set(table[name].to_pylist())) for name in ("repeat", "fold")}
        raise SplitError(
            f"the split has no repeat {repeat}, fold {fold}",
            hint=f"its repeats are {there['repeat']}, its folds {there['fold']}",
        )
    return dict(zip(rows["study_id"].to_pylist(), rows["part"].to_pylist(), strict=True))


def normalised(text: str) -> str:
    """Lower case, every run of white space and punctuation one space: what makes two reports the same report."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def report_texts(reports: pa.Table) -> dict[str, str]:
    """study_id -> findings + " " + impression, the text that the reference systems read."""
    rows = reports.filter(pc.is_in(reports["section"], value_set=pa.array(JOINED)))
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    for study, section, text in zip(*(rows[name].to_pylist() for name in rows.schema.names), strict=True):
        sections[study][section] = text or ""
    return {study: " ".join(found.get(name, "") for name in JOINED) for study, found in sections.items()}


def enrol(studies: Mapping[str, str], texts: Mapping[str, str], labels: Mapping[str, float], spec: SplitSpec) -> Roll:
    """The labelled studies. Raises `DataError` for a label of an unknown study, `SplitError` for a bad spec."""
    if unknown := sorted(set(spec.group) - set(LINKS)):
        raise SplitError(f"studies cannot be grouped by {', '.join(unknown)}", hint=f"group by {' or '.join(LINKS)}")
    if spec.folds < 2 or spec.repeats < 1:
        raise SplitError(f"{spec.folds} folds, {spec.repeats} repeats", hint="ask for 2 folds, 1 repeat or more")
    study_ids = sorted(study for study, value in labels.items() if value is not None and math.isfinite(value))
    if lost := [study for study in study_ids if study not in studies]:
        raise DataError(
            f"{len(lost)} labels are of no known study, such as {lost[0]!r}", hint="add the collection again"
        )
    linked = "report" in spec.group
    return Roll(
        tuple(study_ids),
        tuple(studies[study] for study in study_ids),
        tuple(float(labels[study]) for study in study_ids),
        tuple(normalised(texts.get(study) or "") if linked else "" for study in study_ids),
    )


def split_key(roll: Roll, spec: SplitSpec) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all that decides the folds."""
    digest = hashlib.sha256(json.dumps([METHOD, asdict(spec)]).encode())
    for study, patient, value, text in zip(roll.study_ids, roll.patient_ids, roll.values, roll.texts, strict=True):
        row = [study, patient, value, hashlib.sha256(text.encode()).hexdigest()]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:KEY_LENGTH]


def group_numbers(roll: Roll, group: Sequence[str]) -> Numbers:
    """(n,) the connected component of each study, numbered by first appearance. Union-find, near linear in n."""
    columns = {"patient": roll.patient_ids, "report": roll.texts}
    parent = list(range(len(roll.study_ids)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]  # halving the path keeps every later climb short
            row = parent[row]
        return row

    for name in group:
        for rows in rows_by_value(columns[name]):
            for first, second in pairwise(rows):
                parent[root(second)] = root(first)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(row), len(numbers)) for row in range(len(parent))], dtype=np.int64)


def rows_by_value(column: Iterable[Hashable]) -> list[list[int]]:
    """The rows of each value; the empty text is no value: two studies without a report have nothing in common."""
    rows = defaultdict(list)
    for row, value in enumerate(column):
        if value != "":
            rows[value].append(row)
    return list(rows.values())


def balanced_bins(groups: Numbers, classes: Numbers, bins: int, seed: int) -> Numbers:
    """(n,) the bin of each study: large groups first, each where it adds least to the imbalance.

    Imbalance is the sum over bins of squared shares, of every class and of all rows. A greedy choice in the
    spirit of scikit-learn's StratifiedGroupKFold, which weighs standard deviations and leaves sizes out.
    """
    counts = np.zeros((groups.max() + 1, classes.max() + 2), dtype=np.int64)  # a column per class, one for all rows
    np.add.at(counts, (groups, classes), 1)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    n = len(groups)
    # 1 / total**2 as whole numbers: ties then break alike on every machine, and 10 million rows do not overflow
    weighted = counts * (1000 * n**2 // counts.sum(axis=0) ** 2)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    load = np.zeros((bins, counts.shape[1]), dtype=np.int64)
    chosen = np.empty(len(counts), dtype=np.int64)
    for number in np.lexsort((shuffled, -counts[:, -1])).tolist():  # by size, equals in random order
        # half the growth of the imbalance, less what is the same for every bin
        best = int(np.argmin(load @ weighted[number]))
        load[best] += counts[number]
        chosen[number] = best
    return chosen[groups]


def part_names(bins: Numbers, fold: int, count: int) -> NDArray[np.str_]:
    """(n,) train, val or test. Every bin is tested once and, over the folds, half of them serve as val."""
    parts = np.full(len(bins), "train", dtype="<U5")
    parts[bins // 2 == fold] = "test"
    parts[bins == (2 * fold + 2) % count] = "val"
    return parts


def fold_table(roll: Roll, parts: NDArray[np.str_], name: str, repeat: int, fold: int) -> pa.Table:
    """One fold as rows of `SPLITS`, by study_id."""
    n = len(parts)
    columns = {
        "split": [name] * n,
        "repeat": [repeat] * n,
        "fold": [fold] * n,
        "patient_id": list(roll.patient_ids),
        "study_id": list(roll.study_ids),
        "image_id": [None] * n,
        "part": parts.tolist(),
    }
    return pa.Table.from_pydict(columns, schema=SPLITS)


def refuse_impossible(groups: Numbers, classes: Numbers, spec: SplitSpec) -> None:
    """Raises `SplitError` when no folds can keep what `spec` promises."""
    n = len(groups)
    if n == 0 or classes.max() == 0:
        raise SplitError(
            f"{n} labelled studies, all of one class" if n else "no study has a label",
            hint="choose another label set, or add studies of the other class",
        )
    sizes = np.bincount(groups)
    if len(sizes) < 2 * spec.folds:
        raise SplitError(
            f"{n} studies make {len(sizes)} groups that must stay whole; {spec.folds} folds need {2 * spec.folds}",
            hint="ask for fewer folds, or add patients",
        )
    if sizes.max() > n / spec.folds:
        raise SplitError(
            f"{sizes.max()} of {n} studies hang together by {' and '.join(spec.group)}; a fold is {n // spec.folds}",
            hint="check the patient ids; if one stock report links them, group by patient alone and say so",
        )


def refuse_missing_class(parts: NDArray[np.str_], classes: Numbers, values: Sequence[float], where: str) -> None:
    """Raises `SplitError` naming a class that train, val or test would lack."""
    named = np.array(values)
    for part in ("train", "val", "test"):
        lacking = np.setdiff1d(classes, classes[parts == part])
        if len(lacking):
            rows = classes == lacking[0]
            raise SplitError(
                f"{where}: no study of class {named[rows][0]:g} is in {part}; there are {rows.sum()} in all",
                hint="add studies of that class, ask for fewer folds, or choose another label set",
            )


def read_split(path: Path) -> pa.Table:
    """A stored split. Raises `StoreError` if the file is not one."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error})", hint="delete it: the same split is made again") from error
    if not table.schema.equals(SPLITS):
        raise StoreError(f"{path}: not the columns of a split", hint="delete it: the same split is made again")
    return table
