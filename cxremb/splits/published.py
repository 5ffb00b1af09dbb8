"""Splits that somebody else made: of a collection's authors, of a paper, or any table of ids and parts."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import DataError, SplitError
from cxremb.splits.listed import Listed, read_listed
from cxremb.splits.spec import DEFAULT, HOLDOUT, IMAGE_SPLIT, KEY_LENGTH, METHOD, PARTS, check_name
from cxremb.splits.stored import StoredSplit, read_split, store_split
from cxremb.store.dataset import Dataset
from cxremb.store.layout import SPLITS
from cxremb.types import Note

BUILT_IN = (DEFAULT.name, HOLDOUT.name, IMAGE_SPLIT)
VALIDATION = ("validate", "validation", "valid")
EXAMPLES = 10


@dataclass(frozen=True)
class Published:
    """What a file says of a data set's studies, or of its images where one study is in two parts."""

    parts: Mapping[str, str]  # study id, or image id -> train, val or test
    by_image: bool = False
    notes: tuple[Note, ...] = ()


def import_split(dataset: Dataset, name: str, file: Path) -> StoredSplit:
    """The split that `file` lists, stored under `name`. Raises as `read_published` and `store_published`."""
    return store_published(dataset, name, read_published(file, dataset), f"imported from {file.name}")


def store_published(
    dataset: Dataset, name: str, parts: Mapping[str, str] | Published, means: str = "as published with the collection"
) -> StoredSplit:
    """The split as one fold, read if the same was stored before. parts: study_id -> train, val or test.

    Raises `DataError` for unknown studies or parts, `SplitError` for a name that is taken by a split made here.
    """
    check_name(name)
    if name in BUILT_IN:
        raise SplitError(f"{name} is a split that is made here", hint="give the published one another name")
    given = parts if isinstance(parts, Published) else Published(parts)
    items = dataset.images if given.by_image else dataset.studies
    what = "image_id" if given.by_image else "study_id"
    refuse_unknown(given.parts, items[what], name)
    placed = {item: part_named(part, name) for item, part in sorted(given.parts.items())}
    rows = items.filter(pc.is_in(items[what], value_set=pa.array(placed, pa.string()))).sort_by(what)
    n = rows.num_rows
    columns = {
        "split": pa.repeat(name, n),
        "repeat": pa.repeat(0, n),
        "fold": pa.repeat(0, n),
        "patient_id": rows["patient_id"],
        "study_id": rows["study_id"],
        "image_id": rows["image_id"] if given.by_image else pa.nulls(n, pa.string()),
        "part": pa.array([placed[item] for item in rows[what].to_pylist()], pa.string()),
    }
    table = pa.table(columns).cast(SPLITS)
    told = json.dumps([METHOD, table.to_pydict(), [note.count for note in given.notes]])
    key = hashlib.sha256(told.encode()).hexdigest()[:KEY_LENGTH]
    path = dataset.paths.splits / f"{name}@{key}.parquet"
    if path.is_file():
        return read_split(path)
    return store_split(StoredSplit(name, key, path, table, means, by_image=given.by_image, notes=given.notes))


def refuse_unknown(parts: Mapping[str, str], known: pa.ChunkedArray, name: str) -> None:
    """Raises `DataError` for an empty split, and for ids that the data set does not have."""
    if not parts:
        raise DataError(f"split {name}: nobody is in it", hint="check that its ids are those of this data set")
    if lost := sorted(parts.keys() - set(known.to_pylist())):
        raise DataError(
            f"split {name}: {len(lost)} of {len(parts)} ids are of nobody in the data set: {shown(lost)}",
            hint="add the whole collection, or leave these ids out of the split",
        )


def part_named(part: str, where: object) -> str:
    """`part` as this project calls it. Raises `DataError` for one that is not train, val or test."""
    name = part.strip().lower()
    if name not in (*PARTS, *VALIDATION):
        raise DataError(f"{where}: {part!r} is no part", hint=f"call the parts {', '.join(PARTS)}")
    return "val" if name in VALIDATION else name


def read_published(file: Path, dataset: Dataset) -> Published:
    """What a list of ids and parts says of `dataset`. Ids that are of nobody here are counted in a note.

    file: JSON with a list per part, as the annotation files of R2Gen have it (Chen et al. 2020); or CSV or TSV, .gz or
    not, with a column split or part and one of study_id, image_id or dicom_id, patient_id or subject_id, as MIMIC-CXR
    and many papers have it. A study in two parts makes it a split by image if every row names an image.

    Raises `DataError` for a file that cannot be read so, and for one that puts something into two parts.
    """
    rows = [Listed(part_named(row.part, file), row.image, row.study, row.patient) for row in read_listed(file)]
    book = Book.of(dataset)
    found = [(row, book.studies_of(row)) for row in rows]
    unknown = [row.image or row.study or row.patient or "" for row, studies in found if not studies]
    lost = sorted(set(unknown))
    note = Note("ids in the split that are of nobody here", len(lost), lost[:EXAMPLES], "add the whole collection")
    notes = (note,) if lost else ()
    studies, torn = placed((study, row.part) for row, ids in found for study in ids)
    if not torn:
        return Published(studies, notes=notes)
    images, twice = placed((book.image(row), row.part) for row, ids in found if ids)
    if "" in images or twice:
        raise DataError(
            f"{file}: {len(torn)} studies are in two parts: {shown(torn)}",
            hint="list each study once, or name the image in every row to make it a split by image",
        )
    return Published(images, by_image=True, notes=notes)


def placed(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """(id -> the first part it was put into, the ids that were put into another one too)."""
    parts: dict[str, str] = {}
    torn = {item for item, part in pairs if parts.setdefault(item, part) != part}
    return parts, sorted(torn)


@dataclass(frozen=True)
class Book:
    """Who is who in a data set."""

    studies: frozenset[str]
    images: Mapping[str, str]  # image id -> study id
    patients: Mapping[str, tuple[str, ...]]  # patient id -> study ids

    @staticmethod
    def of(dataset: Dataset) -> "Book":
        """The book of `dataset`."""
        studies = dataset.studies["study_id"].to_pylist()
        patients: dict[str, tuple[str, ...]] = {}
        for study, patient in zip(studies, dataset.studies["patient_id"].to_pylist(), strict=True):
            patients[patient] = (*patients.get(patient, ()), study)
        images = zip(dataset.images["image_id"].to_pylist(), dataset.images["study_id"].to_pylist(), strict=True)
        return Book(frozenset(studies), dict(images), patients)

    def studies_of(self, row: Listed) -> tuple[str, ...]:
        """The studies that a row means: the one it names, else that of its image, else all of its patient."""
        named = next((study for study in spellings(row.study, "s") if study in self.studies), None)
        if named is None and (image := self.image(row)):
            named = self.images[image]
        if named is not None:
            return (named,)
        if row.study or row.image:
            return ()
        return next((self.patients[name] for name in spellings(row.patient, "p") if name in self.patients), ())

    def image(self, row: Listed) -> str:
        """The image that a row means, or nothing."""
        return row.image if row.image in self.images else ""


def spellings(name: str, letter: str) -> tuple[str, ...]:
    """How an id may be written here: as it is, with or without the letter of MIMIC-CXR's folders."""
    return (name, letter + name, name.removeprefix(letter)) if name else ()


def shown(names: list[str]) -> str:
    """The first few of many."""
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
