"""Shares of rows that hang together: against resampled patients, the equation they solve, and simulated truth."""

import numpy as np
import pytest
from predicted import difference_of, intervals_of, predicted
from scipy import optimize, stats
from test_bootstrap import SLOW, duplicated, predictions

from cxremb.evaluation.shares import ALIKE, degrees, mean_share, share_of
from cxremb.predictions.pool import SHARES, mean_of_shares


def solved(share: float, n: float, quantile: float) -> list[float]:
    """The shares pi that are `quantile` standard errors away, sqrt(pi (1 - pi) / n) each (Wilson 1927)."""

    def away(pi: float) -> float:
        return (share - pi) ** 2 - quantile**2 * pi * (1 - pi) / n

    ends = []
    for low, high in ((0.0, share), (share, 1.0)):
        ends.append(optimize.brentq(away, low, high) if away(low) * away(high) < 0 else share)
    return ends


def test_the_variance_is_that_of_resampled_patients():
    y, good, poor, patient = predictions(patients=200, n=500)
    rows = duplicated(patient, 600, 0)  # an error of 3%
    pools = [predicted(y, prob, patient).arrays() for prob in (good, poor)]
    for metric in SHARES:
        a, b = (mean_of_shares(pool, metric) for pool in pools)
        slow = SLOW[metric]
        drawn = np.array([(slow(y[r], good[r]), slow(y[r], poor[r])) for r in rows])
        assert a.value == pytest.approx(slow(y, good), abs=1e-12)
        assert (a.influence @ a.influence) ** 0.5 == pytest.approx(drawn[:, 0].std(), rel=0.1), metric
        gap = a.influence - b.influence
        assert (gap @ gap) ** 0.5 == pytest.approx((drawn[:, 0] - drawn[:, 1]).std(), rel=0.1), metric
        found = a.difference(b)
        reach = stats.t.ppf(0.975, degrees(gap, min(a.patients, b.patients) - 1)) * (gap @ gap) ** 0.5
        assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))


def test_the_ends_solve_wilsons_equation_with_as_many_rows_as_the_rows_are_worth():
    rng = np.random.default_rng(0)
    right, who = rng.random(90) < 0.8, np.repeat(np.arange(30), 3)
    right[::3] = right[1::3]  # two of three films of a patient agree
    share = share_of(right * 1.0, np.ones(90), clusters=who, c=30)
    own = right.reshape(30, 3).sum(axis=1)
    variance = ((own - 3 * right.mean()) ** 2).sum() / 90**2 * 30 / 29
    assert share.influence @ share.influence == pytest.approx(variance)
    worth = right.mean() * (1 - right.mean()) / variance
    assert 30 < worth < 90
    found = share.interval()
    quantile = stats.t.ppf(0.975, degrees(share.influence, 29))
    assert [found.low, found.high] == pytest.approx(solved(right.mean(), worth, quantile), abs=1e-9)


def test_patients_who_all_agree_count_once_however_many_films_they_have():
    for films in (1, 4):
        who = np.repeat(np.arange(40), films)
        found = share_of(np.ones(40 * films), np.ones(40 * films), clusters=who, c=40).interval()
        quantile = stats.t.ppf(0.975, 39)
        assert (found.value, found.low, found.high) == (1.0, pytest.approx(40 / (40 + quantile**2)), 1.0)
        none = share_of(np.zeros(40 * films), np.ones(40 * films), clusters=who, c=40).interval()
        assert (none.low, none.high) == (0.0, pytest.approx(1 - found.low))


def test_films_that_say_the_same_add_no_evidence_and_more_rows_are_never_claimed():
    y, good, _, patient = predictions(1)
    for metric in ("accuracy", "recall", "f1"):
        once = intervals_of(y, good, patient, metrics=(metric,))[metric]
        five = intervals_of(*(np.repeat(values, 5) for values in (y, good, patient)), metrics=(metric,))[metric]
        assert (five.low, five.high) == pytest.approx((once.low, once.high), abs=0.03)
    opposite = np.tile([1.0, 0.0], 30)  # of each patient one film is right: the share would seem to be known exactly
    found = share_of(opposite, np.ones(60), clusters=np.repeat(np.arange(30), 2), c=30).interval()
    assert found.low < 0.35
    assert found.high > 0.65


def test_models_that_judge_alike_have_no_interval_of_no_width():
    y, good, _, patient = predictions()
    nearly = np.where(good >= 0.5, 0.9, 0.1)  # the same answers
    gap = difference_of(y, good, nearly, patient, metrics=("accuracy",))["accuracy"]
    assert (gap.value, gap.low, gap.high, gap.p, gap.reason) == (0.0, None, None, None, ALIKE)


def test_a_mean_of_the_same_share_is_that_share():
    rng = np.random.default_rng(0)
    share = share_of((rng.random(60) < 0.7) * 1.0, np.ones(60), clusters=np.arange(60), c=60)
    same = mean_share([share, share])
    assert (same.interval().low, same.interval().high) == pytest.approx((share.interval().low, share.interval().high))


def test_degrees_of_freedom_count_who_makes_the_variance():
    assert degrees(np.ones(50), 49) == 49
    normal = np.mean([degrees(np.random.default_rng(seed).standard_normal(60), 1e9) for seed in range(200)])
    assert normal == pytest.approx(60, rel=0.1)
    two = np.r_[5.0, -5.0, 0.1 * np.ones(58)]
    assert 5 < degrees(two, 59) < 7
    assert degrees(np.zeros(5), 4) == 4
