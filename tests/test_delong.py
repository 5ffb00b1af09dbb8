"""The fast variances against all pairs written out, a published example, and simulated truth."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from cxremb.errors import DataError
from cxremb.evaluation.delong import PERFECT, delong, delong_difference


def made_up(seed: int, n: int = 80, clusters: int = 30) -> tuple[np.ndarray, ...]:
    """(classes, two tied scores, clusters of one to several rows)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(float)
    scores = [np.round(gap * y + rng.standard_normal(n), 1) for gap in (1.5, 0.5)]
    return y, *scores, rng.permutation(np.arange(n) % clusters)


def slow_covariance(y: np.ndarray, scores: list[np.ndarray], clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(areas, their covariance) from the kernel of every pair, as printed in Obuchowski (1997)."""
    cases, controls = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    m, n = len(cases), len(controls)
    psi = [[[1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0 for j in controls] for i in cases] for s in scores]
    areas = [np.mean(kernel) for kernel in psi]
    sums = []  # per score: cluster -> (sum over its cases, sum over its controls) of the components less the area
    for kernel, area in zip(np.array(psi), areas, strict=True):
        own = {name: [0.0, 0.0] for name in clusters}
        for i, row in enumerate(cases):
            own[clusters[row]][0] += kernel[i].mean() - area
        for j, row in enumerate(controls):
            own[clusters[row]][1] += kernel[:, j].mean() - area
        sums.append(own)
    with_cases, with_controls, every = (len(set(clusters[rows])) for rows in (cases, controls, np.arange(len(y))))
    covariance = np.zeros((len(scores), len(scores)))
    for a, first in enumerate(sums):
        for b, second in enumerate(sums):
            s10 = with_cases / ((with_cases - 1) * m) * sum(first[c][0] * second[c][0] for c in first)
            s01 = with_controls / ((with_controls - 1) * n) * sum(first[c][1] * second[c][1] for c in first)
            s11 = every / (every - 1) * sum(first[c][0] * second[c][1] for c in first)
            s11_turned = every / (every - 1) * sum(second[c][0] * first[c][1] for c in first)
            covariance[a, b] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return np.array(areas), covariance


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clustered", [False, True])
def test_equal_to_all_pairs(seed, clustered):
    y, good, poor, patients = made_up(seed)
    clusters = patients if clustered else np.arange(len(y))
    areas, covariance = slow_covariance(y, [good, poor], clusters)
    given_clusters = clusters if clustered else None
    for score, area, variance in zip((good, poor), areas, np.diag(covariance), strict=True):
        found = delong(y, score, given_clusters)
        reach = stats.norm.ppf(0.975) * np.sqrt(variance)
        expected = [area, np.sqrt(variance), max(0, area - reach), min(1, area + reach)]
        assert [found.value, found.error, found.low, found.high] == pytest.approx(expected, rel=1e-10)
    found = delong_difference(y, good, poor, clusters=given_clusters, level=0.9)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    gap, reach = areas[0] - areas[1], stats.norm.ppf(0.95) * error
    expected = [gap, error, gap - reach, gap + reach, 2 * stats.norm.sf(abs(gap) / error)]
    assert [found.value, found.error, found.low, found.high, found.p] == pytest.approx(expected, rel=1e-10)


def test_the_published_example():
    # CT readings of 58 normal and 51 abnormal studies on a scale of 1 to 5 (Hanley & McNeil 1982, table I);
    # Stata's manual prints DeLong's standard error and interval of it ([R] roctab): 0.8932, 0.0307, 0.83295 to 0.95339
    y = np.repeat([0.0, 1.0], [58, 51])
    rating = np.concatenate([np.repeat(range(1, 6), [33, 6, 6, 11, 2]), np.repeat(range(1, 6), [3, 2, 2, 11, 33])])
    found = delong(y, rating)
    assert (round(found.value, 4), round(found.error, 4)) == (0.8932, 0.0307)
    assert (round(found.low, 5), round(found.high, 5)) == (0.83295, 0.95339)


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
    y = np.repeat([1.0, 0.0], 20)
    apart, constant = np.arange(40)[::-1] * 1.0, np.ones(40)
    assert delong(y, apart) == type(delong(y, apart))(1.0, None, None, None, PERFECT)
    assert delong(y, constant).reason == PERFECT
    same = delong_difference(y, apart, apart)
    assert (same.value, same.low, same.high, same.p, same.reason) == (0.0, 0.0, 0.0, 1.0, None)
    sure = delong_difference(y, apart, constant)
    assert (sure.value, sure.low, sure.p, sure.reason) == (0.5, None, None, PERFECT)


@pytest.mark.parametrize(
    ("positives", "negatives", "patients", "told"),
    [(9, 40, 49, "9 positives"), (40, 9, 49, "9 negatives"), (30, 30, 9, "9 clusters"), (0, 20, 20, "0 positives")],
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
    assert "only 1 clusters" in found.reason
    assert delong([], []).value is None


def test_what_is_no_score_is_refused():
    with pytest.raises(DataError, match="score_b are not finite"):
        delong_difference([0, 1], [0.1, 0.2], [0.1, np.nan])
    with pytest.raises(DataError, match="no cluster"):
        delong([0, 1], [0.1, 0.2], [None, "a"])
    with pytest.raises(DataError, match="level 95"):
        delong(np.repeat([1.0, 0.0], 20), np.random.default_rng(0).random(40), level=95)
