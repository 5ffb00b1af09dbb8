"""From which probability on a row is called positive: chosen on validation rows, applied to others, no other way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals
from cxremb.evaluation.metrics import THRESHOLD
from cxremb.evaluation.parts import Origin, Part, origin_of
from cxremb.evaluation.ranking import FLOOR, called_so_far, swept

Rule = Callable[[Reals, Reals, float], Reals]  # true and false positives at each threshold, floor -> what to maximise


@dataclass(frozen=True)
class Choice:
    """A threshold, its rule, what that reached, and the rows it was chosen on: never judge it on those."""

    rule: str
    threshold: float
    reached: float
    origin: Origin

    def apply(self, target: Part) -> Flags:
        """(n,) whether each row is called positive. Raises `DataError` for rows that it was chosen on."""
        self.origin.admit(target)
        return np.asarray(target.prob >= self.threshold, dtype=bool)


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


def choose_threshold(validation: Part, rule: str = "youden", floor: float = FLOOR) -> Choice:
    """The threshold that does best on the validation rows of a fold.

    rule: `f1`, `youden`, or `sensitivity`: the best specificity with a sensitivity of `floor` or more. It lies midway
    between two neighbouring probabilities; of equally good ones the nearest to 0.5 is taken. Raises `DataError` for
    another part than val, another task than binary, one class, or an unknown rule.
    """
    if rule not in RULES or not 0 <= floor <= 1:
        raise DataError(f"no threshold by {rule} at {floor}", hint=f"choose among {', '.join(RULES)}")
    if validation.task != "binary":
        raise DataError(f"one threshold for a {validation.task} task", hint="choose one a label, each as a binary part")
    origin = origin_of(validation, "threshold")
    y, prob = validation.y_true, validation.prob
    sweep = swept(y, prob)
    true, false = (calls[0] for calls in called_so_far(sweep, np.ones((1, len(y)))))
    gain = RULES[rule](true, false, floor)
    cuts = between(prob[sweep.order][sweep.ends])
    best = np.flatnonzero(gain == gain.max())
    nearest = best[np.argmin(np.abs(cuts[best] - THRESHOLD))]
    return Choice(rule if rule != "sensitivity" else f"sensitivity >= {floor:g}", *pair(cuts, gain, nearest), origin)


def pair(cuts: Reals, gain: Reals, place: np.intp) -> tuple[float, float]:
    """(the threshold, what it reaches)."""
    return float(cuts[place]), float(gain[place])


def between(distinct: Reals) -> Reals:
    """(t + 1,) thresholds around t falling probabilities: the first calls nothing, the last everything."""
    middle = (distinct[:-1] + distinct[1:]) / 2
    apart = np.where(middle > distinct[1:], middle, distinct[:-1])  # neighbours may have no number between them
    return np.concatenate([[np.nextafter(distinct[0], 2.0)], apart, [0.0]])
