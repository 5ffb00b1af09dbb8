"""Shares, such as a sensitivity, of rows that hang together in patients: intervals and differences without resampling.

Wilson's interval with the number of independent rows that the rows are worth, the design effect of survey statistics
(Rao & Scott 1992; Korn & Graubard 1998). Any ratio of sums over rows between 0 and 1 is a share, as F1 is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from cxremb.evaluation.arrays import Reals, Rows
from cxremb.evaluation.bootstrap import UNDEFINED, Difference, Interval
from cxremb.evaluation.metrics import mean_or_none

NOTHING = 1e-18  # a variance that only rounding has made
ALIKE = "no patient is judged differently, which is not to say that others would not be"


@dataclass(frozen=True)
class Share:
    """A share and what each of c patients adds to its error."""

    value: float | None  # None: there is nothing to divide by
    influence: Reals  # (c,) its squares add up to the variance
    patients: float  # how many it is of
    rows: float

    def interval(self, level: float = 0.95) -> Interval:
        """Wilson's, with as many rows as independent ones would give that variance; of patients who all agree, their
        number. Never more than there are rows.
        """
        if (p := self.value) is None:
            return Interval(None, None, None, reason=UNDEFINED)
        variance, freedom = float(self.influence @ self.influence), degrees(self.influence, self.patients - 1)
        worth = min(p * (1 - p) / variance, self.rows) if variance > NOTHING and 0 < p < 1 else self.patients
        return Interval(p, *score_interval(p, worth, float(stdtrit(freedom, (1 + level) / 2))))

    def difference(self, other: "Share", level: float = 0.95) -> Difference:
        """Self minus the other, of the same patients, with Student's t; none where no patient is judged differently."""
        if self.value is None or other.value is None:
            return Difference(None, None, None, None, reason=UNDEFINED)
        value, influence = self.value - other.value, self.influence - other.influence
        if (variance := float(influence @ influence)) <= NOTHING:
            return Difference(value, None, None, None, reason=ALIKE)
        error, freedom = variance**0.5, degrees(influence, min(self.patients, other.patients) - 1)
        reach = float(stdtrit(freedom, (1 + level) / 2)) * error
        return Difference(value, value - reach, value + reach, float(2 * stdtr(freedom, -abs(value) / error)))


def share_of(part: Reals, whole: Reals, *, clusters: Rows, c: int) -> Share:
    """The sum of `part` as a share of that of `whole`, linearised as a ratio (Woodruff 1971).

    part, whole: (n,) what each row adds. clusters: (n,) numbers below c.
    """
    top, below = (np.bincount(clusters, weights=each, minlength=c) for each in (part, whole))
    there, total = below > 0, float(below.sum())
    if not total:
        return Share(None, np.zeros(c), 0, 0)
    value, patients = float(top.sum()) / total, int(there.sum())
    influence = (top - value * below) / total * (patients / max(1, patients - 1)) ** 0.5
    return Share(value, influence, patients, int((whole > 0).sum()))


def mean_share(parts: Sequence[Share]) -> Share:
    """The mean of shares of the same patients: of labels, or of repeats and seeds. None where one lacks it."""
    influence, patients, rows = (
        np.mean([getattr(part, name) for part in parts], axis=0) for name in ("influence", "patients", "rows")
    )
    return Share(mean_or_none([part.value for part in parts]), influence, float(patients), float(rows))


def score_interval(share: float, n: float, quantile: float) -> tuple[float, float]:
    """(low, high) of a share of n independent rows (Wilson 1927)."""
    square = quantile * quantile
    middle = (share + square / (2 * n)) / (1 + square / n)
    reach = quantile / (1 + square / n) * float(np.sqrt(share * (1 - share) / n + square / (4 * n * n)))
    # the ends are 0 and 1 exactly where all rows agree; rounding would leave 1e-17
    return (0.0 if share == 0 else middle - reach), (1.0 if share == 1 else middle + reach)


def degrees(influence: Reals, most: float) -> float:
    """Degrees of freedom of a sum of squares, 3 (sum x2)2 / sum x4, at most `most` and at least 1.

    Satterthwaite (1946) with the variance of each square by its own fourth power: of normal values it gives their
    number, of a sum that two patients make nearly alone, not much more than six.
    """
    squares = influence * influence
    fourth = float(squares @ squares)
    found = 3 * float(squares.sum()) ** 2 / fourth if fourth > 0 else most
    return max(1.0, min(found, most))
