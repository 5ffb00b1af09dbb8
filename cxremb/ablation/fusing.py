"""Does a fusion fuse? Each fusion beside its best additive projection and its best single arm, in figures and words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.ablation.compare import auroc_of
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.calibrate import probabilities
from cxremb.evaluation.emap import MOST, emap, interaction_share
from cxremb.features import Features
from cxremb.predictions import Predictions
from cxremb.training.plan import FitJob
from cxremb.training.runs import Run

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
        line = (
            f"Does {self.arm} fuse? AUROC {in_words(self.auroc)}, best additive projection {in_words(self.additive)}, "
            f"best single arm ({self.single}) {in_words(self.single_auroc)}: "
        )
        if self.share is None:
            line += "no gain to explain"
        else:
            line += f"{self.share:.0%} of the gain needs an interaction of image and text"
        return line + "".join(f"; {note}" for note in self.notes)


def in_words(value: float | None) -> str:
    """A figure in words."""
    return "undefined" if value is None else f"{value:.3f}"


def fusings(jobs: Sequence[FitJob], runs: Mapping[str, Run], judged: Collection[str]) -> list[Fusing]:
    """One answer for every arm that reads both modalities when it is tested. On the first repeat and seed.

    judged: the test items of the table. Where these are studies, an arm whose rows are films answers on all of them.
    """
    fusions = [job for job in jobs if len(job.blocks) == 2 and not job.missing]
    firsts = {arm: first_pool(run, judged) for arm, run in runs.items()}
    return [does_it_fuse(job, runs[job.plan.arm], firsts, singles=singles_of(job, jobs)) for job in fusions]


def first_pool(run: Run, judged: Collection[str]) -> Predictions:
    """The test rows of the first repeat and seed, those that are judged, ordered by item."""
    pool = run.predictions().pools[0]
    pool = pool.take(np.lexsort((pool.fold, pool.items)))
    here = np.isin(pool.items, list(judged))
    return pool.take(here) if here.any() else pool


def singles_of(job: FitJob, jobs: Sequence[FitJob]) -> list[str]:
    """The arms that read but one modality of the very vectors that this one reads, from as many patients."""
    found: dict[str, list[str]] = {}
    for other in jobs:
        same = other.features.item_ids.tolist() == job.features.item_ids.tolist()
        as_many = other.train_fraction == job.train_fraction
        if len(other.blocks) == 1 and same and as_many and alike(job, other, other.blocks[0]):
            found.setdefault(other.blocks[0], []).append(other.plan.arm)
    return [name for names in found.values() for name in names] if len(found) == 2 else []


def alike(job: FitJob, other: FitJob, block: str) -> bool:
    """Whether both read the same vectors of a modality."""
    text = block != "text" or job.features.text == other.features.text
    facts = (job.features.stores, other.features.stores), (job.features.pooling, other.features.pooling)
    return text and all(mine.get(block) == theirs.get(block) for mine, theirs in facts)


def does_it_fuse(job: FitJob, run: Run, pools: Mapping[str, Predictions], *, singles: Sequence[str]) -> Fusing:
    """The answer for one arm. pools: arm -> its test rows."""
    name = job.plan.arm
    if not singles:
        return Fusing(name, skipped="the table lacks an arm of the same films alone, or of the same text alone")
    pool = pools[name]
    if job.head.kind in ADDITIVE:
        notes: tuple[str, ...] = (f"its head, {job.head.kind}, is additive whatever it learns",)
        actual, additive, rows = pool, pool, np.arange(len(pool.items))
    else:
        actual, additive, rows, notes = projected(job, run, pool)
    if not len(rows):
        return Fusing(name, skipped="no fold has two test rows with both image and text")
    full, projection = auroc_of(actual), auroc_of(additive)
    scores = {single: auroc_of(pools[single].take(rows)) for single in singles}
    known = {single: score for single, score in scores.items() if score is not None}
    if full is None or projection is None or not known:
        return Fusing(name, skipped="AUROC is undefined on these rows")
    best = max(known, key=lambda single: known[single])
    share = interaction_share(full, projection, known[best])
    return Fusing(name, len(rows), full, projection, best, known[best], share, notes)


def projected(
    job: FitJob, run: Run, pool: Predictions
) -> tuple[Predictions, Predictions, NDArray[np.intp], tuple[str, ...]]:
    """(test rows as they are, with additive predictions, which rows of the pool these are, what to know)."""
    place = {item: row for row, item in enumerate(job.features.item_ids.tolist())}
    rows = np.array([place[item] for item in pool.items.tolist()], dtype=np.intp)
    both = np.all([present_rows(job.features, block) for block in job.blocks], axis=0)[rows]
    from cxremb.ablation.pairs import pair_logits  # torch takes seconds to import

    weights = run.weights()
    first = run.record.members[0]
    found, notes = [], set()
    for fold in np.unique(pool.fold).tolist():
        here = np.flatnonzero((pool.fold == fold) & both)
        if len(here) < 2:
            continue
        name = f"repeat{first.repeat}.fold{fold}.seed{first.seed}"
        result = emap(pair_logits(job, weights[name], rows[here]), len(here), seed=fold)
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


def with_logits(pool: Predictions, rows: NDArray[np.intp], logits: Reals) -> Predictions:
    """Some rows of the pool, with other predictions."""
    return replace(pool.take(rows), logit=logits, prob=probabilities(logits, pool.task))
