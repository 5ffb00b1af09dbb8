"""What stands below the arms: the same rows and folds answered from shuffled labels or vectors, or without a model."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from cxremb.ablation.arms import parse_arms
from cxremb.ablation.compare import ArmResult, row_of
from cxremb.ablation.guesses import (
    GuessInput,
    Predict,
    by_look_up,
    facts_left_out,
    guess_all,
    length_of,
    majority,
    metadata_of,
    texts_of,
)
from cxremb.ablation.trial import Trial
from cxremb.ablation.words import by_words
from cxremb.audit.overlap import identical_images
from cxremb.audit.subject import FAIL, open_subject
from cxremb.features import Features
from cxremb.labels import read_labels
from cxremb.predictions import LabelAuroc, Predictions, auroc_by_label
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.finish import finish_run, key_of
from cxremb.training.fit import fit_run
from cxremb.training.heads import find_head
from cxremb.training.options import Options
from cxremb.training.parts import parts_of_plan
from cxremb.training.plan import LABELS, FitJob, Plan
from cxremb.training.presets import find_preset
from cxremb.training.record import CONTROL
from cxremb.training.runs import Run, find_run
from cxremb.training.scores import draws_of, with_draws
from cxremb.types import Progress, unwatched

# Draws of labels: the direction that a head learns from one is random, and may happen to be a good one. Each model has
# one of its own, so ten models of five folds tell as much as five draws did that all folds shared, of 25 models.
DRAWS, MOST_SEEDS = 10, 5
NOT_TESTABLE = "not testable here"
PATIENT, METADATA = "patient", "metadata"
NOBODY_SHARED = f"{NOT_TESTABLE}: no test patient is in train, so it has nothing to look up"
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
    Control("label-shuffle", "labels drawn anew among training patients for each model", LABELS, at_chance=True),
    Control("text-shuffle", "texts drawn anew among the rows of each part", "text", reads="text"),
    Control("image-shuffle", "films drawn anew among the rows of each part", "image", reads="image"),
    Control(PATIENT, "the mean label of the patient's training rows", at_chance=True),
    Control("length", "how many words the text has, by a small tree", reads="text"),
    Control(METADATA, "view, size, which sections are empty, by a small tree"),
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
    draws: tuple[float, ...] = ()  # of what is shuffled: the AUROC of each draw
    worst: LabelAuroc | None = None  # of several labels, if it is no shuffle: the one that it tells most surely
    copies: str = ""  # of label-shuffle, which cannot see them: films of train that are in val or test too, in words
    lacks: str = ""  # of metadata: the facts that it does not read, in words

    @property
    def is_testable(self) -> bool:
        """Whether these rows could have shown anything."""
        return not (self.reason or "").startswith(NOT_TESTABLE)

    @property
    def in_its_place(self) -> str:
        """What stands where the figure would, if there is none."""
        return "not made" if self.is_testable else NOT_TESTABLE


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
    found = [one_control(reference, control, progress) for control in CONTROLS]
    if "image" not in features.blocks:
        return found
    copies = copied_films(dataset, split, features.label_set)
    return [replace(one, copies=copies) if one.shuffles == LABELS else one for one in found]


def copied_films(dataset: Dataset, split: StoredSplit, label_set: str) -> str:
    """What `cxremb audit` says of films with the same bytes in train, if there are any, and why it matters here.

    One film under two patient ids is learnt by heart; shuffled labels are too, and are wrong in test, so that no
    shuffle of labels can tell.
    """
    found = identical_images(open_subject(dataset, split, read_labels(dataset, label_set)))
    if found.status != FAIL:
        return ""
    return f"{found.measured}: their labels can be remembered, which no control sees; {found.remedy}"


def head_for(features: Features, reference: str) -> str:
    """The reference's head if these rows have what it reads, else the one for what they have."""
    arm = parse_arms([reference], [features.text] if features.text else [])[0]
    named = "image" if arm.is_zero_shot else arm.head_name
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
    if why := why_not(control, reference.features.blocks, head=name, blocks=blocks):
        return replace(result, reason=why)
    if control.name == PATIENT and not shares_patients(reference):
        return replace(result, reason=NOBODY_SHARED)
    shuffles = control.shuffles
    run = fit_run(shuffle_job(reference, control), progress) if shuffles else guess_run(reference, control.name)
    draws = draws_of(run.predictions(), shuffles) if shuffles else ()
    alone = shuffles in blocks and len(blocks) == 1  # nothing else is there to read
    several = len(run.record.labels) > 1 and not shuffles
    return replace(
        result,
        row=row_of_control(run, run.predictions(), draws),
        at_chance=control.at_chance or alone,
        reference=name if shuffles else "",
        folder=str(run.folder),
        draws=draws,
        worst=next(iter(auroc_by_label(run.predictions())), None) if several else None,
        lacks=facts_left_out(reference.dataset, run.predictions()) if control.name == METADATA else "",
    )


def why_not(control: Control, there: Collection[str], *, head: str, blocks: Sequence[str]) -> str | None:
    """Why a control is not made. there: what the rows have; head, blocks: that of the reference, and what it reads."""
    if control.reads and control.reads not in there:
        return f"no arm here reads {control.reads}s"
    if control.shuffles not in (None, LABELS, *blocks):
        return f"{head} reads no {control.shuffles}s"
    return None


def shares_patients(reference: FitJob) -> bool:
    """Whether a patient of test is in train, in any fold."""
    plan, patients = reference.plan, reference.features.patient_ids
    parts = parts_of_plan(reference.features, reference.split, plan, blocks=()).values()
    return any(np.isin(patients[own == "test"], patients[own == "train"]).any() for own in parts)


def row_of_control(run: Run, test: Predictions, draws: Sequence[float]) -> ArmResult:
    """The figures of a control, as those of an arm. test: its test rows, or some of them."""
    row = row_of(run.arm, run, test)
    return replace(row, auroc=with_draws(row.auroc, draws, run.record.shuffled))


def shuffle_job(reference: FitJob, control: Control) -> FitJob:
    """The reference's head on shuffled labels or vectors.

    Labels are drawn for each model, on one repeat; vectors are trained on as the reference is.
    """
    plan = replace(reference.plan, arm=CONTROL + control.name)
    if control.shuffles == LABELS:
        first, times = plan.seeds[0], min(MOST_SEEDS, ceil(DRAWS / len(plan.folds)))
        plan = replace(plan, repeats=plan.repeats[:1], seeds=tuple(range(first, first + times)))
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
    facts = {"length": length_of, METADATA: metadata_of}
    if name == "tf-idf":
        texts = texts_of(dataset, features)
        return GuessInput(texts), lambda: by_words(features, texts), ("text",)
    if name in facts:
        known = facts[name](dataset, reference.split, features)
        return known, lambda: by_look_up(features, known.fact), ("text",) if name == "length" else ()
    if name == PATIENT:
        return GuessInput(), lambda: by_look_up(features, None), ()
    return GuessInput(), lambda: majority(features), ()
