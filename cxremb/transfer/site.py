"""A control: how well a vector tells which of two collections it is of. What a head may learn in place of a finding."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cxremb.evaluation.bootstrap import Interval
from cxremb.predictions import Predictions
from cxremb.training.data import Member, Rows
from cxremb.training.heads import HeadSpec
from cxremb.training.options import Options
from cxremb.training.parts import FEWEST_ROWS
from cxremb.transfer.gather import Together
from cxremb.types import Progress, unwatched

SITE = "site"
PATIENTS = 1_000  # of each collection at most: a difference that takes more to be seen is no shortcut


def site_control(
    together: Together,
    pairs: Iterable[frozenset[str]],
    head: HeadSpec,
    *,
    options: Options,
    seed: int,
    progress: Progress,
) -> dict[frozenset[str], Interval]:
    """Two names -> the AUROC of telling one from the other on new patients, with its interval over patients.

    By logistic regression on the vectors, whatever head is trained, and on the first fold of each: a random share of
    at most `PATIENTS` patients, as many of either, one row of each patient.
    """
    wanted = list(dict.fromkeys(pairs))
    found = {}
    for pair in progress(wanted, len(wanted), "telling collections apart"):
        a, b = sorted(pair)
        found[pair] = told_apart(together, (a, b), head, options=options, seed=seed, progress=unwatched)
    return found


def told_apart(
    together: Together, pair: tuple[str, str], head: HeadSpec, *, options: Options, seed: int, progress: Progress
) -> Interval:
    """The AUROC of one pair."""
    from cxremb.training.loop import fit_members, predict

    rows, parts, whose = drawn_rows(together, pair, seed)
    for part in ("train", "val", "test"):
        if min(int((parts[whose == side] == part).sum()) for side in (0, 1)) < (FEWEST_ROWS if part == "train" else 1):
            return Interval(None, None, None, reason=f"too few {part} patients to tell {' from '.join(pair)}")
    blocks, present = {}, {}
    for block in head.blocks:
        whole = [(together.named(name).features, rows[whose == side] - together.starts[name])
                 for side, name in enumerate(pair)]  # fmt: skip
        blocks[block] = np.concatenate([features.blocks[block][own] for features, own in whole])
        present[block] = np.concatenate([features.present[block][own] for features, own in whole])
    patients = together.ids["patients"][rows]
    data = Rows(blocks, present, whose.astype(np.float64)[:, None], "binary", patients)
    linear = HeadSpec(head.blocks, "linear")
    member = Member(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "val"), seed)
    (trained,) = fit_members(data, [member], linear, options=options, progress=progress)
    test = np.flatnonzero(parts == "test")
    said = predict(data, linear, trained.weights, index=test)
    zeros = np.zeros(len(test), dtype=np.int64)
    judged = Predictions(
        run=SITE,
        dataset="",
        unit="image",
        task="binary",
        labels=(SITE,),
        part=np.full(len(test), "test"),
        items=together.ids["items"][rows][test],
        studies=together.ids["studies"][rows][test],
        patients=patients[test],
        repeat=zeros,
        fold=zeros,
        seed=zeros,
        y=data.y[test],
        prob=said.prob,
        logit=said.logit,
    )
    return judged.interval(("auroc",))["auroc"]


def drawn_rows(
    together: Together, pair: tuple[str, str], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.str_], NDArray[np.int64]]:
    """(rows, the part of each, 0 or 1 for whose it is): one row of each patient, as many of either collection."""
    rng = np.random.default_rng(seed)
    found = []
    for name in pair:
        one = together.named(name)
        parts = next(iter(one.parts.values()))
        there = np.flatnonzero(parts != "")
        shuffled = rng.permutation(there)
        first = np.unique(one.features.patient_ids[shuffled], return_index=True)[1]
        found.append((name, rng.permutation(shuffled[first]), parts))
    n = min(PATIENTS, *(len(rows) for _, rows, _ in found))
    rows = np.concatenate([own[:n] + together.starts[name] for name, own, _ in found])
    parts = np.concatenate([parts[own[:n]] for _, own, parts in found])
    return rows, parts, np.repeat([0, 1], n)
