"""Rows of vectors as a store has them: each once, in float16, and made float32 where and when they are read."""

from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from cxremb.store.matrices import Matrix, let_go

READ_TOGETHER = 4096  # rows: else another half of the block would be held beside it

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """n rows, as an array of shape (n, dim); or n studies, as one of shape (n, views, dim), zeros where a study has
    fewer films than another.

    NumPy takes it for that array and makes it; some of its rows are such rows again, and nothing is copied for them. A
    report of several films is held once, and one study of 11 films among thousands of two costs nothing.
    """

    vectors: NDArray[np.float16]  # (m + 1, dim); the last is all zero
    places: Places  # (n,) or (n, views) rows of `vectors`, the last where nothing is there

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.places.shape, self.vectors.shape[1])

    @property
    def ndim(self) -> int:
        return self.places.ndim + 1

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, rows: int | np.integer) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, rows: slice | NDArray[Any]) -> "StoredRows": ...
    def __getitem__(self, rows: Any) -> "StoredRows | NDArray[np.float32]":
        """Some rows: a mask, row numbers or a slice; or the array of one, (dim,) or (views, dim)."""
        if isinstance(rows, int | np.integer):
            return np.asarray(self.vectors[self.places[rows]], np.float32)
        return StoredRows(self.vectors, self.places[rows])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, as float32 unless another type is asked for."""
        found = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for start in range(0, len(self), READ_TOGETHER):
            found[start : start + READ_TOGETHER] = self.vectors[self.places[start : start + READ_TOGETHER]]
        return found

    def emptied(self) -> Self:
        """As many rows with nothing there."""
        return type(self)(self.vectors[-1:], np.zeros_like(self.places))


Block = NDArray[np.float32] | StoredRows  # of a modality: (n, dim), or the films of n studies


def stored_rows(matrix: Matrix, rows: Places) -> StoredRows:
    """Rows (n,), or films of studies (n, views), by their places in a matrix, -1 where there is none.

    Only these are read from disk, each once.
    """
    wanted = np.unique(rows[rows >= 0])
    vectors = np.zeros((len(wanted) + 1, matrix.vectors.shape[1]), np.float16)
    for start in range(0, len(wanted), READ_TOGETHER):
        here = wanted[start : start + READ_TOGETHER]
        vectors[start : start + len(here)] = matrix.vectors[here]
        let_go(matrix.vectors)
    return StoredRows(vectors, np.where(rows >= 0, np.searchsorted(wanted, rows), len(wanted)))


def gather(matrix: Matrix, rows: Places) -> NDArray[np.float32]:
    """(n, dim) float32; zeros where a row is -1."""
    return np.asarray(stored_rows(matrix, rows))


def places_of_studies(places: Places, study_of: pa.ChunkedArray, studies: pa.ChunkedArray) -> Places:
    """(n, views) the places of each study's films, in the order of the table, those without a vector left out.

    places: (films,), -1 for none. study_of: (films,). studies: (n,).
    """
    bag = pc.index_in(study_of, value_set=studies.combine_chunks()).to_numpy().astype(np.int64)
    bag, places = bag[places >= 0], places[places >= 0]
    order = np.argsort(bag, kind="stable")
    bag, places = bag[order], places[order]
    view = np.arange(len(bag)) - np.searchsorted(bag, bag)  # 0 for a study's first film, 1 for its second
    rows = np.full((len(studies), int(view.max(initial=0)) + 1), -1, dtype=np.int64)
    rows[bag, view] = places
    return rows
