"""Films that lie in a Parquet file, a row each: how one is named, and how its bytes are read.

The bytes of row 17 of the column `image` of train.parquet are called `train.parquet/image/17`: a path that no file can
have, since train.parquet is no folder. So a film has a path wherever it lies, and whatever takes one takes both.
"""

import io
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import ImageError

SUFFIXES = (".parquet", ".pq", ".parq")
BATCH = 8  # rows that are read at a time
HELD_BYTES = 1 << 27  # of batches in memory, for threads that ask nearly in order
OPEN = 4  # columns of files that are read on in
BUFFER_BYTES = 1 << 20
AGAIN = "add the data set again"
FETCH = "restore the file, then embed again"


@dataclass(frozen=True)
class PackedFilm:
    """A row, from 0, of a column of a Parquet file. column: with dots between a record and its field."""

    file: Path
    column: str
    row: int

    @property
    def path(self) -> Path:
        """Its name. Columns with a / in their name have none: see `packed_film`."""
        return self.file / self.column / str(self.row)


def packed_film(path: Path) -> PackedFilm | None:
    """What the path names, if it is a row of a Parquet file."""
    file = path.parent.parent
    if file.suffix.lower() not in SUFFIXES or not path.name.isdecimal() or not file.is_file():
        return None
    return PackedFilm(file, path.parent.name, int(path.name))


def is_packed(path: Path) -> bool:
    """Whether the path names a row of a Parquet file."""
    return packed_film(path) is not None


def packed_bytes(film: PackedFilm) -> bytes:
    """The bytes of the film. Raises `ImageError` if the file, or that row of it, cannot be read, or holds none."""
    try:
        changed = film.file.stat().st_mtime_ns
        content = column_reader(str(film.file), film.column, changed).value(film.row)
    except (OSError, pa.ArrowException, KeyError, IndexError) as error:
        column_reader.cache_clear()  # one that broke off is not read on
        raise ImageError(f"row {film.row + 1} cannot be read ({error})", FETCH, "read") from error
    if content is None:
        raise ImageError(f"row {film.row + 1} holds no bytes", AGAIN, "read")
    if not isinstance(content, bytes):
        raise ImageError(f"the column {film.column} holds {type(content).__name__}, no bytes", AGAIN, "read")
    return content


def open_film(path: Path) -> IO[bytes]:
    """The film as a file to read from, wherever it lies."""
    film = packed_film(path)
    return path.open("rb") if film is None else io.BytesIO(packed_bytes(film))


@lru_cache(OPEN)
def column_reader(file: str, column: str, _modified_ns: int) -> "ColumnReader":
    """The reader of a column, which goes on where it was: a file that has changed has another."""
    return ColumnReader(pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False), column)


@dataclass
class ColumnReader:
    """The values of one column by their row. Asked nearly in order they are read once, few of them in memory.

    A row further back is looked for from the beginning of its row group, of which a file should have many.
    """

    file: pq.ParquetFile
    column: str
    group: int = -1
    batches: Iterator[pa.RecordBatch] = field(default_factory=lambda: iter(()))
    next: int = 0  # the first row that is not read yet
    kept: deque[tuple[int, pa.Array]] = field(default_factory=deque)  # first row, values
    lock: Lock = field(default_factory=Lock)
    ends: list[int] = field(init=False)  # of each row group, the row behind it

    def __post_init__(self) -> None:
        metadata = self.file.metadata
        rows = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self.ends = list(accumulate(rows))

    def value(self, row: int) -> Any:
        """The value of a row, from 0. Raises `IndexError` for one that is not there, `KeyError` for no such column."""
        with self.lock:
            found = self.held(row)
            if found is None:
                self.go_to(row)
            while found is None:
                batch = next(self.batches, None)
                if batch is None:
                    raise IndexError("its row group is shorter than the file says")
                self.kept.append((self.next, leaf(batch, self.column)))
                self.next += batch.num_rows
                while len(self.kept) > 1 and sum(values.nbytes for _, values in self.kept) > HELD_BYTES:
                    self.kept.popleft()
                found = self.held(row)
        return found.as_py()

    def held(self, row: int) -> pa.Scalar | None:
        """The value, if it is in memory."""
        return next((values[row - first] for first, values in self.kept if first <= row < first + len(values)), None)

    def go_to(self, row: int) -> None:
        """Make the batches to come hold the row: those under way, or those of its row group from the beginning."""
        group = bisect_right(self.ends, row)
        if group == len(self.ends):
            raise IndexError(f"the file has {self.ends[-1] if self.ends else 0} rows")
        if group != self.group or row < self.next:
            self.group, self.next = group, self.ends[group - 1] if group else 0
            self.batches = self.file.iter_batches(BATCH, row_groups=[group], columns=[self.column], use_threads=False)


def leaf(batch: pa.RecordBatch, column: str) -> pa.Array:
    """The values of a column, or of the field of a record that a dot names. Raises `KeyError` for none."""
    if column in batch.schema.names:
        return batch.column(column)
    record, _, name = column.rpartition(".")
    return batch.column(record).field(name)
