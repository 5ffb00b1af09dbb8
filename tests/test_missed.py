"""Who is missed more: rates and differences equal a slow loop over patients, and a planted shift is found."""

import numpy as np
import pytest
from predicted import predicted
from scipy import stats
from sklearn.metrics import recall_score

from cxremb.evaluation.bootstrap import Resampling
from cxremb.evaluation.threshold import choose_threshold
from cxremb.predictions import Predictions
from cxremb.predictions.gaps import gaps_of
from cxremb.predictions.missed import missed

FOLDS = 3


def rows(patients: int, *, shift: float, seed: int, part: str, films: int = 2) -> tuple[Predictions, np.ndarray]:
    """(rows of patients in turn of folds, who is a woman): positives of women score `shift` lower."""
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(patients), films)
    y, woman = (rng.random(patients) < 0.5).astype(float)[whose], (rng.random(patients) < 0.4)[whose]
    score = 1.5 * (y - 0.5) + rng.standard_normal(patients)[whose] + 0.3 * rng.standard_normal(len(whose))
    prob = 1 / (1 + np.exp(-(score - shift * woman * y)))
    names = np.array([f"{part}{n:04d}" for n in whose])
    items = np.array([f"{part}{n:05d}" for n in range(len(whose))])
    return predicted(y, prob, names, items=items, part=part, fold=whose % FOLDS), woman


def both(woman: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"F": (woman, ~woman), "M": (~woman, woman)}


def slow_threshold(val: Predictions, own: np.ndarray, counts: dict[str, int]) -> float:
    """The best sensitivity + specificity midway between two probabilities, of equally good ones the nearest to 0.5."""
    prob, y = val.prob[own, 0], val.y[own, 0]
    weight = np.array([counts[patient] for patient in val.patients[own]], dtype=float)
    distinct = np.unique(prob)
    best = (-1.0, 0.0, 0.0)
    for threshold in [0.0, *((distinct[:-1] + distinct[1:]) / 2), np.nextafter(distinct[-1], 2)]:
        called = prob >= threshold
        hit = weight[called & (y == 1)].sum() / weight[y == 1].sum()
        false = weight[called & (y == 0)].sum() / weight[y == 0].sum()
        best = max(best, (round(hit - false, 12), -abs(threshold - 0.5), float(threshold)))
    return best[2]


def slow_rates(test: Predictions, val: Predictions, woman: np.ndarray, counts: dict[str, int]) -> np.ndarray:
    """(2, 4) TP, FP, FN, TN of women and of men: every patient taken as often as counts says, one row at a time."""
    cells = np.zeros((2, 4))
    for fold in range(FOLDS):
        threshold = slow_threshold(val, val.fold == fold, counts)
        for row in np.flatnonzero(test.fold == fold):
            positive, called = test.y[row, 0] == 1, test.prob[row, 0] >= threshold
            cell = (0 if called else 2) if positive else (1 if called else 3)
            cells[0 if woman[row] else 1, cell] += counts[test.patients[row]]
    return cells


def test_rates_and_differences_are_those_of_a_slow_loop():
    test, woman = rows(90, shift=1.0, seed=0, part="test")
    val, _ = rows(90, shift=1.0, seed=1, part="val")
    found = missed(test, val, both(woman), resampling=Resampling(40, seed=5))
    called = np.zeros(len(test.items), dtype=bool)
    for fold, threshold in enumerate(found.thresholds):
        own = val.fold == fold
        assert threshold == choose_threshold(val.y[own, 0], val.prob[own, 0]).threshold
        called[test.fold == fold] = test.prob[test.fold == fold, 0] >= threshold
    y, rates = test.y[:, 0], {}
    for name, own in (("F", woman), ("M", ~woman)):
        rates[name] = recall_score(y[own], called[own]), recall_score(1 - y[own], ~called[own])
        assert found.groups[name].figures["recall"].value == pytest.approx(rates[name][0])
        assert found.groups[name].figures["specificity"].value == pytest.approx(rates[name][1])
    names = np.unique(np.concatenate([test.patients, val.patients]))
    rng, drawn = np.random.default_rng(5), []
    for _ in range(40):
        picked = rng.integers(len(names), size=len(names))
        counts = dict(zip(names.tolist(), np.bincount(picked, minlength=len(names)).tolist(), strict=True))
        cells = slow_rates(test, val, woman, counts) + 0.5
        drawn.append(
            [
                cells[0, hit] / (cells[0, hit] + cells[0, miss]) - cells[1, hit] / (cells[1, hit] + cells[1, miss])
                for hit, miss in ((0, 2), (3, 1))
            ]
        )
    for place, rate in enumerate(("recall", "specificity")):
        gap, value = found.groups["F"].gaps[rate], rates["F"][place] - rates["M"][place]
        of_class = y == 1 - place
        freedom = min(len(np.unique(test.patients[of_class & own])) for own in (woman, ~woman)) - 1
        error = np.std([one[place] for one in drawn])
        assert gap.value == pytest.approx(value)
        assert (gap.low, gap.high) == pytest.approx(stats.t.interval(0.95, freedom, value, error))
        assert gap.p == pytest.approx(2 * stats.t.sf(abs(value) / error, freedom))
        other = found.groups["M"].gaps[rate]
        assert (other.value, other.low, other.p) == pytest.approx((-gap.value, -gap.high, gap.p))


def test_a_planted_shift_is_found_and_none_is_not():
    for shift, words in ((1.5, "Missed more: F -"), (0.0, "Missed more: no group for sure")):
        test, woman = rows(400, shift=shift, seed=2, part="test")
        val, _ = rows(200, shift=shift, seed=3, part="val")
        lines = missed(test, val, both(woman), resampling=Resampling(200)).words
        assert lines[0].startswith(words)
        assert lines[1] == "More false alarms: no group for sure (specificity minus that of the other rows)"


def test_intervals_hold_as_often_as_they_say():
    """Of 200 made-up trials without a difference at most 5%, 10 and by chance 16, leave 0 out: here some 2% do."""
    wrong = 0
    for seed in range(200):
        test, woman = rows(120, shift=0.0, seed=1000 + seed, part="test")
        val, _ = rows(120, shift=0.0, seed=5000 + seed, part="val")
        gap = missed(test, val, both(woman), resampling=Resampling(200)).groups["F"].gaps["recall"]
        wrong += not gap.low < 0 < gap.high
    assert 1 <= wrong <= 16


def test_three_groups_hold_together_and_two_are_one_question():
    test, woman = rows(300, shift=1.0, seed=4, part="test")
    val, _ = rows(200, shift=1.0, seed=5, part="val")
    third = np.arange(len(woman)) % 5 == 0
    three = {"F": woman & ~third, "M": ~woman & ~third, "X": third}
    found = missed(test, val, {name: (own, ~own) for name, own in three.items()}, resampling=Resampling(200))
    alone = missed(test, val, {"F": (three["F"], ~three["F"])}, resampling=Resampling(200)).groups["F"].gaps["recall"]
    gap = found.groups["F"].gaps["recall"]
    positive = test.y[:, 0] == 1
    freedom = min(len(np.unique(test.patients[positive & own])) for own in (three["F"], ~three["F"])) - 1
    wider = stats.t.ppf(1 - 0.025 / 3, freedom) / stats.t.ppf(0.975, freedom)
    assert (gap.high - gap.low) / (alone.high - alone.low) == pytest.approx(wider)
    assert gap.p == pytest.approx(3 * alone.p)  # the smallest of three, by Holm
    pairs = [(test.take(own), test.take(~own)) for own in (woman, ~woman)]
    mirror, one = gaps_of(pairs, ("auroc",)), gaps_of(pairs[:1], ("auroc",))
    assert (mirror[0]["auroc"].low, mirror[0]["auroc"].p) == (one[0]["auroc"].low, one[0]["auroc"].p)
    assert mirror[1]["auroc"].low == pytest.approx(-mirror[0]["auroc"].high)


def test_what_is_too_small_or_has_no_threshold_says_why():
    test, woman = rows(60, shift=0.0, seed=6, part="test")
    val, _ = rows(60, shift=0.0, seed=7, part="val")
    few = np.isin(test.patients, np.unique(test.patients)[:8])
    found = missed(test, val, {"few": (few, ~few)}, resampling=Resampling(20)).groups["few"]
    assert found.figures["recall"].value == pytest.approx(
        missed(test.take(few), val, {"all": (few[few], few[few])}, resampling=Resampling(20))
        .groups["all"]
        .figures["recall"]
        .value
    )
    assert "an interval needs 10 of each" in found.figures["recall"].reason
    assert "an interval needs 10 of each" in found.gaps["recall"].reason
    assert found.gaps["recall"].low is None
    none = missed(test, val.take(val.fold > 0), both(woman), resampling=Resampling(20))
    assert none.words == [f"No threshold for the groups: {none.reason}"]
    assert "no validation rows" in none.reason


def test_a_rate_of_one_has_an_interval_that_leaves_room():
    test, woman = rows(90, shift=-30.0, seed=8, part="test")  # all positive women are found
    val, _ = rows(90, shift=-30.0, seed=9, part="val")
    gap = missed(test, val, both(woman), resampling=Resampling(200)).groups["F"]
    assert gap.figures["recall"].value == 1
    assert gap.figures["recall"].low < 1
    assert gap.gaps["recall"].low < gap.gaps["recall"].value < gap.gaps["recall"].high
