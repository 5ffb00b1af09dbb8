"""Figures of several labels against scikit-learn and the medmnist package; intervals against duplicated rows."""

import numpy as np
import pytest
from medmnist.evaluator import getACC, getAUC
from predicted import difference_of, intervals_of
from sklearn import metrics as sk

from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import METRICS
from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.multi import medmnist_figures, multiclass_metrics, multilabel_metrics
from cxremb.predictions.pool import PRECISION, linear

CLOSE = {"rel": 0, "abs": 1e-12}
NAMES = ("colon", "liver", "lung", "spleen")


def classes(seed: int = 0, n: int = 300, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes as numbers, one-hot, probabilities with ties that add up to 1)."""
    rng = np.random.default_rng(seed)
    number = rng.integers(0, k, n)
    number[:k] = np.arange(k)
    score = np.round(np.exp(rng.standard_normal((n, k)) + 1.5 * np.eye(k)[number]), 1) + 0.1
    return number, np.eye(k)[number], score / score.sum(axis=1, keepdims=True)


def labels(seed: int = 0, n: int = 300, k: int = 4, missing: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """(0, 1 and NaN; tied probabilities)."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < [0.5, 0.3, 0.2, 0.4]).astype(float)
    prob = np.clip(np.round(0.5 + 0.3 * (y - 0.5) + 0.2 * rng.standard_normal((n, k)), 2), 0, 1)
    y[rng.random((n, k)) < missing] = np.nan
    return y, prob


def test_multiclass_equals_scikit_learn():
    number, y, prob = classes()
    answer = prob.argmax(axis=1)
    found = multiclass_metrics(y, prob, NAMES)["macro"]
    expected = {
        "auroc": sk.roc_auc_score(number, prob, multi_class="ovr", average="macro"),
        "average_precision": sk.average_precision_score(y, prob, average="macro"),
        "accuracy": sk.accuracy_score(number, answer),
        "balanced_accuracy": sk.balanced_accuracy_score(number, answer),
        "precision": sk.precision_score(number, answer, average="macro"),
        "recall": sk.recall_score(number, answer, average="macro"),
        "f1": sk.f1_score(number, answer, average="macro"),
        "mcc": sk.matthews_corrcoef(number, answer),
        "loss": sk.log_loss(number, prob),
        "brier": ((prob - y) ** 2).sum() / len(y),
        "majority_accuracy": np.bincount(number).max() / len(number),
        "ece": binary_metrics((answer == number) * 1.0, prob.max(axis=1))["ece"],
        "averaged": 4.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, **CLOSE)
    assert not {"prevalence", "calibration_slope", "all_positive_f1"} & set(found)


def test_a_class_is_judged_against_the_rest():
    number, y, prob = classes()
    answer = prob.argmax(axis=1)
    for c, name in enumerate(NAMES):
        found = multiclass_metrics(y, prob, NAMES)[name]
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(number == c, prob[:, c]), **CLOSE)
        assert found["recall"] == pytest.approx(sk.recall_score(number == c, answer == c), **CLOSE)
        assert found["precision"] == pytest.approx(sk.precision_score(number == c, answer == c), **CLOSE)
        assert found["prevalence"] == np.mean(number == c)


def test_two_classes_are_the_binary_figures():
    _, y, prob = classes(k=2)
    yes = (2 * np.floor(255.9 * prob[:, 1]) + 1) / 512  # p and 1 - p are exact, so they tie alike, and are never 0.5
    prob = np.column_stack([1 - yes, yes])
    found, binary = multiclass_metrics(y, prob, ("no", "yes")), binary_metrics(y[:, 1], prob[:, 1])
    for metric in ("auroc", "accuracy", "balanced_accuracy", "mcc", "loss", "majority_accuracy"):
        assert found["macro"][metric] == pytest.approx(binary[metric], **CLOSE)


def test_multilabel_equals_scikit_learn_label_by_label():
    y, prob = labels()
    found = multilabel_metrics(y, prob, NAMES)
    each = [binary_metrics(y[~np.isnan(y[:, c]), c], prob[~np.isnan(y[:, c]), c]) for c in range(4)]
    assert [found[name] for name in NAMES] == each
    for metric in ("auroc", "average_precision", "f1", "accuracy", "specificity", "ece", "mcc"):
        assert found["macro"][metric] == pytest.approx(np.mean([one[metric] for one in each]), **CLOSE)
    assert found["micro"] == binary_metrics(y[~np.isnan(y)], prob[~np.isnan(y)])
    full, prob = labels(missing=0)
    micro = multilabel_metrics(full, prob, NAMES)["micro"]
    assert micro["f1"] == pytest.approx(sk.f1_score(full, prob >= 0.5, average="micro"), **CLOSE)
    assert micro["auroc"] == pytest.approx(sk.roc_auc_score(full, prob, average="micro"), **CLOSE)
    assert multilabel_metrics(full, prob, NAMES)["macro"]["f1"] == pytest.approx(
        sk.f1_score(full, prob >= 0.5, average="macro"), **CLOSE
    )


def test_each_label_has_its_own_threshold():
    y, prob = labels(missing=0)
    limits = [0.3, 0.4, 0.6, 0.7]
    found = multilabel_metrics(y, prob, NAMES, threshold=limits)
    for c, name in enumerate(NAMES):
        assert found[name] == binary_metrics(y[:, c], prob[:, c], limits[c])
    with pytest.raises(DataError, match="4 labels"):
        multilabel_metrics(y, prob, NAMES, threshold=limits[:3])


@pytest.mark.parametrize("seed", range(5))
def test_medmnist_gives_the_same_figures(seed):
    number, one_hot, prob = classes(seed, k=11)
    found = medmnist_figures(one_hot, prob, "multiclass")
    task = "multi-class"
    assert found == pytest.approx({"AUC": getAUC(number, prob, task), "ACC": getACC(number, prob, task)}, **CLOSE)
    macro = multiclass_metrics(one_hot, prob, [str(c) for c in range(11)])["macro"]
    assert (macro["auroc"], macro["accuracy"]) == (pytest.approx(found["AUC"]), pytest.approx(found["ACC"]))

    y, prob = labels(seed, missing=0)
    assert (prob == 0.5).any()  # where the package says negative, and `binary_metrics` positive
    found = medmnist_figures(y, prob, "multilabel")
    task = "multi-label, binary-class"
    assert found == pytest.approx({"AUC": getAUC(y, prob, task), "ACC": getACC(y, prob, task)}, **CLOSE)
    assert multilabel_metrics(y, prob, NAMES)["macro"]["auroc"] == pytest.approx(found["AUC"])

    y, prob = y[:, :1], prob[:, :1]
    found = medmnist_figures(y, prob, "binary")
    task = "binary-class"
    assert found == pytest.approx({"AUC": getAUC(y, prob, task), "ACC": getACC(y, prob, task)}, **CLOSE)


def test_the_official_figures_where_the_package_fails():
    y, prob = labels(missing=0)
    y[:, 2] = 0
    assert medmnist_figures(y, prob, "multilabel")["AUC"] is None
    assert medmnist_figures(np.empty((0, 2)), np.empty((0, 2)), "multilabel") == {"AUC": None, "ACC": None}
    with pytest.raises(DataError, match="no missing labels"):
        medmnist_figures(*labels(), "multilabel")


def test_macro_averages_what_can_be_judged_and_says_how_much():
    y, prob = labels(missing=0)
    y[:, 2] = 0  # never seen
    found = multilabel_metrics(y, prob, NAMES)
    assert found["lung"]["auroc"] is None
    assert found["macro"]["averaged"] == 3
    assert found["macro"]["auroc"] == pytest.approx(np.mean([found[name]["auroc"] for name in NAMES if name != "lung"]))
    prob[:, 1] = 0.1  # seen, never called: leaving its precision out would flatter
    found = multilabel_metrics(y, prob, NAMES)["macro"]
    assert (found["precision"], found["averaged"]) == (None, 3)
    assert found["recall"] is not None
    nothing = multilabel_metrics(np.full((3, 2), np.nan), np.full((3, 2), 0.5), "ab")
    assert nothing["macro"]["auroc"] is nothing["macro"]["accuracy"] is nothing["micro"]["auroc"] is None
    assert nothing["macro"]["averaged"] == 0


def test_a_single_class_and_no_rows():
    y, prob = np.eye(3)[[1, 1]], np.full((2, 3), 1 / 3)
    found = multiclass_metrics(y, prob, "abc")
    assert (found["macro"]["auroc"], found["macro"]["mcc"], found["macro"]["averaged"]) == (None, None, 0)
    assert (found["macro"]["accuracy"], found["macro"]["majority_accuracy"]) == (0.0, 1.0)
    nothing = multiclass_metrics(y[:0], prob[:0], "abc")["macro"]
    assert {value for name, value in nothing.items() if name != "averaged"} == {None}


@pytest.mark.parametrize(
    ("judge", "y", "prob", "names", "told"),
    [
        (multiclass_metrics, [[1, 1]], [[0.5, 0.5]], "ab", "1 of 1 rows are not of exactly one class"),
        (multiclass_metrics, [[np.nan, 1]], [[0.5, 0.5]], "ab", "not of exactly one class"),
        (multiclass_metrics, [[0, 1]], [[0.9, 0.9]], "ab", "do not add up to 1"),
        (multilabel_metrics, [[0, 2]], [[0.5, 0.5]], "ab", "other than 0, 1 and missing"),
        (multilabel_metrics, [[0, 1]], [[np.nan, 0.5]], "ab", "1 of 2 values of y_prob are not finite"),
        (multilabel_metrics, [[0, 1]], [[1.5, 0.5]], "ab", "lie outside"),
        (multilabel_metrics, [[0, 1]], [[0.5]], "ab", "shape"),
        (multilabel_metrics, [0, 1], [0.5, 0.5], "ab", "shape"),
        (multilabel_metrics, [[0, 1]], [[0.5, 0.5]], "aa", "names a, a"),
        (multilabel_metrics, [[0, 1]], [[0.5, 0.5]], ("a", "macro"), "called macro"),
    ],
)
def test_what_is_no_table_of_labels_is_refused(judge, y, prob, names, told):
    with pytest.raises(DataError, match=told) as caught:
        judge(y, prob, names)
    assert caught.value.hint


def drawn_rows(patients: np.ndarray, resamples: int, seed: int) -> list[np.ndarray]:
    """The rows of each resample, as often as their patient was drawn."""
    rng = np.random.default_rng(seed)
    count = patients.max() + 1
    drawn = [rng.integers(count, size=count) for _ in range(resamples)]
    return [np.concatenate([np.flatnonzero(patients == number) for number in draw]) for draw in drawn]


RESAMPLED = ("auroc", "average_precision", "accuracy", "recall", "f1", "loss", "brier", "balanced_accuracy")


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_macro_intervals_equal_those_of_duplicated_rows(task):
    n, patients = 240, np.random.default_rng(1).permutation(np.arange(240) % 90)
    if task == "multiclass":
        (_, y, prob), (_, _, other) = classes(n=n), classes(7, n=n)
        slow = lambda rows, p: multiclass_metrics(y[rows], p[rows], NAMES)["macro"]  # noqa: E731
    else:
        (y, prob), (_, other) = labels(n=n), labels(7, n=n)
        slow = lambda rows, p: multilabel_metrics(y[rows], p[rows], NAMES)["macro"]  # noqa: E731
    how = {"resamples": 40, "level": 0.9, "seed": 3, "task": task, "metrics": RESAMPLED}
    found = intervals_of(y, prob, patients, **how)
    gaps = difference_of(y, prob, other, patients, **how)
    draws = drawn_rows(patients, 40, 3)
    resampled = [(slow(rows, prob), slow(rows, other)) for rows in draws]
    whole = np.arange(n)
    for metric in RESAMPLED:
        a, b = np.array([[pair[0][metric], pair[1][metric]] for pair in resampled]).T
        one, gap = found[metric], gaps[metric]
        assert one.value == pytest.approx(slow(whole, prob)[metric], **CLOSE)
        assert gap.value == pytest.approx(slow(whole, prob)[metric] - slow(whole, other)[metric], **CLOSE)
        if linear(metric):
            for span, drawn in ((one, a), (gap, a - b)):  # 40 draws: an error of 11%, and the interval is Student's
                assert (span.high - span.low) / 2 / 1.65 == pytest.approx(drawn.std(), rel=0.4), metric
        else:
            if metric != PRECISION:  # `test_precision` has those
                assert [one.low, one.high] == pytest.approx(np.quantile(a, [0.05, 0.95]), **CLOSE)
            assert [gap.low, gap.high] == pytest.approx(np.quantile(a - b, [0.05, 0.95]), **CLOSE)


def test_a_rare_label_bears_no_macro_interval():
    y, prob = labels(missing=0)
    y[:, 2] = np.arange(300) < 3
    found = intervals_of(y, prob, np.arange(300), task="multilabel")["auroc"]
    assert (found.low, found.high) == (None, None)
    assert found.reason == "label 3: only 3 positive patients: an interval needs 10 of each"
    assert found.value == pytest.approx(multilabel_metrics(y, prob, NAMES)["macro"]["auroc"])
    nothing = intervals_of(np.zeros((20, 2)), np.full((20, 2), 0.5), np.arange(20), task="multilabel")["auroc"]
    assert (nothing.value, nothing.reason) == (None, "no label has both answers")
    for task, metric, told in (("sorted", "auroc", "task sorted"), ("multiclass", "mcc", "no interval for mcc")):
        with pytest.raises(DataError, match=told):
            intervals_of(*classes()[1:], np.arange(300), task=task, metrics=(metric,))


def test_repeats_are_averaged_and_share_their_patients():
    rng = np.random.default_rng(0)
    patients, y = np.arange(200) % 80, (rng.random(200) < 0.5).astype(float)
    good, poor = (np.clip(0.5 + gap * (y - 0.5) + 0.2 * rng.standard_normal((3, 200)), 0, 1) for gap in (0.4, 0.1))
    rows = (np.tile(y, 3), good.ravel(), poor.ravel(), np.tile(patients, 3), np.repeat([0, 1, 2], 200))
    how = {"resamples": 50, "level": 0.9, "seed": 3, "metrics": METRICS, "pools": rows[4]}
    found = intervals_of(rows[0], rows[1], rows[3], **how)
    gaps = difference_of(*rows[:4], **how)
    for metric in METRICS:
        own = [intervals_of(y, prob, patients, metrics=(metric,), resamples=50)[metric].value for prob in good]
        assert found[metric].value == pytest.approx(np.mean(own))
        lesser = [binary_metrics(y, prob)[metric] for prob in poor]
        assert gaps[metric].value == pytest.approx(np.mean(own) - np.mean(lesser))
    means = [np.mean([sk.brier_score_loss(y[r], prob[r]) for prob in good]) for r in drawn_rows(patients, 50, 3)]
    drawn = found["brier"]
    assert [drawn.low, drawn.high] == pytest.approx(np.quantile(means, [0.05, 0.95]), **CLOSE)


def test_the_same_repeat_again_adds_no_evidence():
    rng = np.random.default_rng(0)
    patients, y = np.arange(200), (rng.random(200) < 0.5).astype(float)
    prob, other = rng.random((2, 200))
    once = intervals_of(y, prob, patients)["auroc"]
    rows = [np.tile(values, 5) for values in (y, prob, other, patients)]
    five = intervals_of(*rows[:2], rows[3], pools=np.repeat(range(5), 200))["auroc"]
    assert [five.low, five.high] == pytest.approx([once.low, once.high])
    gap = difference_of(y, prob, other, patients)["auroc"]
    five = difference_of(*rows, pools=np.repeat(range(5), 200))["auroc"]
    assert [five.low, five.high, five.p] == pytest.approx([gap.low, gap.high, gap.p])
