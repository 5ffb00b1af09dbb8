"""Does a fusion fuse? Each fusion beside its best additive projection and its best single arm, in figures and words."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.ablation.compare import ArmResult
from cxremb.ablation.recipes import difference_alone, factor_of
from cxremb.ablation.verdicts import signed
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.calibrate import probabilities
from cxremb.evaluation.emap import MOST, emap, interaction_share
from cxremb.evaluation.simultaneous import Contrast
from cxremb.features import Features
from cxremb.predictions import Predictions
from cxremb.table import UNDEFINED, short, span
from cxremb.training.plan import FitJob
from cxremb.training.runs import Run

ADDITIVE = ("linear", "late", "stacked")  # kinds of head whose logit is a sum of what image and text say

TO_TRY = ("stacked", "late")  # heads that weigh what each modality says as a whole


@dataclass(frozen=True)
class Fusing:
    """What a fusion gains over its best single arm, and what of its AUROC is lost with the interaction of both."""

    arm: str
    rows: int = 0
    auroc: float | None = None  # of the fusion, on these rows, within folds
    additive: float | None = None  # of its best additive projection
    interaction: Contrast | None = None  # the first minus the second, paired; None: its head is additive
    single: str = ""  # the best single arm
    single_auroc: float | None = None
    gain: Contrast | None = None  # over that arm, paired, with its interval
    share: float | None = None  # of the gain; it may lie outside 0 to 1; None unless the gain's interval lies above 0
    first_of: int = 1  # repeats and seeds: the figures are of the first
    notes: tuple[str, ...] = ()
    skipped: str = ""  # why there are no figures

    @property
    def words(self) -> str:
        """One line below the table, of what was measured."""
        where = f"On the first of {self.first_of} repeats and seeds: " if self.first_of > 1 else ""
        figures = f"AUROC {short(self.auroc, UNDEFINED)}, best additive projection {short(self.additive, UNDEFINED)}"
        start = f"Does {self.arm} fuse? {where}{figures}{self.interaction_in_words}"
        return "; ".join([start, self.gain_in_words, *self.notes])

    @property
    def interaction_in_words(self) -> str:
        """What the interaction of image and text does for the AUROC."""
        gap = self.interaction
        if gap is None:
            return ""
        if gap.low is None or gap.high is None:
            why = f" ({gap.reason})" if gap.reason else ""
            return f": an interaction of {signed(gap)}, without an interval{why}"
        if gap.low > 0:
            return f": an interaction of image and text adds {signed(gap)}"
        return f": its interaction costs {signed(gap)}" if gap.high < 0 else f": no interaction is shown, {signed(gap)}"

    @property
    def gain_in_words(self) -> str:
        """What the fusion gains over its best single arm, and how much of a sure gain a sure interaction is."""
        gap, over = self.gain, f"over the best single arm ({self.single}, {short(self.single_auroc, UNDEFINED)})"
        if gap is None or gap.value is None or gap.value <= 0:
            return f"no gain {over}"
        if gap.low is None or gap.low <= 0:
            return f"a gain of {signed(gap)} {over}, which may be chance"
        shown = self.interaction is not None and self.interaction.low is not None and self.interaction.low > 0
        share = f", {self.share:.0%} of it by interaction" if shown and self.share is not None else ""
        return f"a gain of {signed(gap)} {over}{share}"


def fusings(jobs: Sequence[FitJob], runs: Mapping[str, Run], judged: Collection[str]) -> list[Fusing]:
    """One answer for every arm that reads both modalities when it is tested. On the first repeat and seed.

    judged: the test items of the table. Where these are studies, an arm whose rows are films answers on all of them.
    """
    fusions = [job for job in jobs if len(job.blocks) == 2 and not job.missing]
    firsts = {arm: first_pool(run, judged) for arm, run in runs.items()}
    return [
        does_it_fuse(job, runs[job.plan.arm], firsts, singles=singles_of(runs[job.plan.arm], runs)) for job in fusions
    ]


def better_alone(reference: str, runs: Mapping[str, Run], rows: Sequence[ArmResult]) -> Iterator[str]:
    """A sentence for each arm of one modality that beats the reference, a fusion that reads the same vectors of it.

    rows: the table, whose differences are to the reference. It counts if the paired interval lies above 0.
    """
    run = runs[reference]
    found = [name for names in arms_alone(run, runs).values() for name in names] if len(run.record.dims) == 2 else []
    for row in rows:
        gap = row.difference
        if row.arm not in found or gap is None or gap.value is None or gap.low is None or gap.high is None:
            continue
        if gap.low > 0:
            heads = [head for head in TO_TRY if run.record.spec.get("kind") != head]
            yield (
                f"{row.arm} alone beats {reference} by AUROC {span(gap.value, gap.low, gap.high)}: what the "
                "other modality adds costs more than it tells. Try heads that weigh few numbers, `cxremb ablate "
                f'--arms "{row.arm},fusion[head=mlp|{"|".join(heads)}]"`, or an encoder of fewer dimensions'
            )


def first_pool(run: Run, judged: Collection[str]) -> Predictions:
    """The test rows of the first repeat and seed, those that are judged, ordered by item."""
    pool = run.predictions().pools[0]
    pool = pool.take(np.lexsort((pool.fold, pool.items)))
    here = np.isin(pool.items, list(judged))
    return pool.take(here) if here.any() else pool


def singles_of(run: Run, runs: Mapping[str, Run]) -> list[str]:
    """The arms that read but one modality of the very vectors that this one reads, from as many patients."""
    found = arms_alone(run, runs)
    return [name for names in found.values() for name in names] if len(found) == 2 else []


def arms_alone(run: Run, runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Modality -> the arms that read it alone, as the very vectors that this one reads, from as many patients."""
    found: dict[str, list[str]] = {}
    for arm, other in runs.items():
        blocks = [] if other.record.is_zero_shot else list(other.record.dims)  # which learns from nobody
        if len(blocks) == 1 and read_of(other, blocks[0]) == read_of(run, blocks[0]):
            found.setdefault(blocks[0], []).append(arm)
    return found


def read_of(run: Run, block: str) -> tuple[object, ...]:
    """Which vectors of a modality a run reads, of which rows, and from how many patients it learns."""
    record = run.record
    store = dict(zip(record.dims, record.stores, strict=False)).get(block)
    text = record.text if block == "text" else None
    learnt = record.train_fraction, record.shots, record.label_policy, record.dims.get(block)
    return store, record.pooling.get(block), text, record.unit, record.views, *learnt


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
    full, projection = actual.area().area, additive.area().area
    scores = {single: pools[single].take(rows).area().area for single in singles}
    known = {single: score for single, score in scores.items() if score is not None}
    if full is None or projection is None or not known:
        return Fusing(name, skipped="AUROC is undefined on these rows")
    factor, models = 1.0, len(run.record.folds)  # of the first repeat; of one fold, what is said is of its model
    if models > 1:
        factor = factor_of(run, len(np.unique(actual.patients)), models=models)
    best = max(known, key=lambda single: known[single])
    interaction = None if job.head.kind in ADDITIVE else difference_alone(actual, additive, factor=factor)
    gain = difference_alone(actual, pools[best].take(rows), factor=factor)
    sure = gain.low is not None and gain.low > 0
    share = interaction_share(full, projection, known[best]) if sure else None
    first_of = len(run.record.repeats) * len(run.record.seeds)
    return Fusing(name, len(rows), full, projection, interaction, best, known[best], gain, share, first_of, notes)


def projected(
    job: FitJob, run: Run, pool: Predictions
) -> tuple[Predictions, Predictions, NDArray[np.intp], tuple[str, ...]]:
    """(test rows as they are, with additive predictions, which rows of the pool these are, what to know)."""
    place = {item: row for row, item in enumerate(job.features.item_ids.tolist())}
    rows = np.array([place[item] for item in pool.items.tolist()], dtype=np.intp)
    both = np.all([present_rows(job.features, block) for block in job.blocks], axis=0)[rows]
    from cxremb.ablation.pairs import pairings_of  # torch takes seconds to import

    weights = run.weights()
    first = run.record.members[0]
    found, notes = [], set()
    for fold in np.unique(pool.fold).tolist():
        here = np.flatnonzero((pool.fold == fold) & both)
        if len(here) < 2:
            continue
        name = f"repeat{first.repeat}.fold{fold}.seed{first.seed}"
        pairings = pairings_of(job, weights[name], rows[here])
        result = emap(pairings.logits, len(here), means=pairings.means, seed=fold)
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
