"""Vectors that somebody else made, with the ids of films: Parquet, and NumPy with a list of ids."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import StoreError, name_list, reason
from cxremb.shards import files_of
from cxremb.store.files import sha256_of

Rows = Iterator[tuple[list[str], NDArray[np.float32]]]  # ids and their vectors (n, dim), a block at a time
ROWS = 4096  # of a block
IDS = (
    "image_id",
    "item_id",
    "id",
    "ids",
    "image_ids",
    "item_ids",
    "dicom_id",
    "names",
    "name",
    "path",
    "filename",
    "file",
)
VECTORS = ("embedding", "embeddings", "vector", "vectors", "features")
WHOLE, MEAN = "vector", "mean"  # poolings: as in the file; the mean of the rows that a film has
BY_NAME = "--vector COLUMN, or --vector 'f_*'"
ONE_LENGTH = "vectors of one file are of one length"
NUMBERS = "iuf"  # kinds of arrays


@dataclass(frozen=True)
class VectorFile:
    """Where vectors lie, of how many dimensions, and how to go through them."""

    path: Path
    sha256: str  # of its bytes; of several files, of their digests
    dim: int
    rows: Callable[[], Rows]
    pooling: str = WHOLE


@dataclass(frozen=True)
class VectorColumns:
    """What a user says of a file. ids: a text file with one id a line. id, vectors: columns, or data sets of HDF5."""

    ids: Path | None = None
    id: str | None = None
    vectors: Sequence[str] = ()  # one column of lists, or columns of numbers, also as `f_*`


def open_parquet(path: Path, columns: VectorColumns) -> VectorFile:
    """A column of ids, and one of lists or several of numbers. Raises `StoreError` for columns that are not there."""
    files = files_of(path) if path.is_dir() else [path]
    schema = pq.ParquetFile(files[0]).schema_arrow
    refuse_lists(columns, path)
    name = columns.id or next((one for one in IDS if one in schema.names), None)
    if name is None or name not in schema.names:
        raise no_column(path, "ids", name, names=schema.names, option="--id COLUMN")
    wanted = vector_columns(path, schema, columns.vectors, name=name)

    def rows() -> Rows:
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(ROWS, columns=[name, *wanted]):
                yield [str(one) for one in batch[name].to_pylist()], matrix_of(path, batch, wanted)

    first = next((block for _, block in rows() if len(block)), None)
    if first is None:
        raise StoreError(f"{path}: no row in it", hint="check the path")
    return VectorFile(path, digest_of(files), first.shape[1], rows)


def vector_columns(path: Path, schema: pa.Schema, given: Sequence[str], *, name: str) -> list[str]:
    """The columns of vectors: as named, with * for any letters, or the only one of lists of numbers."""
    lists = [one.name for one in schema if is_list(one.type) and is_number(one.type.value_type)]
    if not given:
        usual = [one for one in lists if one in VECTORS]
        found = usual if len(usual) == 1 else lists
        if len(found) != 1:
            raise no_column(path, "vectors", None, names=schema.names, option=BY_NAME)
        return found
    found = [one for one in schema.names if one != name and any(fnmatchcase(one, pattern) for pattern in given)]
    if not found:
        raise no_column(
            path, "vectors", ", ".join(given), names=schema.names, option="--vector COLUMN, or --vector 'f_*'"
        )
    if wrong := [one for one in found if one not in lists and not is_number(schema.field(one).type)]:
        raise StoreError(f"{path}: {wrong[0]} is no column of numbers", hint="name the columns of the vectors")
    if len(found) > 1 and set(found) & set(lists):
        raise StoreError(f"{path}: {name_list(found, 5)}: a column of lists beside others", hint="name one of them")
    return found


def matrix_of(path: Path, batch: pa.RecordBatch, wanted: Sequence[str]) -> NDArray[np.float32]:
    """(n, dim) of a batch; NaN where a value, or a whole vector, is null. Raises `StoreError` for lists that differ."""
    if not is_list(batch[wanted[0]].type):
        columns = [np.asarray(pc.cast(batch[name], pa.float32()).to_numpy(zero_copy_only=False)) for name in wanted]
        return np.stack(columns, axis=1).astype(np.float32)
    lists = batch[wanted[0]]
    lengths = pc.list_value_length(lists).drop_null().unique().to_pylist()
    if len(lengths) > 1:
        raise StoreError(
            f"{path}: vectors of {min(lengths)} and of {max(lengths)} values", hint="they are of one length"
        )
    out = np.full((len(lists), lengths[0] if lengths else 1), np.nan, np.float32)
    flat = pc.cast(lists.drop_null().flatten(), pa.float32()).to_numpy(zero_copy_only=False)
    out[np.asarray(lists.is_valid())] = flat.reshape(-1, out.shape[1])
    return out


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def no_column(path: Path, what: str, name: str | None, *, names: Sequence[str], option: str) -> StoreError:
    """The error for a column that is not there, or that nothing tells."""
    said = f"no column {name!r}" if name else f"no column is known to hold the {what}"
    return StoreError(f"{path}: {said}; it has {name_list(list(names), 12)}", hint=f"name it with {option}")


def open_numpy(path: Path, columns: VectorColumns) -> VectorFile:
    """A matrix, mapped into memory, with `columns.ids`. Raises `StoreError` for another shape or number of ids."""
    if columns.ids is None:
        raise StoreError(f"{path}: an array names no film", hint="give a text file with one id a line: --ids FILE")
    matrix, ids = np.load(path, mmap_mode="r", allow_pickle=False), read_ids(columns.ids)
    check_matrix(path, matrix, len(ids))
    return VectorFile(path, digest_of([path, columns.ids]), matrix.shape[1], lambda: blocks_of(ids, matrix))


def read_ids(path: Path) -> list[str]:
    """One id a line; blank lines are none. Raises `StoreError` for a file that is no text."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({reason(error)})", hint="give one id a line, in UTF-8") from error


def check_matrix(path: Path, matrix: Any, ids: int) -> None:
    """Raises `StoreError` unless there is one vector of numbers for each id."""
    if matrix.ndim != 2 or matrix.dtype.kind not in NUMBERS:
        raise StoreError(
            f"{path}: an array of {matrix.dtype} and shape {matrix.shape}", hint="it is (films, dimensions)"
        )
    if len(matrix) != ids:
        hint = "one id a line, without a heading, in the order of the vectors"
        raise StoreError(f"{path}: {len(matrix):,} vectors and {ids:,} ids", hint=hint)
    if not len(matrix) or not matrix.shape[1]:
        raise StoreError(f"{path}: no vector in it", hint="check the path")


def blocks_of(ids: Sequence[str], matrix: Any) -> Rows:
    """A matrix in blocks."""
    for start in range(0, len(ids), ROWS):
        yield list(ids[start : start + ROWS]), np.asarray(matrix[start : start + ROWS], np.float32)


def refuse_lists(columns: VectorColumns, path: Path) -> None:
    """Raises `StoreError` where ids are given beside a file that has them."""
    if columns.ids is not None:
        raise StoreError(
            f"{path}: Parquet has its ids in a column", hint="name it with --id COLUMN, and leave --ids out"
        )


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 of a file; of several, of their digests."""
    digests = [sha256_of(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
