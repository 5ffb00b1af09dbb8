"""The fast bootstrap against one that really duplicates rows, and both against simulated truth."""

import numpy as np
import pytest
from predicted import difference_of, intervals_of
from sklearn import metrics as sk

from cxremb.errors import DataError
from cxremb.evaluation import bootstrap
from cxremb.evaluation.bootstrap import METRICS


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
        drawn = [slow(y[rows], prob[rows]) for rows in duplicated(patient, 60, 3)]
        expected = [slow(y, prob), *np.quantile(drawn, [0.05, 0.95])]
        assert [found[metric].value, found[metric].low, found[metric].high] == pytest.approx(expected, rel=0, abs=1e-12)
        assert (found[metric].skipped, found[metric].reason) == (0, None)


def test_difference_ofs_equal_those_of_duplicated_rows():
    y, good, poor, patient = predictions()
    found = difference_of(y, good, poor, patient, metrics=tuple(SLOW), resamples=60, level=0.9, seed=3)
    for metric, slow in SLOW.items():
        drawn = np.array([slow(y[rows], good[rows]) - slow(y[rows], poor[rows]) for rows in duplicated(patient, 60, 3)])
        tail = min((drawn <= 1e-15).sum(), (drawn >= -1e-15).sum())
        expected = [slow(y, good) - slow(y, poor), *np.quantile(drawn, [0.05, 0.95]), min(1.0, 2 * (tail + 1) / 61)]
        gap = found[metric]
        assert [gap.value, gap.low, gap.high, gap.p] == pytest.approx(expected, rel=0, abs=1e-12)


def test_a_model_does_not_differ_from_itself():
    y, good, _, patient = predictions()
    for gap in difference_of(y, good, good, patient, metrics=METRICS).values():
        assert (gap.value, gap.low, gap.high, gap.p, gap.skipped) == (0.0, 0.0, 0.0, 1.0, 0)


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
    assert first["auroc"].low != intervals_of(y, prob, patient, seed=1)["auroc"].low


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


def test_resamples_without_a_class_are_left_out_and_counted():
    # all ten positives are of one patient of ten: 0.9 ** 10 = 35% of the resamples lack that patient
    y = np.repeat([1.0, 0.0], [10, 27])
    patient = np.concatenate([np.zeros(10, int), 1 + np.arange(27) % 9])
    prob = np.linspace(0.9, 0.1, 37)
    drawn = duplicated(patient, 400, 0)
    without = sum(y[rows].max() == 0 for rows in drawn)
    found = intervals_of(y, prob, patient, metrics=("auroc", "accuracy"), resamples=400)
    assert 100 < without < 180
    assert (found["auroc"].skipped, found["accuracy"].skipped) == (without, 0)
    assert (found["auroc"].value, found["auroc"].low, found["auroc"].high) == (1.0, 1.0, 1.0)
    gap = difference_of(y, prob, 1 - prob, patient, metrics=("auroc",), resamples=400)["auroc"]
    assert (gap.value, gap.skipped, gap.p) == (1.0, without, 2 / (400 - without + 1))


@pytest.mark.parametrize(
    ("positives", "negatives", "patients", "told"),
    [(9, 40, 49, "9 positives"), (40, 9, 49, "9 negatives"), (30, 30, 9, "9 clusters"), (0, 20, 20, "0 positives")],
)
def test_too_few_of_anything_bear_no_interval(positives, negatives, patients, told):
    y = np.repeat([1.0, 0.0], [positives, negatives])
    prob, patient = np.linspace(0.9, 0.1, len(y)), np.arange(len(y)) % patients
    found = intervals_of(y, prob, patient)["accuracy"]
    gap = difference_of(y, prob, prob, patient)["accuracy"]
    assert found.value == np.mean((prob >= 0.5) == y)
    assert (found.low, found.high, gap.low, gap.high, gap.p) == (None,) * 5
    assert f"only {told}" in found.reason
    assert f"only {told}" in gap.reason


def test_ten_of_each_bear_one():
    y = np.repeat([1.0, 0.0], [10, 10])
    found = intervals_of(y, np.linspace(0.9, 0.1, 20), np.arange(20) % 10)["accuracy"]
    assert (found.low, found.high, found.reason) == (1.0, 1.0, None)


def test_no_rows_and_undefined_figures_say_so():
    assert intervals_of([], [], [])["auroc"].value is None
    y = np.repeat([1.0, 0.0], [20, 20])
    found = intervals_of(y, np.full(40, 0.1), np.arange(40), metrics=("precision", "auroc"), resamples=50)
    assert found["precision"] == bootstrap.Interval(None, None, None, 50, "undefined on these rows")
    assert found["auroc"] == bootstrap.Interval(0.5, 0.5, 0.5, 0, None)


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
