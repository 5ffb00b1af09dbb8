"""Thresholds and calibrations: right on validation rows, and impossible to make or judge on the wrong ones."""

from dataclasses import replace

import numpy as np
import pytest
from predicted import predicted
from scipy.optimize import minimize, minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from cxremb.errors import DataError
from cxremb.evaluation.calibrate import fit_platt, fit_temperature, probabilities
from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.threshold import between, choose_threshold
from cxremb.predictions import Predictions, joined


def made_up(part: str = "val", seed: int = 0, n: int = 120, first: int = 0, steepness: float = 3.0) -> Predictions:
    """Overconfident binary predictions, some of them tied."""
    rng = np.random.default_rng(seed)
    honest = np.round(1.5 * rng.standard_normal(n), 1)
    y = (rng.random(n) < probabilities(honest, "binary")).astype(float)
    return of_logits(y, steepness * honest, part=part, items=first + np.arange(n))


def of_logits(y, logit, part: str = "val", items=None, task: str = "binary") -> Predictions:
    logit = np.asarray(logit, dtype=float)
    return predicted(y, probabilities(logit, task), part=part, items=items, task=task, logit=logit)


def test_the_threshold_is_the_best_of_all():
    for seed in range(20):
        val = made_up(seed=seed)
        y, prob = val.y[:, 0], val.prob[:, 0]
        tried = [binary_metrics(y, prob, t) for t in np.unique(prob)]
        for rule, reached in (
            ("f1", max(found["f1"] for found in tried)),
            ("youden", max(found["recall"] + found["specificity"] - 1 for found in tried)),
        ):
            choice = choose_threshold(y, prob, rule)
            assert choice.reached == pytest.approx(reached, abs=1e-12)
            at = binary_metrics(y, prob, choice.threshold)
            figure = {"f1": at["f1"], "youden": at["recall"] + at["specificity"] - 1}
            assert figure[rule] == pytest.approx(reached, abs=1e-12)
            assert choice.threshold not in prob  # between two rows, so that neither hangs by a digit


def test_applied_to_test_rows():
    val, test = made_up(), made_up("test", seed=1, first=1000)
    y, prob = val.y[:, 0], val.prob[:, 0]
    choice = choose_threshold(y, prob, "f1")
    at = test.at_thresholds(val, "f1")
    assert (at.threshold == choice.threshold).all()
    assert at.figures()["label 1"] == binary_metrics(test.y[:, 0], test.prob[:, 0], choice.threshold)
    assert (choice.rule, choose_threshold(y, prob, "sensitivity", floor=0.9).rule) == ("f1", "aimed at 0.9")


def test_equally_good_thresholds_take_the_nearest_to_one_half():
    assert choose_threshold(np.array([1.0, 0, 1, 0]), np.full(4, 0.5), "youden").threshold == pytest.approx(0.5)


def test_a_threshold_lies_between_even_the_closest_numbers():
    higher, lower = np.nextafter(0.7, 1), 0.7
    thresholds = between(np.array([higher, lower]))
    assert [[prob >= threshold for prob in (higher, lower)] for threshold in thresholds] == [
        [False, False],
        [True, False],
        [True, True],
    ]


@pytest.mark.parametrize(
    "choose",
    [
        lambda test, val: test.at_thresholds(val),
        lambda test, val: test.calibrated(val),
        lambda test, val: test.calibrated(val, "platt"),
    ],
)
def test_nothing_is_chosen_or_judged_on_the_wrong_rows(choose):
    test = made_up("test", seed=1, first=1000)
    for wrong in ("test", "train"):
        with pytest.raises(DataError, match=f"chosen on {wrong} rows") as caught:
            choose(test, made_up(wrong))
        assert caught.value.hint
    choose(test, made_up())
    with pytest.raises(DataError, match="chosen on the val rows and applied to val"):
        choose(made_up(first=1000), made_up())
    with pytest.raises(DataError, match="20 of 120 test rows are among the val rows"):
        choose(made_up("test", first=100), made_up())
    with pytest.raises(DataError, match="have one class"):
        choose(test, of_logits(np.ones(5), np.arange(5.0)))
    with pytest.raises(DataError, match="model 1 of 1 has no validation rows"):
        choose(test, made_up().take(slice(0, 0)))


def test_each_model_has_a_choice_of_its_own():
    first, second = made_up("val", 1), made_up("val", 2)
    tests = made_up("test", 3, first=1000), made_up("test", 4, first=2000)
    one = replace(second, fold=second.fold + 1)
    other = replace(tests[1], fold=tests[1].fold + 1)
    both = joined([tests[0], other])
    calibrated, fitted = both.calibrated(joined([first, one]))
    at = both.at_thresholds(joined([first, one]))
    for number, (val, test) in enumerate(zip((first, second), tests, strict=True)):
        rows = both.fold == number
        alone, (temperature,) = test.calibrated(val)
        assert fitted[number] == temperature
        np.testing.assert_array_equal(calibrated.prob[rows], alone.prob)
        assert set(at.threshold[rows]) == set(test.at_thresholds(val).threshold)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"part": "validation"}, "no part validation"),
        ({"task": "other"}, "no task other"),
        ({"items": [0]}, "1 items of 1 labels, but part has shape"),
        ({"items": np.array([None, "a"], dtype=object)}, "which item"),
        ({"y": [[0, 1]]}, "2 items of 1 labels, but y has shape"),
        ({"y": [0, np.nan]}, "other than 0 and 1"),
        ({"y": [0, 2]}, "other than 0 and 1"),
        ({"y": [[0, np.nan]], "prob": [[0.1, 0.9]], "task": "multiclass"}, "other than 0 and 1"),
    ],
)
def test_what_are_no_predictions_is_refused(given, words):
    with pytest.raises(DataError, match=words):
        predicted(**{"y": [0, 1], "prob": [0.1, 0.9], **given})


def test_rows_that_cannot_be_chosen_on_are_refused():
    test = of_logits([0, 1], [0.0, 1.0], part="test", items=[10, 11])
    with pytest.raises(DataError, match="not finite"):
        test.calibrated(of_logits([0, 1], [0.0, np.inf]))
    several = of_logits([[0, 1], [1, 1]], [[0.0, 1.0], [0, 0]], task="multiclass")
    with pytest.raises(DataError, match="not of exactly one class"):
        several.figures()


def test_rules_and_tasks_without_a_threshold():
    with pytest.raises(DataError, match="no threshold by luck"):
        choose_threshold(np.array([0.0, 1]), np.array([0.1, 0.9]), "luck")
    several = of_logits(np.eye(3), np.eye(3), task="multiclass")
    test = of_logits(np.eye(3), np.eye(3), part="test", items=[10, 11, 12], task="multiclass")
    with pytest.raises(DataError, match="one threshold for a multiclass task"):
        test.at_thresholds(several)
    with pytest.raises(DataError, match="not multiclass"):
        test.calibrated(several, "platt")


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
        val = of_logits(y, 3 * honest, task=task)
    known = ~np.isnan(val.y)

    def loss(temperature: float) -> float:
        prob = probabilities(val.logit / temperature, task)
        if task == "multiclass":
            return -np.log(prob[val.y == 1]).sum()
        return -np.where(val.y == 1, np.log(prob), np.log(1 - prob))[known].sum()

    slow = minimize_scalar(loss, bounds=(0.5, 20), method="bounded", options={"xatol": 1e-9}).x
    test = replace(val, part=np.full(4000, "test"), items=4000 + val.items)
    calibrated, (found,) = test.calibrated(val)
    assert found.temperature == pytest.approx(slow, rel=1e-5)
    assert found.temperature == pytest.approx(3, rel=0.1)  # what was planted
    assert calibrated.logit == pytest.approx(val.logit / found.temperature)
    assert calibrated.prob == pytest.approx(probabilities(val.logit / found.temperature, task))


def test_a_temperature_mends_overconfidence_on_other_rows():
    test = made_up("test", seed=1, n=4000, first=10_000)
    before = test.figures()["label 1"]
    after = test.calibrated(made_up(n=4000))[0].figures()["label 1"]
    assert before["calibration_slope"] == pytest.approx(1 / 3, abs=0.04)
    assert after["calibration_slope"] == pytest.approx(1, abs=0.12)
    assert after["ece"] < before["ece"] / 2
    assert after["auroc"] == pytest.approx(before["auroc"], abs=1e-12)


def test_no_temperature_without_a_finite_best():
    y = np.repeat([0.0, 1.0], 5)
    for logit in (y - 0.5, 0.5 - y, np.zeros(10)):  # all right; all wrong; no answer
        with pytest.raises(DataError, match="no temperature fits"):
            fit_temperature(y, logit, "binary")


def test_platt_equals_scikit_learn():
    val, test = made_up(n=300), made_up("test", seed=1, first=1000)
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])  # its decision function is the logit
    slow = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", ensemble=False)
    slow.fit(val.logit, val.y[:, 0].astype(int))
    expected = slow.predict_proba(test.logit)[:, 1]
    assert test.calibrated(val, "platt")[0].prob[:, 0] == pytest.approx(expected, abs=1e-4)  # theirs stops early


def test_platt_is_the_minimum_even_where_the_classes_are_apart():
    y = np.repeat([0.0, 1.0], 5)
    logit = np.arange(10) - 4.5
    target = np.where(y == 1, 6 / 7, 1 / 7)

    def loss(line: np.ndarray) -> float:
        x = line[0] * logit + line[1]
        return (np.logaddexp(0, x) - target * x).sum()

    slow = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    found = fit_platt(y, logit)
    assert [found.slope, found.intercept] == pytest.approx(slow, abs=1e-6)
    with pytest.raises(DataError, match="the same logit"):
        fit_platt(y, np.ones(10))


def test_a_mean_that_rounding_brings_below_the_aim_is_no_shortfall():
    from types import SimpleNamespace

    from cxremb.cli.evaluate import shortfall

    rounded = sum([0.95] * 15) / 15
    assert rounded < 0.95
    assert shortfall("aimed at .95", [SimpleNamespace(expected=rounded, label="a")], 1) == ""
    short = shortfall("aimed at .95", [SimpleNamespace(expected=0.9, label="a")], 1)
    assert short == "; too few: the lowest is taken, which finds .90 of other positives on average"
