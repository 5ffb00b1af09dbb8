"""What stands below the arms: the same rows and folds answered from shuffled labels or vectors, or without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from cxremb.ablation.arms import parse_arms
from cxremb.ablation.compare import ArmResult, auroc_of, row_of
from cxremb.ablation.guesses import (
    GuessInput,
    Predict,
    by_look_up,
    by_words,
    guess_all,
    length_of,
    majority,
    metadata_of,
    texts_of,
)
from cxremb.ablation.trial import Trial
from cxremb.evaluation.bootstrap import Interval
from cxremb.features import Features
from cxremb.predictions import Predictions
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.finish import finish_run, key_of
from cxremb.training.fit import fit_run
from cxremb.training.heads import find_head
from cxremb.training.options import Options
from cxremb.training.plan import FitJob, Plan
from cxremb.training.presets import find_preset
from cxremb.training.record import CONTROL
from cxremb.training.runs import Run, find_run
from cxremb.training.shuffles import LABELS
from cxremb.types import Progress, unwatched

DRAWS = 5  # of labels: the direction that a head learns from one draw is random, and may happen to be a good one
NO_RECIPE = "none"  # the preset of what is not trained


@dataclass(frozen=True)
class Control:
    """One line of the lower block. shuffles: `labels` or a modality; else `guess` answers without a head."""

    name: str
    means: str
    shuffles: str | None = None
    reads: str | None = None  # what must be there for it to make sense: image or text
    at_chance: bool = False  # whether it must not tell anything


CONTROLS = (
    Control("label-shuffle", f"labels drawn anew among training patients, {DRAWS} times", LABELS, at_chance=True),
    Control("text-shuffle", "texts drawn anew among the rows of each part", "text", reads="text"),
    Control("image-shuffle", "films drawn anew among the rows of each part", "image", reads="image"),
    Control("patient", "the mean label of the patient's training rows", at_chance=True),
    Control("length", "how many words the text has, by a small tree", reads="text"),
    Control("metadata", "view, size, which sections are empty, by a small tree"),
    Control("tf-idf", "logistic regression on words and pairs of words of the same text", reads="text"),
    Control("majority", "the same answer for every row"),
)


@dataclass(frozen=True)
class ControlResult:
    """One control, or why it was not made. `row` has its figures as those of an arm."""

    name: str
    means: str
    row: ArmResult | None
    reason: str | None = None  # why there is no row
    at_chance: bool = False  # it must not be above an AUROC of 0.5
    shuffles: str | None = None  # labels, or a modality
    reference: str = ""  # the head that it was trained with, if it was trained
    folder: str = ""  # of its run
    draws: tuple[float, ...] = ()  # of shuffled labels: the AUROC of each draw


def run_controls(
    dataset: Dataset,
    features: Features,
    split: StoredSplit,
    *,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> list[ControlResult]:
    """Every control of `CONTROLS`, on the rows, folds and repeats of the arms; what is finished is re-used.

    Each is kept as a run whose arm is `control:` and its name, without weights. Where the rows lack something that the
    reference reads, a head for what they have takes its place. Raises what `fit` raises of such rows.
    """
    trial = trial or Trial()
    head = head_for(features, trial.reference)
    plan = Plan(
        arm=head,
        preset=trial.preset,
        options=find_preset(trial.preset).options,
        folds=trial.folds or split.folds,
        repeats=trial.repeat_numbers,
        seeds=trial.seed_numbers,
    )
    reference = FitJob(dataset, features, split, plan)
    return [one_control(reference, control, progress) for control in CONTROLS]


def head_for(features: Features, reference: str) -> str:
    """The reference's head if these rows have what it reads, else the one for what they have."""
    named = parse_arms([reference], [features.text] if features.text else [])[0].head_name
    bag = any(block.ndim == 3 for block in features.blocks.values())
    for name in (named, "fusion", "text", "image", "attention", "attention-image"):
        head = find_head(name)
        pools_films = head.kind == "attention"
        if set(head.blocks) <= set(features.blocks) and pools_films == (bag and "image" in head.blocks):
            return name
    return named


def one_control(reference: FitJob, control: Control, progress: Progress) -> ControlResult:
    """One control of a reference: found among the runs, made now, or the reason why not."""
    result = ControlResult(control.name, control.means, None, at_chance=control.at_chance, shuffles=control.shuffles)
    blocks, name = reference.blocks, reference.plan.arm
    if control.reads and control.reads not in reference.features.blocks:
        return replace(result, reason=f"no arm here reads {control.reads}s")
    if control.shuffles not in (None, LABELS, *blocks):
        return replace(result, reason=f"{name} reads no {control.shuffles}s")
    shuffles = control.shuffles
    run = fit_run(shuffle_job(reference, control), progress) if shuffles else guess_run(reference, control.name)
    draws = draws_of(run) if shuffles == LABELS else ()
    alone = shuffles in blocks and len(blocks) == 1  # nothing else is there to read
    return replace(
        result,
        row=row_of_control(run, run.predictions(), draws),
        at_chance=control.at_chance or alone,
        reference=name if shuffles else "",
        folder=str(run.folder),
        draws=draws,
    )


def draws_of(run: Run) -> tuple[float, ...]:
    """The AUROC of each pool that has one."""
    found = (auroc_of(pool) for pool in run.predictions().pools)
    return tuple(value for value in found if value is not None)


def row_of_control(run: Run, test: Predictions, draws: Sequence[float]) -> ArmResult:
    """The figures of a control, as those of an arm. test: its test rows, or some of them."""
    row = row_of(run.arm, run, test)
    return replace(row, auroc=widened(row.auroc, draws))


def widened(auroc: Interval, draws: Sequence[float]) -> Interval:
    """The interval over patients and over draws: Student's t on the sum of the two variances, cut to [0, 1].

    The head of one draw points somewhere at random. Where the vectors tell the classes well, it may point at the truth
    or away from it, by far more than other patients would move its AUROC.
    """
    if auroc.value is None or auroc.low is None or auroc.high is None or len(draws) < 2:
        return auroc
    over_patients = ((auroc.high - auroc.low) / (2 * float(ndtri(0.975)))) ** 2
    over_draws = float(np.var(draws, ddof=1)) / len(draws)
    reach = float(stdtrit(len(draws) - 1, 0.975)) * float(np.sqrt(over_patients + over_draws))
    return replace(auroc, low=max(0.0, auroc.value - reach), high=min(1.0, auroc.value + reach))


def shuffle_job(reference: FitJob, control: Control) -> FitJob:
    """The reference's head on shuffled labels or vectors.

    Labels are drawn several times on one repeat; vectors are trained on as the reference is.
    """
    plan = replace(reference.plan, arm=CONTROL + control.name)
    if control.shuffles == LABELS:
        first = plan.seeds[0]
        plan = replace(plan, repeats=plan.repeats[:1], seeds=tuple(range(first, first + DRAWS)))
    return replace(reference, plan=plan, given_head=reference.head, shuffles=control.shuffles)


def guess_run(reference: FitJob, name: str) -> Run:
    """The run of a control that reads no vectors: one answer for each repeat and fold. What it reads enters the key."""
    known, guess, reads = guess_of(reference, name)
    options = Options(select="last", patience=None)
    plan = replace(
        reference.plan, arm=CONTROL + name, preset=NO_RECIPE, options=options, seeds=reference.plan.seeds[:1]
    )
    job = replace(reference, plan=plan, other={"guess": name, "reads": known.digest}, reads=reads, reads_stores=False)
    if done := find_run(job.dataset, key_of(job)):
        return replace(done, reused=True)
    return finish_run(job, guess_all(job, guess()))


def guess_of(reference: FitJob, name: str) -> tuple[GuessInput, Callable[[], Predict], Sequence[str]]:
    """(what it reads, its rule, which modalities that makes it read)."""
    dataset, features = reference.dataset, reference.features
    facts = {"length": length_of, "metadata": metadata_of}
    if name == "tf-idf":
        texts = texts_of(dataset, features)
        return GuessInput(texts), lambda: by_words(features, texts), ("text",)
    if name in facts:
        known = facts[name](dataset, reference.split, features)
        return known, lambda: by_look_up(features, known.fact), ("text",) if name == "length" else ()
    if name == "patient":
        return GuessInput(), lambda: by_look_up(features, None), ()
    return GuessInput(), lambda: majority(features), ()
