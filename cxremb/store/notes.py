"""Notes: what somebody wrote about a film or a study, and the label that they think is right. None is ever lost.

The table is one Parquet file, `notes/000001.parquet` and so on, and the highest number is in force. Who adds a note
writes all notes so far and the new one as the next number, which must not exist: of two writers one is told that the
number is taken, reads again and takes the next. So it needs no lock, and a reader sees a note or does not.
"""

import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from cxremb.errors import DataError, VersionTaken
from cxremb.store.dataset import Dataset
from cxremb.store.files import publish_table, read_part, remove_files

# What people wrote in the explorer. A note is never changed: a later one says more.
NOTES = pa.schema(
    [
        ("created", pa.timestamp("s", "UTC")),
        ("author", pa.string()),
        ("study_id", pa.string()),
        ("image_id", pa.string()),  # null: about the study
        ("text", pa.string()),  # null: a corrected label alone
        ("label_set", pa.string()),  # null, as the two that follow: no label is corrected
        ("label", pa.string()),
        ("value", pa.float64()),  # 0 or 1
    ]
)
LONGEST = 4_000  # letters: a note, not a report
KEPT = 8  # versions: the one in force, and those before it for who still reads them
TRIES = 50  # writers that may come first before something else must be wrong


@dataclass(frozen=True)
class StoredNote:
    """One note; `text`, a corrected label, or both."""

    author: str
    study_id: str
    image_id: str | None = None
    text: str | None = None
    label_set: str | None = None
    label: str | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        """Raises `DataError` for a note that says nothing, is no note for its length, or corrects half a label."""
        if self.text is None and self.value is None:
            raise DataError("an empty note", hint="write something, or correct the label")
        if self.text is not None and not 0 < len(self.text) <= LONGEST:
            raise DataError(f"a note has 1 to {LONGEST:,} letters, and this one {len(self.text):,}", hint="shorten it")
        if len({one is None for one in (self.label_set, self.label, self.value)}) > 1 or self.value not in (None, 0, 1):
            raise DataError("a corrected label needs its label set, its name, and 0 or 1", hint="name all three")


def note_versions(dataset: Dataset) -> list[Path]:
    """The versions of the table, oldest first."""
    found = dataset.paths.notes.glob("[0-9]*.parquet")
    return sorted(path for path in found if re.fullmatch(r"\d{6}", path.stem, re.ASCII))


def notes_path(dataset: Dataset) -> list[Path]:
    """The file in force, in a list; none before the first note."""
    return note_versions(dataset)[-1:]


def add_note(dataset: Dataset, note: StoredNote, *, now: datetime | None = None) -> Path:
    """The version that has the note. Raises `StoreError` where it cannot be written, and then nothing is changed."""
    row = {"created": (now or datetime.now(UTC)).replace(microsecond=0), **asdict(note)}
    added = pa.Table.from_pylist([row], schema=NOTES)
    for _ in range(TRIES):
        versions = note_versions(dataset)
        number = int(versions[-1].stem) + 1 if versions else 1
        with suppress(VersionTaken):
            before = [read_part(versions[-1], NOTES.names).cast(NOTES)] if versions else []
            path = publish_table(dataset.paths.notes / f"{number:06d}.parquet", pa.concat_tables([*before, added]))
            with suppress(OSError):
                remove_files(note_versions(dataset)[:-KEPT])
            return path
    raise VersionTaken(f"{dataset.paths.notes}: others write notes all the time", hint="try again")
