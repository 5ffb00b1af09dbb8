"""SIIM-ACR Pneumothorax Segmentation: which films show a pneumothorax, and how many masks of one were drawn."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cxremb.datasets.release import FETCH_AGAIN, ReleaseFilms, require_table
from cxremb.datasets.tree import unknown_patients
from cxremb.errors import DataError
from cxremb.types import Collection, Image, LabelSet, Note, Study

NAME = "siim"
LICENCE = "SIIM-ACR Pneumothorax Segmentation rules (Kaggle, 2019): non-commercial use"
CITATION = "SIIM-ACR Pneumothorax Segmentation. Society for Imaging Informatics in Medicine, Kaggle, 2019."
TABLES = ("train-rle.csv", "stage_2_train.csv")
FILM, MASK = "ImageId", "EncodedPixels"
NO_MASK = "-1"


def read(folder: Path) -> Collection:
    """Every film of the table; each is a study, and of a patient of its own: the films are NIH's, without a map.

    folder: holds train-rle.csv or stage_2_train.csv; films are found by name anywhere below. Masks are not kept, but
    the fact `masks` counts them. Raises `DataError`, naming file and line, for what cannot be read.
    """
    table = require_table(folder, *TABLES, columns=(FILM, MASK))
    masks: Counter[str] = Counter()
    without: set[str] = set()
    for line, row in table.rows((FILM, MASK)):
        if not row[FILM] or not row[MASK]:
            raise DataError(f"{table.path}: {table.place(line)} has no {FILM} or no {MASK}", hint=FETCH_AGAIN)
        masks[row[FILM]] += row[MASK] != NO_MASK
        if row[MASK] == NO_MASK:
            without.add(row[FILM])
    if twisted := sorted(film for film in without if masks[film]):
        raise DataError(f"{table.path}: {twisted[0]} has a mask and has none", hint=FETCH_AGAIN)
    notes = [unknown_patients(len(masks))]
    return Collection(
        NAME,
        studies(masks),
        images(masks, folder, notes),
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder.resolve()), "table": table.path.name},
        notes,
        label_sets=[LabelSet("pneumothorax", "binary", "1 if somebody drew a pneumothorax", ("pneumothorax",))],
        default_label_set="pneumothorax",
    )


def studies(masks: Counter[str]) -> Iterator[Study]:
    """A study for each film."""
    for film, count in masks.items():
        yield Study(
            film, film, labels={"pneumothorax": {"pneumothorax": float(count > 0)}}, facts={"masks": str(count)}
        )


def images(masks: Counter[str], folder: Path, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end. The table says nothing of views."""
    films = ReleaseFilms(folder)
    for film in masks:
        yield Image(film, film, film, None, films.find(film))
    notes += films.notes()
