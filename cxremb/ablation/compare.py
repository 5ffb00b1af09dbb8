"""Runs of several arms -> one row each: figures on the same test rows, and differences to the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxremb.ablation.arms import fraction_named
from cxremb.ablation.pools import Pool, figures_of, gap, pool_figures, pools_of, shared_rows, spans
from cxremb.ablation.trial import FIXED
from cxremb.evaluation.bootstrap import Difference, Interval
from cxremb.evaluation.metrics import THRESHOLD
from cxremb.evaluation.significance import fold_difference, holm
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
    return compare_pools(runs, judged_pools(runs, paired=reference is not None, threshold=threshold), reference)


def judged_pools(runs: Mapping[str, Run], *, paired: bool, threshold: str = FIXED) -> dict[str, list[Pool]]:
    """Arm -> its test rows; paired: those that every arm judges, as films, or as studies where one arm reads studies.

    Raises `TrainError` if no row is judged by all.
    """
    pools = {arm: pools_of(run, unit_of(runs) if paired else None, threshold) for arm, run in runs.items()}
    return shared_rows(pools) if paired else pools


def unit_of(runs: Mapping[str, Run]) -> str:
    """What all runs can be compared on: study if one of them has no other rows."""
    return "study" if any(run.record["unit"] == "study" for run in runs.values()) else "image"


def compare_pools(
    runs: Mapping[str, Run], pools: Mapping[str, Sequence[Pool]], reference: str | None
) -> list[ArmResult]:
    """As `compare`, from the rows that are judged."""
    rows = [row_of(arm, run, pools[arm]) for arm, run in runs.items()]
    if reference is None:
        return rows
    base, many = pools[reference], len(runs[reference].record["repeats"]) > 1
    rows = [row if row.arm == reference else replace(row, difference=gap(pools[row.arm], base)) for row in rows]
    corrected = holm([row.difference.p if row.difference else None for row in rows])
    rows = [replace(row, holm=p) for row, p in zip(rows, corrected, strict=True)]
    if not many:
        return rows
    sizes = {arm: fold_sizes(run, runs[reference]) for arm, run in runs.items()}
    return [
        row if row.arm == reference else replace(row, over_folds=fold_gap(pools[row.arm], base, sizes[row.arm]))
        for row in rows
    ]


def row_of(arm: str, run: Run, pools: Sequence[Pool]) -> ArmResult:
    """One arm without its difference."""
    figures = figures_of(pools)
    auroc, accuracy, f1 = spans_of(run, pools)
    return ArmResult(
        arm=arm,
        n=len(np.unique(np.concatenate([pool.items for pool in pools]))),
        patients=len(np.unique(np.concatenate([pool.patients for pool in pools]))),
        auroc=auroc,
        accuracy=accuracy,
        f1=f1,
        difference=None,
        seconds=run.seconds,
        run_id=run.run_id,
        reused=run.reused,
        leaky=bool(run.record.get("leaky")),
        caveats=run.caveats,
        specificity=figures.get(SPECIFICITY),
        ece=figures.get("ece"),
    )


def spans_of(run: Run, pools: Sequence[Pool]) -> list[Interval]:
    """The interval of each of `INTERVALS`: as stored with the run where these are all its test rows, called at 0.5."""
    tested = (run.predictions["part"].to_numpy(zero_copy_only=False) == "test").sum() / len(run.record["labels"])
    if tested == sum(len(pool.items) for pool in pools) and all((pool.cut == THRESHOLD).all() for pool in pools):
        stored = [Interval(*run.metric(name)) for name in INTERVALS]
        if all(figure.low is not None for figure in stored):
            return stored
    return spans(pools, INTERVALS)


def fold_gap(pools: Sequence[Pool], others: Sequence[Pool], sizes: tuple[int, int]) -> Difference | None:
    """The mean AUROC difference over the folds of all repeats; None where a fold has none. Seeds are averaged first."""
    gaps: dict[tuple[int, int], list[float]] = {}
    for a, b in zip(pools, others, strict=True):
        for fold in np.unique(a.folds).tolist():
            first, second = (pool_figures(pool.take(pool.folds == fold))["auroc"] for pool in (a, b))
            if first is None or second is None:
                return None
            gaps.setdefault((a.repeat, fold), []).append(first - second)
    return fold_difference([float(np.mean(seeds)) for seeds in gaps.values()], *sizes)


def fold_sizes(run: Run, reference: Run) -> tuple[int, int]:
    """(training rows, test rows) of a fold, the mean over all; where the two train on different shares, the smaller."""
    parts = reference.predictions["part"].to_numpy(zero_copy_only=False)
    models = len(reference.record["members"]) * len(reference.record["labels"])
    test, val = (round(float((parts == name).sum()) / models) for name in ("test", "val"))
    train = (int(reference.record["rows"]) - test - val) * min(fraction_named(run.arm), fraction_named(reference.arm))
    return max(1, round(train)), max(1, test)
