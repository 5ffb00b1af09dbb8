"""The films of each study: held once, one after the other, and padded only where and when they are read."""

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
class Bags:
    """n studies of vectors, as an array of shape (n, views, dim) with zeros where a study has fewer films than another.

    NumPy takes it for that array and makes it; its rows are bags again. One study of 11 films among thousands of two
    costs nothing.
    """

    films: NDArray[np.float32]  # (films + 1, dim); the last is all zero
    places: Places  # (n, views) rows of `films`, the last where nothing is there

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.places.shape, self.films.shape[1])

    @property
    def ndim(self) -> int:
        return 3

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return self.films.dtype

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, rows: int | np.integer) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, rows: slice | NDArray[Any]) -> "Bags": ...
    def __getitem__(self, rows: Any) -> "Bags | NDArray[np.float32]":
        """Some studies: a mask, row numbers or a slice; or the films of one, (views, dim)."""
        if isinstance(rows, int | np.integer):
            return np.asarray(self.films[self.places[rows]])
        return Bags(self.films, self.places[rows])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Padded."""
        return np.asarray(self.films[self.places], dtype=dtype)

    def emptied(self) -> Self:
        """As many studies of as many films, with nothing there."""
        return type(self)(self.films[-1:], np.zeros_like(self.places))


Block = NDArray[np.float32] | Bags  # of a modality: (n, dim), or the films of n studies


def gather(matrix: Matrix, rows: Places) -> NDArray[np.float32]:
    """(n, dim) float32; zeros where a row is -1. Only these rows are read from disk."""
    block = np.zeros((len(rows), matrix.vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), READ_TOGETHER):
        here, into = rows[start : start + READ_TOGETHER], block[start : start + READ_TOGETHER]
        there = here >= 0
        into[there] = matrix.vectors[here[there]]
        let_go(matrix.vectors)
    return block


def gather_bags(matrix: Matrix, rows: Places) -> Bags:
    """The films of n studies, of rows (n, views), -1 where there is none. Only these are read from disk."""
    there = rows >= 0
    wanted = np.append(rows[there], -1)  # the last is all zero
    places = np.full(rows.shape, len(wanted) - 1)
    places[there] = np.arange(len(wanted) - 1)
    return Bags(gather(matrix, wanted), places)


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
