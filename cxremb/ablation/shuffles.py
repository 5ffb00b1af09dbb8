"""What is left of a head once labels or vectors are dealt out anew: nothing of either may cross from part to part."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.features import Features
from cxremb.training.data import Rows
from cxremb.training.fit import judged, member, refuse_diverged, rows_of
from cxremb.training.heads import HeadSpec
from cxremb.training.parts import Parts
from cxremb.training.plan import Plan
from cxremb.training.tables import Fitted
from cxremb.types import Progress

Places = NDArray[np.int64]
Cuts = Mapping[tuple[int, int], Parts]  # (repeat, fold) -> the part of each row

LABELS = "labels"  # what is shuffled; else a modality


def fit_shuffled(
    features: Features, head: HeadSpec, plan: Plan, cuts: Cuts, what: str, progress: Progress
) -> tuple[list[Fitted], float]:
    """(the models of the plan, seconds): labels are dealt anew for each repeat and seed, vectors for each repeat.

    what: `labels`, of patients that share a part in every fold of the repeat; or a modality, whose vectors are dealt
    among the rows that do, in training and in test. The models of one deal are trained as one stack. Their weights
    are not kept: there is nothing to predict with them.
    """
    from cxremb.training import loop

    rows, started = rows_of(features, head.blocks), time.perf_counter()
    deals = plan.seeds if what == LABELS else plan.seeds[:1]
    fitted = []
    for repeat in plan.repeats:
        for deal in deals:
            dealt = shuffled(rows, features, [cuts[repeat, fold] for fold in plan.folds], what, (repeat, deal))
            seeds = (deal,) if what == LABELS else plan.seeds
            places = replace(plan, repeats=(repeat,), seeds=seeds).places
            members = [member(cuts[repeat, place.fold], place) for place in places]
            trained = loop.fit_members(dealt, members, head, options=plan.options, progress=progress)
            for place, one in zip(places, trained, strict=True):
                refuse_diverged([(f"{plan.arm} with shuffled {what}", place, one)])
                fitted.append(replace(judged(dealt, head, one, place, cuts[repeat, place.fold]), weights={}))
    return fitted, time.perf_counter() - started


def shuffled(rows: Rows, features: Features, parts: Sequence[Parts], what: str, seed: Sequence[int]) -> Rows:
    """The rows with one thing dealt anew. parts: of every fold, so that nothing leaves its part in any of them."""
    rng = np.random.default_rng([*seed, 0 if what == LABELS else 1 + list(rows.blocks).index(what)])
    places = np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1)
    if what == LABELS:
        return replace(rows, y=features.y[deal_patients(places, features, rng)])
    order = deal_rows(places, rng)
    blocks = {**rows.blocks, what: rows.blocks[what][order]}
    return replace(rows, blocks=blocks, present={**rows.present, what: rows.present[what][order]})


def deal_rows(places: Places, rng: np.random.Generator) -> Places:
    """(n,) the row that each row gets something from: one of its own place, each given once."""
    order = np.arange(len(places))
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        order[here] = rng.permutation(here)
    return order


def deal_patients(places: Places, features: Features, rng: np.random.Generator) -> Places:
    """(n,) the row that each row gets its labels from: all rows of a patient from one other of the same place.

    The films of a study stay alike, and the studies of a patient become those of the other, in turn: were rows dealt
    one by one, the labels of a patient's rows would disagree, which true labels seldom do.
    """
    studies: dict[tuple[int, str], dict[str, int]] = {}  # patient in a place -> study -> its first row
    for row, unit in enumerate(zip(places.tolist(), features.patient_ids.tolist(), strict=True)):
        studies.setdefault(unit, {}).setdefault(str(features.study_ids[row]), row)
    units = list(studies)
    giver = deal_rows(np.array([place for place, _ in units]), rng)
    given: dict[tuple[tuple[int, str], str], int] = {}
    for unit, number in zip(units, giver.tolist(), strict=True):
        theirs = list(studies[units[number]].values())
        given |= {(unit, study): theirs[turn % len(theirs)] for turn, study in enumerate(studies[unit])}
    columns = (places, features.patient_ids, features.study_ids)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([given[(place, patient), study] for place, patient, study in rows], dtype=np.int64)


def parameters_of(head: HeadSpec, features: Features) -> int:
    """Trainable parameters of one model."""
    dims = {block: features.blocks[block].shape[-1] for block in head.blocks}
    return head.parameters(dims, features.task, len(features.labels))


def spec_of(head: HeadSpec, what: str) -> dict[str, object]:
    """What enters the run's key besides the plan."""
    return {"shuffled": what, "head": asdict(head)}
