"""Rows with their labels, or one modality, exchanged at random: nothing of either may cross from part to part."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxremb.features import Features
from cxremb.training.data import Place, Rows
from cxremb.training.parts import Parts
from cxremb.training.plan import LABELS, FitJob

Places = NDArray[np.int64]
Draw = tuple[int, ...]  # repeat and seed that one exchange is drawn with; of labels also the fold


def draw_of(job: FitJob, place: Place) -> Draw | None:
    """Which exchange the model at a place learns from: labels are drawn anew for each model, vectors for each repeat;
    None where nothing is shuffled.
    """
    if job.shuffles is None:
        return None
    return (place.repeat, place.seed, place.fold) if job.shuffles == LABELS else (place.repeat, job.plan.seeds[0])


def shuffled(rows: Rows, features: Features, parts: Sequence[Parts], *, what: str, draw: Draw) -> Rows:
    """The rows with one thing drawn anew. parts: of every fold that reads them, so that nothing leaves its part in any.

    what: `labels`, of patients that share a part in each of these folds; or a modality, whose vectors are exchanged
    among the rows that do, in training and in test.
    """
    rng = np.random.default_rng([*draw, 0 if what == LABELS else 1 + list(rows.blocks).index(what)])
    places = np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1)
    if what == LABELS:
        return replace(rows, y=features.y[draw_patients(places, features, rng)])
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
