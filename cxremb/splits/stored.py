"""Splits on disk: a table of who is in which part, in its metadata what it is and whether patients are shared."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import SplitError, StoreError
from cxremb.labels import Labels, read_labels
from cxremb.splits.folds import Cohort, feasible, form_cohort, make_split, split_key
from cxremb.splits.group import report_texts
from cxremb.splits.spec import DEFAULT, SplitSpec
from cxremb.store.dataset import Dataset
from cxremb.store.expected import conform
from cxremb.store.files import replace_table
from cxremb.store.layout import SPLITS
from cxremb.types import PARTS, Note

REMEDY = "delete it: the same split is made again, or imported again with `cxremb data split NAME --from FILE`"
LEAKY = "leaky split: patients are shared between train and test"  # stands beside every figure that rests on one

ABOUT = {  # what the metadata of a split says at least
    "means": str,
    "leaky": bool,
    "by_image": bool,
    "notes": Sequence[Note],
    "label_set": str | None,
    "created": str,
}


@dataclass(frozen=True)
class StoredSplit:
    """A split on disk: `key` names what it was made from, `table` has the columns of `SPLITS`."""

    name: str
    key: str
    path: Path
    table: pa.Table
    means: str = ""  # how it was made, in words
    leaky: bool = False  # measured: some patient, of those there are now, is in two parts of one fold
    by_image: bool = False  # rows are images, and one study may be in two parts
    notes: tuple[Note, ...] = ()
    label_set: str | None = None  # which it was made for; None: whichever
    more: Mapping[str, Any] = field(default_factory=dict)  # spec, groups: whatever else its metadata says

    @property
    def title(self) -> str:
        """What `--split` takes to get exactly this one."""
        return f"{self.name}@{self.key}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of which study, or which image, is in which part: equal digests train and test on equal rows."""
        digest = hashlib.sha256()
        for column in ("repeat", "fold", "study_id", "image_id", "part"):
            digest.update("\n".join(["", *map(str, self.table[column].to_pylist())]).encode())
        return digest.hexdigest()

    @property
    def repeats(self) -> tuple[int, ...]:
        return tuple(sorted(self.table["repeat"].unique().to_pylist()))

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted(self.table["fold"].unique().to_pylist()))


def stored_split(dataset: Dataset, label_set: str, spec: SplitSpec = DEFAULT) -> StoredSplit:
    """The split of the studies that have a label of `label_set`: read if the same was stored before, else made.

    Raises `DataError` for a label set that is unknown or only lists terms, `SplitError` as `make_split`,
    `StoreError` if the file is damaged or cannot be written.
    """
    cohort = cohort_of(dataset, read_labels(dataset, label_set), spec)
    path = dataset.paths.splits / f"{spec.name}@{split_key(cohort, spec)}.parquet"
    if path.is_file():
        return read_split(path)
    table, notes = make_split(cohort, spec)
    more = {"spec": spec.record, "groups": int(cohort.groups.max()) + 1}
    key = path.stem.rpartition("@")[2]
    return store_split(
        StoredSplit(spec.name, key, path, table, spec.means, notes=notes, label_set=label_set, more=more)
    )


def cohort_of(dataset: Dataset, labels: Labels, spec: SplitSpec = DEFAULT) -> Cohort:
    """The studies with a label, and which of them stay together. Raises as `form_cohort`."""
    studies = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    texts = report_texts(dataset.reports) if "report" in spec.group else {}
    return feasible(form_cohort(studies, texts, labels, spec=spec), spec)


def store_split(split: StoredSplit) -> StoredSplit:
    """The split as written, with `leaky` measured. Raises `StoreError` if it cannot be written."""
    split = replace(split, leaky=is_leaky(split.table))
    about = {
        "means": split.means,
        "leaky": split.leaky,
        "by_image": split.by_image,
        "notes": [asdict(note) for note in split.notes],
        "label_set": split.label_set,
        "created": datetime.now(UTC).isoformat(),
        **split.more,
    }
    metadata = {"split": split.name, "key": split.key, **{name: json.dumps(value) for name, value in about.items()}}
    replace_table(split.path, split.table.replace_schema_metadata(metadata))
    return split


def store_once(split: StoredSplit) -> StoredSplit:
    """The split, read if the same was stored before, else written."""
    return read_split(split.path) if split.path.is_file() else store_split(split)


def read_split(path: Path) -> StoredSplit:
    """A stored split. Raises `StoreError` if the file is not one."""
    about = read_about(path)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error})", hint=REMEDY) from error
    if not table.schema.equals(SPLITS):
        raise StoreError(f"{path}: not the columns of a split", hint=REMEDY)
    name, _, key = path.stem.rpartition("@")
    return StoredSplit(
        name=name,
        key=key,
        path=path,
        table=table.replace_schema_metadata(None),
        means=about.pop("means"),
        leaky=about.pop("leaky"),
        by_image=about.pop("by_image"),
        notes=tuple(Note(**note) for note in about.pop("notes")),
        label_set=about.pop("label_set"),
        more=about,
    )


def read_about(path: Path) -> dict[str, Any]:
    """What a stored split says of itself, without its rows. Raises `StoreError` if the file is not a split."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error})", hint=REMEDY) from error
    try:
        texts = {n.decode(): text for n, text in metadata.items() if n not in (b"split", b"key", b"ARROW:schema")}
        about = {name: json.loads(text) for name, text in texts.items()}
        for name, kind in ABOUT.items():
            conform(about[name], kind, name)
    except (ValueError, KeyError, RecursionError) as error:
        raise StoreError(f"{path}: not the metadata of a split ({error})", hint=REMEDY) from error
    return about


def by_patients_of_now(dataset: Dataset, split: StoredSplit) -> StoredSplit:
    """The split with the patients that the data set has now, and `leaky` measured by them.

    Since the split was stored, `data add` may have found two patients to be one. Who is no longer here stays whose it
    was.
    """
    items, what = (dataset.images, "image_id") if split.by_image else (dataset.studies, "study_id")
    now = dict(zip(items[what].to_pylist(), items["patient_id"].to_pylist(), strict=True))
    before = split.table["patient_id"].to_pylist()
    patients = [now.get(item, patient) for item, patient in zip(split.table[what].to_pylist(), before, strict=True)]
    if patients == before:
        return split
    column = split.table.column_names.index("patient_id")
    table = split.table.set_column(column, "patient_id", pa.array(patients, pa.string()))
    return replace(split, table=table, leaky=is_leaky(table))


def fold_parts(table: pa.Table, repeat: int, fold: int) -> dict[str, str]:
    """Study id, or image id where rows name images, -> train, val or test.

    Raises `SplitError` if the split has no such repeat and fold.
    """
    rows = rows_of(table, repeat, fold)
    if not rows.num_rows:
        there = {name: sorted(table[name].unique().to_pylist()) for name in ("repeat", "fold")}
        raise SplitError(
            f"the split has no repeat {repeat}, fold {fold}",
            hint=f"its repeats are {there['repeat']}, its folds {there['fold']}",
        )
    items = pc.coalesce(rows["image_id"], rows["study_id"])
    return dict(zip(items.to_pylist(), rows["part"].to_pylist(), strict=True))


def rows_of(table: pa.Table, repeat: int, fold: int) -> pa.Table:
    """The rows of one fold."""
    return table.filter(pc.and_(pc.equal(table["repeat"], repeat), pc.equal(table["fold"], fold)))


def is_leaky(table: pa.Table) -> bool:
    """Whether some patient is in two parts of one fold."""
    columns: Sequence[str] = ("repeat", "fold", "patient_id")
    parts = table.group_by(columns).aggregate([("part", "count_distinct")])["part_count_distinct"]
    return bool(pc.any(pc.greater(parts, 1)).as_py())


def shared_patients(table: pa.Table, repeat: int = 0, fold: int = 0) -> float:
    """The share, 0 to 1, of a fold's test rows (studies or images) whose patient has rows in train."""
    rows = rows_of(table, repeat, fold)
    patients = {part: rows.filter(pc.equal(rows["part"], part))["patient_id"] for part in ("train", "test")}
    shared = pc.is_in(patients["test"], value_set=patients["train"].unique())
    return float(pc.mean(shared).as_py() or 0.0)


def fold_rows(dataset: Dataset, split: StoredSplit, label_set: str | None) -> list[dict[str, Any]]:
    """One row per repeat, fold and part: images (of a split by image, else 0), studies, patients, labels in them.

    positives: label -> how many studies are 1; prevalence: which share that is of those with a value, None without one.
    Both are empty without a label set.
    Raises as `read_labels`.
    """
    labels = read_labels(dataset, label_set) if label_set else None
    place = {study: row for row, study in enumerate(labels.study_ids)} if labels else {}
    found = []
    for repeat in split.repeats:
        for fold in split.folds:
            rows = rows_of(split.table, repeat, fold)
            for part in PARTS:
                here = rows.filter(pc.equal(rows["part"], part))
                if here.num_rows:
                    studies = here["study_id"].unique().to_pylist()
                    counts = {"images": here.num_rows - here["image_id"].null_count, "studies": len(studies)}
                    counts["patients"] = len(here["patient_id"].unique())
                    known = [place[study] for study in studies if study in place]
                    place_of = {"repeat": repeat, "fold": fold, "part": part}
                    values = labels.values[known] if labels else np.zeros((0, 0))
                    names = labels.names if labels else ()
                    positives = dict(zip(names, (values == 1).sum(axis=0).tolist(), strict=True))
                    shares = dict(zip(names, shares_of(values), strict=True))
                    found.append({**place_of, **counts, "positives": positives, "prevalence": shares})
    return found


def shares_of(values: NDArray[np.float64]) -> list[float | None]:
    """(k,) the share of ones among the known values of each column; None where none is known."""
    known, ones = np.isfinite(values).sum(axis=0), (values == 1).sum(axis=0)
    return [float(one / n) if n else None for one, n in zip(ones.tolist(), known.tolist(), strict=True)]
