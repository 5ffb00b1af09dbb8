"""What stands below the arms: the same rows and folds answered from shuffled labels or vectors, or without a model."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from cxremb.ablation.arms import parse_arms
from cxremb.ablation.compare import ArmResult, row_of
from cxremb.ablation.guesses import (
    Known,
    Predict,
    by_look_up,
    by_words,
    guess_all,
    length_of,
    majority,
    metadata_of,
    texts_of,
)
from cxremb.ablation.pools import Pool, figures_of, pools_of
from cxremb.ablation.shuffles import LABELS, fit_shuffled, parameters_of, spec_of
from cxremb.ablation.trial import Trial
from cxremb.ablation.verdicts import verdicts
from cxremb.evaluation.bootstrap import Interval
from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.finish import Made, finish_run, run_key
from cxremb.training.heads import find_head
from cxremb.training.options import Options
from cxremb.training.parts import parts_of_plan
from cxremb.training.plan import Plan
from cxremb.training.presets import find_preset
from cxremb.training.runs import CONTROL, Run, find_run
from cxremb.types import Progress, unwatched

__all__ = ["CONTROLS", "Control", "ControlResult", "run_controls", "verdicts"]

DEALS = 5  # of labels: the direction that a head learns from one deal is random, and may happen to be a good one
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
    Control("label-shuffle", f"labels dealt anew among training patients, {DEALS} times", LABELS, at_chance=True),
    Control("text-shuffle", "texts dealt anew among the rows of each part", "text", reads="text"),
    Control("image-shuffle", "films dealt anew among the rows of each part", "image", reads="image"),
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
    deals: tuple[float, ...] = ()  # of shuffled labels: the AUROC of each deal


@dataclass(frozen=True)
class Bench:
    """What all controls of one call share."""

    dataset: Dataset
    features: Features
    split: StoredSplit
    head: str  # of the reference, where these rows have all that it reads
    plan: Plan  # its recipe, folds, repeats and seeds

    def of_data(self, control: Control) -> Plan:
        """The plan of a control that is not trained by the loop: one answer for each repeat and fold."""
        options = Options(select="last", patience=None)
        plan = replace(self.plan, preset=NO_RECIPE, options=options, seeds=self.plan.seeds[:1])
        return replace(plan, arm=CONTROL + control.name)

    def of_head(self, control: Control) -> Plan:
        """The plan of a shuffle: labels are dealt several times on one repeat, vectors as the reference is trained."""
        plan = replace(self.plan, arm=CONTROL + control.name)
        if control.shuffles != LABELS:
            return plan
        first = plan.seeds[0]
        return replace(plan, repeats=plan.repeats[:1], seeds=tuple(range(first, first + DEALS)))


def run_controls(
    dataset: Dataset,
    features: Features,
    split: StoredSplit,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> list[ControlResult]:
    """Every control of `CONTROLS`, on the rows, folds and repeats of the arms; what is finished is re-used.

    Each is kept as a run whose arm is `control:` and its name, without weights. Where the rows lack something that the
    reference reads, a head for what they have takes its place. Raises what `fit_runs` raises of such rows.
    """
    trial = trial or Trial()
    options = find_preset(trial.preset).options
    folds = trial.folds or split.folds
    head = head_for(features, trial.reference)
    plan = Plan(head, trial.preset, options, folds, trial.repeat_numbers, trial.seed_numbers)
    bench = Bench(dataset, features, split, head, plan)
    return [one_control(bench, control, progress) for control in CONTROLS]


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


def one_control(bench: Bench, control: Control, progress: Progress) -> ControlResult:
    """One control: found among the runs, made now, or the reason why not."""
    told = ControlResult(control.name, control.means, None, at_chance=control.at_chance, shuffles=control.shuffles)
    blocks = find_head(bench.head).blocks
    if control.reads and control.reads not in bench.features.blocks:
        return replace(told, reason=f"no arm here reads {control.reads}s")
    if control.shuffles not in (None, LABELS, *blocks):
        return replace(told, reason=f"{bench.head} reads no {control.shuffles}s")
    run = shuffle_run(bench, control, progress) if control.shuffles else guess_run(bench, control)
    deals = deals_of(run) if control.shuffles == LABELS else ()
    alone = control.shuffles in blocks and len(blocks) == 1  # nothing is left to read
    return replace(
        told,
        row=row_of_control(run, pools_of(run), deals),
        at_chance=control.at_chance or alone,
        reference=bench.head if control.shuffles else "",
        folder=str(run.folder),
        deals=deals,
    )


def deals_of(run: Run) -> tuple[float, ...]:
    """The AUROC of each pool that has one."""
    found = (figures_of([pool])["auroc"] for pool in pools_of(run))
    return tuple(value for value in found if value is not None)


def row_of_control(run: Run, pools: Sequence[Pool], deals: Sequence[float]) -> ArmResult:
    """The figures of a control, as those of an arm. pools: its test rows, or some of them."""
    row = row_of(run.arm, run, pools)
    return replace(row, auroc=widened(row.auroc, deals))


def widened(auroc: Interval, deals: Sequence[float]) -> Interval:
    """The interval over patients and over deals: Student's t on the sum of the two variances, cut to [0, 1].

    The head of one deal points somewhere at random. Where the vectors tell the classes well, it may point at the truth
    or away from it, by far more than other patients would move its AUROC.
    """
    if auroc.value is None or auroc.low is None or auroc.high is None or len(deals) < 2:
        return auroc
    over_patients = ((auroc.high - auroc.low) / (2 * float(ndtri(0.975)))) ** 2
    over_deals = float(np.var(deals, ddof=1)) / len(deals)
    reach = float(stdtrit(len(deals) - 1, 0.975)) * float(np.sqrt(over_patients + over_deals))
    return replace(auroc, low=max(0.0, auroc.value - reach), high=min(1.0, auroc.value + reach))


def shuffle_run(bench: Bench, control: Control, progress: Progress) -> Run:
    """The run of a head on shuffled labels or vectors."""
    head, plan, what = find_head(bench.head), bench.of_head(control), str(control.shuffles)
    spec = spec_of(head, what)
    if done := finished(bench, plan, spec):
        return done
    from cxremb.training.loop import precision_of  # torch takes seconds to import

    cuts = parts_of_plan(bench.features, bench.split, plan, head.blocks)
    fitted, seconds = fit_shuffled(bench.features, head, plan, cuts, what, progress)
    parameters = parameters_of(head, bench.features)
    precision = precision_of(plan.options, head, "cpu")
    made = Made(plan, head.blocks, fitted, cuts, parameters, seconds, spec, precision)
    return finish_run(bench.dataset, bench.features, bench.split, made)


def guess_run(bench: Bench, control: Control) -> Run:
    """The run of a control that reads no vectors. What it does read enters the key."""
    known, guess, blocks = guess_of(bench, control.name)
    plan, spec = bench.of_data(control), {"guess": control.name, "reads": known.digest}
    if done := finished(bench, plan, spec):
        return done
    started = time.perf_counter()
    cuts = parts_of_plan(bench.features, bench.split, plan, ())
    fitted = guess_all(bench.features, plan, cuts, guess())
    made = Made(plan, blocks, fitted, cuts, 0, time.perf_counter() - started, spec, reads_stores=False)
    return finish_run(bench.dataset, bench.features, bench.split, made)


def guess_of(bench: Bench, name: str) -> tuple[Known, Callable[[], Predict], Sequence[str]]:
    """(what it reads, its rule, which modalities that makes it read)."""
    features, facts = bench.features, {"length": length_of, "metadata": metadata_of}
    if name == "tf-idf":
        texts = texts_of(bench.dataset, features)
        return Known(texts), lambda: by_words(features, texts), ("text",)
    if name in facts:
        known = facts[name](bench.dataset, bench.split, features)
        return known, lambda: by_look_up(features, known.fact), ("text",) if name == "length" else ()
    if name == "patient":
        return Known(), lambda: by_look_up(features, None), ()
    return Known(), lambda: majority(features), ()


def finished(bench: Bench, plan: Plan, spec: Mapping[str, object]) -> Run | None:
    """The run that answers the same, if there is one."""
    done = find_run(bench.dataset, run_key(bench.dataset, bench.features, bench.split, plan, spec))
    return replace(done, reused=True) if done else None
