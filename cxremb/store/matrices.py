"""Vectors of one section of a store, memory-mapped: as an earlier reader left them in `cache/`."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import StoreError
from cxremb.store.files import replace_file, replace_table
from cxremb.store.layout import vector_type
from cxremb.store.manifest import Manifest


@dataclass(frozen=True)
class Matrix:
    """n vectors and whose they are. `vectors` is float16 of shape (n, dim), read from disk as it is used."""

    ids: pa.Array  # (n,) strings
    contents: pa.Array  # (n,) strings: SHA-256 of what was encoded
    vectors: NDArray[np.float16]

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(m,) the row of each id, -1 where it has none."""
        found = pc.index_in(pa.array(ids, self.ids.type), value_set=self.ids)
        rows: NDArray[np.int64] = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return rows


def matrix_path(cache: Path, manifest: Manifest, section: str, *, pooling: str) -> Path:
    """Where it lies. The name follows from the parts' digests, so no other version's matrix is ever taken for it."""
    parts = hashlib.sha256("".join(part.sha256 for part in manifest.parts).encode()).hexdigest()[:12]
    return cache / "vectors" / f"{manifest.recipe.store}-{parts}" / f"{quote(section, safe='+')}.{pooling}.npy"


def read_matrix(path: Path, dim: int) -> Matrix | None:
    """What an earlier reader left there; None if it is not there or not whole."""
    try:
        vectors = np.load(path, mmap_mode="r")
        table = pq.read_table(path.with_suffix(".parquet"), memory_map=True)
        ids, contents = (table[name].combine_chunks() for name in ("item_id", "content"))
    except (OSError, ValueError, KeyError, pa.ArrowException):  # the key: an older cxremb left it
        return None
    whole = vectors.shape == (len(ids), dim) and vectors.dtype == np.float16
    return Matrix(ids, contents, vectors) if whole else None


def of_section(rows: pa.Table, section: str, pooling: str) -> pa.Table:
    """The rows of one section and pooling."""
    return rows.filter(pc.and_(pc.equal(rows["section"], section), pc.equal(rows["pooling"], pooling)))


def write_matrix(path: Path, matrix: Matrix) -> None:
    """Keep it for the next reader. A root that cannot be written costs that reader time and nothing else."""

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.save(file, matrix.vectors)

    with suppress(StoreError):
        replace_table(path.with_suffix(".parquet"), pa.table({"item_id": matrix.ids, "content": matrix.contents}))
        replace_file(path, write)  # last: without it there is no matrix


def flat_values(column: pa.ChunkedArray) -> Iterator[NDArray[np.floating]]:
    """The values of an embedding column, chunk by chunk, as they lie in the file."""
    for chunk in column.chunks:
        yield np.asarray(chunk.flatten())  # no nulls: the schema forbids them


def halves(column: pa.ChunkedArray, dim: int) -> NDArray[np.float16]:
    """An embedding column as float16 of shape (n, dim): no value changes, since all were rounded when written."""
    with np.errstate(over="ignore"):  # in a file from elsewhere: infinite, which `store check` reports
        values = [flat.astype(np.float16, copy=False) for flat in flat_values(column)]
    flat = np.concatenate(values) if values else np.empty(0, np.float16)
    return flat.reshape(-1, dim)


def with_values(table: pa.Table, values: pa.DataType) -> pa.Table:
    """The rows, their vectors lying as `values`, float32 or float16; all else as it was."""
    index = table.schema.get_field_index("embedding")
    if index < 0 or (before := table.schema.field(index).type).value_type == values:
        return table
    kind = vector_type(values, before.list_size)
    chunks = [flat.astype(values.to_pandas_dtype()) for flat in flat_values(table["embedding"])]
    column = pa.chunked_array([pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind) for flat in chunks], kind)
    return table.set_column(index, pa.field("embedding", kind, nullable=False), column)
