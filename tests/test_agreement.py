"""Calibration with intervals: each figure against a slow form, and an ECE beside what chance alone shows."""

import numpy as np
import pytest
from predicted import predicted
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from cxremb.evaluation.agreement import (
    calibration_slope,
    ece_by_chance,
    folds_in_the_large,
    in_the_large,
    log_observed_expected,
)
from cxremb.evaluation.reliability import ece
from cxremb.predictions.agreed import agreement_of


def rows(seed: int = 0, n: int = 300, steepness: float = 1.5) -> tuple[np.ndarray, ...]:
    """(classes, probabilities that are too extreme, patients of two films, folds whose models are apart)."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    x = 1.2 * rng.standard_normal(n // 2)[patients] + 0.5 * rng.standard_normal(n)
    y = (rng.random(n) < expit(x)).astype(float)
    folds = patients % 3
    return y, expit(steepness * x + np.array([-1.0, 0.2, 0.8])[folds]), patients, folds


def test_the_ece_of_right_probabilities_is_that_of_labels_drawn_from_them():
    _, prob, _, folds = rows(n=90)
    mean, high = ece_by_chance(prob, folds, draws=3000)
    rng = np.random.default_rng(7)
    slow = [ece((rng.random(90) < prob).astype(float), prob, folds=folds) for _ in range(3000)]
    assert mean == pytest.approx(np.mean(slow), abs=0.003)
    assert high == pytest.approx(np.quantile(slow, 0.95), abs=0.006)
    assert ece_by_chance(prob, folds) == ece_by_chance(prob, folds)  # drawn with a seed


def test_the_ece_of_right_probabilities_falls_with_the_rows():
    found = [ece_by_chance(rows(n=n)[1])[0] for n in (60, 300, 3000)]
    assert found[0] == pytest.approx(0.13, abs=0.03)
    assert found[1] == pytest.approx(0.06, abs=0.015)
    assert found[2] < 0.025


def test_the_slope_is_that_of_a_regression_with_an_intercept_for_each_fold():
    y, prob, patients, folds = rows()
    x = logit(prob)
    design = np.column_stack([x, *(folds == fold for fold in range(3))]).astype(float)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(design, y)
    found = calibration_slope(y, prob, patients, c=150, folds=folds)
    assert found.value == pytest.approx(model.coef_[0, 0], abs=1e-5)
    fitted = expit(design @ model.coef_[0])  # the sandwich: bread, meat summed over patients, bread
    bread = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    scores = np.zeros((150, 4))
    np.add.at(scores, patients, design * (y - fitted)[:, None])
    variance = (bread @ scores.T @ scores @ bread)[0, 0]
    assert found.influence @ found.influence == pytest.approx(variance, rel=1e-3)
    pooled = calibration_slope(y, prob, patients, c=150)
    assert abs(pooled.value - found.value) > 0.01
    assert calibration_slope(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), np.arange(4), c=4) is None


def test_in_the_large_is_the_offset_of_least_loss():
    y, prob, patients, folds = rows()
    x = logit(prob)
    slow = minimize_scalar(lambda a: (np.logaddexp(0, x + a) - y * (x + a)).sum(), bounds=(-5, 5), method="bounded")
    found = in_the_large(y, prob, patients, c=150)
    assert found.value == pytest.approx(slow.x, abs=1e-4)
    fitted = expit(x + found.value)
    assert fitted.sum() == pytest.approx(y.sum())
    scores = np.bincount(patients, weights=y - fitted)
    assert found.influence @ found.influence == pytest.approx(scores @ scores / (fitted * (1 - fitted)).sum() ** 2)
    low, high = folds_in_the_large(y, prob, folds)
    assert low < -0.3 < 0.3 < high  # the folds are apart, and cancel
    assert folds_in_the_large(y, prob, None) is None
    assert in_the_large(np.ones(4), np.full(4, 0.5), np.arange(4), c=4) is None


def test_observed_over_expected_has_the_interval_of_a_ratio():
    y, prob, patients, _ = rows()
    found = agreement_of(predicted(y, prob, patients)).observed_expected
    assert found.value == pytest.approx(y.sum() / prob.sum())
    jackknife = np.array([np.log(y[patients != p].sum() / prob[patients != p].sum()) for p in range(150)])
    error = np.sqrt(149 / 150 * ((jackknife - jackknife.mean()) ** 2).sum())
    reach = norm.ppf(0.975) * error
    assert [found.low, found.high] == pytest.approx(found.value * np.exp([-reach, reach]), rel=0.02)
    assert log_observed_expected(np.zeros(3), np.full(3, 0.5), np.arange(3), c=3) is None


def test_repeats_are_averaged_and_add_no_patients():
    y, prob, patients, _ = rows()
    once = agreement_of(predicted(y, prob, patients))
    twice = agreement_of(predicted(np.tile(y, 2), np.tile(prob, 2), np.tile(patients, 2), pools=np.repeat([0, 1], 300)))
    assert twice.slope == once.slope
    assert twice.in_the_large == once.in_the_large
    assert once.slope.low < once.slope.value < once.slope.high < 1  # too extreme, and shown to be
    few = agreement_of(predicted(y[:12], prob[:12]))
    assert few.slope.low is None
    assert "needs 10 of each" in few.slope.reason
