"""The fast variances against all pairs written out, a published example, and simulated truth."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from cxremb.errors import DataError
from cxremb.evaluation.delong import BOUND, CONSTANT, delong, delong_difference, place
from cxremb.evaluation.shares import ALIKE


def made_up(seed: int, n: int = 80, clusters: int = 30) -> tuple[np.ndarray, ...]:
    """(classes, two tied scores, clusters of one to several rows)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(float)
    scores = [np.round(gap * y + rng.standard_normal(n), 1) for gap in (1.5, 0.5)]
    return y, *scores, rng.permutation(np.arange(n) % clusters)


def slow_covariance(y: np.ndarray, scores: list[np.ndarray], clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(areas, their covariance) from the kernel of every pair: Obuchowski (1997), with the factors of Bell & McCaffrey.

    Obuchowski has m / (m - 1) for all clusters, which for single rows is the same.
    """
    cases, controls = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    m, n = len(cases), len(controls)
    psi = [[[1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0 for j in controls] for i in cases] for s in scores]
    areas = [np.mean(kernel) for kernel in psi]
    of = {name: ((clusters[cases] == name).sum() / m, (clusters[controls] == name).sum() / n) for name in clusters}
    sums = []  # per score: cluster -> what its cases and its controls add to the area's error
    for kernel, area in zip(np.array(psi), areas, strict=True):
        own = dict.fromkeys(clusters, 0.0)
        for i, row in enumerate(cases):
            own[clusters[row]] += (kernel[i].mean() - area) / m / np.sqrt(1 - of[clusters[row]][0])
        for j, row in enumerate(controls):
            own[clusters[row]] += (kernel[:, j].mean() - area) / n / np.sqrt(1 - of[clusters[row]][1])
        sums.append(own)
    covariance = [[sum(first[c] * second[c] for c in first) for second in sums] for first in sums]
    return np.array(areas), np.array(covariance)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clustered", [False, True])
def test_equal_to_all_pairs(seed, clustered):
    y, good, poor, patients = made_up(seed)
    clusters = patients if clustered else np.arange(len(y))
    areas, covariance = slow_covariance(y, [good, poor], clusters)
    given_clusters = clusters if clustered else None
    for score, area, variance in zip((good, poor), areas, np.diag(covariance), strict=True):
        found = delong(y, score, given_clusters)
        assert [found.value, found.error] == pytest.approx([area, np.sqrt(variance)], rel=1e-10)
        freedom = place(y, score, clusters).freedom
        reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance) / (area * (1 - area))
        odds = area / (1 - area) * np.exp([-reach, reach])
        assert [found.low, found.high] == pytest.approx(odds / (1 + odds), rel=1e-10)
        assert 5 < freedom < len(set(clusters))
    found = delong_difference(y, good, poor, clusters=given_clusters, level=0.9)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    freedom = place(y, good, clusters).minus(place(y, poor, clusters)).freedom
    gap, reach = areas[0] - areas[1], stats.t.ppf(0.95, freedom) * error
    expected = [gap, error, gap - reach, gap + reach, 2 * stats.t.sf(abs(gap) / error, freedom)]
    assert [found.value, found.error, found.low, found.high, found.p] == pytest.approx(expected, rel=1e-10)


def test_single_rows_have_the_factors_of_delong():
    y, good, _, _ = made_up(0)
    cases, controls = good[y == 1], good[y == 0]
    wins = (cases[:, None] > controls) + 0.5 * (cases[:, None] == controls)
    variance = wins.mean(axis=1).var(ddof=1) / len(cases) + wins.mean(axis=0).var(ddof=1) / len(controls)
    assert delong(y, good).error == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_the_published_example():
    # CT readings of 58 normal and 51 abnormal studies on a scale of 1 to 5 (Hanley & McNeil 1982, table I);
    # Stata's manual prints DeLong's standard error and interval of it ([R] roctab): 0.8932, 0.0307, 0.83295 to 0.95339
    y = np.repeat([0.0, 1.0], [58, 51])
    rating = np.concatenate([np.repeat(range(1, 6), [33, 6, 6, 11, 2]), np.repeat(range(1, 6), [3, 2, 2, 11, 33])])
    found = delong(y, rating)
    assert (round(found.value, 4), round(found.error, 4)) == (0.8932, 0.0307)
    # the interval of the manual is normal and symmetrical; on the scale of logits it leans towards 0.5
    assert found.low < 0.83295
    assert found.high < 0.95339


def test_every_row_its_own_cluster_is_delong():
    y, good, poor, _ = made_up(1)
    names = np.array([f"patient {number}" for number in range(len(y))])
    assert astuple(delong(y, good, names)) == pytest.approx(astuple(delong(y, good)))
    assert astuple(delong_difference(y, good, poor, clusters=names)) == pytest.approx(
        astuple(delong_difference(y, good, poor))
    )


def test_a_study_copied_fivefold_adds_no_evidence():
    y, good, poor, _ = made_up(2)
    patients = np.arange(len(y))
    once = delong_difference(y, good, poor)
    copied = [np.repeat(values, 5) for values in (y, good, poor, patients)]
    clustered = delong_difference(*copied[:3], clusters=copied[3])
    assert [clustered.error, clustered.p] == pytest.approx([once.error, once.p], rel=1e-10)
    assert delong_difference(*copied[:3]).error < 0.5 * once.error  # as if rows were patients


def test_order_does_not_matter_and_models_change_sides():
    y, good, poor, patients = made_up(3)
    one, other = (
        delong_difference(y, good, poor, clusters=patients),
        delong_difference(y, poor, good, clusters=patients),
    )
    assert [one.value, one.low, one.high, one.p] == pytest.approx([-other.value, -other.high, -other.low, other.p])
    shuffled = np.random.default_rng(0).permutation(len(y))
    again = delong(y[shuffled], good[shuffled], patients[shuffled])
    assert again.error == pytest.approx(delong(y, good, patients).error)


def test_what_does_not_vary():
    y = np.repeat([1.0, 0.0], [20, 30])
    apart, constant = np.arange(50)[::-1] * 1.0, np.ones(50)
    found = delong(y, apart)  # one in twenty patients would rank otherwise unseen 1 time in 20 at this bound
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(0.05 ** (1 / 20)), 1.0)
    assert found.low == pytest.approx(1 - 3 / 20, abs=0.011)
    turned = delong(y, -apart)
    assert (turned.value, turned.low, turned.high) == (0.0, 0.0, pytest.approx(1 - found.low))
    assert (delong(y, constant).low, delong(y, constant).reason) == (None, CONSTANT)
    halves = np.r_[np.zeros(20), np.tile([0.0, 1.0, -1.0], 10)]  # each positive wins, ties and loses ten
    assert place(y, halves, np.arange(50)).positives.any() == 0
    for other in (apart, constant):
        gap = delong_difference(y, apart, other)
        assert gap.value == 1 - delong(y, other).value
        assert (gap.low, gap.high, gap.p, gap.reason) == (None, None, None, ALIKE)


def test_a_perfect_figure_has_a_remark_and_folds_of_one_class_too():
    y, who = np.repeat([1.0, 0.0], 20), np.arange(40)
    found = place(y, y, who).interval()
    assert (found.low, found.high, found.reason, found.remark) == (0.05 ** (1 / 20), 1.0, None, BOUND)
    folds = np.r_[np.zeros(30, int), np.ones(10, int)]
    score = np.random.default_rng(0).random(40)
    assert place(y, score, who, folds=folds).interval().remark == "1 of 2 folds have one class and are left out"


def test_few_clusters_that_make_most_of_the_variance_leave_few_degrees_of_freedom():
    rng = np.random.default_rng(1)
    y, score = np.repeat([1.0, 0.0], 50), rng.standard_normal(100)
    score[y == 1] += 6
    score[:2] = -1  # of fifty positives two rank low
    assert place(y, score, np.arange(100)).freedom < 8
    level = rng.standard_normal(100) + y
    assert place(y, level, np.arange(100)).freedom > 50


@pytest.mark.parametrize(
    ("positives", "negatives", "patients", "told"),
    [
        (9, 40, 49, "9 positive clusters"),
        (40, 9, 49, "9 negative clusters"),
        (30, 30, 9, "9 positive clusters and 9 negative clusters"),
        (0, 20, 20, "0 positive"),
    ],
)
def test_too_few_of_anything_bear_no_interval(positives, negatives, patients, told):
    y = np.repeat([1.0, 0.0], [positives, negatives])
    score, clusters = np.random.default_rng(0).random(len(y)), np.arange(len(y)) % patients
    for found in (delong(y, score, clusters), delong_difference(y, score, -score, clusters=clusters)):
        assert (found.error, found.low, found.high) == (None, None, None)
        assert f"only {told}" in found.reason
        assert (found.value is None) == (positives == 0)


def test_single_patient_and_no_rows():
    found = delong(np.repeat([1.0, 0.0], 20), np.arange(40), np.zeros(40))
    assert (found.low, found.value) == (None, 0.0)
    assert "only 1 positive cluster and 1 negative cluster:" in found.reason
    assert delong([], []).value is None


def test_what_is_no_score_is_refused():
    with pytest.raises(DataError, match="score_b are not finite"):
        delong_difference([0, 1], [0.1, 0.2], [0.1, np.nan])
    with pytest.raises(DataError, match="no cluster"):
        delong([0, 1], [0.1, 0.2], [None, "a"])
    with pytest.raises(DataError, match="level 95"):
        delong(np.repeat([1.0, 0.0], 20), np.random.default_rng(0).random(40), level=95)
