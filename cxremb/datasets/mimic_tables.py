"""The tables of MIMIC-CXR-JPG: found by their name, read row by row, kept small; and what their labels mean.

The labels are those that CheXpert and NegBio read from the reports; what their -1 is taken for is a policy.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cxremb.datasets.chexpert_labels import LABELS as CHEXPERT
from cxremb.datasets.chexpert_labels import abnormal_set
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.store.readings import in_words
from cxremb.tablefile import open_table
from cxremb.types import LabelSet, Policy, part_named

FETCH_AGAIN = "fetch it again from PhysioNet and compare its SHA-256 with SHA256SUMS.txt"


LABELLERS = {"chexpert": "CheXpert", "negbio": "NegBio"}
BY_HAND = "radiologist"  # the label set of the 687 studies of test that one labelled
BY_HAND_TABLE = "test-set-labeled"
SPELLED = {"Airspace Opacity": "Lung Opacity"}  # as that table has it
LABELS = tuple(sorted(CHEXPERT))
NO, YES, UNSURE, BLANK = range(4)
CODES = {"0": NO, "0.0": NO, "1": YES, "1.0": YES, "-1": UNSURE, "-1.0": UNSURE, "": BLANK}
VALUES = {NO: 0.0, YES: 1.0, UNSURE: -1.0}


class ListedFilm(NamedTuple):
    """One film as a table or a folder lists it."""

    place: str  # where it is listed, for messages: a line number, or a path
    dicom_id: str
    patient: int
    study: int
    view: str  # ViewPosition; empty if not known


def find_table(root: Path, kind: str) -> Path | None:
    """`mimic-cxr-<version>-<kind>.csv` in `root`, gzipped or not; of several the highest version."""
    found = []
    for path in root.glob(f"mimic-cxr-*-{kind}.csv*"):
        name = re.fullmatch(rf"mimic-cxr-(\d+(?:\.\d+)*)-{kind}\.csv(\.gz)?", path.name)
        if name and path.is_file():
            found.append(([int(number) for number in name[1].split(".")], path.name, path))
    return max(found)[-1] if found else None


def read_metadata(path: Path) -> Iterator[ListedFilm]:
    """The films that the metadata table lists, in its order. Raises `DataError`, naming the line, for a bad row."""
    for line, (dicom_id, patient, study, view) in read_rows(
        path, ("dicom_id", "subject_id", "study_id", "ViewPosition")
    ):
        if not dicom_id:
            raise DataError(f"{path}: line {line} has no dicom_id", hint=FETCH_AGAIN)
        yield ListedFilm(
            f"line {line}",
            dicom_id,
            number(path, line, "subject_id", cell=patient),
            number(path, line, "study_id", cell=study),
            view,
        )


def read_split(path: Path) -> dict[int, str]:
    """Study -> train, val or test. Raises `DataError`, naming the line, where the images of a study are apart."""
    parts: dict[int, str] = {}
    for line, (study, part) in read_rows(path, ("study_id", "split")):
        found = part_named(part)
        if found is None:
            raise DataError(
                f"{path}: line {line}: no part of a split is called {part!r}",
                hint="the column split may say train, validate or test",
            )
        known = parts.setdefault(number(path, line, "study_id", cell=study), found)
        if known != found:
            raise DataError(
                f"{path}: line {line} puts an image of study {study} into {found}, an earlier line into {known}",
                hint=f"MIMIC-CXR is split by patient, so this is not its own table; {FETCH_AGAIN}",
            )
    return parts


def read_findings(path: Path) -> dict[int, bytes]:
    """Study -> one byte for each of `LABELS`: `NO`, `YES`, `UNSURE` or `BLANK`.

    Bytes, because there are 227,827 studies and few distinct rows. Raises `DataError`, naming the line, for a value
    that is none of 0, 1, -1 and blank, and for two rows of one study that differ.
    """
    return coded(path, {label: label for label in LABELS})


def read_by_hand(path: Path) -> dict[int, bytes]:
    """As `read_findings`, of the table that a radiologist filled; a label that it has no column for is blank."""
    columns = open_table(path, encoding="utf-8", delimiter=",", remedy=FETCH_AGAIN).columns
    return coded(path, {label: name for name in columns if (label := SPELLED.get(name, name)) in LABELS})


def coded(path: Path, columns: Mapping[str, str]) -> dict[int, bytes]:
    """Study -> one byte for each of `LABELS`. columns: label -> the column that has it."""
    found: dict[int, bytes] = {}
    distinct: dict[bytes, bytes] = {}
    for line, (study, *cells) in read_rows(path, ("study_id", *columns.values())):
        said = dict(zip(columns, cells, strict=True))
        if unknown := [f"{label} is {cell!r}" for label, cell in said.items() if cell not in CODES]:
            raise DataError(f"{path}: line {line}: {unknown[0]}; it may be 1, 0, -1 or blank", hint=FETCH_AGAIN)
        codes = bytes([CODES[said.get(label, "")] for label in LABELS])
        codes = distinct.setdefault(codes, codes)
        if found.setdefault(number(path, line, "study_id", cell=study), codes) != codes:
            raise DataError(
                f"{path}: line {line} contradicts an earlier line on study {study}", hint="remove one of the two"
            )
    return found


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, the cells of `columns`) of each row of a CSV in UTF-8, gzipped or not."""
    table = open_table(path, encoding="utf-8", delimiter=",", remedy=FETCH_AGAIN)
    table.require(columns, FETCH_AGAIN)
    for line, cells in table.rows(columns):
        yield line, list(cells.values())


def number(path: Path, line: int, column: str, *, cell: str) -> int:
    """An id of MIMIC, which is a number. Raises `DataError` if it is not."""
    if not (cell := clean_id(cell)).isdecimal():
        raise DataError(f"{path}: line {line}: {column} {cell!r} is not a number", hint=FETCH_AGAIN)
    return int(cell)


def label_sets(labellers: Mapping[str, Path], uncertain: str) -> list[LabelSet]:
    """One multi-label set for each labeller's table, and `normal_abnormal` of the first."""
    sets = []
    for name, path in labellers.items():
        policy = Policy(name, uncertain)
        means = f"what {LABELLERS.get(name, 'a radiologist')} read from the report ({path.name})"
        sets.append(LabelSet(name, "multilabel", means, LABELS, in_words(policy, several=False), policy))
    return (
        [*sets, abnormal_set(LABELLERS.get(sets[0].name, "a radiologist"), Policy(sets[0].name, uncertain))]
        if sets
        else []
    )


@lru_cache(maxsize=65536)  # few studies have a row of their own, so most of these small dictionaries are shared
def readings_of(codes: bytes) -> Mapping[str, Mapping[str, float]]:
    """What the one reader of a table says of a study: label -> 1, 0 or -1; blank is left out."""
    return {"": {label: VALUES[code] for label, code in zip(LABELS, codes, strict=True) if code in VALUES}}
