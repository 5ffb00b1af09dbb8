"""The cells of a table from outside: delimited text in the encodings and delimiters that people have, or Parquet.

Every cell is text, since `007` is an id and no number. All tables from outside are read here, so that all are read as
strictly: a row of another length, a quote that is not closed and a letter in another encoding are errors that name
their line. Delimited text is parsed by the standard library. Of `1,"2` pyarrow 26 makes one cell of the rest of the
file and says nothing; DuckDB 2.0 miscounts lines after a blank one, and refuses cp1252 and mixed line ends; neither
says on which line a good row stands.
"""

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from cxremb.cells import Cells
from cxremb.errors import DataError, count_of, did_you_mean, name_list
from cxremb.mistaken import SAVE_SHEET, SPREADSHEET, refuse_mistaken
from cxremb.shards import Shards, is_parquet, open_shards

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
SNIFFED_CHARACTERS, SNIFFED_ROWS = 1 << 16, 50
BLOCK_BYTES = 1 << 20
LONGEST_CELL = 1 << 24  # characters: a text of 3,000 pages has half of it; the library's own limit is 40 pages
UNFIT_SHOWN = 10  # rows of another length that an error names
UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error, UnicodeError, pa.ArrowException)
ZIP = b"PK\x03\x04"
HEADER_WITHIN = 30  # lines in which a header is looked for that is not the first
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own first line, which is no header

csv.field_size_limit(LONGEST_CELL)


@dataclass(frozen=True)
class TableFile:
    """A table that can be read any number of times, row by row."""

    path: Path
    columns: tuple[str, ...]
    encoding: str = ""  # empty: Parquet
    delimiter: str = ""
    shards: Shards | None = None  # Parquet, of one file or several
    remedy: str = ""  # the hint for a damaged file, where a better one is known than how to mend it

    @property
    def format(self) -> str:
        """In words: `CSV (cp1252, semicolon)`."""
        delimiter = DELIMITERS.get(self.delimiter, self.delimiter)
        return f"CSV ({self.encoding}, {delimiter})" if self.encoding else "Parquet"

    @property
    def bulky(self) -> frozenset[str]:
        """Columns of bytes or records, which are no cells of text."""
        return self.shards.bulky if self.shards else frozenset()

    def place(self, number: int) -> str:
        """Where a row stands, for messages."""
        return self.shards.place(number) if self.shards else f"line {number}"

    def require(self, columns: Iterable[str], hint: str = "") -> None:
        """Raises `DataError`, listing the columns there are, if one of `columns` is not among them."""
        if missing := [column for column in dict.fromkeys(columns) if column not in self.columns]:
            near = did_you_mean(missing[0], self.columns)
            lower = f"line {line} has it: remove the lines above. " if (line := self.later_header(missing)) else ""
            raise DataError(
                f"{self.path}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, self.columns))}",
                hint=hint or f"{lower or near}it was read as {self.format}; names are matched to the letter",
            )

    def later_header(self, names: Sequence[str]) -> int | None:
        """The line that has all of `names` as its cells, where a title or comments stand above the header."""
        if not self.encoding:
            return None
        with suppress(*UNREADABLE), open_bytes(self.path) as raw, text_of(raw, self.encoding) as text:
            for number, line in enumerate(islice(text, HEADER_WITHIN), 1):
                rows = [next(csv.reader([line], delimiter=delimiter), []) for delimiter in DELIMITERS]
                if number > 1 and any(set(names) <= {cell.strip() for cell in row} for row in rows):
                    return number
        return None

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        """(number, cells of `columns`) of each row; blank lines are passed over.

        The number is that of the line on which a row of text ends, and of the row itself in Parquet, from 1, counted
        through all files.
        Raises `DataError`, naming file and place, for a row that cannot be read; at the end for all that do not fit.
        """
        self.require(columns)
        if self.shards is None:
            yield from text_rows(self, columns)
            return
        number = 0
        try:
            for number, cells in self.shards.rows(columns):
                yield number, cells
        except (OSError, pa.ArrowException) as error:
            raise broken(self, number, error) from error


def open_table(path: Path, *, encoding: str = "", delimiter: str = "", remedy: str = "") -> TableFile:
    """The table in `path`, gzipped, alone in a ZIP archive, or as it is, or the Parquet files of a folder. Encoding and
    delimiter are found out where they are not given.

    Raises `DataError` if it is none, has no columns, or two of one name.
    """
    try:
        if path.is_dir() or is_parquet(path):
            shards = open_shards(path)
            return with_columns(TableFile(path, shards.columns, shards=shards, remedy=remedy))
        encoding = encoding or encoding_of(path)
        delimiter = delimiter or delimiter_of(path, encoding)
        with open_bytes(path) as raw, text_of(raw, encoding) as text:
            header = next(filter(None, csv.reader(after_separator(text), delimiter=delimiter)), [])
    except UNREADABLE as error:
        raise broken(TableFile(path, (), encoding, delimiter, remedy=remedy), 0, error) from error
    return with_columns(TableFile(path, tuple(header), encoding, delimiter, remedy=remedy))


def zipped_file(path: Path) -> BinaryIO:
    """The only file of a ZIP archive, as Kaggle gives out its tables.

    Raises `DataError` for a spreadsheet, which is an archive too, and for one that is damaged, locked or holds several.
    """
    try:
        archive = zipfile.ZipFile(path)
        # beside a file from a Mac lies one of its properties
        files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        names = [one.filename for one in files]
        sheet = "[Content_Types].xml" in names or "mimetype" in names
        if len(files) == 1 and not sheet and not files[0].flag_bits & 1:  # which says that it is encrypted
            return cast(BinaryIO, archive.open(files[0]))
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: a damaged ZIP archive", hint="get the file again") from error
    if sheet:
        raise DataError(f"{path}: {SPREADSHEET}", hint=SAVE_SHEET)
    raise DataError(f"{path}: a ZIP archive of {name_list(names, 3)}", hint=f"unpack it first: unzip {path.name}")


def after_separator(text: Iterable[str]) -> Iterator[str]:
    """The lines; for a first one that names the delimiter a blank one, so that the others keep their number."""
    for number, line in enumerate(text):
        yield "\n" if number == 0 and SEPARATOR.fullmatch(line.strip()) else line


def with_columns(table: TableFile) -> TableFile:
    """The table with its names stripped. Raises `DataError` if there is none, or one comes twice."""
    names = tuple(name.strip() for name in table.columns)
    if not any(names):
        raise DataError(f"{table.path}: empty, it has no columns", hint=table.remedy or "check the path")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{table.path}: two columns are called {', '.join(twice)}", hint="rename one of each")
    return replace(table, columns=names)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unzipped if they are gzip, or the name says so, or a ZIP archive of one file.

    Raises `DataError` for what is known to be no table.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(ZIP):
        return zipped_file(path)
    refuse_mistaken(path, head)
    zipped = head.startswith(b"\x1f\x8b") or path.suffix == ".gz"
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def text_of(raw: BinaryIO, encoding: str) -> io.TextIOWrapper:
    """The characters, without a byte order mark, with line ends as they are."""
    return io.TextIOWrapper(raw, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")


def encoding_of(path: Path) -> str:
    """utf-8, utf-8-sig and utf-16 by their marks or by decoding all of it, else cp1252 (Excel's), else latin-1.

    Raises `DataError` for bytes that are no text.
    """
    with open_bytes(path) as file:
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
        with open_bytes(path) as file:
            while block := file.read(BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def delimiter_of(path: Path, encoding: str) -> str:
    """The delimiter that parts the first rows into the same number of cells, and more than one."""
    with open_bytes(path) as raw, text_of(raw, encoding) as text:
        sample = text.read(SNIFFED_CHARACTERS)
    if named := SEPARATOR.fullmatch(sample.partition("\n")[0].strip()):
        return named[1]

    def score(delimiter: str) -> tuple[bool, float, int]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        found = [row for row in islice(reader, SNIFFED_ROWS) if row] or [[""]]
        widths = [len(row) for row in found[:-1] or found]  # the last may have been cut off by the sample's end
        return widths[0] > 1, widths.count(widths[0]) / len(widths), widths[0]

    return max(DELIMITERS, key=score)


def text_rows(table: TableFile, columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
    """The rows of delimited text."""
    wanted = [(name, table.columns.index(name)) for name in columns]
    line, header = 0, True
    unfit: list[tuple[int, int]] = []  # line and cells of each row that does not fit: one error is to name all
    try:
        with open_bytes(table.path) as raw, text_of(raw, table.encoding) as text:
            # strict: an open quote is an error
            reader = csv.reader(after_separator(text), delimiter=table.delimiter, strict=True)
            for row in reader:
                line = reader.line_num
                if header or not row:
                    header = header and not row
                    continue
                if len(row) != len(table.columns):
                    unfit.append((line, len(row)))
                elif not unfit:
                    yield line, {name: row[index].strip() for name, index in wanted}
    except UNREADABLE as error:
        if not unfit:
            raise broken(table, line, error) from error
    if unfit:
        raise unfit_rows(table, unfit)


def unfit_rows(table: TableFile, unfit: Sequence[tuple[int, int]]) -> DataError:
    """The error for rows of another length than the header. unfit: line and cells of each."""
    rows = [f"line {line} has {count_of(cells, 'cell')}" for line, cells in unfit]
    more = f" ({len(rows):,} rows do not fit)" if len(rows) > 1 else ""
    mend = f"it was read as {table.format}: quote cells that hold the delimiter, or mend the rows"
    what = f"{name_list(rows, UNFIT_SHOWN)}, the header has {len(table.columns)}{more}"
    return DataError(f"{table.path}: {what}", hint=table.remedy or mend)


def broken(table: TableFile, line: int, error: Exception) -> DataError:
    """The error for a file that cannot be read on after `line`."""
    if isinstance(error, UnicodeError):
        what = f"{table.place(undecodable_line(table))} is not text in {table.encoding.upper()}"
        return DataError(f"{table.path}: {what}", hint=table.remedy or "save the table as CSV in UTF-8")
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{table.path}: cannot be read ({error.strerror})", hint="check the path and its permissions")
    where = f" after {table.place(line)}" if line else ""
    mend = "look for a quote that is not closed" if isinstance(error, csv.Error) else "get the file again"
    return DataError(f"{table.path}: damaged{where} ({error})", hint=table.remedy or mend)


def undecodable_line(table: TableFile) -> int:
    """The first line that is no text in the table's encoding; text is decoded by the block, so its error names none."""
    number, decoder = 1, codecs.getincrementaldecoder(table.encoding)()
    with open_bytes(table.path) as file:
        for number, line in enumerate(file, 1):  # noqa: B007 - the last one is wanted
            try:
                decoder.decode(line)
            except UnicodeDecodeError:
                break
    return number  # the last one, where the file ends within a letter
