"""Intervals of average precision, and rates at a given rate over several folds."""

import numpy as np
import pytest
from predicted import intervals_of
from sklearn.metrics import average_precision_score

from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.precision import precision_interval
from cxremb.evaluation.ranking import specificity_at_sensitivity

AT_95 = "specificity_at_sensitivity_95"


def folded(seed: int, negatives: int = 40, positives: int = 12, folds: int = 5) -> tuple[np.ndarray, ...]:
    """(classes, scores, folds): models as good as each other, on other scales."""
    rng = np.random.default_rng(seed)
    fold = np.repeat(np.arange(folds), negatives + positives)
    y = np.tile(np.arange(negatives + positives) < positives, folds).astype(float)
    return y, 1.5 * y + rng.standard_normal(len(y)), fold


def on_own_scale(score: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Probabilities in the order of the scores, another order of magnitude in each fold."""
    return 1 / (1 + np.exp(-(score * (1 + fold) - 3 * fold)))


def test_the_interval_is_that_of_boyd_eng_and_page():
    found = precision_interval([0.8], [50])
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 2 / 3, 8 / 9), abs=1e-4)  # logit 1.386 +- .693
    again = precision_interval([0.8, 0.8], [50, 50])
    assert (again.low, again.high) == pytest.approx((found.low, found.high))  # a repeat adds no patients
    mixed = precision_interval([0.6, 0.9], [30, 90])
    error = (np.sqrt(0.24 / 30) + np.sqrt(0.09 / 90)) / 2 / (0.75 * 0.25)
    ends = [1 / (1 + np.exp(-(np.log(3) + side * 1.959964 * error))) for side in (-1, 1)]
    assert (mixed.value, mixed.low, mixed.high) == pytest.approx((0.75, *ends), abs=1e-6)


def test_a_perfect_one_has_a_lower_end_and_an_undefined_one_none():
    perfect = precision_interval([1.0], [40])
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.8292, abs=1e-4)  # as of half a positive that ranks at chance
    assert precision_interval([0.5, None], [20, 20]).value is None
    assert precision_interval([], []).reason


def test_of_rows_the_patients_count():
    y, score, _ = folded(0, folds=1)
    prob, patients = on_own_scale(score, np.zeros(len(y))), np.arange(len(y))
    once = intervals_of(y, prob, patients, metrics=("average_precision",))["average_precision"]
    twice = intervals_of(np.tile(y, 2), np.tile(prob, 2), np.tile(patients, 2), metrics=("average_precision",))
    value = average_precision_score(y, prob)
    assert (once.low, once.high) == pytest.approx(tuple(vars(precision_interval([value], [12])).values())[1:3])
    assert twice["average_precision"].low == pytest.approx(once.low)


@pytest.mark.parametrize("seed", range(5))
def test_a_rate_at_a_rate_is_that_of_placement_values(seed):
    y, score, fold = folded(seed)
    above = [(score[(fold == fold[n]) & (y == 0)] > score[n]).mean() for n in np.flatnonzero(y == 1)]
    expected = 1 - np.sort(above)[int(np.ceil(0.95 * len(above))) - 1]
    found = binary_metrics(y, on_own_scale(score, fold), folds=fold)[AT_95]
    assert found == pytest.approx(expected, abs=1e-12)
    assert binary_metrics(y, on_own_scale(score, 0 * fold), folds=fold)[AT_95] == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_one_fold_it_is_what_it_always_was_ties_included(seed):
    rng = np.random.default_rng(seed)
    y, score = (rng.random(60) < 0.4).astype(float), np.round(rng.random(60), 1)
    alone = binary_metrics(y, score)
    assert alone[AT_95] == specificity_at_sensitivity(y, score)
    beside = np.append(np.zeros(60, dtype=int), [1, 1, 1])  # a fold of one class is left out
    found = binary_metrics(np.append(y, [0, 0, 0]), np.append(score, [0.1, 0.5, 0.9]), folds=beside)
    assert found[AT_95] == alone[AT_95]
    assert found["sensitivity_at_specificity_95"] == alone["sensitivity_at_specificity_95"]


def test_a_few_positives_in_each_fold_do_not_make_it_too_good():
    """The truth is .43; a mean over folds of five positives each would say .58, since .95 of five are all five."""
    found, within = [], []
    for seed in range(60):
        y, score, fold = folded(seed, negatives=20, positives=5)
        found.append(binary_metrics(y, on_own_scale(score, fold), folds=fold)[AT_95])
        within.append(np.mean([specificity_at_sensitivity(y[fold == f], score[fold == f]) for f in range(5)]))
    truth = 0.4424  # of normal distributions 1.5 apart: the share below 1.5 - 1.645
    assert abs(np.mean(found) - truth) < 0.03
    assert np.mean(within) - truth > 0.08


def test_a_rate_at_a_rate_needs_forty_patients_of_its_class():
    for positives, reason in ((39, "only 39 positive patients: an interval at a rate of .95 needs 40"), (40, None)):
        y, score, _ = folded(1, negatives=60, positives=positives, folds=1)
        found = intervals_of(y, on_own_scale(score, 0 * y), np.arange(len(y)), metrics=("auroc", AT_95), resamples=50)
        assert (found[AT_95].reason, found[AT_95].low is None) == (reason, reason is not None)
        assert found["auroc"].low is not None
