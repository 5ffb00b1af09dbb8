"""The fast bootstrap against one that really duplicates rows, and both against simulated truth."""

from collections.abc import Callable

import numpy as np
import pytest
from predicted import difference_of, intervals_of
from sklearn import metrics as sk

from cxremb.errors import DataError
from cxremb.evaluation import bootstrap
from cxremb.evaluation.bootstrap import FLAT, METRICS, UNDEFINED, Resampling
from cxremb.evaluation.delong import CONSTANT
from cxremb.evaluation.shares import ALIKE
from cxremb.predictions.pool import PRECISION, linear


def slow_specificity(y, p):
    wrong, found, _ = sk.roc_curve(y, p, drop_intermediate=False)
    return 1 - wrong[found >= 0.95].min()


def slow_sensitivity(y, p):
    wrong, found, _ = sk.roc_curve(y, p, drop_intermediate=False)
    return found[wrong <= 0.05 + 1e-9].max()


SLOW = {
    "auroc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "specificity_at_sensitivity_95": slow_specificity,
    "sensitivity_at_specificity_95": slow_sensitivity,
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p >= 0.5),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p >= 0.5),
    "accuracy": lambda y, p: sk.accuracy_score(y, p >= 0.5),
    "precision": lambda y, p: sk.precision_score(y, p >= 0.5),
    "recall": lambda y, p: sk.recall_score(y, p >= 0.5),
    "specificity": lambda y, p: sk.recall_score(1 - y, p < 0.5),
    "f1": lambda y, p: sk.f1_score(y, p >= 0.5),
    "loss": sk.log_loss,
    "brier": sk.brier_score_loss,
    "prevalence": lambda y, p: y.mean(),
}


DRAWN = tuple(metric for metric in SLOW if not linear(metric))  # the others need no resampling: `test_shares`
SPANS = tuple(metric for metric in DRAWN if metric != PRECISION)  # whose intervals need it too: `test_precision`


def predictions(seed: int = 0, patients: int = 60, n: int = 150) -> tuple[np.ndarray, ...]:
    """(classes, tied probabilities of one model, of a worse one, patients with 1 to several rows)."""
    rng = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(patients), rng.integers(patients, size=n - patients)])
    y = (rng.random(n) < 0.5).astype(float)
    good, poor = (
        np.clip(np.round(0.5 + gap * (y - 0.5) + 0.25 * rng.standard_normal(n), 1), 0, 1) for gap in (0.4, 0.1)
    )
    return y, good, poor, np.array([f"patient {number:03d}" for number in patient])


def duplicated(patient: np.ndarray, resamples: int, seed: int) -> list[np.ndarray]:
    """The rows of each resample, as often as their patient was drawn."""
    rng = np.random.default_rng(seed)
    names = np.unique(patient)
    drawn = [rng.integers(len(names), size=len(names)) for _ in range(resamples)]
    return [np.concatenate([np.flatnonzero(patient == names[number]) for number in draw]) for draw in drawn]


def test_every_metric_has_a_slow_version():
    assert set(SLOW) == set(METRICS)


@pytest.mark.parametrize("block_values", [1, 1000, 1_000_000])
def test_intervals_equal_those_of_duplicated_rows(block_values, monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", block_values)  # 1, 6 or all resamples at once
    y, prob, _, patient = predictions()
    found = intervals_of(y, prob, patient, metrics=tuple(SLOW), resamples=60, level=0.9, seed=3)
    for metric, slow in SLOW.items():
        assert found[metric].value == pytest.approx(slow(y, prob), rel=0, abs=1e-12)
    for metric, slow in ((metric, SLOW[metric]) for metric in SPANS):
        drawn = [slow(y[rows], prob[rows]) for rows in duplicated(patient, 60, 3)]
        expected = [slow(y, prob), *np.quantile(drawn, [0.05, 0.95])]
        assert [found[metric].value, found[metric].low, found[metric].high] == pytest.approx(expected, rel=0, abs=1e-12)
        assert (found[metric].skipped, found[metric].reason) == (0, None)


def test_figures_are_the_same_on_any_number_of_cores(monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 600)  # four resamples at once
    y, prob, _, patient = predictions()
    found = []
    for cores in (1, 7):
        monkeypatch.setattr(bootstrap, "usable_cores", lambda cores=cores: cores)
        found.append(intervals_of(y, prob, patient, metrics=DRAWN, resamples=90, seed=3))
    assert found[0] == found[1]
    assert len({one.low for one in found[0].values()}) == len(DRAWN)


def test_difference_ofs_equal_those_of_duplicated_rows():
    y, good, poor, patient = predictions()
    found = difference_of(y, good, poor, patient, metrics=DRAWN, resamples=60, level=0.9, seed=3)
    for metric, slow in ((metric, SLOW[metric]) for metric in DRAWN):
        drawn = np.array([slow(y[rows], good[rows]) - slow(y[rows], poor[rows]) for rows in duplicated(patient, 60, 3)])
        tail = min((drawn <= 1e-15).sum(), (drawn >= -1e-15).sum())
        expected = [slow(y, good) - slow(y, poor), *np.quantile(drawn, [0.05, 0.95]), min(1.0, 2 * (tail + 1) / 61)]
        gap = found[metric]
        if expected[1] == expected[2]:
            assert [gap.value, gap.low, gap.high, gap.p, gap.reason] == [expected[0], None, None, None, FLAT]
            continue
        assert [gap.value, gap.low, gap.high, gap.p] == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_model_does_not_differ_from_itself_and_no_interval_has_no_width():
    y, good, _, patient = predictions()
    for metric, gap in difference_of(y, good, good, patient, metrics=METRICS).items():
        assert (gap.value, gap.low, gap.high, gap.p, gap.skipped) == (0.0, None, None, None, 0), metric
        assert gap.reason in {ALIKE, FLAT}


def test_exchanging_the_models_turns_the_difference_round():
    y, good, poor, patient = predictions()
    one = difference_of(y, good, poor, patient, resamples=400)
    other = difference_of(y, poor, good, patient, resamples=400)
    assert one["auroc"].value > 0.1
    assert one["auroc"].p < 0.01
    for metric, gap in one.items():
        back = other[metric]
        assert [gap.value, gap.low, gap.high, gap.p] == pytest.approx([-back.value, -back.high, -back.low, back.p])


def test_the_seed_and_the_names_of_the_patients():
    y, prob, _, patient = predictions()
    numbers = np.unique(patient, return_inverse=True)[1]
    first = intervals_of(y, prob, patient)
    assert first == intervals_of(y, prob, numbers) == intervals_of(y, prob, patient.astype(object))
    drawn = [intervals_of(y, prob, patient, metrics=("mcc",), seed=seed)["mcc"] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0].low != drawn[2].low


def simulated(seed: int, patients: int = 80, films: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes, correct or not as probabilities, patients): a patient's films are all read well or all badly."""
    rng = np.random.default_rng(seed)
    easy = np.repeat(rng.random(patients) < 0.7, films)
    y = (rng.random(patients * films) < 0.5).astype(float)
    return y, np.where(easy, y, 1 - y), np.repeat(np.arange(patients), films)


def test_clusters_cover_the_truth_where_rows_do_not():
    # the true accuracy is 0.7; five films tell as much as one, so rows understate the variance fivefold
    covered = {"clusters": 0, "rows": 0}
    widths = {"clusters": [], "rows": []}
    for seed in range(200):
        y, prob, patient = simulated(seed)
        for name, clusters in (("clusters", patient), ("rows", np.arange(len(y)))):
            found = intervals_of(y, prob, clusters, metrics=("accuracy",), resamples=300, seed=seed)["accuracy"]
            covered[name] += found.low <= 0.7 <= found.high
            widths[name].append(found.high - found.low)
    assert 180 <= covered["clusters"] <= 198  # 190 expected, standard deviation 3
    assert covered["rows"] < 150
    assert np.median(widths["clusters"]) == pytest.approx(np.sqrt(5) * np.median(widths["rows"]), rel=0.1)


def test_resamples_without_a_class_are_counted_and_more_than_a_few_bear_no_interval():
    clusters, worth = np.arange(200), np.arange(200.0)

    def undefined_without(patients: int) -> Callable[[np.ndarray], np.ndarray]:
        """A figure of all clusters that is undefined where none of the first few is drawn."""
        return lambda counts: np.where(counts[:, :patients].sum(axis=1) > 0, counts @ worth / 200, np.nan)

    few, many = bootstrap.intervals([undefined_without(7), undefined_without(2)], clusters, Resampling(2000))
    expected = [(1 - patients / 200) ** 200 * 2000 for patients in (7, 2)]
    assert few.skipped == pytest.approx(expected[0], abs=4 * expected[0] ** 0.5)
    assert few.low < few.value < few.high
    assert many.skipped == pytest.approx(expected[1], abs=4 * expected[1] ** 0.5)
    assert (many.low, many.reason) == (None, f"undefined in {many.skipped} of 2,000 resamples")
    pair = (undefined_without(2), lambda counts: counts @ worth / 100)
    (gap,) = bootstrap.differences([pair], clusters, Resampling(2000))
    assert (gap.low, gap.high, gap.p, gap.reason) == (None, None, None, many.reason)


@pytest.mark.parametrize(
    ("positives", "negatives", "patients", "told"),
    [
        (9, 40, 49, "9 positive patients"),
        (40, 9, 49, "9 negative patients"),
        (40, 40, 9, "9 positive patients and 9 negative patients"),
        (36, 40, 44, "4 positive patients"),  # nine films each
        (0, 20, 20, "0 positive patients"),
    ],
)
def test_too_few_patients_of_a_class_bear_no_interval(positives, negatives, patients, told):
    y = np.repeat([1.0, 0.0], [positives, negatives])
    patient = np.arange(len(y)) % patients
    if positives == 36:
        patient = np.concatenate([np.arange(36) % 4, 4 + np.arange(40)])
    prob = np.linspace(0.9, 0.1, len(y))
    found = intervals_of(y, prob, patient)["accuracy"]
    gap = difference_of(y, prob, prob, patient)["accuracy"]
    assert found.value == np.mean((prob >= 0.5) == y)
    assert (found.low, found.high, gap.low, gap.high, gap.p) == (None,) * 5
    assert f"only {told}: an interval needs 10 of each" in found.reason
    assert f"only {told}" in gap.reason


def test_ten_patients_of_each_bear_one():
    y = np.repeat([1.0, 0.0], [10, 10])
    found = intervals_of(y, np.linspace(0.9, 0.1, 20), np.arange(20) % 10)["accuracy"]
    assert (found.value, found.high, found.reason) == (1.0, 1.0, None)
    assert 0.6 < found.low < 0.75  # ten patients who agree


def test_no_rows_and_undefined_figures_say_so():
    assert intervals_of([], [], [])["auroc"].value is None
    y = np.repeat([1.0, 0.0], [20, 20])
    found = intervals_of(y, np.full(40, 0.1), np.arange(40), metrics=("precision", "auroc", "mcc"), resamples=50)
    assert found["precision"] == bootstrap.Interval(None, None, None, 0, UNDEFINED)
    assert found["mcc"] == bootstrap.Interval(None, None, None, 50, UNDEFINED)
    assert found["auroc"] == bootstrap.Interval(0.5, None, None, 0, CONSTANT)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"metrics": ("auc",)}, "no interval for auc"),
        ({"resamples": 0}, "0 resamples"),
        ({"level": 95}, "level 95"),
        ({"patients": np.array([None, "a"], dtype=object)}, "1 of 2 rows have no cluster"),
        ({"patients": np.array([np.nan, 1.0])}, "1 of 2 rows have no cluster"),
        ({"patients": ["a"]}, "2 items of 1 labels, but patients"),
        ({"prob": [0.1, np.nan]}, "not finite"),
    ],
)
def test_what_cannot_be_resampled_is_refused(more, told):
    arguments = {"y": [0, 1], "prob": [0.1, 0.9], "patients": ["a", "b"], **more}
    with pytest.raises(DataError, match=told) as caught:
        intervals_of(**arguments)
    assert caught.value.hint


def test_the_second_model_is_checked_too():
    with pytest.raises(DataError, match="1 of 2 values of y_prob lie outside"):
        difference_of([0, 1], [0.1, 0.9], [0.1, 1.9], ["a", "b"])
