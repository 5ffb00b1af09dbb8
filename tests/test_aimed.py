"""A sensitivity aimed at: the place in the order that delivers it, on whose rows, chosen again in each resample."""

from dataclasses import replace

import numpy as np
import pytest
from predicted import predicted
from scipy.special import expit
from scipy.stats import norm

from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Resampling, cluster_counts
from cxremb.evaluation.decision import shares
from cxremb.evaluation.threshold import choose_threshold, chooser, independent
from cxremb.predictions import Predictions, joined
from cxremb.predictions.chosen import at_chosen, at_given


def rows(seed: int, n: int, *, part: str = "test", fold: int = 0, first: int = 0, films: int = 1) -> Predictions:
    """n rows of one model, `films` of a patient, who are numbered from `first` on."""
    rng = np.random.default_rng(seed)
    patients = first + np.arange(n) // films
    y = ((patients * 7919) % 5 < 2).astype(float)
    prob = expit(1.4 * (y - 0.5) + rng.standard_normal(n))
    found = predicted(y, prob, patients, part=part, items=first * films + np.arange(n))
    return replace(found, fold=np.full(n, fold))


@pytest.mark.parametrize("floor", [0.9, 0.95, 0.8])
def test_the_threshold_is_the_quantile_of_type_6(floor):
    for seed in range(10):
        val = rows(seed, 140)
        y, prob = val.y[:, 0], val.prob[:, 0]
        found = choose_threshold(y, prob, "sensitivity", floor=floor)
        assert found.threshold == pytest.approx(np.quantile(prob[y == 1], 1 - floor, method="weibull"), abs=1e-12)
        assert found.reached == (prob[y == 1] >= found.threshold).mean()
        assert (found.positives, found.effective, found.expected) == (y.sum(), y.sum(), floor)


def test_it_delivers_on_average_what_is_aimed_at():
    """40 normal positives: by chance the j-th lowest of m leaves j / (m + 1) of all others below."""
    rng = np.random.default_rng(0)
    delivered = []
    for _ in range(2000):
        score = rng.standard_normal(40)
        found = choose_threshold(np.r_[np.ones(40), 0.0], np.r_[norm.cdf(score), 0.5], "sensitivity")
        delivered.append(1 - found.threshold)  # of a uniform score
    assert np.mean(delivered) == pytest.approx(0.95, abs=3 * np.std(delivered) / 2000**0.5)


def test_too_few_positives_take_the_lowest_and_say_what_it_delivers():
    prob = np.linspace(0.3, 0.9, 18)
    found = choose_threshold(np.r_[np.ones(18), 0.0], np.r_[prob, 0.1], "sensitivity")
    assert (found.threshold, found.expected) == (prob[0], pytest.approx(18 / 19))
    enough = choose_threshold(np.r_[np.ones(19), 0.0], np.r_[np.linspace(0.3, 0.9, 19), 0.1], "sensitivity")
    assert (enough.threshold, enough.expected) == (pytest.approx(0.3), 0.95)


def test_films_of_a_patient_count_as_fewer():
    val = rows(0, 300, films=3)
    y, prob, patients = val.y[:, 0], val.prob[:, 0], val.patients
    found = choose_threshold(y, prob, "sensitivity", clusters=patients)
    n, k = y.sum(), len(np.unique(patients[y == 1]))
    assert found.positives == k
    assert found.effective == pytest.approx(2 * n * k / (n + k)) == pytest.approx(n / (1 + (n / k - 1) / 2))
    m = found.effective
    below = n * (0.05 - 0.95 / m)  # how many of the rows lie below: of one film a patient that is place .05 (m + 1)
    ordered = np.sort(prob[y == 1])
    assert found.threshold == pytest.approx(np.interp(below, np.arange(n), ordered), abs=1e-12)
    assert found.threshold < choose_threshold(y, prob, "sensitivity").threshold
    assert float(independent(np.array(6.0), np.array(6.0))) == 6


@pytest.mark.parametrize("rule", ["sensitivity", "youden", "f1"])
def test_a_resample_chooses_as_its_rows_repeated_would(rule):
    val = rows(1, 90, films=2)
    y, prob, clusters = val.y[:, 0], val.prob[:, 0], np.unique(val.patients, return_inverse=True)[1]
    counts = next(iter(cluster_counts(clusters, 20, 0)))
    found = chooser(y, prob, rule, floor=0.8, clusters=clusters)(counts)
    for weights, threshold in zip(counts, found, strict=True):
        drawn = np.concatenate(
            [np.flatnonzero(clusters == c) for c in np.repeat(np.arange(len(weights)), weights.astype(int))]
        )
        copies = np.repeat(np.arange(int(weights.sum())), 2)
        slow = choose_threshold(y[drawn], prob[drawn], rule, floor=0.8, clusters=copies)
        if rule == "sensitivity":
            assert threshold == pytest.approx(slow.threshold, abs=1e-12)
        else:  # between the same rows, though not midway where a neighbour was not drawn
            assert ((prob[drawn] >= threshold) == (prob[drawn] >= slow.threshold)).all()
    none = np.zeros((1, counts.shape[1]))
    assert np.isnan(chooser(y, prob, rule, floor=0.8, clusters=clusters)(none)).all()


def folds() -> tuple[Predictions, Predictions]:
    """(test, val) of three folds of 60 patients: the validation rows of one are among the test rows of the next."""
    tests = [rows(10 + k, 60, fold=k, first=60 * k) for k in range(3)]
    vals = [rows(20 + k, 30, part="val", fold=k, first=(60 * k + 60) % 180) for k in range(3)]
    return joined(tests), joined(vals)


def test_a_fold_chooses_on_all_validation_rows_but_those_of_its_own_test_patients():
    test, val = folds()
    at = test.at_thresholds(val, "sensitivity")
    for k in range(3):
        on = val.take(~np.isin(val.patients, test.patients[test.fold == k]))
        assert set(np.unique(on.fold)) == {0, 1, 2} - {(k - 1) % 3}
        expected = choose_threshold(on.y[:, 0], on.prob[:, 0], "sensitivity", clusters=on.patients)
        assert set(at.threshold[test.fold == k]) == {expected.threshold}
    youden = test.at_thresholds(val)  # chosen on the fold's own
    own = val.take(val.fold == 1)
    assert set(youden.threshold[test.fold == 1]) == {choose_threshold(own.y[:, 0], own.prob[:, 0]).threshold}
    with pytest.raises(DataError, match="model 2 of 3 has no validation rows"):
        test.at_thresholds(val.take(val.fold == 0), "sensitivity")


@pytest.mark.parametrize("rule", ["sensitivity", "youden"])
def test_the_cells_are_those_of_a_loop_over_resamples(rule):
    test, val = folds()
    found = at_chosen(test, val, rule, resampling=Resampling(12, seed=3))
    names = np.unique(test.patients)
    counts = next(iter(cluster_counts(np.arange(len(names)), 12, 3)))
    for number, weights in enumerate([np.ones(len(names)), *counts]):
        cells, held = np.zeros(4), np.zeros(4)
        for k in range(3):
            mine = test.fold == k
            on = val.take(~np.isin(val.patients, test.patients[mine]) if rule == "sensitivity" else val.fold == k)
            choose = chooser(on.y[:, 0], on.prob[:, 0], rule, floor=0.95, clusters=np.searchsorted(names, on.patients))
            for into, limit in ((cells, choose(weights[None])), (held, choose(np.ones((1, len(names)))))):
                called, y = test.prob[mine, 0] >= limit, test.y[mine, 0] == 1
                w = weights[np.searchsorted(names, test.patients[mine])]
                into += [w[called & y].sum(), w[called & ~y].sum(), w[~called & y].sum(), w[~called & ~y].sum()]
        assert found.redrawn.cells[number, 0] == pytest.approx(cells)
        assert found.redrawn.held[number, 0] == pytest.approx(held)
    assert found.thresholds == tuple(choice.threshold for choice in found.choices)


def test_an_interval_that_chooses_again_is_wider_than_one_that_holds():
    test, val = folds()
    found = at_chosen(test, val, "sensitivity", resampling=Resampling(300))
    held = at_given(found.test, Resampling(300))
    chosen, given = (shares(one.redrawn, ("specificity", "recall")) for one in (found, held))
    for name in chosen:
        assert chosen[name].value == given[name].value
        assert chosen[name].low < given[name].low < given[name].value < given[name].high < chosen[name].high
