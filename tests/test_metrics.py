"""Every figure against scikit-learn, then where scikit-learn would warn, guess or return NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from cxremb.errors import DataError
from cxremb.evaluate.metrics import binary_metrics
from cxremb.evaluate.ranking import auroc, average_precision

CLOSE = {"rel": 0, "abs": 1e-12}


def made_up(seed: int, n: int, distinct: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes, both of them there; scores on `distinct` levels, so tied; weights, some of them 0)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(float)
    score = np.clip(np.round((rng.random(n) + 0.3 * y) * distinct) / (1.3 * distinct), 0, 1)
    weight = rng.integers(0, 4, n) * rng.random(n)
    weight[[int(np.argmax(y)), int(np.argmin(y))]] = 1.0
    return y, score, weight


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(4, 400), st.sampled_from([1, 2, 7, 50, 10_000]))
def test_ranking_figures_equal_scikit_learn(seed, n, distinct):
    y, score, weight = made_up(seed, n, distinct)
    assert auroc(y, score) == pytest.approx(sk.roc_auc_score(y, score), **CLOSE)
    assert auroc(y, score, weight) == pytest.approx(sk.roc_auc_score(y, score, sample_weight=weight), **CLOSE)
    assert average_precision(y, score) == pytest.approx(sk.average_precision_score(y, score), **CLOSE)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 300), st.sampled_from([3, 50, 10_000]), st.sampled_from([0.3, 0.5]))
def test_the_others_equal_scikit_learn(seed, n, distinct, threshold):
    y, prob, _ = made_up(seed, n, distinct)
    called = prob >= threshold
    expected = {
        "loss": sk.log_loss(y, prob, labels=[0, 1]),
        "accuracy": sk.accuracy_score(y, called),
        "recall": sk.recall_score(y, called),
        "specificity": sk.recall_score(1 - y, ~called),
        "f1": sk.f1_score(y, called),
        "brier": sk.brier_score_loss(y, prob),
        "auroc": sk.roc_auc_score(y, prob),
        "average_precision": sk.average_precision_score(y, prob),
        "prevalence": y.mean(),
        "majority_accuracy": max(y.mean(), 1 - y.mean()),
        "all_positive_f1": sk.f1_score(y, np.ones(n)),
    }
    found = binary_metrics(y, prob, threshold)
    precision = found.pop("precision")
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert precision == (pytest.approx(sk.precision_score(y, called), **CLOSE) if called.any() else None)


def test_auroc_counts_the_pairs_by_hand():
    # of the six pairs, 0.8 > 0.1, 0.5; 0.5 > 0.1 and ties 0.5; 0.2 > 0.1 and loses to 0.5: 4.5 of 6
    assert auroc([1, 1, 1, 0, 0], [0.8, 0.5, 0.2, 0.1, 0.5]) == 4.5 / 6


def test_a_weight_is_how_often_a_row_counts():
    y, score, _ = made_up(1, 90, 9)
    times = np.random.default_rng(2).integers(0, 4, 90)
    assert auroc(y, score, times) == auroc(np.repeat(y, times), np.repeat(score, times))


def test_sure_and_wrong_costs_a_finite_loss():
    assert binary_metrics([1.0], [0.0])["loss"] == pytest.approx(sk.log_loss([1.0], [0.0], labels=[0, 1]))


NOTHING = dict.fromkeys(binary_metrics([], []))


@pytest.mark.parametrize(
    ("y", "prob", "expected"),
    [
        ([], [], NOTHING),
        ([0, 0], [0.1, 0.2], {"precision": None, "recall": None, "f1": None, "auroc": None, "specificity": 1.0}),
        ([0, 0], [0.1, 0.9], {"precision": 0.0, "recall": None, "f1": 0.0, "average_precision": None}),
        ([1, 0], [0.1, 0.2], {"precision": None, "recall": 0.0, "f1": 0.0, "auroc": 0.0}),
        ([1, 1], [0.5, 0.4], {"precision": 1.0, "recall": 0.5, "specificity": None, "auroc": None}),
        ([0, 0], [0.1, 0.2], {"prevalence": 0.0, "majority_accuracy": 1.0, "all_positive_f1": 0.0}),
    ],
)
def test_undefined_is_none_and_zero_is_zero(y, prob, expected):
    found = binary_metrics(y, prob)
    assert {name: found[name] for name in expected} == expected


def test_auroc_without_weight_in_one_class_is_undefined():
    assert auroc([0, 1, 1], [0.1, 0.2, 0.3], [1, 0, 0]) is None


@pytest.mark.parametrize(
    ("y", "prob", "told"),
    [
        ([0, 1], [0.1, np.nan], "1 of 2 values of y_prob are not finite"),
        ([0, 1], [-0.1, 1.5], "2 of 2 values of y_prob lie outside"),
        ([0, 2], [0.1, 0.2], "other than 0 and 1"),
        ([0, np.nan], [0.1, 0.2], "other than 0 and 1"),
        ([0, 1], [0.1], "shape"),
        ([[0, 1]], [[0.1, 0.2]], "shape"),
    ],
)
def test_what_is_no_prediction_is_refused(y, prob, told):
    with pytest.raises(DataError, match=told) as caught:
        binary_metrics(y, prob)
    assert caught.value.hint


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan]])
def test_what_is_no_weight_is_refused(weights):
    with pytest.raises(DataError, match="weights must be 2"):
        auroc([0, 1], [0.1, 0.2], weights)
