"""From which probability on a row is called positive.

`Predictions.at_thresholds` sees to it that it is chosen on validation rows and applied to others, no other way.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, checked_probabilities
from cxremb.evaluation.metrics import THRESHOLD
from cxremb.evaluation.ranking import FLOOR, called_so_far, swept

Rule = Callable[[Reals, Reals, float], Reals]  # true and false positives at each threshold, floor -> what to maximise


@dataclass(frozen=True)
class Choice:
    """A threshold, its rule, and what that reached. Never judge it on the rows that it was chosen on."""

    rule: str
    threshold: float
    reached: float


def f1(true: Reals, false: Reals, _: float) -> Reals:
    """The harmonic mean of precision and recall."""
    return np.asarray(2 * true / (true[-1] + true + false), dtype=np.float64)


def youden(true: Reals, false: Reals, _: float) -> Reals:
    """Sensitivity + specificity - 1 (Youden 1950)."""
    return np.asarray(true / true[-1] - false / false[-1], dtype=np.float64)


def sensitivity(true: Reals, false: Reals, floor: float) -> Reals:
    """The specificity, where the sensitivity is `floor` or more."""
    return np.where(true / true[-1] >= floor, 1 - false / false[-1], -1.0)


RULES: dict[str, Rule] = {"f1": f1, "youden": youden, "sensitivity": sensitivity}


def choose_threshold(y_true: Reals, y_prob: Reals, rule: str = "youden", *, floor: float = FLOOR) -> Choice:
    """The threshold that does best on these rows. y_true, y_prob: (n,), both answers among them.

    rule: `f1`, `youden`, or `sensitivity`: the best specificity with a sensitivity of `floor` or more. It lies midway
    between two neighbouring probabilities; of equally good ones the nearest to 0.5 is taken. Raises `DataError` for an
    unknown rule.
    """
    if rule not in RULES or not 0 <= floor <= 1:
        raise DataError(f"no threshold by {rule} at {floor}", hint=f"choose among {', '.join(RULES)}")
    y, prob = checked_probabilities(y_true, y_prob)
    sweep = swept(y, prob)
    true, false = (calls[0] for calls in called_so_far(sweep, np.ones((1, len(y)))))
    gain = RULES[rule](true, false, floor)
    thresholds = between(prob[sweep.order][sweep.ends])
    best = np.flatnonzero(gain == gain.max())
    nearest = best[np.argmin(np.abs(thresholds[best] - THRESHOLD))]
    name = rule if rule != "sensitivity" else f"sensitivity >= {floor:g}"
    return Choice(name, float(thresholds[nearest]), float(gain[nearest]))


def between(distinct: Reals) -> Reals:
    """(t + 1,) thresholds around t falling probabilities: the first calls nothing, the last everything."""
    middle = (distinct[:-1] + distinct[1:]) / 2
    apart = np.where(middle > distinct[1:], middle, distinct[:-1])  # neighbours may have no number between them
    return np.concatenate([[np.nextafter(distinct[0], 2.0)], apart, [0.0]])
