"""Rows with their labels, or one modality, exchanged at random: nothing of either may cross from part to part."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxremb.features import Features
from cxremb.training.data import Place, Rows
from cxremb.training.parts import Parts

Places = NDArray[np.int64]


def labels_drawn(features: Features, parts: Parts, place: Place) -> NDArray[np.float64]:
    """(n, k) the labels that the model at a place learns: those of another patient in the same part, anew for each."""
    rng = np.random.default_rng([place.repeat, place.seed, place.fold, 0])
    places: Places = np.unique(parts, return_inverse=True)[1].reshape(-1)
    return features.y[draw_patients(places, features, rng)]


def exchanged(rows: Rows, parts: Sequence[Parts], *, what: str, draw: tuple[int, int]) -> Rows:
    """The rows with the vectors of a modality exchanged among those that share a part in every fold, test as well.

    parts: of every fold that reads them, so that nothing leaves its part in any. draw: repeat and seed.
    """
    rng = np.random.default_rng([*draw, 1 + list(rows.blocks).index(what)])
    places = np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1)
    order = draw_rows(places, rng)
    blocks = {**rows.blocks, what: rows.blocks[what][order]}
    return replace(rows, blocks=blocks, present={**rows.present, what: rows.present[what][order]})


def draw_rows(places: Places, rng: np.random.Generator) -> Places:
    """(n,) the row that each row gets something from: one of its own place, each given once."""
    order = np.arange(len(places))
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        order[here] = rng.permutation(here)
    return order


def draw_patients(places: Places, features: Features, rng: np.random.Generator) -> Places:
    """(n,) the row that each row gets its labels from: all rows of a patient from one other of the same place.

    The films of a study stay alike, and the studies of a patient become those of the other, in turn: were rows drawn
    one by one, the labels of a patient's rows would disagree, which true labels seldom do.
    """
    studies: dict[tuple[int, str], dict[str, int]] = {}  # patient in a place -> study -> its first row
    for row, unit in enumerate(zip(places.tolist(), features.patient_ids.tolist(), strict=True)):
        studies.setdefault(unit, {}).setdefault(str(features.study_ids[row]), row)
    units = list(studies)
    giver = draw_rows(np.array([place for place, _ in units]), rng)
    given: dict[tuple[tuple[int, str], str], int] = {}
    for unit, number in zip(units, giver.tolist(), strict=True):
        theirs = list(studies[units[number]].values())
        given |= {(unit, study): theirs[turn % len(theirs)] for turn, study in enumerate(studies[unit])}
    columns = (places, features.patient_ids, features.study_ids)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([given[(place, patient), study] for place, patient, study in rows], dtype=np.int64)
