"""Thresholds and calibrations: right on validation rows, and impossible to make or judge on the wrong ones."""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from cxremb.errors import DataError
from cxremb.evaluation.calibrate import fit_platt, fit_temperature
from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.parts import Part, part, probabilities
from cxremb.evaluation.threshold import between, choose_threshold


def made_up(name: str = "val", seed: int = 0, n: int = 120, first: int = 0, steepness: float = 3.0) -> Part:
    """Overconfident binary predictions, some of them tied."""
    rng = np.random.default_rng(seed)
    honest = np.round(1.5 * rng.standard_normal(n), 1)
    y = (rng.random(n) < probabilities(honest, "binary")).astype(float)
    return part(name, first + np.arange(n), y, steepness * honest)


def test_the_threshold_is_the_best_of_all():
    for seed in range(20):
        val = made_up(seed=seed)
        tried = [binary_metrics(val.y_true, val.prob, t) for t in np.unique(val.prob)]
        for rule, reached in (
            ("f1", max(found["f1"] for found in tried)),
            ("youden", max(found["recall"] + found["specificity"] - 1 for found in tried)),
            ("sensitivity", max(found["specificity"] for found in tried if found["recall"] >= 0.9)),
        ):
            choice = choose_threshold(val, rule, 0.9)
            assert choice.reached == pytest.approx(reached, abs=1e-12)
            at = binary_metrics(val.y_true, val.prob, choice.threshold)
            figure = {"f1": at["f1"], "youden": at["recall"] + at["specificity"] - 1, "sensitivity": at["specificity"]}
            assert figure[rule] == pytest.approx(reached, abs=1e-12)
            assert rule != "sensitivity" or at["recall"] >= 0.9
            assert choice.threshold not in val.prob  # between two rows, so that neither hangs by a digit


def test_applied_to_test_rows():
    choice = choose_threshold(made_up(), "f1")
    test = made_up("test", seed=1, first=1000)
    assert choice.apply(test).tolist() == (test.prob >= choice.threshold).tolist()
    assert (choice.rule, choose_threshold(made_up(), "sensitivity", 0.9).rule) == ("f1", "sensitivity >= 0.9")


def test_equally_good_thresholds_take_the_nearest_to_one_half():
    flat = part("val", np.arange(4), [1, 0, 1, 0], [0.0, 0.0, 0.0, 0.0])
    assert choose_threshold(flat, "youden").threshold == pytest.approx(0.5)


def test_a_threshold_lies_between_even_the_closest_numbers():
    higher, lower = np.nextafter(0.7, 1), 0.7
    cuts = between(np.array([higher, lower]))
    assert [[prob >= cut for prob in (higher, lower)] for cut in cuts] == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize("choose", [choose_threshold, fit_temperature, fit_platt])
def test_nothing_is_chosen_or_judged_on_the_wrong_rows(choose):
    for wrong in ("test", "train"):
        with pytest.raises(DataError, match=f"chosen on {wrong} rows") as caught:
            choose(made_up(wrong))
        assert caught.value.hint
    choice = choose(made_up())
    with pytest.raises(DataError, match="chosen on the val rows and applied to val"):
        choice.apply(made_up(first=1000))
    with pytest.raises(DataError, match="20 of 120 test rows are among the val rows"):
        choice.apply(made_up("test", first=100))
    one_class = part("val", np.arange(5), np.ones(5), np.arange(5.0))
    with pytest.raises(DataError, match="have one class"):
        choose(one_class)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("validation", [0, 1], [0, 1], [0.0, 1.0]), "part validation"),
        (("val", [0, 1], [0, 1], [0.0, 1.0], "other"), "task other"),
        (("val", [0], [0, 1], [0.0, 1.0]), "which item"),
        (("val", [None, "a"], [0, 1], [0.0, 1.0]), "which item"),
        (("val", [0, 1], [0, np.nan], [0.0, 1.0]), "other than 0 and 1"),
        (("val", [0, 1], [0, 1], [0.0, np.inf]), "not finite"),
        (("val", [0, 1], [[0, 1]], [[0.0, 1.0]]), "shape"),
        (("val", [0, 1], [0, 1], [0.0, 1.0], "multiclass"), "give both|y_true"),
        (("val", [0], [[0, np.nan]], [[0.0, 1.0]], "multiclass"), "other than 0 and 1"),
    ],
)
def test_what_is_no_part_is_refused(arguments, told):
    with pytest.raises(DataError, match=told):
        part(*arguments)


def test_a_column_is_a_binary_task():
    assert part("val", [0, 1], [[0], [1]], [[0.0], [1.0]]).y_logit.tolist() == [0.0, 1.0]


def test_rules_and_tasks_without_a_threshold():
    with pytest.raises(DataError, match="no threshold by luck"):
        choose_threshold(made_up(), "luck")
    several = part("val", np.arange(3), np.eye(3), np.eye(3), "multiclass")
    with pytest.raises(DataError, match="one threshold for a multiclass task"):
        choose_threshold(several)
    with pytest.raises(DataError, match="not multiclass"):
        fit_platt(several)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_temperature_is_that_of_the_least_loss(task):
    rng = np.random.default_rng(0)
    if task == "binary":
        val = made_up(n=4000)
    else:
        honest = 1.5 * rng.standard_normal((4000, 3))
        drawn = rng.random((4000, 3)) < probabilities(honest, "multilabel")
        winners = np.array([rng.choice(3, p=row) for row in probabilities(honest, "multiclass")])
        y = drawn.astype(float) if task == "multilabel" else np.eye(3)[winners]
        if task == "multilabel":
            y[rng.random((4000, 3)) < 0.2] = np.nan
        val = part("val", np.arange(4000), y, 3 * honest, task)
    known = ~np.isnan(val.y_true)

    def loss(temperature: float) -> float:
        prob = probabilities(val.y_logit / temperature, task)
        if task == "multiclass":
            return -np.log(prob[val.y_true == 1]).sum()
        return -np.where(val.y_true == 1, np.log(prob), np.log(1 - prob))[known].sum()

    slow = minimize_scalar(loss, bounds=(0.5, 20), method="bounded", options={"xatol": 1e-9}).x
    found = fit_temperature(val)
    assert found.temperature == pytest.approx(slow, rel=1e-5)
    assert found.temperature == pytest.approx(3, rel=0.1)  # what was planted
    test = part("test", 4000 + np.arange(4000), val.y_true, val.y_logit, task)
    assert found.apply(test) == pytest.approx(probabilities(val.y_logit / found.temperature, task))


def test_a_temperature_mends_overconfidence_on_other_rows():
    test = made_up("test", seed=1, n=4000, first=10_000)
    before = binary_metrics(test.y_true, test.prob)
    after = binary_metrics(test.y_true, fit_temperature(made_up(n=4000)).apply(test))
    assert before["calibration_slope"] == pytest.approx(1 / 3, abs=0.04)
    assert after["calibration_slope"] == pytest.approx(1, abs=0.12)
    assert after["ece"] < before["ece"] / 2
    assert after["auroc"] == pytest.approx(before["auroc"], abs=1e-12)


def test_no_temperature_without_a_finite_best():
    y = np.repeat([0.0, 1.0], 5)
    for logit in (y - 0.5, 0.5 - y, np.zeros(10)):  # all right; all wrong; no answer
        with pytest.raises(DataError, match="no temperature fits"):
            fit_temperature(part("val", np.arange(10), y, logit))


def test_platt_equals_scikit_learn():
    val, test = made_up(n=300), made_up("test", seed=1, first=1000)
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])  # its decision function is the logit
    slow = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", ensemble=False)
    slow.fit(val.y_logit[:, None], val.y_true.astype(int))
    expected = slow.predict_proba(test.y_logit[:, None])[:, 1]
    assert fit_platt(val).apply(test) == pytest.approx(expected, abs=1e-4)  # theirs stops early


def test_platt_is_the_minimum_even_where_the_classes_are_apart():
    y = np.repeat([0.0, 1.0], 5)
    val = part("val", np.arange(10), y, np.arange(10) - 4.5)
    target = np.where(y == 1, 6 / 7, 1 / 7)

    def loss(line: np.ndarray) -> float:
        x = line[0] * val.y_logit + line[1]
        return (np.logaddexp(0, x) - target * x).sum()

    slow = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    found = fit_platt(val)
    assert [found.slope, found.intercept] == pytest.approx(slow, abs=1e-6)
    with pytest.raises(DataError, match="the same logit"):
        fit_platt(part("val", np.arange(10), y, np.ones(10)))
