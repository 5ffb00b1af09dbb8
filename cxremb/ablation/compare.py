"""Runs of several arms -> one row each: figures on the same test rows, and differences to the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxremb.ablation.trial import CHOSEN, FIXED
from cxremb.errors import TrainError
from cxremb.evaluation.bootstrap import Difference, Interval
from cxremb.evaluation.significance import fold_difference, holm
from cxremb.predictions import Predictions, joined
from cxremb.training.runs import Run
from cxremb.training.scores import INTERVALS

SPECIFICITY = "specificity_at_sensitivity_95"


@dataclass(frozen=True)
class ArmResult:
    """One row of the table: out-of-fold test predictions, pooled over the folds, averaged over repeats and seeds."""

    arm: str
    n: int
    patients: int
    auroc: Interval
    accuracy: Interval
    f1: Interval
    difference: Difference | None  # AUROC of this arm minus that of the reference, on the same rows
    seconds: float  # spent training it, now or when the run was made
    run_id: str
    reused: bool
    leaky: bool
    caveats: tuple[str, ...]
    specificity: float | None = None  # at the threshold with a sensitivity of 0.95 or more
    ece: float | None = None
    holm: float | None = None  # the difference's p, corrected for all the arms of the table
    over_folds: Difference | None = None  # of repeats: over folds, the luck of training included

    @property
    def title(self) -> str:
        """The arm as tables name it: a leaky figure never stands without the word."""
        return f"{self.arm} LEAKY" if self.leaky else self.arm


def compare(runs: Mapping[str, Run], reference: str | None, threshold: str = FIXED) -> list[ArmResult]:
    """One row per arm, in the order given, from the runs' stored predictions. Without a reference nothing is paired."""
    tests = judged_rows(runs, paired=reference is not None, threshold=threshold)
    return compare_rows(runs, tests, reference)


def judged_rows(runs: Mapping[str, Run], *, paired: bool, threshold: str = FIXED) -> dict[str, Predictions]:
    """Arm -> its test rows; paired: those that every arm judges, as films, or as studies where one arm reads studies.

    Raises `TrainError` if no row is judged by all.
    """
    tests = {arm: predicted_rows(run, unit_of(runs) if paired else None, threshold) for arm, run in runs.items()}
    return shared_rows(tests) if paired else tests


def unit_of(runs: Mapping[str, Run]) -> str:
    """What all runs can be compared on: study if one of them has no other rows."""
    return "study" if any(run.record.unit == "study" for run in runs.values()) else "image"


def predicted_rows(run: Run, unit: str | None, threshold: str = FIXED) -> Predictions:
    """The test rows of a run. unit: study makes one row of a study's films, with the mean of their probabilities.

    threshold: `trial.CHOSEN` takes for each fold the one with the best sensitivity + specificity on its val rows.
    Raises `TrainError` for several labels, `DataError` where a fold has none to choose.
    """
    test = run.predictions()
    test = test.by_study() if unit == "study" else test
    if threshold != CHOSEN:
        return test
    if len(test.labels) > 1:
        raise TrainError("several labels have no one threshold to choose", hint="leave --threshold out")
    val = run.predictions("val")
    return test.at_thresholds(val.by_study() if unit == "study" else val)


def shared_rows(tests: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Arm -> the rows that all arms judge in the same fold, in one order. Raises `TrainError` if there is none."""
    pools = {arm: test.pools for arm, test in tests.items()}
    if len({len(found) for found in pools.values()}) > 1:
        raise TrainError("the arms have other repeats or seeds", hint="compare runs of the same folds and seeds")
    out: dict[str, list[Predictions]] = {arm: [] for arm in tests}
    for side in zip(*pools.values(), strict=True):
        places = [{unit: row for row, unit in enumerate(units_of(pool))} for pool in side]
        shared = sorted(set(places[0]).intersection(*places[1:]))
        if not shared:
            raise TrainError("no test row is judged by all arms", hint="compare fewer arms at a time")
        for arm, pool, own in zip(tests, side, places, strict=True):
            out[arm].append(pool.take(np.array([own[unit] for unit in shared], dtype=np.int64)))
    return {arm: joined(parts) for arm, parts in out.items()}


def units_of(pool: Predictions) -> list[tuple[str, int]]:
    """(item, fold) of each row."""
    return list(zip(pool.items.tolist(), pool.fold.tolist(), strict=True))


def compare_rows(runs: Mapping[str, Run], tests: Mapping[str, Predictions], reference: str | None) -> list[ArmResult]:
    """As `compare`, from the rows that are judged."""
    rows = [row_of(arm, run, tests[arm]) for arm, run in runs.items()]
    if reference is None:
        return rows
    base, many = tests[reference], len(runs[reference].record.repeats) > 1
    rows = [
        row if row.arm == reference else replace(row, difference=tests[row.arm].difference(base, ("auroc",))["auroc"])
        for row in rows
    ]
    corrected = holm([row.difference.p if row.difference else None for row in rows])
    rows = [replace(row, holm=p) for row, p in zip(rows, corrected, strict=True)]
    if not many:
        return rows
    sizes = {arm: fold_sizes(run, runs[reference]) for arm, run in runs.items()}
    return [
        row if row.arm == reference else replace(row, over_folds=fold_gap(tests[row.arm], base, sizes[row.arm]))
        for row in rows
    ]


def row_of(arm: str, run: Run, test: Predictions) -> ArmResult:
    """One arm without its difference."""
    figures, spans = test.figures()[test.headline], test.interval(INTERVALS)
    return ArmResult(
        arm=arm,
        n=len(np.unique(test.items)),
        patients=len(np.unique(test.patients)),
        auroc=spans["auroc"],
        accuracy=spans["accuracy"],
        f1=spans["f1"],
        difference=None,
        seconds=run.record.seconds,
        run_id=run.run_id,
        reused=run.reused,
        leaky=run.record.leaky,
        caveats=tuple(run.caveats),
        specificity=figures.get(SPECIFICITY),
        ece=figures.get("ece"),
    )


def arms_by_caveat(caveats: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Caveat -> the arms that it stands beside. caveats: of each arm."""
    found: dict[str, list[str]] = {}
    for arm, own in caveats.items():
        for caveat in own:
            found.setdefault(caveat, []).append(arm)
    return found


def fold_gap(test: Predictions, other: Predictions, sizes: tuple[int, int]) -> Difference | None:
    """The mean AUROC difference over the folds of all repeats; None where a fold has none. Seeds are averaged first."""
    gaps: dict[tuple[int, int], list[float]] = {}
    for a, b in zip(test.pools, other.pools, strict=True):
        for fold in np.unique(a.fold).tolist():
            first, second = (auroc_of(pool.take(pool.fold == fold)) for pool in (a, b))
            if first is None or second is None:
                return None
            gaps.setdefault((int(a.repeat[0]), fold), []).append(first - second)
    return fold_difference([float(np.mean(seeds)) for seeds in gaps.values()], *sizes)


def auroc_of(test: Predictions) -> float | None:
    """The headline AUROC."""
    return test.figures()[test.headline]["auroc"]


def fold_sizes(run: Run, reference: Run) -> tuple[int, int]:
    """(training rows, test rows) of a fold, the mean over all; where the two train on different shares, the smaller."""
    models = len(reference.record.members)
    test, val = (round(len(reference.predictions(part).items) / models) for part in ("test", "val"))
    share = min(run.record.train_fraction, reference.record.train_fraction)
    return max(1, round((reference.record.rows - test - val) * share)), max(1, test)
