"""Whom the rows of a table mean that somebody else made of a data set: a published split, a reader's labels."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cxremb.cells import Cells
from cxremb.datasets.table.columns import FILM_NAMES, ROLE_NAMES, snake
from cxremb.datasets.tree import without_suffix
from cxremb.ids import clean_id, find_id
from cxremb.store.dataset import Dataset

HEADINGS = {
    "image": (*ROLE_NAMES["id"], *FILM_NAMES, *ROLE_NAMES["path"]),
    "study": (*ROLE_NAMES["study"], "study"),
    "patient": ROLE_NAMES["patient"],
}


class RowIds(NamedTuple):
    """The ids that a row gives; "" where it gives none."""

    image: str = ""
    study: str = ""
    patient: str = ""

    @property
    def first(self) -> str:
        """One of them, to name the row by."""
        return self.image or self.study or self.patient


def heading(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column with the first of `names` that some column has, whatever its case and blanks."""
    known = {snake(column): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def id_columns(columns: Sequence[str]) -> dict[str, str]:
    """Kind -> column, of the kinds of ids in `HEADINGS` that have one."""
    found = {kind: heading(columns, names) for kind, names in HEADINGS.items()}
    return {kind: column for kind, column in found.items() if column}


def row_ids(cells: Cells, columns: Mapping[str, str]) -> RowIds:
    """The ids of a row. columns: as of `id_columns`."""
    return RowIds(**{kind: cells[column] for kind, column in columns.items()})


@dataclass(frozen=True)
class KnownIds:
    """The ids of a data set, and which study each belongs to."""

    studies: frozenset[str]
    images: Mapping[str, str]  # image id -> study id
    patients: Mapping[str, tuple[str, ...]]  # patient id -> study ids

    def studies_of(self, row: RowIds) -> tuple[str, ...]:
        """The studies that a row means: the one it names, else that of its image, else all of its patient."""
        named = next((study for study in spellings(row.study, "s") if study in self.studies), None)
        if named is None and (image := self.image(row.image)):
            named = self.images[image]
        if named is not None:
            return (named,)
        if row.study or row.image:
            return ()
        return next((self.patients[name] for name in spellings(row.patient, "p") if name in self.patients), ())

    def in_pseudonyms(self, row: RowIds, pseudonym: Callable[[str], str]) -> RowIds:
        """The row with the pseudonyms of its ids, of those that are known here under one."""
        for kind, known in (("image", self.images), ("study", self.studies), ("patient", self.patients)):
            name = getattr(row, kind)
            ways = (name, without_suffix(name)) if kind == "image" else spellings(name, kind[0])
            made = next((one for way in ways if (one := pseudonym(way)) != way and one in known), None)
            row = row._replace(**{kind: made}) if made else row
        return row

    def image(self, cell: str) -> str:
        """The image that a cell means, named with the suffix of its file or without, or by its path; or nothing."""
        bare = without_suffix(cell)
        tried = (find_id(name, self.images) for name in (cell, bare, re.split(r"[/\\]", bare)[-1]))
        return next((name for name in tried if name in self.images), "")

    def like(self, row: RowIds) -> str:
        """An id of the data set, of the kind that a row gives."""
        return next(iter(self.images if row.image else self.studies if row.study else self.patients), "")


def known_ids(dataset: Dataset) -> KnownIds:
    """The ids of `dataset`."""
    studies = dataset.studies["study_id"].to_pylist()
    patients: dict[str, list[str]] = {}
    for study, patient in zip(studies, dataset.studies["patient_id"].to_pylist(), strict=True):
        patients.setdefault(patient, []).append(study)
    images = zip(dataset.images["image_id"].to_pylist(), dataset.images["study_id"].to_pylist(), strict=True)
    return KnownIds(frozenset(studies), dict(images), {patient: tuple(its) for patient, its in patients.items()})


def spellings(name: str, letter: str) -> tuple[str, ...]:
    """How an id may be written here: as it is, with or without the letter of MIMIC-CXR's folders."""
    plain = clean_id(name)
    return (name, plain, letter + plain, plain.removeprefix(letter)) if name else ()
