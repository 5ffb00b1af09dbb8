"""A run's test predictions as pools, each with every test row once; and their figures, averaged over the pools.

Several repeats or seeds make several pools. Scores of different pools are of different models: they are never ranked
against each other, and a patient counts once however many pools there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cxremb.ablation.trial import CHOSEN, FIXED
from cxremb.errors import TrainError
from cxremb.evaluation.arrays import Flags, Reals, Rows, cluster_numbers
from cxremb.evaluation.averages import few, label_pieces, macro, mean_of
from cxremb.evaluation.bootstrap import (
    Difference,
    Interval,
    Plan,
    Statistic,
    cluster_count,
    differences,
    intervals,
    judge,
    why_not,
)
from cxremb.evaluation.metrics import THRESHOLD, binary_metrics
from cxremb.evaluation.multi import multiclass_metrics, multilabel_metrics
from cxremb.evaluation.parts import part
from cxremb.evaluation.reliability import logit
from cxremb.evaluation.threshold import choose_threshold
from cxremb.predictions import Ids, Predictions, predictions_of
from cxremb.training.runs import Run


@dataclass(frozen=True)
class Pool:
    """The test rows of one repeat and seed, each item once, ordered by item."""

    task: str
    repeat: int
    items: Ids  # (t,)
    patients: Ids  # (t,)
    folds: Rows  # (t,) which model of the pool predicts it
    y: Reals  # (t, k), NaN where missing
    prob: Reals  # (t, k)
    cut: Reals  # (t,) from which probability on it is called positive, of a binary task

    def take(self, rows: Flags | Rows) -> "Pool":
        """Some of the rows."""
        names = ("items", "patients", "folds", "y", "prob", "cut")
        return Pool(self.task, self.repeat, *(getattr(self, name)[rows] for name in names))


def pools_of(run: Run, unit: str | None = None, threshold: str = FIXED) -> list[Pool]:
    """The pools of a run. unit: study makes one row of a study's films, with the mean of their probabilities.

    threshold: `trial.CHOSEN` takes for each fold the one with the best sensitivity + specificity on its val rows.
    Raises `TrainError` where there are none, or several labels.
    """
    if threshold == CHOSEN and run.record["task"] != "binary":
        raise TrainError("several labels have no one threshold to choose", hint="leave --threshold out")
    tests, found = predictions_of(run), []
    val = predictions_of(run, "val") if threshold == CHOSEN else None
    for rows in tests.pools:
        test = tests.take(rows)
        pool = pool_of(test, unit)
        if val is not None:
            same = (val.repeats == test.repeats[0]) & (val.seeds == test.seeds[0])
            pool = with_chosen(pool_of(val.take(same), unit), pool)
        found.append(pool)
    return found


def pool_of(found: Predictions, unit: str | None) -> Pool:
    """The rows, of one repeat and part, ordered by item and fold. Those of one item and fold become one: its
    probability is their mean. All else is the same in them, for a study has one patient, one label and one fold.
    """
    items = found.studies if unit == "study" else found.items
    number = np.unique(items, return_inverse=True)[1] * (found.folds.max(initial=0) + 1) + found.folds
    _, first, which = np.unique(number, return_index=True, return_inverse=True)
    mean = np.zeros((len(first), found.prob.shape[1]))
    np.add.at(mean, which, found.prob)
    mean /= np.bincount(which)[:, None]
    cut = np.full(len(first), THRESHOLD)
    repeat = int(found.repeats[0]) if len(found.repeats) else 0
    return Pool(found.task, repeat, items[first], found.patients[first], found.folds[first], found.y[first], mean, cut)


def with_chosen(val: Pool, test: Pool) -> Pool:
    """The test rows, each with the threshold of its fold. Raises `DataError` where a fold has none to choose."""
    cut = test.cut.copy()
    for fold in np.unique(test.folds):
        own = val.take(val.folds == fold)
        if not len(own.items):
            raise TrainError(f"fold {fold} has no validation rows", hint="leave --threshold out, or use another split")
        cut[test.folds == fold] = choose_threshold(part("val", own.items, own.y, logit(own.prob))).threshold
    return replace(test, cut=cut)


def shared_rows(pools: Mapping[str, Sequence[Pool]]) -> dict[str, list[Pool]]:
    """Arm -> its pools, cut to the rows that all arms judge in the same fold. Raises `TrainError` if there is none."""
    if len({len(found) for found in pools.values()}) > 1:
        raise TrainError("the arms have other repeats or seeds", hint="compare runs of the same folds and seeds")
    out: dict[str, list[Pool]] = {arm: [] for arm in pools}
    for side in zip(*pools.values(), strict=True):
        keys = [[f"{fold} {item}" for fold, item in zip(pool.folds, pool.items, strict=True)] for pool in side]
        shared = set(keys[0]).intersection(*keys[1:])
        if not shared:
            raise TrainError("no test row is judged by all arms", hint="compare fewer arms at a time")
        for arm, pool, own in zip(pools, side, keys, strict=True):
            here = np.array([key in shared for key in own], dtype=np.bool_)
            out[arm].append(pool if here.all() else pool.take(here))
    return out


def figures_of(pools: Sequence[Pool]) -> dict[str, float | None]:
    """Metric -> its mean over the pools, of the label or the macro mean; None where one lacks it."""
    found = [pool_figures(pool) for pool in pools]
    means: dict[str, float | None] = {}
    for metric in found[0]:
        known = [value for one in found if (value := one[metric]) is not None]
        means[metric] = sum(known) / len(known) if len(known) == len(found) else None
    return means


def pool_figures(pool: Pool) -> dict[str, float | None]:
    """As `figures_of`, of one pool."""
    if pool.task == "binary":
        return binary_metrics(pool.y[:, 0], pool.prob[:, 0], pool.cut)
    metrics = multiclass_metrics if pool.task == "multiclass" else multilabel_metrics
    return metrics(pool.y, pool.prob, [f"label {place}" for place in range(pool.y.shape[1])])["macro"]


def spans(pools: Sequence[Pool], metrics: Sequence[str]) -> list[Interval]:
    """The interval of each metric over patients, who are drawn once for all pools."""
    numbers, sides = numbered(pools)
    found = [mean_of([statistic(pool, metric, own) for pool, own in sides]) for metric in metrics]
    return intervals(found, numbers, Plan(), why_none(sides))


def gap(pools: Sequence[Pool], others: Sequence[Pool], metric: str = "auroc") -> Difference:
    """The metric of `pools` minus that of `others`, of the same rows (`shared_rows`) and resampled patients."""
    numbers, sides = numbered(pools)
    a = mean_of([statistic(pool, metric, own) for pool, own in sides])
    b = mean_of([statistic(pool, metric, own) for pool, (_, own) in zip(others, sides, strict=True)])
    return differences([(a, b)], numbers, Plan(), why_none(sides))[0]


def numbered(pools: Sequence[Pool]) -> tuple[Rows, list[tuple[Pool, Rows]]]:
    """(the number of each row's patient, in all pools; each pool with its part of them)."""
    everyone = np.concatenate([pool.patients for pool in pools])
    numbers = cluster_numbers(everyone, len(everyone))
    ends = np.cumsum([len(pool.patients) for pool in pools])[:-1]
    return numbers, list(zip(pools, np.split(numbers, ends), strict=True))


def statistic(pool: Pool, metric: str, numbers: Rows) -> Statistic:
    """The pool's figure as a function of how often each patient is taken."""
    if pool.task == "binary":
        y, prob = pool.y[:, 0], pool.prob[:, 0]
        found: Statistic = partial(judge(y, prob, prob >= pool.cut, numbers, cluster_count(numbers)).metric, metric)
    else:
        pieces = label_pieces(pool.y, pool.prob, numbers, pool.task)
        found = macro(metric, pieces, (pool.y, pool.prob), numbers, pool.task)
    own = cluster_count(numbers)  # a pool of a hold-out need not have the last patients
    return lambda counts: found(counts[:, :own])


def why_none(sides: Sequence[tuple[Pool, Rows]]) -> str | None:
    """Why these rows bear no interval, or None."""
    for pool, numbers in sides:
        binary = pool.task == "binary"
        pieces = [] if binary else label_pieces(pool.y, pool.prob, numbers, pool.task)
        if reason := why_not(pool.y[:, 0], numbers) if binary else few(pieces):
            return reason
    return None
