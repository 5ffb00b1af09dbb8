"""How groups of rows differ from the other rows of the same run, for all groups at once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxremb.evaluation.bootstrap import Difference
from cxremb.evaluation.significance import holm
from cxremb.predictions.judged import Predictions
from cxremb.predictions.pool import gap_of, linear

Gaps = dict[str, Difference]


def gaps_of(
    pairs: Sequence[tuple[Predictions, Predictions]], metrics: Sequence[str], *, level: float = 0.95
) -> list[Gaps]:
    """Of each (group, the other rows): metric -> the group's headline figure minus that of the others.

    Intervals are of level 1 - (1 - level) / g for the g groups that bear one (Bonferroni), p is after Holm over them:
    so the group that stands out is not picked by chance. Of two groups that are each other's rest there is one
    question, and nothing to correct. Metrics whose intervals need resampling have none.
    """
    each = 1 - (1 - level) / max(1, questions(pairs))
    found = [against(own, rest, metrics, level=each) if len(rest.items) else {} for own, rest in pairs]
    for metric in () if mirrored(pairs) else metrics:
        tested = [gaps for gaps in found if metric in gaps]
        for gaps, p in zip(tested, holm([gaps[metric].p for gaps in tested]), strict=True):
            gaps[metric] = replace(gaps[metric], p=p)
    return found


def questions(pairs: Sequence[tuple[Predictions, Predictions]]) -> int:
    """How many differences are judged: one for each group that bears an interval."""
    count = sum(own.no_interval() is None and rest.no_interval() is None for own, rest in pairs)
    return min(count, 1) if mirrored(pairs) else count


def mirrored(pairs: Sequence[tuple[Predictions, Predictions]]) -> bool:
    """Whether these are two groups, each held against the other: one difference, with either sign."""
    if len(pairs) != 2:
        return False
    (first, its_rest), (second, other_rest) = pairs
    return np.array_equal(first.items, other_rest.items) and np.array_equal(second.items, its_rest.items)


def against(own: Predictions, rest: Predictions, metrics: Sequence[str], *, level: float) -> Gaps:
    """One of `gaps_of`. Patients with rows on both sides are paired; without them the sides are independent."""
    names = np.unique(np.concatenate([own.patients, rest.patients]))
    sides, reason = (own.arrays(names), rest.arrays(names)), own.no_interval() or rest.no_interval()
    found = {metric: gap_of(*sides, metric, level=level) for metric in metrics if linear(metric)}
    return {k: Difference(gap.value, None, None, None, reason=reason) if reason else gap for k, gap in found.items()}
