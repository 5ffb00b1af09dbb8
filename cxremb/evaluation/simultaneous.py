"""Several differences judged at once: intervals and p that hold for all of them together, and which may be the best.

All follow from one matrix: what each patient adds to the error of each figure. The figures are then normal with the
covariance of these influences, and the largest of several correlated errors, the maximum of max-T, is drawn from it
(Hothorn, Bretz & Westfall 2008, single step). Arms that resemble each other cost little, where Holm or Bonferroni
count each in full; and interval and p come from one distribution, so an interval excludes 0 exactly where p < .05.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from cxremb.evaluation.arrays import Flags, Reals

DRAWS = 9_999  # with the figure itself 10,000, so that a p is a whole number of ten thousandths
POWER = 0.8  # of the difference that these data could have shown
ALIKE = "both rank the rows alike: the patients leave no variance"


@dataclass(frozen=True)
class Contrast:
    """A minus B, judged together with others; p is two-sided, below 1 - level where 0 is outside the interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    error: float | None = None  # its standard error
    detectable: float | None = None  # the least true difference whose interval excludes 0 four times in five
    reason: str | None = None  # why there is no interval


def contrasts(values: Reals, influences: Reals, factors: Reals, *, level: float = 0.95) -> list[Contrast]:
    """Each difference with an interval that holds for all together, and its p.

    values: (m,). influences: (m, c) what each of c patients adds to its error. factors: (m,) how much larger the
    variance is than theirs. One whose patients leave no variance has no interval and does not count.
    """
    errors = np.sqrt(factors * (influences**2).sum(axis=1))
    there = errors > 0
    found = [Contrast(float(value), reason=ALIKE) for value in values]
    if not there.any():
        return found
    sizes = np.abs(values[there]) / errors[there]
    critical, p_values = largest_of(influences[there], sizes, level)
    for place, p in zip(np.flatnonzero(there), p_values, strict=True):
        value, error = float(values[place]), float(errors[place])
        reach = critical * error
        found[place] = Contrast(
            value, value - reach, value + reach, float(p), error, reach + float(ndtri(POWER)) * error
        )
    return found


def largest_of(influences: Reals, sizes: Reals, level: float) -> tuple[float, Reals]:
    """(how many standard errors an interval reaches, p of each size), two-sided, from the largest of all errors.

    influences: (m, c), none without variance. sizes: (m,) distances from 0 in standard errors. One alone needs no draw.
    """
    if len(sizes) == 1:
        return float(ndtri((1 + level) / 2)), np.asarray(2 * ndtr(-sizes))
    largest = np.sort(np.abs(normals(influences)).max(axis=1))
    beyond = len(largest) - np.searchsorted(largest, sizes, "left")
    # with a share of 1 - level of all draws, the figure counted as one, p is not below 1 - level: one fewer is
    critical = largest[-(round((1 - level) * (DRAWS + 1)) - 1)]
    return float(critical), (1 + beyond) / (DRAWS + 1)


def may_be_best(values: Reals, influences: Reals, factors: Reals, *, level: float = 0.95) -> Flags:
    """(m,) which figures may be the largest: a set that has the truly largest in it with probability `level`.

    One is out where another is larger by more than the largest of its m - 1 differences is, one-sided, by chance
    (subset selection, Gupta 1965; multiple comparisons with the best, Hsu 1996). values: (m,), influences: (m, c), as
    of `contrasts` but of the figures themselves; factors: (m, m), of their differences.
    """
    kept = np.ones(len(values), dtype=np.bool_)
    drawn = normals(influences, unit=False)
    for place in range(len(values)):
        errors = np.sqrt(((influences - influences[place]) ** 2).sum(axis=1))
        others = errors > 0
        if not others.any():
            continue
        chance = ((drawn[:, others] - drawn[:, [place]]) / errors[others]).max(axis=1)
        widened = errors[others] * np.sqrt(factors[place, others])
        kept[place] = ((values[others] - values[place]) / widened).max() <= np.quantile(chance, level)
    return kept


def normals(influences: Reals, *, unit: bool = True) -> Reals:
    """(DRAWS, m) normal draws, always the same, with the covariance of the influences; unit: of variance 1 each."""
    rows = influences / np.sqrt((influences**2).sum(axis=1, keepdims=True)) if unit else influences
    sizes, directions = np.linalg.eigh(rows @ rows.T)
    root = directions * np.sqrt(np.clip(sizes, 0, None))
    return np.asarray(np.random.default_rng(0).standard_normal((DRAWS, len(rows))) @ root.T)


def patient_factor(share_judged: float, share_trained: float, models: int) -> float:
    """How much larger the variance of a recipe's figure is than that of the fitted models on other patients.

    A patient moves a figure where he is judged and once more where he is trained on. Averaged over `models`, each
    trained on a random share p of all n patients, the training counts as (1 + (1 - p) / (p models)) / n patients, the
    test as 1 / (share_judged n): the factor is 1 + share_judged (1 + (1 - p) / (p models)). For one model this is
    1 + test / train, the correction of Nadeau & Bengio (2003); for five folds of 70 : 10 : 20 it is 2.09, where theirs,
    which counts the 7 in 10 of one fold as all that is trained on, is 2.43.
    """
    return 1 + share_judged * (1 + (1 - share_trained) / (share_trained * models))
