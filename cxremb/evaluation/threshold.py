"""From which probability on a row is called positive.

`Predictions.at_thresholds` sees to it that it is chosen on validation rows and applied to others, no other way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, Rows, checked_probabilities, cluster_numbers
from cxremb.evaluation.metrics import THRESHOLD
from cxremb.evaluation.ranking import FLOOR, columns, divided

Chooser = Callable[[Reals], Reals]  # (b, c) how often each cluster is taken -> (b,) thresholds, NaN where a class lacks
Rule = Callable[[Reals, Reals], Reals]  # true and false positives at each threshold, (b, t) -> what to maximise
SENSITIVITY = "sensitivity"


@dataclass(frozen=True)
class Choice:
    """A threshold, its rule, and what that reached. Never judge it on the rows that it was chosen on."""

    rule: str
    threshold: float
    reached: float  # what is maximised, or the sensitivity, on the rows that it was chosen on
    positives: int  # clusters, such as patients, with a positive row among these
    effective: float  # how many independent positives they are worth
    expected: float | None = None  # where a sensitivity is aimed at: what other rows will have on average


def f1(true: Reals, false: Reals) -> Reals:
    """The harmonic mean of precision and recall."""
    return divided(2 * true, true[:, -1:] + true + false)


def youden(true: Reals, false: Reals) -> Reals:
    """Sensitivity + specificity - 1 (Youden 1950)."""
    return divided(true, np.broadcast_to(true[:, -1:], true.shape)) - divided(
        false, np.broadcast_to(false[:, -1:], false.shape)
    )


BEST: dict[str, Rule] = {"f1": f1, "youden": youden}
RULES = (*BEST, SENSITIVITY)


def choose_threshold(
    y_true: Reals, y_prob: Reals, rule: str = "youden", *, floor: float = FLOOR, clusters: ArrayLike | None = None
) -> Choice:
    """The threshold of these rows by a rule. y_true, y_prob: (n,), both answers among them.

    rule: `f1` and `youden` maximise: it lies midway between two neighbouring probabilities, of equally good ones the
    nearest to 0.5. `sensitivity` aims at a sensitivity of `floor` on other rows (`aimed`). clusters: (n,) such as the
    patient; None takes rows as independent. Raises `DataError` for an unknown rule.
    """
    refuse_unknown_rule(rule, floor)
    y, prob = checked_probabilities(y_true, y_prob)
    own = np.arange(len(y), dtype=np.intp) if clusters is None else cluster_numbers(clusters, len(y))
    once = np.ones((1, int(own.max(initial=-1)) + 1))
    threshold = float(chooser(y, prob, rule, floor=floor, clusters=own)(once).item())
    positive, called = y == 1, prob >= threshold
    patients = len(np.unique(own[positive]))
    m = float(independent(np.array(float(positive.sum())), np.array(float(patients))))
    if rule == SENSITIVITY:
        reached = float(called[positive].mean())
        return Choice(f"aimed at {floor:g}", threshold, reached, patients, m, min(floor, m / (m + 1)))
    true, false = (np.array([[float((called & kind).sum()), float(kind.sum())]]) for kind in (positive, ~positive))
    return Choice(rule, threshold, float(BEST[rule](true, false)[0, 0]), patients, m)


def chooser(y: Reals, prob: Reals, rule: str, *, floor: float, clusters: Rows) -> Chooser:
    """The threshold of checked rows as a function of how often each cluster is taken. clusters: (n,) from 0 on."""
    return aimed(y, prob, floor, clusters=clusters) if rule == SENSITIVITY else best(y, prob, rule, clusters=clusters)


def best(y: Reals, prob: Reals, rule: str, *, clusters: Rows) -> Chooser:
    """The threshold that maximises a rule of `BEST`."""
    order = np.argsort(-prob, kind="stable")
    ends = np.flatnonzero(np.append(prob[order][1:] != prob[order][:-1], True)[: len(order)])  # of equal ones the last
    thresholds = between(prob[order][ends])
    nearest = np.argsort(np.abs(thresholds - THRESHOLD), kind="stable")  # the first of equally good ones is taken

    def chosen(counts: Reals) -> Reals:
        ordered = columns(counts, clusters[order])
        true, false = (np.zeros((len(counts), len(ends) + 1)) for _ in range(2))
        true[:, 1:] = columns(np.cumsum(ordered * y[order], axis=1), ends)
        false[:, 1:] = columns(np.cumsum(ordered * (1 - y[order]), axis=1), ends)
        gain = columns(BEST[rule](true, false), nearest)
        undefined = (true[:, -1] == 0) | (false[:, -1] == 0)
        return np.where(undefined, np.nan, thresholds[nearest][np.nan_to_num(gain, nan=-1).argmax(axis=1)])

    return chosen


def aimed(y: Reals, prob: Reals, floor: float, *, clusters: Rows) -> Chooser:
    """The threshold whose sensitivity on other rows is `floor` on average.

    Of m independent positives the j-th lowest lets j / (m + 1) of all others pass below it on average (Wilks 1941; Vovk
    et al. 2005), so it stands at place (1 - floor) (m + 1), between two of them where that is no whole number (type 6
    of Hyndman & Fan 1996). Below floor / (1 - floor) positives, 19 for .95, no threshold does it: the lowest is taken,
    which delivers m / (m + 1). For positives of one patient see `independent`.
    """
    positives = np.flatnonzero(y == 1)
    order = positives[np.argsort(prob[positives], kind="stable")]
    score, whose = prob[order], clusters[order]
    with_positive = np.unique(whose)

    def chosen(counts: Reals) -> Reals:
        upto = np.cumsum(columns(counts, whose), axis=1)
        if not len(order):
            return np.full(len(counts), np.nan)
        rows = upto[:, -1]
        m = independent(rows, counts[:, with_positive].sum(axis=1))
        below = np.maximum(0, rows * (1 - floor) - divided(floor * rows, m))  # rows; a fraction: between two rows
        here = (upto <= np.nan_to_num(below)[:, None]).sum(axis=1).clip(max=len(order) - 1)
        copies = np.take_along_axis(upto, here[:, None], axis=1)
        after = (upto <= copies).sum(axis=1).clip(max=len(order) - 1)
        part = np.clip(below - (copies[:, 0] - 1), 0, 1)
        return np.where(rows > 0, score[here] + part * (score[after] - score[here]), np.nan)

    return chosen


def independent(rows: Reals, clusters: Reals) -> Reals:
    """How many independent positives these rows are worth: the harmonic mean of rows and clusters.

    That is rows / (1 + (r - 1) / 2) for r rows a cluster, the effective number where half of the variance is shared.
    Counting clusters alone aims too high, counting rows too low (`benchmarks/coverage_steps/aimed.py`).
    """
    return divided(2 * rows * clusters, rows + clusters)


def refuse_unknown_rule(rule: str, floor: float) -> None:
    """Raises `DataError` for a rule that is none of `RULES`, or a floor that is no share."""
    if rule not in RULES or not 0 <= floor <= 1:
        raise DataError(f"no threshold by {rule} at {floor}", hint=f"choose among {', '.join(RULES)}")


def between(distinct: Reals) -> Reals:
    """(t + 1,) thresholds around t falling probabilities: the first calls nothing, the last everything."""
    middle = (distinct[:-1] + distinct[1:]) / 2
    apart = np.where(middle > distinct[1:], middle, distinct[:-1])  # neighbours may have no number between them
    return np.concatenate([[np.nextafter(distinct[0], 2.0)], apart, [0.0]])
