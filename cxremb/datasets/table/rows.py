"""The rows of a table, whatever it was saved as: CSV in the encodings and delimiters people have, or Parquet."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
SNIFFED_CHARACTERS, SNIFFED_ROWS = 1 << 16, 50
BLOCK_BYTES = 1 << 20
BATCH_ROWS = 8192
# What a cell says when it says nothing. "None." stays, a radiologist wrote it; "none" may be a class.
MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "#name?"))
LONGEST_MISSING = max(map(len, MISSING))
Row = tuple[int, dict[str, str]]  # its number as a spreadsheet counts (the header of a CSV is row 1), its cells


@dataclass(frozen=True)
class TableFile:
    """A table that can be read any number of times, row by row; every cell is text, and "" where it is missing."""

    path: Path
    columns: tuple[str, ...]
    encoding: str = ""  # empty: Parquet
    delimiter: str = ""

    @property
    def format(self) -> str:
        """In words: `CSV (cp1252, semicolon)`."""
        return f"CSV ({self.encoding}, {DELIMITERS[self.delimiter]})" if self.encoding else "Parquet"

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """The cells of `columns`, stripped. Raises `DataError`, naming file and row, for a row that does not fit."""
        yield from csv_rows(self, columns) if self.encoding else parquet_rows(self, columns)


def open_table(path: Path) -> TableFile:
    """The table in `path`, with what was found out about it. Raises `DataError` if it is none, or has no columns."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == b"PAR1":
            return TableFile(path, checked_columns(path, pq.ParquetFile(path).schema_arrow.names))
        if head == b"PK\x03\x04":
            raise DataError(f"{path}: a spreadsheet's own format", hint="save the sheet as CSV in UTF-8, and add that")
        encoding = encoding_of(path)
        with opened(path) as raw, io.TextIOWrapper(raw, encoding, newline="") as text:
            sample = text.read(SNIFFED_CHARACTERS)
        delimiter, columns = sniff(sample)
    except (OSError, pa.ArrowException, EOFError, zlib.error, csv.Error, UnicodeError) as error:
        refuse(path, error)
    return TableFile(path, checked_columns(path, columns), encoding, delimiter)


def refuse(path: Path, error: Exception) -> NoReturn:
    """Raises the `DataError` for a file that cannot be read."""
    why = getattr(error, "strerror", None) or error
    raise DataError(
        f"{path}: cannot be read ({why})", hint="check the path; if the file is damaged, get it again"
    ) from error


def checked_columns(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """The names, stripped. Raises `DataError` if there is none, or one comes twice."""
    names = tuple(name.strip() for name in columns)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if not any(names):
        raise DataError(f"{path}: empty, it has no columns", hint="check the path given to --table")
    if twice:
        raise DataError(f"{path}: two columns are called {', '.join(twice)}", hint="rename one of each")
    return names


def opened(path: Path) -> BinaryIO:
    """The bytes of a file, unzipped if they are gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def encoding_of(path: Path) -> str:
    """utf-8, utf-8-sig and utf-16 by their marks or by decoding all of it, else cp1252 (Excel's), else latin-1.

    Raises `DataError` for bytes that are no text.
    """
    with opened(path) as file:
        head = file.read(SNIFFED_CHARACTERS)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        raise DataError(f"{path}: neither text nor Parquet", hint="save the table as CSV in UTF-8, or as Parquet")
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return next((name for name in ("utf-8", "cp1252") if decodes(path, name)), "latin-1")


def decodes(path: Path, encoding: str) -> bool:
    """Whether all of the file is text in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with opened(path) as file:
            while block := file.read(BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def sniff(sample: str) -> tuple[str, list[str]]:
    """The delimiter that cuts the first rows into the same number of cells, and more than one; and the header."""

    def score(delimiter: str) -> tuple[bool, float, int]:
        found = cut(delimiter)
        widths = [len(row) for row in found[:-1] or found]  # the last may have been cut off by the sample's end
        return widths[0] > 1, widths.count(widths[0]) / len(widths), widths[0]

    def cut(delimiter: str) -> list[list[str]]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        return [row for row in islice(reader, SNIFFED_ROWS) if row] or [[""]]

    best = max(DELIMITERS, key=score)
    return best, cut(best)[0]


def csv_rows(table: TableFile, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV. Blank lines are passed over."""
    wanted = [(name, table.columns.index(name)) for name in columns]
    number = 0
    try:
        with opened(table.path) as raw, io.TextIOWrapper(raw, table.encoding, newline="") as text:
            reader = csv.reader(text, delimiter=table.delimiter, strict=True)  # strict: an open quote is an error
            for number, cells in enumerate(reader, 1):
                if number == 1 or not cells:
                    continue
                if len(cells) != len(table.columns):
                    raise DataError(
                        f"{table.path}: row {number} has {len(cells)} cells, the header has {len(table.columns)}",
                        hint=f"it was read as {table.format}: quote cells that hold the delimiter, or mend the row",
                    )
                yield number, {name: clean(cells[index]) for name, index in wanted}
    except csv.Error as error:
        raise DataError(
            f"{table.path}: damaged after row {number} ({error})", hint="look for a quote that is not closed"
        ) from error
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        refuse(table.path, error)


def parquet_rows(table: TableFile, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a Parquet file, a batch in memory at a time."""
    number = 0
    try:
        for batch in pq.ParquetFile(table.path).iter_batches(BATCH_ROWS, columns=list(columns)):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: clean(as_text(row[name])) for name in columns}
    except (OSError, pa.ArrowException) as error:
        refuse(table.path, error)


def as_text(value: Any) -> str:
    """A Parquet value as a CSV would hold it; whole numbers without .0, a list with pipes between."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(as_text, value))
    return plain(str(value)) if isinstance(value, float) else str(value)


def clean(cell: str) -> str:
    """The cell, stripped; "" if what it says means that it is missing."""
    cell = cell.strip()
    return "" if len(cell) <= LONGEST_MISSING and cell.lower() in MISSING else cell


def plain(cell: str) -> str:
    """A whole number without its .0 (which is how a column with gaps is saved); anything else as it is."""
    found = re.fullmatch(r"(-?\d+)\.0+", cell) if cell.endswith("0") and "." in cell else None
    return found[1] if found else cell
