"""The controls of a report, from their runs, as `ablate` gave them; and why those that have no run were not made."""

from collections.abc import Iterator

import numpy as np

from cxremb.ablation.controls import (
    CONTROLS,
    METADATA,
    NOBODY_SHARED,
    PATIENT,
    Control,
    ControlResult,
    copied_films,
    row_of_control,
    why_not,
)
from cxremb.ablation.guesses import facts_left_out
from cxremb.errors import CxrembError
from cxremb.predictions import Predictions, auroc_by_label
from cxremb.reporting.chosen import ReportRuns
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.heads import head_called
from cxremb.training.plan import LABELS
from cxremb.training.record import CONTROL
from cxremb.training.runs import Run
from cxremb.training.scores import draws_of


def controls_of(chosen: ReportRuns, test: Predictions, split: StoredSplit | None) -> Iterator[ControlResult]:
    """The controls in the order of `ablate`, then those of other versions of cxremb. test: the rows of the arms."""
    made, dataset = dict(chosen.controls), chosen.dataset
    reference = next((run for run in made.values() if run.record.shuffled == LABELS), None)
    for control in CONTROLS:
        if control.name in made:
            yield control_of(control.name, control, made.pop(control.name), dataset=dataset, test=test, split=split)
        elif chosen.complete and reference is not None and (why := why_not_made(control, reference)):
            yield ControlResult(control.name, control.means, None, why, control.at_chance, control.shuffles)
    known = {control.name: control for control in CONTROLS}
    for name, run in made.items():
        own_name = run.arm.removeprefix(CONTROL)
        control = known.get(own_name, Control(own_name, "of another version of cxremb"))
        yield control_of(name, control, run, dataset=dataset, test=test, split=split)


def why_not_made(control: Control, reference: Run) -> str | None:
    """Why a control has no run. reference: that of `label-shuffle`, which is made on the same rows in every case."""
    head = reference.record.spec.get("head", {})
    name = head_called(head) or reference.arm
    why = why_not(control, reference.record.rows_from, head=name, blocks=head.get("blocks", ()))
    return why or (NOBODY_SHARED if control.name == PATIENT else None)


def control_of(
    name: str, control: Control, run: Run, *, dataset: Dataset, test: Predictions, split: StoredSplit | None
) -> ControlResult:
    """A control as `ablate` gives it, on the rows of the arms."""
    own = run.predictions()
    own = own.by_study() if test.unit == "study" and own.unit != "study" else own
    own = own.take(np.isin(own.items, np.unique(test.items)))
    shuffles = control.shuffles
    head = run.record.spec.get("head", {})
    draws = draws_of(run.predictions(), shuffles) if shuffles else ()
    several = len(run.record.labels) > 1 and not shuffles
    return ControlResult(
        name,
        control.means,
        row_of_control(run, own, draws),
        at_chance=control.at_chance or list(head.get("blocks", ())) == [shuffles],  # nothing else is there to read
        shuffles=shuffles,
        reference=(head_called(head) or run.record.head) if shuffles else "",
        folder=str(run.folder),
        draws=tuple(draws),
        worst=next(iter(auroc_by_label(run.predictions())), None) if several else None,
        copies=copies_of(dataset, run, split) if shuffles == LABELS else "",
        lacks=lacks_of(dataset, run) if control.name == METADATA else "",
    )


def copies_of(dataset: Dataset, run: Run, split: StoredSplit | None) -> str:
    """Films of train that are in test too, in words; "" where the tables that know are gone."""
    if split is None or "image" not in run.record.rows_from:
        return ""
    try:
        return copied_films(dataset, split, run.record.label_set)
    except CxrembError:  # of tables that are gone; the section of the data says so
        return ""


def lacks_of(dataset: Dataset, run: Run) -> str:
    """The facts that metadata does not read, in words; "" where the tables that know are gone."""
    try:
        return facts_left_out(dataset, run.predictions())
    except CxrembError:  # as above
        return ""
