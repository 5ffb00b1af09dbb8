"""Tests of counts and folds against statsmodels, scipy, and every outcome written out."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from cxremb.errors import DataError
from cxremb.evaluation.significance import exchanged_p, fold_difference, holm, mcnemar, wilson


@pytest.mark.parametrize("seed", range(8))
def test_mcnemar_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random(120) < 0.5).astype(float)
    a, b = (np.clip(0.5 + gap * (y - 0.5) + 0.3 * rng.standard_normal(120), 0, 1) for gap in (0.6, 0.3))
    right_a, right_b = (a >= 0.5) == y, (b >= 0.5) == y
    table = [[np.sum(right_a & right_b), np.sum(right_a & ~right_b)], [np.sum(~right_a & right_b), 0]]
    found = mcnemar(y, a, b, studies=np.arange(120))
    assert (found.studies, found.only_a, found.only_b) == (120, table[0][1], table[1][0])
    assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-12)


def test_mcnemar_asks_each_study_once():
    rng = np.random.default_rng(0)
    studies = np.repeat(np.arange(60), 1 + np.arange(60) % 3)
    y = (studies % 2).astype(float)
    a, b = rng.random((2, len(y)))
    of_study = [(y[studies == s][0], a[studies == s].mean(), b[studies == s].mean(), s) for s in range(60)]
    columns = np.array(of_study).T
    assert mcnemar(y, a, b, studies=studies) == mcnemar(*columns[:3], studies=columns[3])
    assert mcnemar(y, a, b, studies=studies).studies == 60


@pytest.mark.parametrize("seed", range(5))
def test_the_studies_of_a_patient_are_exchanged_together(seed):
    # of all 2**10 ways to exchange A and B within patients, those whose sum is as far from 0
    rng = np.random.default_rng(seed)
    patients = np.r_[np.repeat(np.arange(10), 4), np.arange(10, 40)]
    y = (patients % 2).astype(float)
    right = np.ones((2, len(y)), dtype=bool)
    right[:, :40] = rng.random((2, 40)) < 0.6  # the others agree, and tell nothing
    a, b = np.where(right, y, 1 - y)
    found = mcnemar(y, a, b, studies=np.arange(len(y)), patients=patients)
    gaps = np.array([(right[0] & (patients == p)).sum() - (right[1] & (patients == p)).sum() for p in range(10)])
    ways = np.array(list(product((-1, 1), repeat=10))) @ gaps
    assert found.p == pytest.approx((np.abs(ways) >= abs(gaps.sum())).mean(), rel=1e-12)
    assert (found.only_a, found.only_b) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


def test_many_patients_are_exchanged_as_durkalski_has_it():
    gaps = np.random.default_rng(3).choice([-3, -2, -1, 0, 1, 2, 3], size=20_000) + (np.arange(20_000) % 200 == 0)
    normal = 2 * stats.norm.sf((abs(gaps.sum()) - 0.5) / np.sqrt((gaps**2).sum()))
    assert exchanged_p(gaps) == pytest.approx(normal, rel=5e-3)
    assert exchanged_p(np.zeros(3, dtype=np.int64)) == 1.0


def test_mcnemar_takes_thresholds_of_rows_and_refuses_a_study_of_two_patients():
    y = np.repeat([1.0, 0.0], 12)
    a, b = np.where(y == 1, 0.3, 0.1), np.where(y == 1, 0.6, 0.1)
    assert mcnemar(y, a, b, studies=np.arange(24)).only_b == 12
    assert mcnemar(y, a, b, studies=np.arange(24), threshold=np.full(24, 0.2)).only_b == 0
    with pytest.raises(DataError, match="of two patients"):
        mcnemar([1, 1], [0.5, 0.5], [0.5, 0.5], studies=["s", "s"], patients=["p", "q"])


def test_mcnemar_of_equal_models_and_of_too_few():
    y = np.repeat([1.0, 0.0], 10)
    assert mcnemar(y, y, y, studies=np.arange(20)).p == 1.0
    few = mcnemar(y[1:], y[1:], y[1:], studies=np.arange(19))
    assert (few.p, few.reason) == (None, "only 9 positive and 10 negative studies: a test needs 10 of each")
    few = mcnemar(y, y, y, studies=np.arange(20), patients=np.r_[np.arange(8), 0, 1, np.arange(10, 20)])
    assert few.reason == "only 8 positive and 10 negative patients with such studies: a test needs 10 of each"
    assert mcnemar(y, y, 1 - y, studies=np.zeros(20) + y).p is None  # two studies
    with pytest.raises(DataError, match="1 studies are both"):
        mcnemar([1, 0], [0.5, 0.5], [0.5, 0.5], studies=["s", "s"])
    with pytest.raises(DataError, match="no cluster"):
        mcnemar([1, 0], [0.5, 0.5], [0.5, 0.5], studies=[None, "s"])


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (557, 580), (1, 7466)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_wilson_equals_statsmodels(successes, n, level):
    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_wilson_at_the_ends():
    assert wilson(0, 0) is None
    assert wilson(0, 30)[0] == 0.0
    assert wilson(30, 30)[1] == 1.0
    for bad in ((-1, 3), (4, 3)):
        with pytest.raises(DataError, match="of 3"):
            wilson(*bad)


@pytest.mark.parametrize("seed", range(8))
def test_holm_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p = rng.choice([0.001, 0.01, 0.04, 0.5, 1.0, *rng.random(4)], size=1 + seed)  # with ties
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist(), rel=1e-12)


def test_holm_leaves_out_what_was_not_tested():
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == []
    assert holm([None]) == [None]
    for bad in (1.5, np.nan):
        with pytest.raises(DataError, match="no p value"):
            holm([bad])


@pytest.mark.parametrize("seed", range(4))
def test_folds_that_share_nothing_are_an_ordinary_t_test(seed):
    gaps = np.random.default_rng(seed).normal(0.02, 0.03, 25)
    expected = stats.ttest_1samp(gaps, 0)
    found = fold_difference(gaps, train_rows=10**12, test_rows=1)
    low, high = expected.confidence_interval(0.95)
    assert [found.value, found.low, found.high, found.p] == pytest.approx([gaps.mean(), low, high, expected.pvalue])


def test_the_correction_by_hand():
    # five repeats of ten folds: 1/50 + 1/9, where a plain test takes 1/50
    gaps = np.random.default_rng(0).normal(0.02, 0.03, 50)
    found = fold_difference(gaps, train_rows=900, test_rows=100, level=0.9)
    error = np.sqrt((1 / 50 + 1 / 9) * gaps.var(ddof=1))
    expected = [*stats.t(49, gaps.mean(), error).interval(0.9), 2 * stats.t.sf(abs(gaps.mean()) / error, 49)]
    assert [found.low, found.high, found.p] == pytest.approx(expected)


def test_correlated_folds_are_not_mistaken_for_evidence():
    # folds of one data set share its luck: the method takes their correlation as test / (test + train), here 0.2
    rng = np.random.default_rng(0)
    j, correlation = 25, 0.2
    rejected = {"corrected": 0, "plain": 0}
    for _ in range(2000):
        gaps = np.sqrt(correlation) * rng.standard_normal() + np.sqrt(1 - correlation) * rng.standard_normal(j)
        rejected["corrected"] += fold_difference(gaps, train_rows=4, test_rows=1).p < 0.05
        rejected["plain"] += fold_difference(gaps, train_rows=10**9, test_rows=1).p < 0.05
    assert 60 <= rejected["corrected"] <= 140  # 100 expected, standard deviation 10
    assert rejected["plain"] > 700


def test_folds_without_spread():
    assert fold_difference([], 4, 1).reason == "0 folds have no spread"
    assert (fold_difference([0.1], 4, 1).value, fold_difference([0.1], 4, 1).p) == (0.1, None)
    assert fold_difference([0.0, 0.0], 4, 1).p == 1.0
    same = fold_difference([0.1] * 3, 4, 1)
    assert (same.p, same.low, same.reason) == (None, None, "every fold has the same difference")
    for bad, told in ((([0.1, np.nan], 4, 1), "finite"), (([0.1, 0.2], 0, 1), "0 training rows")):
        with pytest.raises(DataError, match=told):
            fold_difference(*bad)


def test_exact_p_is_the_share_of_outcomes_as_extreme():
    # 2 of 8 discordant studies for A: of all 256 ways to share them out, those with at most 2 on either side
    y = np.repeat([1.0, 0.0], 10)
    a, b = y.copy(), y.copy()
    a[:6], b[6:8] = 0, 0
    extreme = sum(min(sum(way), 8 - sum(way)) <= 2 for way in product((0, 1), repeat=8))
    assert mcnemar(y, a, b, studies=np.arange(20)).p == pytest.approx(extreme / 256)
