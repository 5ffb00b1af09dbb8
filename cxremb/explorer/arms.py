"""Which runs are shown beside each other: one of each arm, judged on the same label, split and preset."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

CONTROL = "control:"
RUNS = """
SELECT run_id, arm, label_set, split, preset, coalesce(leaky, false), coalesce(simulated, false), coalesce(note, '')
FROM runs WHERE dataset = $dataset AND trained_on IS NULL
ORDER BY run_id DESC
"""
JUDGED = """
SELECT unit, label, repeat, fold, seed FROM predictions WHERE run_id = $run_id AND part = 'test' GROUP BY ALL
"""
FOLDS = "SELECT split, count(DISTINCT fold) FROM splits WHERE dataset = $dataset GROUP BY split"


@dataclass(frozen=True)
class ListedRun:
    """A run as SQL has it."""

    run_id: str
    arm: str
    label_set: str
    split: str
    preset: str
    leaky: bool
    simulated: bool
    note: str

    @property
    def is_control(self) -> bool:
        return self.arm.startswith(CONTROL)

    @property
    def title(self) -> str:
        return self.arm.removeprefix(CONTROL)

    @property
    def beside(self) -> tuple[str, str]:
        """What runs of one table have in common; controls have presets of their own."""
        return self.label_set, self.split


@dataclass(frozen=True)
class RunCover:
    """What a run was tested on, and by which models."""

    unit: str | None
    labels: tuple[str, ...]
    models: frozenset[tuple[int, int, int]]  # repeat, fold, seed

    @property
    def folds(self) -> frozenset[tuple[int, int]]:
        return frozenset((repeat, fold) for repeat, fold, _ in self.models)

    @property
    def share(self) -> int:
        """How many folds of the split it judges, however often."""
        return len({fold for _, fold in self.folds})


@dataclass(frozen=True)
class BoardArm:
    """An arm whose probabilities are columns of the rows: `p_`, `right_` and `loss_` before `name`."""

    place: int  # chooses its colour
    name: str
    run: ListedRun

    @property
    def title(self) -> str:
        return self.run.title


@dataclass(frozen=True)
class BoardRuns:
    """The runs that are shown: arms on every row, controls in the table of runs and in a case."""

    arms: tuple[BoardArm, ...] = ()
    controls: tuple[ListedRun, ...] = ()
    unit: str | None = None  # image or study; None without a run
    labels: tuple[str, ...] = ()
    models: int = 0  # of each arm
    tables: tuple[ListedRun, ...] = ()  # the newest run of each table that could be shown

    @property
    def main(self) -> ListedRun | None:
        return self.arms[0].run if self.arms else None

    def arm(self, name: str) -> BoardArm | None:
        """The arm of that column name."""
        return next((one for one in self.arms if one.name == name), None)


def runs_shown(con: duckdb.DuckDBPyConnection, dataset: str, of: str | None = None) -> BoardRuns:
    """The table of runs that `of` is in; without it, or where it is no run, that of the newest arm that judges all
    folds of its split, as `report` chooses.

    An arm is in the table if its models judge the folds that those of most folds do: an AUROC of a few rows of one
    fold beside those of all rows would be no comparison. Of several runs of an arm it is the newest.
    """
    rows = con.execute(RUNS, {"dataset": dataset}).fetchall()
    runs = [ListedRun(*row) for row in rows]
    arms = [run for run in runs if not run.is_control]
    if not arms:
        return BoardRuns()

    @cache
    def tested(run: ListedRun) -> RunCover:
        found = con.execute(JUDGED, {"run_id": run.run_id}).fetchall()
        labels = tuple(sorted({label for _, label, *_ in found}))
        return RunCover(found[0][0] if found else None, labels, frozenset(row[2:] for row in found))

    folds = dict(con.execute(FOLDS, {"dataset": dataset}).fetchall())

    def whole(run: ListedRun) -> bool:
        count = folds.get(run.split.partition("@")[0])  # None: the split was removed
        return count is None or tested(run).share == count

    named = next((run for run in arms if run.run_id == of), None) or next(filter(whole, arms), arms[0])
    table = [run for run in arms if run.beside == named.beside and run.preset == named.preset]
    main = max(table, key=lambda run: tested(run).share)  # the newest of these
    known = tested(main)
    shown = sorted(newest_of_each(run for run in table if tested(run) == known), key=lambda run: order_of(run.arm))
    controls = [run for run in runs if run.is_control and run.beside == main.beside]
    beside = [run for run in controls if belongs(tested(run), known)]
    names = column_names([run.title for run in shown])
    tables: dict[tuple[str, ...], ListedRun] = {}
    for run in arms:
        tables.setdefault((*run.beside, run.preset), run)
    return BoardRuns(
        tuple(BoardArm(place, name, run) for place, (name, run) in enumerate(zip(names, shown, strict=True))),
        tuple(sorted(newest_of_each(beside), key=lambda run: run.run_id)),
        known.unit,
        known.labels,
        len(known.models),
        tuple(tables.values()),
    )


def belongs(control: RunCover, arms: RunCover) -> bool:
    """Whether a control judges all folds that its arms do: with other seeds, or none, and in some of their repeats."""
    alike = (control.unit, control.labels, control.share) == (arms.unit, arms.labels, arms.share)
    return alike and control.folds <= arms.folds


def newest_of_each(runs: Iterable[ListedRun]) -> list[ListedRun]:
    """One run of each arm. runs: the newest first."""
    found: dict[str, ListedRun] = {}
    for run in runs:
        found.setdefault(run.arm, run)
    return list(found.values())


def order_of(arm: str) -> tuple[int, str]:
    """The usual arms come before all others."""
    usual = ("image", "text", "fusion")
    return usual.index(arm) if arm in usual else len(usual), arm


def column_names(titles: Sequence[str]) -> list[str]:
    """Names for SQL that need no quotes, each once: `fusion`, `fusion_train_fraction_0_25`."""
    found: list[str] = []
    for title in titles:
        name = re.sub(r"\W+", "_", title.lower(), flags=re.ASCII).strip("_") or "arm"
        found.append(name if name not in found else f"{name}_{len(found)}")
    return found
