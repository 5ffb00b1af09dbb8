"""Several differences at once: against a slow simulation, closed forms, and planted truths."""

import numpy as np
import pytest
from scipy import stats

from cxremb.evaluation.simultaneous import ALIKE, contrasts, may_be_best, patient_factor


def influences(covariance: np.ndarray) -> np.ndarray:
    """(m, m) what patients add, so that it has this covariance."""
    return np.linalg.cholesky(covariance)


def test_one_alone_is_a_normal_test():
    (found,) = contrasts(np.array([0.05]), np.array([[0.01, -0.02, 0.01]]), np.array([2.0]))
    error = np.sqrt(2 * 0.0006)
    assert found.error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx(stats.norm(0.05, error).interval(0.95))
    assert found.p == pytest.approx(2 * stats.norm.sf(0.05 / error))
    assert found.detectable == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_several_are_held_together_as_a_slow_simulation_says(correlation):
    m = 5
    covariance = (1 - correlation) * np.eye(m) + correlation
    values = np.array([0.0, 1.0, 2.0, 2.5, 4.0])
    found = contrasts(values, influences(covariance), np.ones(m))
    drawn = np.random.default_rng(8).multivariate_normal(np.zeros(m), covariance, 400_000)
    largest = np.abs(drawn).max(axis=1)
    for value, one in zip(values, found, strict=True):
        assert one.p == pytest.approx((largest >= value).mean(), abs=0.012)
        assert one.high - value == pytest.approx(np.quantile(largest, 0.95), abs=0.05)
        assert value - one.low == pytest.approx(one.high - value)


def test_an_interval_excludes_0_exactly_where_p_is_below_5_percent():
    own = np.random.default_rng(0).standard_normal((40, 300))
    own /= np.sqrt((own**2).sum(axis=1, keepdims=True))
    found = [
        contrasts(np.r_[value, np.zeros(39)], own, np.ones(40), level=level)[0]
        for value in np.linspace(2.5, 3.7, 60)
        for level in (0.9, 0.95)
    ]
    assert {one.low > 0 for one in found} == {True, False}
    for one, level in zip(found, (0.9, 0.95) * 60, strict=True):
        assert (one.low > 0) == (one.p < 1 - level)


def test_twenty_six_arms_that_are_alike_cost_little():
    rng = np.random.default_rng(1)
    shared, own = rng.standard_normal(500), rng.standard_normal((26, 500))
    found = []
    for moved in (own, shared + 0.1 * own):
        rows = moved / np.sqrt((moved**2).sum(axis=1, keepdims=True))
        found.append(contrasts(3.0 * np.ones(26), rows, np.ones(26))[0].p)
    apart, alike = found
    assert alike < 0.02
    assert 0.05 < apart < 0.08  # Bonferroni has .070 for both


def test_false_alarms_of_a_family_stay_at_5_percent():
    rng = np.random.default_rng(2)
    own = rng.standard_normal((6, 200)) + rng.standard_normal(200)
    cov = own @ own.T
    drawn = rng.multivariate_normal(np.zeros(6), cov, 2000)
    critical = contrasts(np.zeros(6), own, np.ones(6))
    reaches = np.array([one.high for one in critical])
    share = (np.abs(drawn) > reaches).any(axis=1).mean()
    assert 0.037 <= share <= 0.063  # 0.05, of 2,000 a standard error of 0.005


def test_what_leaves_no_variance_has_no_interval_and_does_not_count():
    own = np.array([[0.1, -0.1], [0.0, 0.0]])
    found = contrasts(np.array([0.2, 0.0]), own, np.ones(2))
    assert (found[1].value, found[1].low, found[1].p, found[1].reason) == (0.0, None, None, ALIKE)
    assert found[0] == contrasts(np.array([0.2]), own[:1], np.ones(1))[0]
    assert contrasts(np.zeros(1), own[1:], np.ones(1))[0].reason == ALIKE


def test_the_best_is_among_those_kept_and_the_clearly_worse_is_out():
    rng = np.random.default_rng(3)
    own = rng.standard_normal((4, 300)) / 300**0.5
    truth = np.array([0.0, 0.0, -0.5, -6.0])
    drawn = truth + rng.multivariate_normal(np.zeros(4), own @ own.T, 400)
    kept = np.array([may_be_best(values, own, np.ones((4, 4))) for values in drawn])
    assert 0.92 <= kept[:, 0].mean() <= 0.98  # 0.95, and the two best alike
    assert kept[:, 3].mean() == 0
    assert (kept.sum(axis=1) >= 1).all()
    assert may_be_best(np.array([0.1, 0.9]), np.zeros((2, 3)), np.ones((2, 2))).all()  # nothing to judge by
    wide = may_be_best(truth, own, np.full((4, 4), 100.0))
    assert wide.all()


@pytest.mark.parametrize(("judged", "share", "models", "factor"), [(0.2, 0.7, 1, 1 + 2 / 7), (1, 0.7, 5, 2 + 3 / 35)])
def test_patients_count_where_they_are_judged_and_where_they_are_trained_on(judged, share, models, factor):
    assert patient_factor(judged, share, models) == pytest.approx(factor)


def test_the_training_term_is_the_variance_of_a_mean_over_random_subsets():
    # n patients with effects of variance 1; each model has the mean effect of a random share of them
    rng = np.random.default_rng(4)
    n, share, models = 100, 0.3, 5
    means = []
    for _ in range(4000):
        effects = rng.standard_normal(n)
        means.append(np.mean([effects[rng.permutation(n)[: int(share * n)]].mean() for _ in range(models)]))
    assert n * np.var(means) == pytest.approx(patient_factor(1, share, models) - 1, rel=0.07)
