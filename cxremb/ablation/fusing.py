"""Does a fusion fuse? Each fusion beside its best additive projection and its best single arm, in figures and words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.ablation.fit import Job
from cxremb.ablation.pools import Pool, pool_figures, pools_of
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.emap import emap, interaction_share
from cxremb.evaluation.parts import probabilities
from cxremb.features import Features
from cxremb.training.runs import Run

MOST = 1000  # rows a fold: a million pairings each, half a second for a head of 256 units
BLOCK = 100  # images at a time: with 1,000 texts and 256 units, 100 MB
ADDITIVE = ("linear", "late")  # kinds of head whose logit is a sum of what image and text say


@dataclass(frozen=True)
class Fusing:
    """What a fusion gains over its best single arm, and how much of that needs image and text to interact."""

    arm: str
    rows: int = 0
    auroc: float | None = None  # of the fusion, on these rows
    additive: float | None = None  # of its best additive projection
    single: str = ""  # the best single arm
    single_auroc: float | None = None
    share: float | None = None  # of the gain; it may lie outside 0 to 1
    notes: tuple[str, ...] = ()
    skipped: str = ""  # why there are no figures

    @property
    def words(self) -> str:
        """One line below the table, of what was measured."""
        told = (
            f"Does {self.arm} fuse? AUROC {shown(self.auroc)}, best additive projection {shown(self.additive)}, "
            f"best single arm ({self.single}) {shown(self.single_auroc)}: "
        )
        if self.share is None:
            told += "no gain to explain"
        else:
            told += f"{self.share:.0%} of the gain needs an interaction of image and text"
        return told + "".join(f"; {note}" for note in self.notes)


def shown(value: float | None) -> str:
    """A figure in words."""
    return "undefined" if value is None else f"{value:.3f}"


def fusings(jobs: Sequence[Job], runs: Mapping[str, Run], judged: Collection[str]) -> list[Fusing]:
    """One answer for every arm that reads both modalities when it is tested. On the first repeat and seed.

    judged: the test items of the table. Where these are studies, an arm whose rows are films answers on all of them.
    """
    asked = [job for job in jobs if len(job.arm.head.blocks) == 2 and not job.arm.get("missing")]
    firsts = {arm: first_pool(run, judged) for arm, run in runs.items()}
    return [does_it_fuse(job, runs[job.plan.arm], firsts, singles_of(job, jobs)) for job in asked]


def first_pool(run: Run, judged: Collection[str]) -> Pool:
    """The test rows of the first repeat and seed, those that are judged."""
    pool = pools_of(run)[0]
    here = np.isin(pool.items, list(judged))
    return pool.take(here) if here.any() else pool


def singles_of(job: Job, jobs: Sequence[Job]) -> list[str]:
    """The arms that read but one modality of the very vectors that this one reads, from as many patients."""
    found: dict[str, list[str]] = {}
    for other in jobs:
        blocks = other.arm.head.blocks
        same = other.features.item_ids.tolist() == job.features.item_ids.tolist()
        if len(blocks) == 1 and same and other.arm.fraction == job.arm.fraction and alike(job, other, blocks[0]):
            found.setdefault(blocks[0], []).append(other.plan.arm)
    return [name for names in found.values() for name in names] if len(found) == 2 else []


def alike(job: Job, other: Job, block: str) -> bool:
    """Whether both read the same vectors of a modality."""
    text = block != "text" or job.features.text == other.features.text
    facts = (job.features.stores, other.features.stores), (job.features.pooling, other.features.pooling)
    return text and all(mine.get(block) == theirs.get(block) for mine, theirs in facts)


def does_it_fuse(job: Job, run: Run, pools: Mapping[str, Pool], singles: Sequence[str]) -> Fusing:
    """The answer for one arm. pools: arm -> its test rows."""
    name = job.plan.arm
    if not singles:
        return Fusing(name, skipped="the table lacks an arm of the same films alone, or of the same text alone")
    pool = pools[name]
    if job.arm.head.kind in ADDITIVE:
        notes: tuple[str, ...] = (f"its head, {job.arm.head.kind}, is additive whatever it learns",)
        actual, additive, rows = pool, pool, np.arange(len(pool.items))
    else:
        actual, additive, rows, notes = projected(job, run, pool)
    if not len(rows):
        return Fusing(name, skipped="no fold has two test rows with both image and text")
    full, projection = pool_figures(actual)["auroc"], pool_figures(additive)["auroc"]
    scores = {single: pool_figures(pools[single].take(rows))["auroc"] for single in singles}
    known = {single: score for single, score in scores.items() if score is not None}
    if full is None or projection is None or not known:
        return Fusing(name, skipped="AUROC is undefined on these rows")
    best = max(known, key=lambda single: known[single])
    share = interaction_share(full, projection, known[best])
    return Fusing(name, len(rows), full, projection, best, known[best], share, notes)


def projected(job: Job, run: Run, pool: Pool) -> tuple[Pool, Pool, NDArray[np.intp], tuple[str, ...]]:
    """(test rows as they are, with additive predictions, which rows of the pool these are, what to know)."""
    place = {item: row for row, item in enumerate(job.features.item_ids.tolist())}
    rows = np.array([place[item] for item in pool.items.tolist()], dtype=np.intp)
    both = np.all([present_rows(job.features, block) for block in job.arm.head.blocks], axis=0)[rows]
    from cxremb.ablation.pairs import pair_logits  # torch takes seconds to import

    weights = run.weights()
    first = run.record["members"][0]
    found, notes = [], set()
    for fold in np.unique(pool.folds).tolist():
        here = np.flatnonzero((pool.folds == fold) & both)
        if len(here) < 2:
            continue
        name = f"repeat{first['repeat']}.fold{fold}.seed{first['seed']}"
        result = emap(pair_logits(job, weights[name], rows[here]), len(here), BLOCK, MOST, seed=fold)
        found.append((result.actual, result.additive, here[result.rows]))
        if result.note:
            notes.add(f"on {MOST:,} test rows of a fold, drawn at random")
    if not found:
        return pool, pool, np.zeros(0, dtype=np.intp), ()
    actual, additive, kept = (np.concatenate(side) for side in zip(*found, strict=True))
    return with_logits(pool, kept, actual), with_logits(pool, kept, additive), kept, tuple(notes)


def present_rows(features: Features, block: str) -> NDArray[np.bool_]:
    """(n,) whether anything of the modality is there."""
    there = features.present[block]
    return np.asarray(there.reshape(len(there), -1).any(axis=1))


def with_logits(pool: Pool, rows: NDArray[np.intp], logits: Reals) -> Pool:
    """Some rows of the pool, with other predictions."""
    return replace(pool.take(rows), prob=probabilities(logits, pool.task))
