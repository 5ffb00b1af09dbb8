"""Vectors of one section of a store, memory-mapped: as an earlier reader left them in `cache/`."""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

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
    """The rows of one section and pooling; where they are all, as of films, nothing is copied."""
    own = pc.and_(pc.equal(rows["section"], section), pc.equal(rows["pooling"], pooling))
    return rows if pc.all(own).as_py() else rows.filter(own)


def write_matrix(path: Path, rows: pa.Table, blocks: Iterator[NDArray[np.float16]], *, dim: int) -> None:
    """Leave it there for whoever reads it next. rows: ids and contents. blocks: their vectors, (m, dim) each, of which
    one is in memory at a time. Raises `StoreError` where nothing can be written, and as `blocks` does.
    """

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            shape = {"descr": "<f2", "fortran_order": False, "shape": (len(rows), dim)}
            np.lib.format.write_array_header_1_0(file, shape)
            for block in blocks:
                file.write(block.data)

    replace_table(path.with_suffix(".parquet"), rows.select(["item_id", "content"]))
    replace_file(path, write)  # last: without it there is no matrix


def let_go(vectors: NDArray[np.float16]) -> None:
    """What was read of a mapped file no longer counts as this process' memory; the system goes on caching it."""
    if isinstance(vectors.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        vectors.base.madvise(mmap.MADV_DONTNEED)


def flat_values(column: pa.ChunkedArray) -> Iterator[NDArray[np.floating]]:
    """The values of an embedding column, chunk by chunk, as they lie in the file."""
    for chunk in column.chunks:
        yield np.asarray(chunk.flatten())  # no nulls: the schema forbids them


def halves(column: pa.ChunkedArray, dim: int) -> NDArray[np.float16]:
    """An embedding column as float16 of shape (n, dim): no value changes, since all were rounded when written."""
    found, start = np.empty((len(column), dim), np.float16), 0
    with np.errstate(over="ignore"):  # in a file from elsewhere: infinite, which `store check` reports
        for flat in flat_values(column):
            rows = flat.reshape(-1, dim)
            found[start : start + len(rows)] = rows
            start += len(rows)
    return found


def with_values(table: pa.Table, values: pa.DataType) -> pa.Table:
    """The rows, their vectors lying as `values`, float32 or float16; all else as it was."""
    index = table.schema.get_field_index("embedding")
    if index < 0 or (before := table.schema.field(index).type).value_type == values:
        return table
    kind = vector_type(values, before.list_size)
    chunks = [flat.astype(values.to_pandas_dtype()) for flat in flat_values(table["embedding"])]
    column = pa.chunked_array([pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind) for flat in chunks], kind)
    return table.set_column(index, pa.field("embedding", kind, nullable=False), column)
