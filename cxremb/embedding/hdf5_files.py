"""Vectors in HDF5: a file for each film in a folder, as TRIDENT and CLAM write them for slides, or all in one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.embedding.vector_files import (
    IDS,
    MEAN,
    VECTORS,
    WHOLE,
    Rows,
    VectorColumns,
    VectorFile,
    blocks_of,
    check_matrix,
    digest_of,
    no_column,
    open_numpy,
    open_parquet,
    read_ids,
)
from cxremb.errors import StoreError, name_list, reason
from cxremb.shards import is_parquet

SUFFIXES = (".h5", ".hdf5", ".hdf")
MAGIC, NUMPY_MAGIC = b"\x89HDF", b"\x93NUMPY"


def open_vectors(path: Path, columns: VectorColumns) -> VectorFile:
    """The vectors in a file, or in a folder of Parquet or HDF5 files. Raises `StoreError` for what holds none."""
    try:
        if path.is_dir():
            return (open_parquet if next(path.rglob("*.parquet"), None) else open_folder)(path, columns)
        if is_parquet(path):
            return open_parquet(path, columns)
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(NUMPY_MAGIC):
            return open_numpy(path, columns)
        if path.suffix.lower() in SUFFIXES or head.startswith(MAGIC):
            return open_file(path, columns)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({reason(error)})", hint="check it, or make it again") from error
    raise StoreError(f"{path}: neither Parquet, NumPy (.npy) nor HDF5", hint="save the vectors in one of these")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, as h5py has it. Raises `StoreError` where that is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise StoreError(
            f"{path}: HDF5 needs the package h5py", hint="install it: pip install 'cxremb[hdf5]'"
        ) from error
    with h5py.File(path, "r") as file:
        yield file


def open_folder(path: Path, columns: VectorColumns) -> VectorFile:
    """A file for each film, which it is called as. Of several rows (patches) the mean is taken; the pooling says so.

    Raises `StoreError` for a folder without such files.
    """
    files = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES)
    if not files:
        raise StoreError(f"{path}: neither Parquet nor HDF5 files in it", hint="check the path")

    def film(one: Path) -> tuple[NDArray[np.float32], bool]:
        with opened(one) as file:
            return one_film(one, file, columns)

    def rows() -> Rows:
        for one in files:
            yield [one.stem], film(one)[0][None]

    first, pooled = film(files[0])
    return VectorFile(path, digest_of(files), len(first), rows, MEAN if pooled else WHOLE)


def open_file(path: Path, columns: VectorColumns) -> VectorFile:
    """A matrix with ids beside it (a data set, or `columns.ids`), a vector for each film under its id, or one film.

    Raises `StoreError` for a file of none of these.
    """
    with opened(path) as file:
        ids, names = ids_and_names(path, file, columns)
        alone = not ids and names[0] in (*VECTORS, *columns.vectors)
        vector, pooled = one_film(path, file, columns) if alone else (file[names[0]], False)
        dim = int(vector.shape[-1])

    def rows() -> Rows:
        with opened(path) as file:
            if ids:
                yield from blocks_of(ids, file[names[0]])
            elif alone:
                yield [path.stem], one_film(path, file, columns)[0][None]
            else:
                for name in names:
                    yield [name], np.asarray(file[name], np.float32)[None]

    given = [path, columns.ids] if columns.ids else [path]
    return VectorFile(path, digest_of(given), dim, rows, MEAN if pooled else WHOLE)


def ids_and_names(path: Path, file: Any, columns: VectorColumns) -> tuple[list[str], list[str]]:
    """(the ids of a matrix, its name); (none, names) where each film has a data set, or the file is of one film.

    Raises `StoreError` for a file of neither kind.
    """
    data = [name for name in file if hasattr(file[name], "shape")]
    wanted = [name for name in (columns.vectors or VECTORS) if name in data]
    if wanted:
        beside = columns.id or next((name for name in IDS if name in data), None)
        if columns.ids or beside:
            ids = read_ids(columns.ids) if columns.ids else [words(one) for one in file[beside]]
            check_matrix(path, file[wanted[0]], len(ids))
            return ids, wanted[:1]
        return [], wanted[:1]
    shapes = {file[name].shape for name in data}
    if columns.vectors or len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise StoreError(
            f"{path}: no data set of vectors; it has {name_list(list(file), 12)}", hint="name it with --vector NAME"
        )
    return [], data


def words(value: Any) -> str:
    """An id out of HDF5."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def one_film(path: Path, file: Any, columns: VectorColumns) -> tuple[NDArray[np.float32], bool]:
    """(the vector of a file of one film, whether it is a mean of rows). Raises `StoreError` for another shape."""
    name = next((one for one in (columns.vectors or VECTORS) if one in file), None)
    if name is None:
        raise no_column(path, "vectors", ", ".join(columns.vectors) or None, names=list(file), option="--vector NAME")
    values = np.asarray(file[name], np.float32)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values  # TRIDENT's leading axis of one slide
    if values.ndim not in (1, 2) or not values.size:
        raise StoreError(f"{path}: {name} has the shape {values.shape}", hint="it is (rows, dimensions) of one film")
    return (values.mean(axis=0), len(values) > 1) if values.ndim == 2 else (values, False)
