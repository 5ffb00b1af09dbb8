"""What a report is about: runs, their table as `ablate` gives it, and the test rows that its figures are made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cxremb.ablation import REFERENCE, Ablation, compare
from cxremb.ablation.compare import ArmResult, judged_rows
from cxremb.ablation.fusing import better_alone
from cxremb.ablation.leaderboard import as_leaderboard, stores_of_runs
from cxremb.ablation.notes import notes_of_runs, notes_of_split
from cxremb.ablation.recipes import several_folds
from cxremb.ablation.verdicts import verdicts
from cxremb.errors import CxrembError, TrainError
from cxremb.predictions import Predictions
from cxremb.reporting.chosen import ReportRuns, split_title
from cxremb.reporting.controls import controls_of
from cxremb.splits import StoredSplit, choose_split
from cxremb.store.dataset import Dataset
from cxremb.training.runs import Run, list_runs

MOST_SHOWN = 6  # arms in one figure: more lines cannot be told apart
SIMULATED, LEAKY = "SIMULATED FILMS", "LEAKY SPLIT"  # as they stand inside figures


@dataclass(frozen=True)
class ShownArm:
    """An arm as figures show it. `place` chooses its colour, the same in all of them."""

    place: int
    title: str
    run: Run
    test: Predictions
    row: ArmResult


@dataclass(frozen=True)
class ReportSubject:
    """Runs, their table, and each arm's test rows."""

    dataset: Dataset
    runs: Mapping[str, Run]
    result: Ablation
    tests: Mapping[str, Predictions]
    include_data: bool = False
    checklist: str | None = None  # which is filled: one of `checklists.KINDS`

    @property
    def main(self) -> Run:
        """The run that all others are compared with, or the first."""
        return self.runs[self.result.reference or self.result.rows[0].arm]

    @property
    def shown(self) -> list[ShownArm]:
        """The arms that figures show: all, or the reference and the best of many, in the order of the table."""
        rows = list(self.result.rows)
        if len(rows) > MOST_SHOWN:
            best = sorted(rows, key=lambda row: (row.arm != self.result.reference, -(row.auroc.value or 0.0)))
            rows = [row for row in rows if row in best[:MOST_SHOWN]]
        return [
            ShownArm(place, row.title, self.runs[row.arm], self.tests[row.arm], row) for place, row in enumerate(rows)
        ]

    @property
    def which(self) -> str:
        """Which arms figures show, in words, where they are not all."""
        return f" Of {len(self.result.rows)} arms: the reference and the best." if self.many else ""

    @property
    def many(self) -> bool:
        return len(self.result.rows) > MOST_SHOWN

    @property
    def marks(self) -> tuple[str, ...]:
        """What must stand inside every figure that shows all arms."""
        return marks_of(self.runs.values(), simulated=self.result.simulated)


def marks_of(runs: Iterable[Run], *, simulated: bool) -> tuple[str, ...]:
    """What must stand inside a figure of these runs."""
    found = list(runs)
    drawn = simulated and any("image" in run.record.dims or run.record.from_pixels for run in found)
    return (*((SIMULATED,) if drawn else ()), *((LEAKY,) if any(run.record.leaky for run in found) else ()))


def subject_of(chosen: ReportRuns, *, include_data: bool = False, checklist: str | None = None) -> ReportSubject:
    """The subject of a report. Raises as `read_run` for a run that is damaged."""
    result = chosen.result or ablation_of(chosen)
    tests = judged_rows(chosen.arms, paired=result.reference is not None, threshold=result.threshold)
    return ReportSubject(chosen.dataset, chosen.arms, result, tests, include_data, checklist)


def ablation_of(chosen: ReportRuns) -> Ablation:
    """The table of runs that are there, as `ablate` gave it. Differences are there where all judge the same rows."""
    stores, found = stores_of_runs(chosen.dataset, chosen.arms), table_of_runs(chosen)
    return as_leaderboard(found, stores, chosen.dataset) if stores and found.reference else found


def table_of_runs(chosen: ReportRuns) -> Ablation:
    """That table, with the arms in the order of their runs."""
    runs = chosen.arms
    reference = REFERENCE if REFERENCE in runs else next(iter(runs))
    notes: list[str] = []
    if len(runs) < 2:
        paired = None
    else:
        try:
            judged_rows(runs, paired=True)
            paired = reference
        except TrainError as error:
            paired, notes = None, [f"No differences: {error}"]
    rows = compare(runs, paired)
    tests = judged_rows(runs, paired=paired is not None)
    test, first = tests[rows[0].arm], runs[paired or rows[0].arm]
    main, split = first.record, split_of(chosen.dataset, first)
    figures = test.figures()[test.headline]
    controls = list(controls_of(chosen, test, split))
    return Ablation(
        rows=tuple(rows),
        reference=paired,
        dataset=chosen.dataset.name,
        unit=test.unit,
        label_set=main.label_set,
        label=main.label,
        n=rows[0].n,
        patients=rows[0].patients,
        prevalence=figures.get("prevalence"),
        majority_accuracy=figures.get("majority_accuracy"),
        all_positive_f1=figures.get("all_positive_f1"),
        split=split_title(first),
        split_means=main.split_means,
        leaky=any(run.record.leaky for run in runs.values()),
        folds=len(main.folds),
        stores=dict(enumerate_stores(runs)),
        text=main.text,
        text_role=main.text_role,
        left_out=main.left_out,
        preset=main.preset,
        simulated=chosen.dataset.simulated,
        notes=(*notes, *notes_of_runs(runs, first), *(notes_of_split(split) if split else ())),
        seconds=0.0,
        repeats=len(main.repeats),
        seeds=len(main.seeds),
        recipes=several_folds(runs),
        judged_before=judged_too(chosen, main.split, main.label_set),
        task=main.task,
        controls=tuple(controls),
        verdicts=tuple(verdicts(runs, controls)),
        better_alone=tuple(better_alone(paired, runs, rows)) if paired else (),
    )


def split_of(dataset: Dataset, run: Run) -> StoredSplit | None:
    """The split that a run was judged on; None where it, or the tables of the data set, are gone."""
    try:
        return choose_split(dataset, run.record.label_set, split_title(run), allow_leaky=True)
    except CxrembError:  # the run says all that is known of it
        return None


def judged_too(chosen: ReportRuns, split: str, label_set: str) -> int:
    """How many other finished runs, controls aside, the same split and label set were judged with."""
    own = {run.run_id for run in chosen.arms.values()}
    others = (run.record for run in list_runs(chosen.dataset) if run.run_id not in own)
    return sum((one.split, one.label_set) == (split, label_set) and not one.is_control for one in others)


def enumerate_stores(runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """(a number, a store) of each that some arm reads."""
    found = dict.fromkeys(store for run in runs.values() for store in run.record.stores)
    return [(str(place), store) for place, store in enumerate(found)]
