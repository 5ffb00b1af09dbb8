"""A table in Parquet: one file, or the files of a folder, read in order as one.

As data sets are shared on the Hugging Face hub: split over files that say so in their names
(train-00000-of-00004.parquet), films as bytes in a column of their own, classes as numbers whose names stand in the
file's metadata.
"""

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.cells import Cells, as_text
from cxremb.errors import DataError, name_list
from cxremb.types import part_named

MAGIC = b"PAR1"
BATCH_ROWS = 8192
# As `datasets` names its files, with or without the digest that its older versions append.
NUMBERED = re.compile(r"(?P<set>.*?)-?(?P<number>\d{5})-of-(?P<of>\d{5})(?:-[0-9a-f]+)?\.parquet")
WORD = re.compile(r"[A-Za-z]+")
PART, ROW = "split", "row"  # columns that are made here: of the files' names, and of the place of a row


@dataclass(frozen=True)
class Shards:
    """The files of one table and what their columns are."""

    files: tuple[Path, ...]
    ends: tuple[int, ...]  # of each file, how many rows it and those before it have
    columns: tuple[str, ...]  # those in the files, stripped, then those that are made here
    made: frozenset[str]  # of `columns`, those that are in no file
    bulky: frozenset[str]  # of bytes or records, which are no cells of text
    pictures: Mapping[str, str]  # columns of bytes, and of records with a field `bytes` -> the leaf with the bytes
    classes: Mapping[str, Sequence[str]]  # columns of numbers -> the names that these stand for
    parts: tuple[str, ...] = ()  # of each file: the part that its name says, or ""
    raw: Mapping[str, str] = field(default_factory=dict)  # stripped -> as written in the files

    def place(self, number: int) -> str:
        """Where row `number`, from 1, stands, for messages."""
        if len(self.files) == 1:
            return f"row {number}"
        file = self.file_of(number)
        return f"row {number - self.begin(file)} of {self.files[file].name}"

    def file_of(self, number: int) -> int:
        """In which of `files` row `number`, from 1, stands."""
        return bisect_right(self.ends, number - 1)

    def begin(self, file: int) -> int:
        """How many rows stand before a file."""
        return self.ends[file - 1] if file else 0

    def film(self, number: int, picture: str) -> Path | None:
        """The path of the film in row `number`, from 1; None if that row has no bytes. See `images.packed`."""
        file = self.file_of(number)
        row = number - 1 - self.begin(file)
        return None if row in self.without(file, picture) else self.files[file] / self.pictures[picture] / str(row)

    def without(self, file: int, picture: str) -> frozenset[int]:
        """The rows of a file, from 0, without bytes. The column is read only if the file counts any."""
        known = self.gaps.setdefault((picture, file), None)
        if known is None:
            known = self.gaps[picture, file] = nulls(self.files[file], self.pictures[picture])
        return known

    @cached_property
    def gaps(self) -> dict[tuple[str, int], frozenset[int] | None]:
        """What `without` has found so far."""
        return {}

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        """(number, cells) of each row, from 1, a batch in memory at a time."""
        read = [self.raw.get(name, name) for name in columns if name not in self.made or "." in name]
        number = 0
        for file, path in enumerate(self.files):
            batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=read)
            for batch in batches:
                for row in batch.to_pylist() if read else [{}] * batch.num_rows:
                    number += 1
                    yield number, {name: self.cell(name, row, number, file=file) for name in columns}

    def cell(self, name: str, row: Mapping[str, Any], number: int, *, file: int) -> str:
        """What row `number` says in a column."""
        if name not in self.made:
            value = row[self.raw.get(name, name)]
            return as_text(named(value, self.classes[name]) if name in self.classes else value).strip()
        if "." in name:
            record = row[name.rpartition(".")[0]]
            return as_text(record and record["path"]).strip()
        part = self.parts[file]
        if name == self.part_column:
            return part
        before = sum(self.ends[one] - self.begin(one) for one in range(file) if self.parts[one] == part)
        within = number - 1 - self.begin(file) + before
        return f"{part}/{within}" if part else str(within)

    @property
    def part_column(self) -> str:
        """The column that is made of the files' names, "" if there is none."""
        return PART if PART in self.made else ""

    def id_column(self, picture: str) -> str:
        """What names a film where no column does: the path beside its bytes, if each has one of its own, or its row."""
        name = f"{picture}.path"
        if name in self.made:
            known: set[str] = set()
            for number, cells in self.rows([name]):
                known.add(cells[name])
                if len(known) < number or not cells[name]:
                    break
            else:
                return name
        return ROW if ROW in self.made else ""


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def open_shards(path: Path) -> Shards:
    """The Parquet file, or those anywhere in a folder. Raises `DataError` for none, for a set of which one is missing,
    and for files whose columns differ; `ArrowException` for a damaged one.
    """
    files = files_of(path) if path.is_dir() else [path]
    schemas, ends = [], [0]
    for file in files:
        opened = opened_file(file)
        schemas.append(opened.schema_arrow)
        ends.append(ends[-1] + opened.metadata.num_rows)
    schema = schemas[0]
    for file, other in zip(files, schemas, strict=True):
        refuse_other_columns(files[0], schema.names, file, others=other.names)
    raw = {name.strip(): name for name in schema.names}
    pictures = pictures_of(schema)
    parts = tuple(part_of(file, path) for file in files) if len(files) > 1 else ("",)
    if len(set(parts)) == 1:  # which is no split
        parts = ("",) * len(files)
    made = [f"{name}.path" for name, leaf in pictures.items() if leaf != name and has_path(schema, name)]
    if pictures:
        made.append(ROW)
    if any(parts):
        made.append(PART)
    made = [name for name in made if name not in raw]
    return Shards(
        tuple(files),
        tuple(ends[1:]),
        (*(name.strip() for name in schema.names), *made),
        frozenset(made),
        bulky_columns(schema),
        pictures,
        classes_of(schema),
        parts,
        raw,
    )


def opened_file(file: Path) -> pq.ParquetFile:
    """The file. Raises `DataError` that names it, where it is one of several."""
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise DataError(f"{file}: damaged ({error})", hint="get the file again") from error


def files_of(folder: Path) -> list[Path]:
    """The Parquet files of a folder by their path. Raises `DataError` for none, and for a set that is not whole."""
    files = sorted(path for path in folder.rglob("*.parquet") if path.is_file() and path.name[0] not in "._")
    if not files:
        raise DataError(f"{folder}: a folder without a Parquet file", hint="give a table, or a folder of Parquet files")
    sets: dict[tuple[Path, str], dict[int, dict[int, Path]]] = defaultdict(lambda: defaultdict(dict))
    for file in files:
        if found := NUMBERED.fullmatch(file.name):
            numbers = sets[file.parent, found["set"]][int(found["of"])]
            if first := numbers.get(int(found["number"])):
                raise DataError(f"{first} and {file} are the same shard", hint="remove the one that is outdated")
            numbers[int(found["number"])] = file
    for (parent, name), by_total in sets.items():
        refuse_incomplete(parent, name, by_total)
    return files


def refuse_incomplete(parent: Path, name: str, by_total: Mapping[int, Mapping[int, Path]]) -> None:
    """Raises `DataError` if the shards of a name are of two sets, or not all that their set has."""
    if len(by_total) > 1:
        totals = " and ".join(f"-of-{total:05d}" for total in sorted(by_total))
        raise DataError(f"{parent}: shards of {name} of two sets, {totals}", hint="remove the outdated ones")
    ((total, numbers),) = by_total.items()
    if missing := [f"{name}-{one:05d}-of-{total:05d}.parquet" for one in range(total) if one not in numbers]:
        raise DataError(
            f"{parent}: {len(missing)} of {total} shards are missing: {name_list(missing, 5)}",
            hint="fetch them too; or, to add what is here, give the files other names: part-1.parquet",
        )


def refuse_other_columns(first: Path, columns: Sequence[str], file: Path, *, others: Sequence[str]) -> None:
    """Raises `DataError` if a file has other columns than the first."""
    if set(columns) != set(others):
        lacking = [name for name in columns if name not in others]
        beyond = [name for name in others if name not in columns]
        words = [f"has no {name_list(lacking, 5)}" if lacking else "", f"has {name_list(beyond, 5)}" if beyond else ""]
        raise DataError(
            f"{file}: another table than {first.name}: it {' and '.join(filter(None, words))}",
            hint="give a folder that holds the files of one table",
        )


def part_of(file: Path, top: Path) -> str:
    """The part that a file's name says, or else the folder that it lies in: train-00000-of-00004, test/0000."""
    places = [file.name.removesuffix(file.suffix)] + ([file.parent.name] if file.parent != top else [])
    for place in places:
        parts = {part for word in WORD.findall(place) if (part := part_named(word))}
        if len(parts) == 1:
            return parts.pop()
    return ""


def is_bytes(kind: pa.DataType) -> bool:
    """Whether the values are bytes."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def bulky_columns(schema: pa.Schema) -> frozenset[str]:
    """The columns of a Parquet file that hold bytes, such as pictures, or records."""
    return frozenset(
        column.name.strip()
        for column in schema
        if is_bytes(column.type) or (pa.types.is_nested(column.type) and not pa.types.is_list(column.type))
    )


def pictures_of(schema: pa.Schema) -> dict[str, str]:
    """Column -> leaf, of the columns of bytes, and of the records with a field `bytes`. One with a / is left out."""
    found = {}
    for column in schema:
        if is_bytes(column.type):
            found[column.name.strip()] = column.name
        elif pa.types.is_struct(column.type):
            fields = {one.name: one.type for one in column.type}
            if "bytes" in fields and is_bytes(fields["bytes"]):
                found[column.name.strip()] = f"{column.name}.bytes"
    return {name: leaf for name, leaf in found.items() if "/" not in leaf}


def has_path(schema: pa.Schema, name: str) -> bool:
    """Whether a record has a field `path` of text."""
    fields = {one.name: one.type for one in schema.field(name).type} if name in schema.names else {}
    return "path" in fields and (pa.types.is_string(fields["path"]) or pa.types.is_large_string(fields["path"]))


def classes_of(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> the names of its classes, as the package `datasets` writes them into the schema's metadata."""
    found: dict[str, list[str]] = {}
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"].items()
        for column, about in features:
            inner = about[0] if isinstance(about, list) else about.get("feature", about)
            if inner.get("_type") == "ClassLabel":
                found[column.strip()] = [str(name) for name in inner["names"]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}  # not as that package writes it: the numbers stand for themselves
    return found


def named(value: Any, names: Sequence[str]) -> Any:
    """The name of a class, or of each of a list; a number that has none stays, and -1 is a missing value."""
    if isinstance(value, list):
        return [named(one, names) for one in value]
    if not isinstance(value, int) or value >= len(names):
        return value
    return names[value] if value >= 0 else None


def nulls(file: Path, leaf: str) -> frozenset[int]:
    """The rows of a file, from 0, that have nothing in a leaf."""
    opened = pq.ParquetFile(file, memory_map=True, pre_buffer=False)
    metadata, found, begin = opened.metadata, set[int](), 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        columns = {rows.column(one).path_in_schema: rows.column(one) for one in range(rows.num_columns)}
        about = columns[leaf].statistics
        if about is None or not about.has_null_count or about.null_count:
            at = begin
            for batch in opened.iter_batches(64, row_groups=[group], columns=[leaf], use_threads=False):
                values = batch.column(0) if leaf in batch.schema.names else batch.column(0).field(0)
                found.update(at + row for row, valid in enumerate(values.is_valid().to_pylist()) if not valid)
                at += batch.num_rows
        begin += rows.num_rows
    return frozenset(found)
