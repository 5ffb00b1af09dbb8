"""The tables of MIMIC-CXR-JPG: found by their name, read row by row, kept small."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cxremb.errors import DataError
from cxremb.tablefile import open_table

PARTS = {"train": "train", "validate": "val", "val": "val", "valid": "val", "validation": "val", "test": "test"}
FETCH_AGAIN = "fetch it again from PhysioNet and compare its SHA-256 with SHA256SUMS.txt"


class Listed(NamedTuple):
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


def read_metadata(path: Path) -> Iterator[Listed]:
    """The films that the metadata table lists, in its order. Raises `DataError`, naming the line, for a bad row."""
    for line, (dicom_id, patient, study, view) in read_rows(
        path, ("dicom_id", "subject_id", "study_id", "ViewPosition")
    ):
        if not dicom_id:
            raise DataError(f"{path}: line {line} has no dicom_id", hint=FETCH_AGAIN)
        yield Listed(
            f"line {line}",
            dicom_id,
            number(path, line, "subject_id", patient),
            number(path, line, "study_id", study),
            view,
        )


def read_split(path: Path) -> dict[int, str]:
    """Study -> train, val or test. Raises `DataError`, naming the line, where the images of a study are apart."""
    parts: dict[int, str] = {}
    for line, (study, part) in read_rows(path, ("study_id", "split")):
        if part not in PARTS:
            raise DataError(
                f"{path}: line {line}: no part of a split is called {part!r}",
                hint="the column split may say train, validate or test",
            )
        known = parts.setdefault(number(path, line, "study_id", study), PARTS[part])
        if known != PARTS[part]:
            raise DataError(
                f"{path}: line {line} puts an image of study {study} into {PARTS[part]}, an earlier line into {known}",
                hint=f"MIMIC-CXR is split by patient, so this is not its own table; {FETCH_AGAIN}",
            )
    return parts


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, the cells of `columns`) of each row of a CSV in UTF-8, gzipped or not."""
    table = open_table(path, encoding="utf-8", delimiter=",", remedy=FETCH_AGAIN)
    table.require(columns, FETCH_AGAIN)
    for line, cells in table.rows(columns):
        yield line, list(cells.values())


def number(path: Path, line: int, column: str, cell: str) -> int:
    """An id of MIMIC, which is a number. Raises `DataError` if it is not."""
    if not cell.isdecimal():
        raise DataError(f"{path}: line {line}: {column} {cell!r} is not a number", hint=FETCH_AGAIN)
    return int(cell)
