"""Lists of ids and parts as files: JSON with a list per part, or a table with a column of parts."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cxremb.errors import DataError
from cxremb.tablefile import open_bytes, open_table

# What each kind of id is called, in the order of preference; compared in lower case.
PART = ("split", "part")
IMAGE = ("image_id", "dicom_id")
STUDY = ("study_id",)
PATIENT = ("patient_id", "subject_id")
OPENI = re.compile(r"CXR(\d+)_")  # Open-i calls the film of report 2384 CXR2384_IM-0942-1001


class Listed(NamedTuple):
    """One line of a list: somebody, by whichever ids it gives ("" where none), and a part as it is written there."""

    part: str
    image: str = ""
    study: str = ""
    patient: str = ""


def read_listed(file: Path) -> list[Listed]:
    """The lines of a list. Raises `DataError` if the file is missing, not text, or has no ids or parts in it."""
    rows = read_json(file) if ".json" in file.suffixes else list(read_rows(file))
    if not rows:
        raise DataError(f"{file}: nobody is listed in it", hint="check the path given with --from")
    return rows


def read_json(file: Path) -> list[Listed]:
    """The entries of {"train": [{"id": ...}, ...], "val": [...], "test": [...]}; an entry may be the id itself."""
    try:
        with open_bytes(file) as stream:
            lists = json.load(stream)
        entries = [(part, entry) for part, listed in lists.items() for entry in listed]
        return [json_entry(part, entry if isinstance(entry, Mapping) else {"id": entry}) for part, entry in entries]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read ({error})", hint="check the path given with --from") from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f"{file}: no lists of studies by part ({error})", hint='write {"train": [{"id": ...}], "test": [...]}'
        ) from error


def json_entry(part: str, entry: Mapping[str, Any]) -> Listed:
    """One study or image. R2Gen's id is that of an image in MIMIC-CXR, beside a study_id, and of a report in Open-i."""
    name = str(entry["id"] if "id" in entry else entry["study_id"])
    report = OPENI.match(name)
    return Listed(part, image=name, study=str(entry.get("study_id", report[1] if report else name)))


def read_rows(file: Path) -> Iterator[Listed]:
    """The rows of a table that names somebody."""
    table = open_table(file, encoding="utf-8")
    names = {name.lower(): name for name in reversed(table.columns)}

    def column(choices: Sequence[str]) -> str | None:
        return next((names[name] for name in choices if name in names), None)

    part, *ids = (column(choices) for choices in (PART, IMAGE, STUDY, PATIENT))
    if part is None or not any(ids):
        raise DataError(
            f"{file}: its columns are {', '.join(table.columns)}",
            hint=f"name one {' or '.join(PART)}, and one of {', '.join((*STUDY, *IMAGE, *PATIENT))}",
        )
    for _, cells in table.rows([name for name in (part, *ids) if name]):
        values = [cells[name] if name else "" for name in ids]
        if any(values):
            yield Listed(cells[part], *values)
