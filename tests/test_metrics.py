"""Every figure against scikit-learn, then where scikit-learn would warn, guess or return NaN."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from statsmodels.discrete.discrete_model import Logit

from cxremb.errors import DataError
from cxremb.evaluation.metrics import POOLED, WITHIN, binary_metrics
from cxremb.evaluation.ranking import auroc, average_precision, sensitivity_at_specificity, specificity_at_sensitivity
from cxremb.evaluation.reliability import reliability_table

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
    weighted = sk.average_precision_score(y, score, sample_weight=weight)
    assert average_precision(y, score, weight) == pytest.approx(weighted, **CLOSE)


def slow_specificity(y: np.ndarray, score: np.ndarray, floor: float) -> float:
    """Of all thresholds, those that keep the sensitivity, and of these the best specificity."""
    called = [score >= threshold for threshold in [*np.unique(score), 2.0]]
    return max(sk.recall_score(1 - y, ~c) for c in called if sk.recall_score(y, c) >= floor)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000), st.integers(4, 120), st.sampled_from([1, 2, 7, 50]), st.sampled_from([0.5, 0.9, 0.95, 1])
)
def test_one_rate_at_a_fixed_other_tries_every_threshold(seed, n, distinct, floor):
    y, score, _ = made_up(seed, n, distinct)
    assert specificity_at_sensitivity(y, score, floor) == pytest.approx(slow_specificity(y, score, floor), **CLOSE)
    # the same with the classes exchanged and the scores turned round
    assert sensitivity_at_specificity(1 - y, -score, floor) == pytest.approx(slow_specificity(y, score, floor), **CLOSE)


@pytest.mark.parametrize("n", range(20, 400, 20))
def test_exactly_95_percent_is_enough(n):
    y = np.repeat([1.0, 0.0], [n, n])
    score = np.concatenate([np.arange(n), np.full(n, n // 20 - 0.5)])  # 5% of the positives below all negatives
    assert specificity_at_sensitivity(y, score) == 1.0
    assert sensitivity_at_specificity(1 - y, -score) == 1.0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(6, 120), st.sampled_from([3, 50, 10_000]), st.sampled_from([0.3, 0.5]))
def test_the_others_equal_scikit_learn(seed, n, distinct, threshold):
    y, prob, _ = made_up(seed, n, distinct)
    called = prob >= threshold
    expected = {
        "loss": sk.log_loss(y, prob, labels=[0, 1]),
        "accuracy": sk.accuracy_score(y, called),
        "recall": sk.recall_score(y, called),
        "specificity": sk.recall_score(1 - y, ~called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "specificity_at_sensitivity_95": slow_specificity(y, prob, 0.95),
        "sensitivity_at_specificity_95": slow_specificity(1 - y, 1 - prob, 0.95),
        "f1": sk.f1_score(y, called),
        "brier": sk.brier_score_loss(y, prob),
        "auroc": sk.roc_auc_score(y, prob),
        "average_precision": sk.average_precision_score(y, prob),
        "prevalence": y.mean(),
        "majority_accuracy": max(y.mean(), 1 - y.mean()),
        "all_positive_f1": sk.f1_score(y, np.ones(n)),
    }
    found = binary_metrics(y, prob, threshold)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-12)
    others = {"precision", "mcc", "ece", "calibration_slope", "calibration_intercept"}
    pooled = {f"{name}{POOLED}" for name in WITHIN}
    assert set(found) - set(expected) == others | pooled
    assert all(found[name] == found[f"{name}{POOLED}"] for name in WITHIN)  # there is one fold
    if called.any():
        assert found["precision"] == pytest.approx(sk.precision_score(y, called), **CLOSE)
    else:
        assert found["precision"] is None
    if 0 < called.sum() < n:
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, called), **CLOSE)
    else:
        assert found["mcc"] is None


def test_auroc_counts_the_pairs_by_hand():
    # of the six pairs, 0.8 > 0.1, 0.5; 0.5 > 0.1 and ties 0.5; 0.2 > 0.1 and loses to 0.5: 4.5 of 6
    assert auroc([1, 1, 1, 0, 0], [0.8, 0.5, 0.2, 0.1, 0.5]) == 4.5 / 6


def test_a_weight_is_how_often_a_row_counts():
    y, score, _ = made_up(1, 90, 9)
    times = np.random.default_rng(2).integers(0, 4, 90)
    assert auroc(y, score, times) == auroc(np.repeat(y, times), np.repeat(score, times))


def test_sure_and_wrong_costs_a_finite_loss():
    assert binary_metrics([1.0], [0.0])["loss"] == pytest.approx(sk.log_loss([1.0], [0.0], labels=[0, 1]))


def test_a_threshold_of_each_row():
    y, prob, limits = [1, 1, 0, 0], [0.4, 0.4, 0.4, 0.4], [0.3, 0.5, 0.3, 0.5]
    found = binary_metrics(y, prob, limits)
    assert (found["recall"], found["specificity"], found["precision"]) == (0.5, 0.5, 0.5)
    for bad in ([0.3, 0.5], np.nan):
        with pytest.raises(DataError, match="threshold"):
            binary_metrics(y, prob, bad)


def slow_bins(prob: np.ndarray, bins: int) -> list[list[int]]:
    """Rows in order, cut into bins of n / bins places; a run of ties goes where its middle place lies."""
    order = sorted(range(len(prob)), key=lambda row: prob[row])
    filled: list[list[int]] = [[] for _ in range(bins)]
    while order:
        ties = [row for row in order if prob[row] == prob[order[0]]]
        first = len(prob) - len(order)
        filled[int((first + (len(ties) - 1) / 2) * bins / len(prob) + 1e-9)] += ties
        order = order[len(ties) :]
    return [rows for rows in filled if rows]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 300), st.sampled_from([1, 3, 20, 10_000]))
def test_calibration_error_and_its_table_equal_slow_bins(seed, n, distinct):
    y, prob, _ = made_up(seed, n, distinct)
    bins = slow_bins(prob, 10)
    expected = sum(len(rows) * abs(y[rows].mean() - prob[rows].mean()) for rows in bins) / n
    assert binary_metrics(y, prob)["ece"] == pytest.approx(expected, **CLOSE)
    shuffled = np.random.default_rng(seed).permutation(n)
    assert binary_metrics(y[shuffled], prob[shuffled])["ece"] == pytest.approx(expected, **CLOSE)
    table = reliability_table(y, prob)
    assert [(row.n, row.low, row.high) for row in table] == [
        (len(rows), prob[rows].min(), prob[rows].max()) for rows in bins
    ]
    assert [(row.predicted, row.observed) for row in table] == [
        (pytest.approx(prob[rows].mean()), pytest.approx(y[rows].mean())) for rows in bins
    ]


def test_bins_without_ties_are_of_equal_mass():
    prob = np.random.default_rng(0).permutation(1000) / 1000
    assert [row.n for row in reliability_table(np.arange(1000) % 2, prob)] == [100] * 10


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(30, 400), st.sampled_from([0.1, 1.0, 5.0]))
def test_the_calibration_line_equals_statsmodels(seed, n, steepness):
    rng = np.random.default_rng(seed)
    logit = 2 * rng.standard_normal(n) - 1
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    y[:2], logit[:4] = [1, 0], [-2, 2, 2, -2]
    y[2:4] = [1, 0]  # the classes overlap
    prob = np.clip(1 / (1 + np.exp(-steepness * logit)), np.finfo(float).eps, 1 - np.finfo(float).eps)
    given_logit = np.log(prob) - np.log1p(-prob)
    fit = Logit(y, np.column_stack([given_logit, np.ones(n)])).fit(disp=0, tol=1e-12, maxiter=200)
    found = binary_metrics(y, prob)
    assert [found["calibration_slope"], found["calibration_intercept"]] == pytest.approx(fit.params, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("y", "prob"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # apart
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),  # apart, the wrong way
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),  # but for one tie
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]),
        ([1, 1, 1], [0.1, 0.5, 0.9]),
        ([], []),
    ],
)
def test_no_calibration_line_where_none_is_finite(y, prob):
    found = binary_metrics(y, prob)
    assert (found["calibration_slope"], found["calibration_intercept"]) == (None, None)


def test_the_calibration_line_survives_certainty():
    # probabilities of exactly 0 and 1, most of them right: the logits are cut, the answer finite
    y = np.repeat([1.0, 0.0], 50)
    prob = np.concatenate([np.ones(48), [0.0, 0.4], np.zeros(48), [1.0, 0.6]])
    found = binary_metrics(y, prob)
    assert 0 < found["calibration_slope"] < 0.2
    assert found["calibration_intercept"] == pytest.approx(0, abs=1e-9)


def test_every_figure_is_explained_in_the_docs():
    docs = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for name in binary_metrics([], []) if f"`{name.removesuffix(POOLED)}`" not in docs] == []


NOTHING = dict.fromkeys(binary_metrics([], []))


@pytest.mark.parametrize(
    ("y", "prob", "expected"),
    [
        ([], [], NOTHING),
        ([0, 0], [0.1, 0.2], {"precision": None, "recall": None, "f1": None, "auroc": None, "specificity": 1.0}),
        ([0, 0], [0.1, 0.9], {"precision": 0.0, "recall": None, "f1": 0.0, "average_precision": None}),
        ([1, 0], [0.1, 0.2], {"precision": None, "recall": 0.0, "f1": 0.0, "auroc": 0.0}),
        ([1, 1], [0.5, 0.4], {"precision": 1.0, "recall": 0.5, "specificity": None, "auroc": None}),
        (
            [0, 0],
            [0.1, 0.2],
            {"mcc": None, "balanced_accuracy": None, "ece": pytest.approx(0.15), "specificity_at_sensitivity_95": None},
        ),
        ([1, 1], [0.1, 0.2], {"sensitivity_at_specificity_95": None, "specificity_at_sensitivity_95": None}),
        ([1, 0], [0.5, 0.5], {"auroc": 0.5, "mcc": None, "balanced_accuracy": 0.5, "ece": 0.0}),
        ([1, 0], [0.5, 0.5], {"specificity_at_sensitivity_95": 0.0, "sensitivity_at_specificity_95": 0.0}),
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
        ([0, 1], ["a", "b"], "no number"),
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
