"""Tests and intervals of counts and of folds, and the price of testing several arms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri, stdtr, stdtrit

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, checked_probabilities, cluster_numbers, reals
from cxremb.evaluation.bootstrap import FEWEST, Difference
from cxremb.evaluation.metrics import THRESHOLD


@dataclass(frozen=True)
class McNemar:
    """Studies that only one of two models answers rightly; p is exact, two-sided; `reason` says why there is none."""

    studies: int
    only_a: int
    only_b: int
    p: float | None
    reason: str | None = None


def mcnemar(
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    *,
    studies: ArrayLike,
    threshold: float = THRESHOLD,
) -> McNemar:
    """Whether two models are right equally often, one vote a study (McNemar 1947; exact binomial).

    y_true: (n,) 0 or 1, the same in all rows of a study. studies: (n,). A study's probability is the mean of its rows'.
    Studies of one patient still count as independent: use the patient instead where most have several. No p with fewer
    than ten positive studies, negative ones, or studies in all. Raises `DataError` as `binary_metrics`, and for a study
    with two answers.
    """
    y, first = checked_probabilities(y_true, prob_a, "prob_a")
    _, second = checked_probabilities(y_true, prob_b, "prob_b")
    numbers = cluster_numbers(studies, len(y))
    rows = np.bincount(numbers)
    truth, a, b = (np.bincount(numbers, weights=values) / rows for values in (y, first, second))
    if mixed := int(((truth > 0) & (truth < 1)).sum()):
        raise DataError(
            f"{mixed} studies are both positive and negative", hint="give a study the same label in all rows"
        )
    right_a, right_b = ((prob >= threshold) == (truth == 1) for prob in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n, positives = len(truth), int(truth.sum())
    if min(positives, n - positives) < FEWEST:
        counts = f"only {positives} positive and {n - positives} negative studies: a test needs {FEWEST} of each"
        return McNemar(n, only_a, only_b, None, counts)
    return McNemar(n, only_a, only_b, min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))))


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) of a share, such as a sensitivity, of independent rows; None without rows.

    Wilson (1927): unlike the normal interval it stays inside [0, 1] and covers near them (Brown, Cai & DasGupta 2001).
    """
    if not 0 <= successes <= n or not 0 < level < 1:
        raise DataError(f"{successes} of {n} at level {level}", hint="give a count, how many it is of, and 0.95")
    if not n:
        return None
    z = float(ndtri((1 + level) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    # the ends are 0 and 1 exactly where all rows agree; rounding would leave 1e-17
    return (0.0 if successes == 0 else middle - reach), (1.0 if successes == n else middle + reach)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p corrected for all the comparisons made, in the order given (Holm 1979).

    Against one reference, the chance of any false alarm among all arms stays below the level, however they depend on
    each other. None, a test that could not be made, stays None and is not counted.
    """
    known = [(p, place) for place, p in enumerate(p_values) if p is not None]
    if bad := [p for p, _ in known if not 0 <= p <= 1]:
        raise DataError(f"{bad[0]} is no p value", hint="give numbers from 0 to 1, None where there is no test")
    corrected: list[float | None] = [None] * len(p_values)
    most = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        most = max(most, min(1.0, p * (len(known) - rank)))
        corrected[place] = most
    return corrected


def fold_difference(gaps: ArrayLike, train_rows: int, test_rows: int, *, level: float = 0.95) -> Difference:
    """The mean difference over the folds of repeated cross-validation, with an interval and p over training runs too.

    gaps: (j,) A minus B of every fold of every repeat. Training sets overlap, so folds are no independent evidence and
    the variance of their mean is not s2 / j but (1 / j + test_rows / train_rows) s2 (Nadeau & Bengio 2003; for repeated
    k-fold, Bouckaert & Frank 2004): more repeats cannot shrink it below the second term. Student's t, j - 1 degrees.
    """
    values = checked_gaps(gaps)
    if train_rows < 1 or test_rows < 1 or not 0 < level < 1:
        counts = f"{train_rows} training rows, {test_rows} test rows, level {level}"
        raise DataError(counts, hint="give the rows of one fold, and 0.95")
    j = len(values)
    if j < 2:
        return Difference(float(values[0]) if j else None, None, None, None, reason=f"{j} folds have no spread")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        if mean == 0:
            return Difference(0.0, 0.0, 0.0, 1.0)
        return Difference(mean, None, None, None, reason="every fold has the same difference")
    error = float(np.sqrt((1 / j + test_rows / train_rows) * values.var(ddof=1)))
    reach = float(stdtrit(j - 1, (1 + level) / 2)) * error
    return Difference(mean, mean - reach, mean + reach, float(2 * stdtr(j - 1, -abs(mean) / error)))


def checked_gaps(gaps: ArrayLike) -> Reals:
    """(j,) finite. Raises `DataError` otherwise."""
    values = reals(gaps, "gaps")
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError("the differences of folds must be finite numbers", hint="leave out folds that have no figure")
    return values
