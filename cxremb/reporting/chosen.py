"""Which runs a report is of: those that are named, or the newest ablation, found among the runs themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from cxremb.ablation import ARMS, Ablation
from cxremb.ablation.controls import NO_RECIPE
from cxremb.errors import CxrembError, DataError
from cxremb.splits import choose_split
from cxremb.store.dataset import Dataset
from cxremb.training.record import CONTROL
from cxremb.training.runs import Run, dataset_of, list_runs


@dataclass(frozen=True)
class ReportRuns:
    """Runs of one data set and label, one for each arm; and the controls that were judged on the same split."""

    dataset: Dataset
    arms: dict[str, Run]
    controls: dict[str, Run]  # by their names, without `control:`
    result: Ablation | None = None  # where `ablate` has just made it
    complete: bool = False  # whether all controls that were made are here, so that no other was


def runs_named(named: Sequence[Run]) -> ReportRuns:
    """These runs as arms, in their order, and controls, both among them. Two of one arm get their ids as names.

    Raises `DataError` for none, or for runs of two data sets or labels.
    """
    if not named:
        raise DataError("a report needs a run", hint="list them: `cxremb runs ls`")
    first, runs = named[0], list({run.run_id: run for run in named}.values())
    for what in ("dataset", "label_set", "label"):
        if len(found := dict.fromkeys(getattr(run.record, what) for run in runs)) > 1:
            words = what.replace("_", " ").replace("dataset", "data set")
            raise DataError(f"the runs have more than one {words}: {', '.join(found)}", hint="name runs of one alone")
    names = [run.arm for run in runs]
    titles = [run.arm if names.count(run.arm) == 1 else f"{run.arm} {run.run_id}" for run in runs]
    pairs = list(zip(titles, runs, strict=True))
    arms = {name: run for name, run in pairs if not run.record.is_control}
    controls = {name.removeprefix(CONTROL): run for name, run in pairs if run.record.is_control}
    if not arms:
        raise DataError("all of these runs are controls", hint="name a run of an arm: `cxremb runs ls`")
    return ReportRuns(dataset_of(first), arms, controls)


def newest_ablation(datasets: Sequence[Dataset]) -> ReportRuns:
    """The newest run of each arm and control on the split, folds, seeds, preset and label of the newest arm.

    That arm is the newest that was judged on all folds of its split, as `ablate` does; where there is none, the newest.
    Raises `DataError` where there is no run.
    """
    runs = list_runs(*datasets)
    newest = sorted(runs, key=lambda run: run.run_id, reverse=True)
    arms = [run for run in newest if not (run.record.is_control or run.record.is_external)]
    if not arms:
        where = ", ".join(dataset.name for dataset in datasets)
        raise DataError(f"{where}: no run to report", hint="make some: `cxremb ablate`")
    known = {dataset.name: dataset for dataset in datasets}

    @cache
    def all_folds(dataset: str, label_set: str, split: str) -> int | None:
        try:
            return len(choose_split(known[dataset], label_set, split, allow_leaky=True).folds)
        except CxrembError:  # the split was removed: the run says all that is known of it
            return None

    def whole(run: Run) -> bool:
        record = run.record
        count = all_folds(record.dataset, record.label_set, split_title(run))
        return count is None or len(record.folds) == count

    main = next(filter(whole, arms), arms[0])
    beside = [run for run in arms if together(run, main)]
    found = {run.arm: run for run in reversed(list(agreeing(beside)))}
    order = sorted(found, key=lambda name: (ARMS.index(name) if name in ARMS else len(ARMS), found[name].run_id))
    controls = [run for run in runs if run.record.is_control and controls_for(run, main, list(found.values()))]
    named = {run.arm.removeprefix(CONTROL): run for run in sorted(controls, key=lambda run: run.run_id)}
    return ReportRuns(known[main.record.dataset], {name: found[name] for name in order}, named, complete=True)


def split_title(run: Run) -> str:
    """Its split as name@key, as runs of before call it too."""
    record = run.record
    return record.split if "@" in record.split else f"{record.split}@{record.split_key}"


def judged_alike(run: Run, main: Run) -> bool:
    """Whether both were judged on the same folds and label."""
    names = ("dataset", "label_set", "label", "split", "split_key", "folds")
    return all(getattr(run.record, name) == getattr(main.record, name) for name in names)


def together(run: Run, main: Run) -> bool:
    """Whether one call of `ablate` may have trained both."""
    names = ("repeats", "seeds", "preset")
    return judged_alike(run, main) and all(getattr(run.record, name) == getattr(main.record, name) for name in names)


def controls_for(run: Run, main: Run, arms: Sequence[Run]) -> bool:
    """Whether a control reads what these arms read, and belongs to the repeats, seeds and preset of theirs.

    Controls have no more repeats than arms, and shuffles of labels seeds of their own after the first.
    """
    record, its = run.record, main.record
    texts = {arm.record.text for arm in arms}
    keys = {(block, key) for arm in arms for block, key in arm.record.keys.items()}
    return (
        judged_alike(run, main)
        and set(record.repeats) <= set(its.repeats)
        and (record.repeats[:1], record.seeds[:1]) == (its.repeats[:1], its.seeds[:1])
        and record.preset in (NO_RECIPE, its.preset)
        and (record.text is None or record.text in texts)
        and all(pair in keys for pair in record.keys.items())
    )


def agreeing(runs: Sequence[Run]) -> Iterator[Run]:
    """Of runs, newest first: those that read what the newest reads, unless their name says what else."""
    text: str | None = None
    keys: dict[str, str | None] = {}
    for run in runs:
        record = run.record
        plain = record.arm in ARMS
        if plain and text and record.text and record.text != text:
            continue
        if plain and any(keys.get(block, key) != key for block, key in record.keys.items()):
            continue
        if plain:
            text = text or record.text
            keys |= record.keys
        yield run
