"""Tests and intervals of counts and of folds, and the price of testing several arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtri, stdtr, stdtrit

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, checked_probabilities, cluster_numbers, reals
from cxremb.evaluation.bootstrap import FEWEST, Difference, Interval
from cxremb.evaluation.metrics import THRESHOLD
from cxremb.evaluation.shares import score_interval


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
    patients: ArrayLike | None = None,
    threshold: ArrayLike = THRESHOLD,
) -> McNemar:
    """Whether two models are right equally often, one vote a study; the studies of a patient are exchanged together.

    With one study a patient it is the exact test of McNemar (1947). With several, a patient counts by how many more
    studies A alone gets right than B alone, and p is exact over all ways of exchanging A and B within patients; its
    normal form is the test of Durkalski et al. (2003).

    y_true: (n,) 0 or 1, the same in all rows of a study. studies: (n,). patients: (n,); None takes studies as
    independent. A study's probability is the mean of its rows'. threshold: from which probability on a row is positive,
    one or (n,), the same in all rows of a study. No p with fewer than ten patients who have a positive study, or a
    negative one. Raises `DataError` as `binary_metrics`, and for a study with two answers or patients.
    """
    y, first = checked_probabilities(y_true, prob_a, "prob_a")
    _, second = checked_probabilities(y_true, prob_b, "prob_b")
    numbers = cluster_numbers(studies, len(y))
    owners = numbers if patients is None else cluster_numbers(patients, len(y))
    rows = np.bincount(numbers)
    limits = np.broadcast_to(np.asarray(threshold, dtype=np.float64), y.shape)
    truth, a, b, limit, owner = (
        np.bincount(numbers, weights=values) / rows for values in (y, first, second, limits, owners)
    )
    if mixed := int(((truth > 0) & (truth < 1)).sum()):
        raise DataError(
            f"{mixed} studies are both positive and negative", hint="give a study the same label in all rows"
        )
    if shared := int((np.abs(owner[numbers] - owners) > 1e-9).any()):
        raise DataError(f"{shared} study or more is of two patients", hint="give a study one patient")
    patient = np.rint(owner).astype(np.intp)
    right_a, right_b = ((prob >= limit) == (truth == 1) for prob in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    positives, negatives = (len(np.unique(patient[truth == kind])) for kind in (1, 0))
    if min(positives, negatives) < FEWEST:
        whose = "studies" if patients is None else "patients with such studies"
        counts = f"only {positives} positive and {negatives} negative {whose}: a test needs {FEWEST} of each"
        return McNemar(len(truth), only_a, only_b, None, counts)
    gaps = np.bincount(patient, weights=right_a.astype(np.float64) - right_b)
    return McNemar(len(truth), only_a, only_b, exchanged_p(np.rint(gaps).astype(np.int64)))


def exchanged_p(gaps: NDArray[np.int64]) -> float:
    """The share of all ways to give each gap either sign whose sum lies as far from 0 as that of the gaps, or farther.

    gaps: (patients,). Gaps of one size have a binomial sum, and these are added size by size; no way is drawn.
    """
    sizes, counts = np.unique(np.abs(gaps[gaps != 0]), return_counts=True)
    ways, least = np.ones(1), 0  # the chance of each sum: of `least`, of 2 more, and so on
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        fewest, chances = binomial(count)
        spaced = np.zeros(size * (len(chances) - 1) + 1)
        spaced[::size] = chances
        ways, least = np.convolve(ways, spaced), least + size * (2 * fewest - count)
    sums = least + 2 * np.arange(len(ways))
    return min(1.0, float(ways[np.abs(sums) >= abs(int(gaps.sum()))].sum()))


def binomial(n: int) -> tuple[int, Reals]:
    """(k, the chances of k heads in n tosses, of k + 1, and so on), all that a float can tell from 0."""
    reach = int(20 * n**0.5)  # beyond, less than exp(-2 * 20**2)
    k = np.arange(max(0, n // 2 - reach), min(n, n // 2 + 1 + reach) + 1)
    log_ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return int(k[0]), np.asarray(np.exp(log_ways - n * np.log(2)))


def over_draws(figure: Interval, draws: Sequence[float], *, alone: bool = False) -> Interval:
    """The interval over patients and over draws, kept to [0, 1]: the root of the sum of both reaches squared.

    The reach over patients is that of `figure`, the one over draws Student's t on their mean, as few of them tell their
    variance badly. So draws that agree leave the interval as it is. It covers 95% or more of planted figures with two
    draws and with five (`tests/test_one_figure.py`); with the degrees of freedom of Satterthwaite (1946) it did not.

    draws: the figure of each of several shuffles, whose mean is the figure. A head that learns from one shuffle points
    somewhere at random; where the vectors tell the classes well, it may point at the truth or away from it, by far more
    than other patients would move its AUROC. Of one draw, or without an interval, it stays as it is.
    alone: each draw points elsewhere, as heads do that learn shuffled labels, so that what its patients did for it is
    nothing to the next draw: the spread of draws holds that of patients, and the wider reach is that of both.
    """
    if figure.value is None or figure.low is None or figure.high is None or len(draws) < 2:
        return figure
    over_shuffles = float(stdtrit(len(draws) - 1, 0.975)) * float(np.std(draws, ddof=1)) / len(draws) ** 0.5
    reaches = figure.value - figure.low, figure.high - figure.value
    low, high = (max(one, over_shuffles) if alone else float(np.hypot(one, over_shuffles)) for one in reaches)
    return replace(figure, low=max(0.0, figure.value - low), high=min(1.0, figure.value + high))


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """(low, high) of a share, such as a sensitivity, of independent rows; None without rows.

    Wilson (1927): unlike the normal interval it stays inside [0, 1] and covers near them (Brown, Cai & DasGupta 2001).
    """
    if not 0 <= successes <= n or not 0 < level < 1:
        raise DataError(f"{successes} of {n} at level {level}", hint="give a count, how many it is of, and 0.95")
    if not n:
        return None
    return score_interval(successes / n, n, float(ndtri((1 + level) / 2)))


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
