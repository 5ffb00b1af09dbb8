"""What the controls say of the arms, in sentences: silence is good news."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np

from cxremb.ablation.controls import ControlResult
from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Difference, Interval, Resampling
from cxremb.evaluation.simultaneous import Contrast
from cxremb.predictions import Predictions
from cxremb.store.texts import KEEP
from cxremb.table import UNDEFINED, bare, span
from cxremb.training.heads import head_called
from cxremb.training.plan import LABELS
from cxremb.training.runs import Run, read_run

CHANCE = 0.5
WHY_ABOVE = {
    "label-shuffle": "trained on shuffled labels, a head must tell nothing: true labels leak into its training, or it "
    "is chance, as in one table of forty; another --seed shuffles anew",
    "patient": "recognising the patient is enough: the split shares patients between train and test",
}
BEATS, NO_WORSE = " beats ", " is not measurably worse with every "  # of these fitted models, not of recipes
# What two runs of one head have in common that are trained alike.
RECIPE = ("preset", "keys", "text", "xxxx", "pooling", "views", "train_fraction", "shots", "label_policy", "prior")
NOTHING_LEFT = "with its vectors shuffled it must tell nothing: the order of the rows gives the label away"


def verdicts(arms: Mapping[str, Run], controls: Sequence[ControlResult]) -> list[str]:
    """One sentence for each thing that a reader must know: films of train in test, a control above chance that must not
    be, a control that beats arms, and a modality that the reference is not measurably worse without.

    A control that reads a text is not held against arms that read another one. A difference counts if the paired
    patient-cluster interval of the AUROC lies above 0. arms: name -> run.
    """
    tests = {arm: run.predictions() for arm, run in arms.items()}
    there = [control for control in controls if control.row is not None]
    sentences = [control.copies for control in controls if control.copies]
    sentences += [above_chance(control) for control in there if is_above_chance(control)]
    for control in there:
        if control.shuffles == LABELS:  # each of its pools learnt other labels: there is no arm to pair it with
            continue
        run = read_run(Path(control.folder))
        answers = run.predictions()
        if control.shuffles:
            like = next((arm for arm, one in arms.items() if trained_alike(run, one)), None)
            sentences += idle(control, answers, tests[like], arm=like) if like else []
        else:
            gaps = {arm: gap_of(answers, tests[arm]) for arm in arms if comparable(run, arms[arm])}
            sentences += beaten(control, gaps, list(arms))
    return sentences


def named(arms: Sequence[str], everyone: Sequence[str]) -> str:
    """Several arms in words: the others, where these are nearly all of many."""
    others = [arm for arm in everyone if arm not in arms]
    if len(arms) < 4 or len(others) >= len(arms):
        return ", ".join(arms)
    return f"all arms but {', '.join(others)}" if others else "all arms"


def comparable(control: Run, arm: Run) -> bool:
    """Whether a control says something of an arm: one that reads a text says nothing of an arm that reads another."""
    if None in (control.record.text, arm.record.text):
        return True
    return text_of(control) == text_of(arm)


def text_of(run: Run) -> tuple[str, str]:
    """Which text a run reads, and what became of its marks of removed words."""
    return run.record.text or "", run.record.xxxx or KEEP


def is_above_chance(control: ControlResult) -> bool:
    """Whether one that must tell nothing does."""
    return control.at_chance and control.row is not None and exceeds(auroc_of(control))


def exceeds(auroc: Interval) -> bool:
    """Whether all of the interval is above chance."""
    return auroc.low is not None and auroc.low > CHANCE


def above_chance(control: ControlResult) -> str:
    """The sentence."""
    why = WHY_ABOVE.get(control.name, NOTHING_LEFT)
    luck = "; it is one shuffle, and its luck is not in the interval: add --repeats 5" if is_one_draw(control) else ""
    return f"{control.name} is above chance: AUROC {figure(auroc_of(control))}{of_label(control)}; {why}{luck}"


def auroc_of(control: ControlResult) -> Interval:
    """The figure that a control is judged by: of several labels that of the worst, which a mean would hide."""
    if control.worst is not None:
        return control.worst.auroc
    return control.row.auroc if control.row else Interval(None, None, None)


def of_label(control: ControlResult) -> str:
    """Which of several labels that is, in words."""
    worst = control.worst
    return "" if worst is None else f" of {worst.label}, the worst of {worst.looked_at} labels (corrected)"


def limits(controls: Sequence[ControlResult]) -> Iterator[str]:
    """What label-shuffle could have shown, and what no draw of labels can: one line, or none without it."""
    for one in controls:
        auroc = auroc_of(one)
        if one.shuffles == LABELS and auroc.value is not None and auroc.low is not None:
            least = bare(min(1.0, ceil(100 * (CHANCE + auroc.value - auroc.low)) / 100), places=2)
            yield (
                f"label-shuffle finds a leak of labels into training if the leak alone gives an AUROC of {least} or "
                "more; it does not find one film under two patients, or an answer that stands in the input"
            )


def is_one_draw(control: ControlResult) -> bool:
    """Whether it is of one shuffle, which may point at the truth by chance."""
    return control.shuffles is not None and len(control.draws) < 2


def unread(controls: Sequence[ControlResult]) -> Iterator[str]:
    """What each control is that reads no vectors and is above chance: an arm is worth what it adds to that."""
    there = [one for one in controls if one.row and not one.shuffles and not one.at_chance]
    found = [f"{one.name} ({one.means}{of_worst(one)})" for one in there if exceeds(auroc_of(one))]
    if found:
        yield f"Above chance without pixels or an encoder: {', '.join(found)}"


def of_worst(control: ControlResult) -> str:
    """The AUROC of the worst of several labels, which is not in the table."""
    return "" if control.worst is None else f"; AUROC {figure(auroc_of(control))}{of_label(control)}"


def differs(sentence: str) -> bool:
    """Whether a verdict is a difference of an arm and a control."""
    return BEATS in sentence or NO_WORSE in sentence


def beaten(control: ControlResult, gaps: Mapping[str, Difference | None], everyone: Sequence[str]) -> Iterator[str]:
    """The arms that a control beats, and by how much: the least of them, for the others are in the table."""
    found = {arm: gap for arm, gap in gaps.items() if gap is not None and gap.low is not None and gap.low > 0}
    if found:
        least = min(found.values(), key=lambda gap: gap.value or 0.0)
        at_least = " at least" if len(found) > 1 else ""
        yield f"{control.name}{BEATS}{named(list(found), everyone)}: AUROC {signed(least)}{at_least}"


def trained_alike(control: Run, arm: Run) -> bool:
    """Whether a shuffled control is an arm but for what is shuffled: its head and recipe, on the same vectors."""
    own, other = control.record, arm.record
    head = own.spec.get("head", {})
    named = head_called(head)
    if named is None or named != head_called({name: other.spec[name] for name in head if name in other.spec}):
        return False
    return all(getattr(own, name) == getattr(other, name) for name in RECIPE) and "missing=" not in arm.arm


def idle(control: ControlResult, answers: Predictions, test: Predictions, *, arm: str) -> Iterator[str]:
    """Whether an arm is not measurably worse with one of its modalities shuffled. test: its predictions."""
    if control.at_chance:
        return
    gap = gap_of(answers, test, only_above=False)
    if gap is not None and gap.low is not None and gap.high is not None and gap.high >= 0:
        yield (
            f"{arm}{NO_WORSE}{control.shuffles} exchanged for another row's: AUROC {signed(gap)}; "
            f"nothing here shows that it uses the {control.shuffles}"
        )


def gap_of(answers: Predictions, test: Predictions, *, only_above: bool = True) -> Difference | None:
    """Control minus arm on the items of both; None where it is not above 0 (that costs no resampling) or not paired."""
    answers, test = shared(answers, test)
    try:
        if only_above and not (answers.difference(test, ("auroc",), Resampling(1))["auroc"].value or 0.0) > 0:
            return None
        return answers.difference(test, ("auroc",))["auroc"]
    except DataError:  # other patients in some repeat: the two cannot be paired
        return None


def shared(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Both on the items that both judge."""
    return a.take(np.isin(a.items, b.items)), b.take(np.isin(b.items, a.items))


def figure(auroc: Interval) -> str:
    """The value with its interval, if it has one."""
    return span(auroc.value, auroc.low, auroc.high, nothing=UNDEFINED)


def signed(gap: Difference | Contrast) -> str:
    """The difference with its interval, if it has one."""
    return span(gap.value, gap.low, gap.high, sign="+", nothing=UNDEFINED)
