"""How far each item lies from what the model was trained on that tested it: what `predict` calls unusual."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.explorer.mapping import Say, section_shown, studies_of
from cxremb.inference.distance import NEIGHBOUR, TRAIN_ROWS, distances, drawn, patients_of
from cxremb.splits.stored import StoredSplit, by_patients_of_now, fold_parts, read_split
from cxremb.store.dataset import Dataset
from cxremb.store.maps import DISTANCES, write_distances
from cxremb.store.matrices import Matrix
from cxremb.store.reader import Store

BLOCK_ROWS = 2048  # test rows between two words on how far it is


def make_distances(dataset: Dataset, store: Store, split: str, *, say: Say) -> Path:
    """The file of the distances in a store, for a split called `name@key`. Raises `StoreError` if it is gone."""
    stored = by_patients_of_now(dataset, read_split(dataset.paths.splits / f"{split}.parquet"))
    section = section_shown(store)
    matrix = store.load(section)
    ids = matrix.ids.to_pylist()
    studies = studies_of(dataset, ids)
    columns: dict[str, list[object]] = {name: [] for name in DISTANCES.names}
    names, patients = ids if stored.by_image else studies, patients_of(dataset, studies)
    for (repeat, fold), rows, far in measured(stored, matrix, names, patients=patients, say=say):
        items = [ids[row] for row in rows.tolist()]
        own = [studies[row] for row in rows.tolist()]
        same = ([value] * len(items) for value in (section, split, repeat, fold))
        for name, values in zip(DISTANCES.names, (items, own, *same, far.tolist()), strict=True):
            columns[name] += values
    return write_distances(dataset, store, split, table=pa.table(columns, schema=DISTANCES))


Measured = tuple[tuple[int, int], NDArray[np.int64], NDArray[np.float64]]


def measured(
    stored: StoredSplit, matrix: Matrix, names: list[str], *, patients: NDArray[np.str_], say: Say
) -> Iterator[Measured]:
    """((repeat, fold), test rows, their distances) of each fold that has enough training rows.

    names: what the split calls each row of the matrix. patients: (n,) whose it is.
    """
    places = [(repeat, fold) for repeat in stored.repeats for fold in stored.folds]
    for number, (repeat, fold) in enumerate(places, 1):
        parts = fold_parts(stored.table, repeat, fold)
        part = np.array([parts.get(name, "") for name in names])
        train, test = (np.flatnonzero(part == which) for which in ("train", "test"))
        if len(train) < NEIGHBOUR or not len(test):
            continue
        sample, far = drawn(train, TRAIN_ROWS), []
        for start in range(0, len(test), BLOCK_ROWS):
            rows = test[start : start + BLOCK_ROWS]
            far.append(distances(matrix, matrix.vectors[rows], sample, own=patients[rows], patients=patients))
            done = min(len(test), start + BLOCK_ROWS)
            say(f"distances: {done:,} of {len(test):,} rows of fold {number} of {len(places)}")
        yield (repeat, fold), test, np.concatenate(far)
