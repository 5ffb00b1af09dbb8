"""What a clinician asks: each figure is its textbook formula, and its interval too where rows are independent."""

from dataclasses import replace

import numpy as np
import pytest
from predicted import predicted
from scipy.special import expit, logit

from cxremb.evaluation.bootstrap import Resampling
from cxremb.evaluation.decision import UNBOUNDED, Redrawn, at_prevalence, curve_point, limits, risk_of, shares
from cxremb.evaluation.significance import wilson
from cxremb.predictions import joined
from cxremb.predictions.chosen import at_given, decision_curve

PREVALENCE = 0.05


def table(tp: int, fp: int, fn: int, tn: int, resamples: int = 4000):
    """Independent rows with these cells, at the threshold .5."""
    y = np.repeat([1.0, 0, 1, 0], [tp, fp, fn, tn])
    prob = np.repeat([0.9, 0.8, 0.2, 0.1], [tp, fp, fn, tn])
    return at_given(predicted(y, prob), Resampling(resamples)).redrawn


def test_each_figure_is_its_formula():
    found = at_prevalence(table(80, 30, 20, 170), PREVALENCE, 0.1)
    sensitivity, specificity = 0.8, 0.85
    hits, alarms = PREVALENCE * sensitivity, (1 - PREVALENCE) * (1 - specificity)
    rest, misses = (1 - PREVALENCE) * specificity, PREVALENCE * (1 - sensitivity)
    assert {name: one.value for name, one in found.items()} == pytest.approx(
        {
            "recall": sensitivity,
            "specificity": specificity,
            "ppv": hits / (hits + alarms),  # Bayes
            "npv": rest / (rest + misses),
            "lr_positive": sensitivity / (1 - specificity),
            "lr_negative": (1 - sensitivity) / specificity,
            "flags_per_true_positive": (hits + alarms) / hits,
            "net_benefit": hits - alarms * 0.1 / 0.9,
        }
    )


def test_at_the_prevalence_of_the_rows_nothing_is_moved():
    redrawn = table(80, 30, 20, 170)
    found = at_prevalence(redrawn, 1 / 3, 0.25)
    assert (
        found["ppv"].value
        == pytest.approx(80 / 110)
        == pytest.approx(shares(redrawn, ("precision",))["precision"].value)
    )
    assert found["net_benefit"].value == pytest.approx(80 / 300 - 30 / 300 / 3)  # Vickers & Elkin 2006
    risks = np.array([0.01, 0.3, 0.9])
    assert limits(risks, 0.4, 0.4) == pytest.approx(risks)
    assert risk_of(float(limits(risks, 0.6, 0.05)[1]), 0.6, 0.05) == pytest.approx(0.3)
    # by Bayes: the odds of the finding given the same evidence, at another prevalence
    assert risk_of(0.5, 0.4, 0.05) == pytest.approx(expit(logit(0.05) - logit(0.4)))


def test_intervals_of_independent_rows_are_those_of_the_textbook():
    tp, fp, fn, tn = 160, 60, 40, 340
    found = at_prevalence(table(tp, fp, fn, tn), PREVALENCE, 0.1)
    z = 1.959963984540054
    up = z * np.sqrt(1 / tp - 1 / (tp + fn) + 1 / fp - 1 / (fp + tn))  # Simel, Samsa & Matchar 1991
    down = z * np.sqrt(1 / fn - 1 / (tp + fn) + 1 / tn - 1 / (fp + tn))
    positive, negative = 0.8 / 0.15, 0.2 / 0.85
    expected = {
        "lr_positive": (positive * np.exp(-up), positive * np.exp(up)),
        "lr_negative": (negative * np.exp(-down), negative * np.exp(down)),
        "ppv": expit(logit(PREVALENCE) + np.log(positive) + np.array([-up, up])),  # Mercaldo, Lau & Zhou 2007
        "npv": expit(-logit(PREVALENCE) - np.log(negative) + np.array([-down, down])),
        "recall": wilson(tp, tp + fn),
        "specificity": wilson(tn, fp + tn),
    }
    spread = z * np.sqrt(PREVALENCE**2 * 0.8 * 0.2 / (tp + fn) + (0.95 / 9) ** 2 * 0.85 * 0.15 / (fp + tn))
    benefit = found["net_benefit"]
    expected["net_benefit"] = (benefit.value - spread, benefit.value + spread)
    for name, (low, high) in expected.items():
        assert [found[name].low, found[name].high] == pytest.approx([low, high], rel=0.05), name
    flags, ppv = found["flags_per_true_positive"], found["ppv"]
    assert [flags.low, flags.high] == pytest.approx([1 / ppv.high, 1 / ppv.low])


def test_an_empty_cell_has_an_interval_all_the_same():
    found = at_prevalence(table(40, 0, 0, 60), PREVALENCE, 0.1)
    recall = found["recall"]
    assert (recall.value, recall.high) == (1.0, 1.0)
    assert 0.8 < recall.low < wilson(40, 40)[0]  # no narrower than Wilson's
    assert (found["ppv"].value, found["ppv"].high, found["npv"].value) == (1.0, 1.0, 1.0)
    assert found["ppv"].low < 0.9
    assert (found["lr_positive"].value, found["lr_positive"].reason) == (None, UNBOUNDED)
    assert (found["lr_negative"].value, found["flags_per_true_positive"].value) == (0.0, 1.0)
    everybody = at_prevalence(table(40, 60, 0, 0), PREVALENCE, 0.1)
    assert everybody["lr_negative"].value is None
    assert everybody["npv"].value is None
    assert everybody["ppv"].value == pytest.approx(PREVALENCE)
    halved = replace(table(40, 0, 0, 60), weight=0.5)  # two films a patient: half as many patients
    assert shares(halved, ("recall",))["recall"].low < recall.low


def test_films_of_a_patient_widen_the_intervals():
    rng = np.random.default_rng(0)
    y, prob = np.repeat([1.0, 0.0], 60), rng.random(120)
    alone = at_given(predicted(y, prob), Resampling(2000)).redrawn
    four = at_given(
        predicted(np.repeat(y, 4), np.repeat(prob, 4), np.repeat(np.arange(120), 4)), Resampling(2000)
    ).redrawn
    for name in ("recall", "specificity"):
        one, other = (shares(found, (name,))[name] for found in (alone, four))
        assert one.value == other.value
        assert [one.low, one.high] == pytest.approx([other.low, other.high], abs=0.01)  # as many patients, as wide


def test_the_degrees_of_freedom_are_those_of_the_positives_that_the_threshold_rests_on():
    cells = np.zeros((2001, 1, 4))
    found = Redrawn(cells, cells, rests_on=2.0)
    drawn = np.r_[0.0, np.tile([-1.0, 1.0], 1000)]
    assert found.reach(drawn, drawn * 0, 0.0) == pytest.approx(2.776, abs=1e-3)  # all of it from the choice: 4 degrees
    assert found.reach(drawn, drawn, 0.0) == pytest.approx(1.96, abs=1e-3)  # none of it
    assert found.reach(drawn, drawn * 0.5**0.5, 0.0) == pytest.approx(2.120, abs=1e-3)  # half: 4 / .25


def test_the_curve_is_that_of_the_formula_at_every_risk():
    rng = np.random.default_rng(1)
    y = (rng.random(300) < 0.4).astype(float)
    test = predicted(y, expit(2 * (y - 0.5) + rng.standard_normal(300)), np.arange(300) // 2)
    curve = decision_curve(test, PREVALENCE, observed=float(y.mean()), resampling=Resampling(50))
    assert [point.risk for point in curve] == pytest.approx(np.arange(1, 100) / 100)
    for point in curve:
        odds = logit(test.prob[:, 0]) - logit(y.mean()) + logit(PREVALENCE)
        called = expit(odds) >= point.risk
        recall, alarms = called[y == 1].mean(), called[y == 0].mean()
        weight = point.risk / (1 - point.risk)
        benefit = PREVALENCE * recall - (1 - PREVALENCE) * alarms * weight
        everybody = PREVALENCE - (1 - PREVALENCE) * weight
        assert (point.model.value, point.treat_all) == pytest.approx((benefit, everybody))
        assert point.gain.value == pytest.approx(benefit - max(0, everybody))
        assert point.model.high - point.model.low == pytest.approx(point.gain.high - point.gain.low)
    assert curve_point(table(40, 60, 0, 0), PREVALENCE, 0.02).gain.value == pytest.approx(0)  # treating all is no gain


def test_pools_are_averaged_and_never_add_patients():
    rng = np.random.default_rng(2)
    y = np.repeat([1.0, 0.0], 50)
    first, second = predicted(y, rng.random(100)), predicted(y, rng.random(100))
    both = joined([first, replace(second, seed=second.seed + 1)])
    found, alone = (at_given(one, Resampling(500)).redrawn for one in (both, first))
    other = shares(at_given(second).redrawn, ("recall",))["recall"].value
    recall, one = shares(found, ("recall",))["recall"], shares(alone, ("recall",))["recall"]
    assert recall.value == pytest.approx((one.value + other) / 2)
    same = joined([first, replace(first, seed=first.seed + 1)])
    assert shares(at_given(same, Resampling(500)).redrawn, ("recall",))["recall"] == one
