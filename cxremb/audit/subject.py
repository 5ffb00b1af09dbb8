"""What is audited: the rows of a split and their films, with labels and parts; and a line of what is found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.ids import clean_id, likeness
from cxremb.labels import Labels
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.types import PARTS

PART_CODES = ("", *PARTS)  # of `Fold.parts`
TRAIN, VAL, TEST = 1, 2, 3

OVERLAP, LOOK_UPS, LABELS, COLLECTION = SECTIONS = ("overlap", "look-ups", "labels", "collection")
OK, NOTE, FAIL = "ok", "note", "fail"
SKIP = "skip"  # not measured, and `why` says what is missing: silence would look like a pass

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """What was measured, the figure, whether it holds, why it matters and what to do."""

    section: str  # of `SECTIONS`
    name: str  # short, unique within an audit
    measured: str  # in words, with counts and the parts compared
    value: float | None  # a share (overlap), AUROC (look-ups), count (collection); None if not measured
    figure: str  # the value as a reader sees it
    status: str
    why: str = ""
    remedy: str = ""
    examples: Sequence[str] = ()


def skipped(section: str, name: str, why: str, *, remedy: str = "") -> Finding:
    """A line that says what was not measured, and why."""
    return Finding(section, name, f"{name}: not measured", None, "-", SKIP, why, remedy)


@dataclass(frozen=True)
class Fold:
    """The part of each of n items in one fold, as codes of `PART_CODES`."""

    repeat: int
    fold: int
    parts: NDArray[np.int8]

    def of(self, part: int) -> Numbers:
        """The items of a part."""
        return np.flatnonzero(self.parts == part)

    @property
    def judged(self) -> int:
        """The part that figures are read on: test, or val where a split has no test."""
        return TEST if (self.parts == TEST).any() else VAL


@dataclass(frozen=True)
class Items:
    """n things that have a place in the folds."""

    what: str  # in the plural: studies or images
    ids: pa.Array  # (n,)
    study_ids: pa.Array  # (n,)
    patients: Numbers  # (n,) equal for one patient, however the id is written
    y: NDArray[np.float64]  # (n, k), NaN where missing
    folds: Sequence[Fold]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Numbers, ids: pa.Array, what: str) -> "Items":
        """Items that inherit label and part from the given rows of these."""
        return replace(
            self,
            what=what,
            ids=ids,
            study_ids=self.study_ids.take(pa.array(rows)),
            patients=self.patients[rows],
            y=self.y[rows],
            folds=[replace(fold, parts=fold.parts[rows]) for fold in self.folds],
        )


@dataclass(frozen=True)
class AuditSubject:
    """One split of one data set. `films` are the images of `rows`; `images` holds their rows of the images table."""

    dataset: Dataset
    split: StoredSplit
    labels: Labels
    rows: Items
    films: Items
    images: pa.Table

    @property
    def repeats(self) -> Iterator[Fold]:
        """The folds of the first repeat: together they judge each row once."""
        return (fold for fold in self.rows.folds if fold.repeat == self.rows.folds[0].repeat)


def open_subject(dataset: Dataset, split: StoredSplit, labels: Labels) -> AuditSubject:
    """The subject of an audit. A row of it is what the split names: an image if it splits by image, else a study."""
    by_image = split.table["image_id"].null_count < split.table.num_rows
    ids, place = encoded(split.table["image_id" if by_image else "study_id"])
    first = np.unique(place, return_index=True)[1]
    studies = split.table["study_id"].combine_chunks().take(pa.array(first))
    rows = Items(
        what="images" if by_image else "studies",
        ids=ids,
        study_ids=studies,
        patients=patient_codes(split.table["patient_id"])[first],
        y=labels_of(labels, studies),
        folds=read_folds(split.table, place, len(ids)),
    )
    of_film = positions(dataset.images["image_id" if by_image else "study_id"], ids)
    known = np.flatnonzero(of_film >= 0)
    images = dataset.images.take(pa.array(known))
    films = rows.take(of_film[known], images["image_id"].combine_chunks(), "images")
    return AuditSubject(dataset, split, labels, rows, films, images)


def patient_codes(column: pa.ChunkedArray) -> Numbers:
    """(n,) equal for one patient, and for ids that may be one: `7` and `7.0` of an older store, `P7` and `p07`."""
    ids, place = encoded(column)
    return encoded(pa.array([likeness(clean_id(name)) for name in ids.to_pylist()], pa.string()))[1][place]


def read_folds(table: pa.Table, place: Numbers, n: int) -> list[Fold]:
    """Every fold of a split. place: the item of each row of the table."""
    repeats, numbers = (table[name].to_numpy() for name in ("repeat", "fold"))
    parts = positions(table["part"], pa.array(PART_CODES)).astype(np.int8)
    folds = []
    for repeat, number in sorted(set(zip(repeats.tolist(), numbers.tolist(), strict=True))):
        mine = (repeats == repeat) & (numbers == number)
        codes = np.zeros(n, np.int8)
        codes[place[mine]] = parts[mine]
        folds.append(Fold(repeat, number, codes))
    return folds


def labels_of(labels: Labels, studies: pa.Array) -> NDArray[np.float64]:
    """(n, k) the labels of each study; NaN where there is none."""
    padded = np.vstack([labels.values, np.full((1, labels.values.shape[1]), np.nan)])
    row: NDArray[np.float64] = padded[positions(studies, pa.array(labels.study_ids, pa.string()))]
    return row


def encoded(column: Any) -> tuple[pa.Array, Numbers]:
    """(distinct values by first appearance, the number of each row's value; -1 for null)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    coded = array.dictionary_encode()
    return coded.dictionary, pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def positions(column: Any, values: pa.Array) -> Numbers:
    """(n,) where each value of `column` stands in `values`; -1 where it does not."""
    found = pc.fill_null(pc.index_in(column, value_set=values), -1)
    array: Numbers = found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else found.to_numpy()
    return array.astype(np.int64)
