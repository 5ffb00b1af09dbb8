"""Runs of several arms -> one row each: figures on the same test rows, and differences to the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
from scipy.stats import rankdata

from cxremb.ablation.recipes import judged_together
from cxremb.ablation.trial import CHOSEN, FIXED
from cxremb.ablation.words import STRENGTHS
from cxremb.errors import TrainError
from cxremb.evaluation.bootstrap import USUAL, Difference, Interval
from cxremb.evaluation.simultaneous import Contrast
from cxremb.predictions import Predictions, joined, verbatim_of
from cxremb.training.runs import Run

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
    difference: Contrast | None  # AUROC minus the reference's, of recipes (`recipes`), for all arms of the table
    seconds: float  # spent training it, now or when the run was made
    run_id: str
    reused: bool
    leaky: bool
    caveats: tuple[str, ...]
    specificity: float | None = None  # at the threshold with a sensitivity of 0.95 or more
    ece: float | None = None
    in_train: float | None = (
        None  # the share of test rows whose text stands word for word in train; None: it reads none
    )
    auroc_new_text: Interval | None = None  # AUROC of the other rows
    fitted: Difference | None = None  # the same of these fitted models on other patients: bootstrap, of this arm alone
    over_folds: Difference | None = None  # the same by the corrected t over folds, of this arm alone
    may_be_best: bool | None = None  # whether no arm is better for sure
    mean_rank: float | None = None  # of its AUROC among the arms, 1 the best, the mean over all models; None: no pairs
    tuned_over: int = 1  # how many settings were tried on validation rows

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
    judged, ranks = judged_together(runs, tests, reference), mean_ranks(tests)
    return [
        replace(
            row,
            difference=judged[row.arm].difference,
            fitted=None if row.arm == reference else tests[row.arm].difference(tests[reference], ("auroc",))["auroc"],
            over_folds=judged[row.arm].over_folds,
            may_be_best=judged[row.arm].may_be_best,
            mean_rank=ranks.get(row.arm),
        )
        for row in rows
    ]


def mean_ranks(tests: Mapping[str, Predictions]) -> dict[str, float]:
    """Arm -> the mean over models (repeat, fold and seed) of the rank of its headline AUROC; equal ones share a rank.

    Models that one class is tested with have no rank. {} where all have none.
    """
    areas = [[model.area().area for model in map(test.take, test.models)] for test in tests.values()]
    table = np.array(areas, dtype=np.float64)
    table = table[:, np.isfinite(table).all(axis=0)]
    if not table.size:
        return {}
    return dict(zip(tests, rankdata(-table, axis=0).mean(axis=1).tolist(), strict=True))


def row_of(arm: str, run: Run, test: Predictions) -> ArmResult:
    """One arm without its difference."""
    figures, spans = test.figures()[test.headline], test.interval(USUAL)
    verbatim = verbatim_of(test)
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
        in_train=verbatim.share if verbatim else None,
        auroc_new_text=verbatim.others if verbatim else None,
        tuned_over=tuned_over(run),
    )


def tuned_over(run: Run) -> int:
    """How many settings were tried on validation rows: penalties, epochs aside; 1 where nothing was chosen there."""
    spec = run.record.spec
    if spec.get("guess") == "tf-idf":
        return len(STRENGTHS) if len(run.predictions("val").items) else 1
    if spec.get("head", spec).get("kind") != "linear":  # a head on what is shuffled stands one level below
        return 1
    history = run.history  # of a linear head: one epoch for each penalty
    return max(1, len(pc.unique(history.filter(pc.equal(history["phase"], "val"))["epoch"])))


def arms_by_caveat(caveats: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Caveat -> the arms that it stands beside. caveats: of each arm."""
    found: dict[str, list[str]] = {}
    for arm, own in caveats.items():
        for caveat in own:
            found.setdefault(caveat, []).append(arm)
    return found


def auroc_of(test: Predictions) -> float | None:
    """The headline AUROC."""
    return test.figures()[test.headline]["auroc"]
