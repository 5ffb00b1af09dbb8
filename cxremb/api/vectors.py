"""Vectors made elsewhere, taken in: what `cxremb store import` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxremb.api.places import data_set, remark
from cxremb.datasets.tree import NOT_GIVEN
from cxremb.errors import count_of
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.embedding.imported import ImportedVectors


def import_store(
    file: str | Path,
    *,
    encoder_name: str | None = None,
    ids: str | Path | None = None,
    id_column: str | None = None,
    vectors: Sequence[str] = (),
    licence: str = NOT_GIVEN,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> "ImportedVectors":
    """What became of a file of vectors of films that were made elsewhere: it is a store of the data set from now on.

    file: Parquet (one file or a folder), NumPy with `ids`, or HDF5. encoder_name: what made them; of vectors of other
    data sets that are given the same name and have as many dimensions, the store has the same key. ids: a text file
    with one id a line. id_column, vectors: columns of Parquet, or data sets of HDF5, where their names do not tell.
    Raises `StoreError` for a file without vectors of a film of the data set, and for two vectors of one film.
    """
    from cxremb.embedding.hdf5_files import open_vectors
    from cxremb.embedding.imported import import_vectors
    from cxremb.embedding.vector_files import VectorColumns

    found = data_set(dataset, root)
    columns = VectorColumns(None if ids is None else Path(ids), id_column, tuple(vectors))
    done = import_vectors(
        found, open_vectors(Path(file), columns), encoder_name=encoder_name, licence=licence, progress=progress
    )
    if done.unknown:
        more = f" and {done.unknown - 3:,} more" if done.unknown > 3 else ""
        what = f"{count_of(done.unknown, 'id')} in the file that {found.name} does not have"
        remark([f"{what}: {', '.join(done.examples[:3])}{more}"])
    return done
