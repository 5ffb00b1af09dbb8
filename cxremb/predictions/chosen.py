"""What thresholds that were chosen on validation rows do to test rows, and how far that would move with other patients.

A resample draws patients once: the counts weigh their validation rows, on which the threshold is chosen again, and
their test rows, on which it is judged. Were the threshold held fixed, it would pass for known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, Rows
from cxremb.evaluation.bootstrap import Resampling, cluster_counts
from cxremb.evaluation.decision import FN, FP, STEPS, TN, TP, CurvePoint, Redrawn, curve_point, limits
from cxremb.evaluation.ranking import FLOOR, columns
from cxremb.evaluation.threshold import SENSITIVITY, Choice, Chooser, choose_threshold, chooser
from cxremb.predictions.judged import Ids, Predictions

Models = Sequence[tuple[Rows, Chooser]]  # (its test rows, how its threshold comes about)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Test rows of one label at thresholds, as they are and in resamples."""

    test: Predictions  # each row with its threshold
    choices: tuple[Choice, ...]  # of each model; () where the threshold was given
    redrawn: Redrawn

    @property
    def thresholds(self) -> tuple[float, ...]:
        """That of each model."""
        each = np.broadcast_to(self.test.threshold, len(self.test.items))
        return tuple(float(each[rows[0]]) for rows in self.test.models)


def at_given(test: Predictions, resampling: Resampling | None = None) -> Chosen:
    """The rows of one label at the threshold that they have. Raises `DataError` for several labels."""
    refuse_several(test)
    called = test.prob[:, 0] >= np.broadcast_to(test.threshold, len(test.items))
    (cells,) = cells_held(test, [called], np.unique(test.patients), resampling=resampling or Resampling())
    return Chosen(test, (), Redrawn(cells, weight=patients_a_row(test)))


def at_chosen(
    test: Predictions, val: Predictions, rule: str, *, floor: float = FLOOR, resampling: Resampling | None = None
) -> Chosen:
    """The rows of one label at thresholds by a rule, chosen again in each resample.

    val: the validation rows of every model of `test`. Raises `DataError` as `Predictions.at_thresholds`.
    """
    at, resampling = test.at_thresholds(val, rule, floor), resampling or Resampling()
    names = np.unique(np.concatenate([test.patients, val.patients]))
    models, choices = choosers(test, val, names, rule=rule, floor=floor), []
    for _, on in test.with_own(val, "threshold", pooled=rule == SENSITIVITY):
        y, prob, whose = on.y[:, 0], on.prob[:, 0], np.searchsorted(names, on.patients)
        choices.append(choose_threshold(y, prob, rule, floor=floor, clusters=whose))
    (held,) = cells_held(at, [at.prob[:, 0] >= at.threshold], names, resampling=resampling)
    (cells,) = cells_chosen(at, models, names, resampling=resampling)
    rests_on = (1 - floor) * (min(one.effective for one in choices) + 1) if rule == SENSITIVITY else np.inf
    return Chosen(at, tuple(choices), Redrawn(cells, held, rests_on, patients_a_row(test)))


def choosers(test: Predictions, val: Predictions, names: Ids, *, rule: str, floor: float = FLOOR) -> Models:
    """How the threshold of each model comes about from how often each of `names` is drawn. Raises as `with_own`."""
    found = []
    for rows, on in test.with_own(val, "threshold", pooled=rule == SENSITIVITY):
        whose = np.searchsorted(names, on.patients)
        found.append((rows, chooser(on.y[:, 0], on.prob[:, 0], rule, floor=floor, clusters=whose)))
    return found


def decision_curve(
    test: Predictions, prevalence: float, *, observed: float, resampling: Resampling | None = None
) -> list[CurvePoint]:
    """Net benefit of the rows of one label from a risk of 1% to 99% at a prevalence.

    observed: the prevalence among the rows that the models were trained and judged on.
    """
    refuse_several(test)
    risks = np.arange(1, STEPS) / STEPS
    called = [test.prob[:, 0] >= limit for limit in limits(risks, observed, prevalence)]
    found = cells_held(test, called, np.unique(test.patients), resampling=resampling or Resampling())
    return [curve_point(Redrawn(cells), prevalence, risk) for cells, risk in zip(found, risks.tolist(), strict=True)]


def patients_a_row(test: Predictions) -> float:
    """How many positive patients there are to a positive row, of one pool."""
    positive = test.y[:, 0] == 1
    rows, patients = len(np.unique(test.items[positive])), len(np.unique(test.patients[positive]))
    return patients / rows if rows else 1.0


def cells_held(test: Predictions, called: Sequence[Flags], names: Ids, *, resampling: Resampling) -> list[Reals]:
    """The cells of `Redrawn` of each of several ways to call the rows, whatever is drawn. called: (n,) each."""
    whose, pools, p = np.searchsorted(names, test.patients), *numbered_pools(test)
    positive = test.y[:, 0] == 1
    found = [np.zeros((1 + resampling.resamples, p, 4)) for _ in called]
    start = 0
    for counts in draws(names, whose, resampling):
        stop = start + len(counts)
        for own, into in zip(called, found, strict=True):
            cell = np.where(positive, np.where(own, TP, FN), np.where(own, FP, TN))
            place = (whose * p + pools) * 4 + cell
            sums = np.bincount(place, minlength=len(names) * p * 4).reshape(len(names), p * 4)
            into[start:stop] = (counts @ sums).reshape(-1, p, 4)
        start = stop
    return found


def cells_chosen(
    test: Predictions, models: Models, names: Ids, *, resampling: Resampling, groups: Sequence[Flags] = ()
) -> list[Reals]:
    """The cells of `Redrawn` of each group of rows, each threshold chosen in each resample.

    names: (c,) the patients drawn, sorted. groups: (n,) each, who is in it; all rows are one where there are none.
    """
    whose, pools, p = np.searchsorted(names, test.patients), *numbered_pools(test)
    inside = np.column_stack(groups or [np.ones(len(test.items), dtype=np.bool_)])
    found = np.zeros((inside.shape[1], 1 + resampling.resamples, p, 4))
    start = 0
    for counts in draws(names, whose, resampling):
        stop = start + len(counts)
        for rows, choose in models:
            limit, weights = choose(counts)[:, None], columns(counts, whose[rows])
            found[:, start:stop, pools[rows[0]]] += weighed(test, rows, limit, weights=weights, inside=inside[rows])
        start = stop
    return list(found)


def numbered_pools(test: Predictions) -> tuple[Rows, int]:
    """((n,) the number of each row's repeat and seed, how many there are)."""
    pools = np.unique(np.column_stack([test.repeat, test.seed]), axis=0, return_inverse=True)[1].reshape(-1)
    return pools.astype(np.intp), int(pools.max(initial=0)) + 1


def draws(names: Ids, whose: Rows, resampling: Resampling) -> Iterator[Reals]:
    """(b, c) how often each patient is taken: once, then as in each resample."""
    yield np.ones((1, len(names)))
    sized = np.concatenate([np.arange(len(names)), whose])  # so that a block of draws fits in memory by its rows too
    for counts in cluster_counts(sized, resampling.resamples, resampling.seed):
        yield counts
        resampling.drawn(len(counts))


def weighed(test: Predictions, rows: Rows, limit: Reals, *, weights: Reals, inside: Flags) -> Reals:
    """(g, b, 4) weights of TP, FP, FN and TN of some rows. limit: (b, 1). weights: (b, rows). inside: (rows, g)."""
    positive = (test.y[rows, 0] == 1)[:, None]
    kinds = [(kind & inside).astype(np.float64) for kind in (positive, ~positive)]
    called = weights * (test.prob[rows, 0] >= limit)
    (tp, fp), (with_it, without) = ([of @ kind for kind in kinds] for of in (called, weights))
    cells = np.stack([tp, fp, with_it - tp, without - fp], axis=-1).transpose(1, 0, 2)
    return np.where(np.isnan(limit), np.nan, cells)


def refuse_several(test: Predictions) -> None:
    """Raises `DataError` unless there is one label."""
    if len(test.labels) > 1:
        raise DataError(f"one threshold for a {test.task} task", hint="choose one for each label")
