"""The numbers behind the figures of a report, against scikit-learn and slow obvious versions."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from predicted import predicted
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from cxremb.evaluation.arrays import cluster_numbers
from cxremb.predictions import Predictions
from cxremb.reporting import curves
from cxremb.reporting.canvas import Drawing, page_svg
from cxremb.reporting.curves import GRID, POINTS, RESAMPLES
from cxremb.reporting.epochs import by_epoch, without_axis
from cxremb.reporting.forests import Bar, estimate, forest
from cxremb.store.layout import HISTORY


def folded(n: int = 400, folds: int = 4, *, shift: float = 0.0, seed: int = 0, decimals: int = 2) -> Predictions:
    """Rows of several folds, two a patient; each fold's scores lie `shift` higher than those of the one before."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    fold = patients % folds
    y = (rng.random(n) < 0.2 + 0.1 * fold).astype(float)
    raw = rng.standard_normal(n) + 1.2 * y + shift * fold
    prob = np.round(1 / (1 + np.exp(-raw)), decimals)  # with ties
    return replace(predicted(y, prob, patients), fold=fold.astype(np.int64))


def of_folds(test: Predictions) -> list[tuple[np.ndarray, np.ndarray]]:
    """(y, prob) of each fold."""
    return [(test.y[test.fold == one, 0], test.prob[test.fold == one, 0]) for one in np.unique(test.fold)]


def pairs(y: np.ndarray) -> float:
    return float(y.sum() * (1 - y).sum())


@pytest.mark.parametrize("decimals", [1, 2, 6])
def test_roc_is_the_mean_of_the_folds_weighted_by_pairs(decimals: int) -> None:
    test = folded(decimals=decimals)
    found = curves.roc(test)
    assert found is not None
    heights = []
    for y, prob in of_folds(test):
        alarms, hits, _ = roc_curve(y, prob, drop_intermediate=False)
        heights.append(np.interp(GRID, alarms, hits))
    slow = np.average(heights, axis=0, weights=[pairs(y) for y, _ in of_folds(test)])
    np.testing.assert_allclose(found.value, slow, atol=1e-12)
    area = np.average(
        [roc_auc_score(y, prob) for y, prob in of_folds(test)], weights=[pairs(y) for y, _ in of_folds(test)]
    )
    assert np.trapezoid(found.value, GRID) == pytest.approx(area, abs=0.006)


def test_scores_of_two_folds_are_never_ranked_together() -> None:
    shifted, apart = curves.roc(folded(shift=3.0, decimals=12)), curves.roc(folded(decimals=12))
    assert shifted is not None
    assert apart is not None
    np.testing.assert_allclose(shifted.value, apart.value, atol=1e-9)  # though pooled they would be another curve
    test = folded(shift=3.0)
    pooled = roc_auc_score(test.y[:, 0], test.prob[:, 0])
    assert abs(np.trapezoid(shifted.value, GRID) - pooled) > 0.03


def test_precision_is_that_of_the_highest_threshold_that_reaches_a_recall() -> None:
    test = folded()
    found = curves.precision_recall(test)
    assert found is not None
    heights = []
    for y, prob in of_folds(test):
        precision, recall, _ = precision_recall_curve(y, prob)
        reached = [(r, p) for p, r in zip(precision[:-1], recall[:-1], strict=True)][::-1]  # from the highest threshold
        heights.append([next(p for r, p in reached if r >= max(x, 1e-9) - 1e-9) for x in GRID])
    weights = [y.sum() for y, _ in of_folds(test)]
    np.testing.assert_allclose(found.value, np.average(heights, axis=0, weights=weights), atol=1e-12)
    area = np.average([average_precision_score(y, prob) for y, prob in of_folds(test)], weights=weights)
    assert np.trapezoid(found.value, GRID) == pytest.approx(area, abs=0.01)


def test_a_patient_drawn_twice_is_there_twice() -> None:
    test = folded(n=120)
    clusters = cluster_numbers(test.patients, len(test.items))
    counts = np.random.default_rng(1).integers(0, 4, (1, clusters.max() + 1)).astype(float)
    units = list(curves.ranked_rows(test, clusters))
    found = curves.mean_curve(units, counts, height=curves.roc_height, weight=lambda p, n: p * n)
    rows = np.repeat(np.arange(len(test.items)), counts[0, clusters].astype(int))
    again = test.take(rows)
    same = cluster_numbers(again.patients, len(again.items))
    ones = np.ones((1, same.max() + 1))
    slow = curves.mean_curve(
        list(curves.ranked_rows(again, same)), ones, height=curves.roc_height, weight=lambda p, n: p * n
    )
    assert found is not None
    assert slow is not None
    np.testing.assert_allclose(found, slow, atol=1e-12)


def test_the_band_holds_the_line_and_is_wider_with_fewer_patients() -> None:
    many, few = curves.roc(folded(n=1600)), curves.roc(folded(n=200))
    for one in (many, few):
        assert one is not None
        assert one.low is not None
        assert one.high is not None
        assert (one.low <= one.value + 0.02).all()
        assert (one.high >= one.value - 0.02).all()
    ratio = (few.high - few.low).mean() / (many.high - many.low).mean()
    assert 1.8 < ratio < 4.5  # the square root of eight is 2.8
    assert RESAMPLES == 200


def test_there_is_no_band_and_no_curve_where_there_can_be_none() -> None:
    small = curves.roc(folded(n=24, folds=2))
    assert small is not None
    assert small.low is None
    assert "interval needs" in (small.reason or "")
    assert curves.roc(predicted([1.0, 1.0], [0.2, 0.3])) is None
    assert curves.precision_recall(predicted([0.0, 0.0], [0.2, 0.3])) is None
    one_class = folded()
    y = np.where(one_class.fold[:, None] == 0, 1.0, one_class.y)  # its first fold has one class and is left out
    found, rest = curves.roc(replace(one_class, y=y)), curves.roc(one_class.take(one_class.fold > 0))
    assert found is not None
    assert rest is not None
    np.testing.assert_allclose(found.value, rest.value)


def test_several_labels_count_alike() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((200, 2)) < [0.5, 0.1]).astype(float)
    y[:20, 1] = np.nan
    prob = np.clip(rng.random((200, 2)) * 0.7 + 0.3 * np.nan_to_num(y), 0, 1)
    found = curves.roc(predicted(y, prob, task="multilabel"))
    heights = []
    for column in (0, 1):
        known = ~np.isnan(y[:, column])
        alarms, hits, _ = roc_curve(y[known, column], prob[known, column], drop_intermediate=False)
        heights.append(np.interp(GRID, alarms, hits))
    assert found is not None
    np.testing.assert_allclose(found.value, np.mean(heights, axis=0), atol=1e-12)


def test_reliability_is_per_fold_and_its_mean_counts_rows() -> None:
    test = folded(n=800)
    found = curves.reliability(test)
    assert len(found.models) == 4
    assert all(len(model) <= 10 for model in found.models)
    y, prob = of_folds(test)[0]
    order = np.argsort(prob, kind="stable")
    assert found.models[0][0][0] == pytest.approx(prob[order][: len(y) // 10].mean(), abs=0.03)
    assert found.mean[0][0] == pytest.approx(np.mean([model[0][0] for model in found.models]), abs=0.02)
    single = curves.reliability(test.take(test.fold == 1))
    np.testing.assert_allclose(single.mean, single.models[0])


def test_histograms_are_shares() -> None:
    test = folded()
    found = curves.histogram(test, 1)
    inside = test.prob[test.y[:, 0] == 1, 0]
    assert found.sum() == pytest.approx(1)
    assert found[10] == pytest.approx(((inside >= 0.5) & (inside < 0.55)).mean())


def test_epochs_end_where_the_first_model_stops() -> None:
    rows = [
        {"repeat": 0, "fold": fold, "seed": 0, "epoch": epoch, "phase": "val", "loss": fold + epoch}
        | {
            name: None if (name, epoch) == ("precision", 2) else 0.5
            for name in ("accuracy", "precision", "recall", "f1")
        }
        for fold, last in ((0, 2), (1, 3))
        for epoch in range(1, last + 1)
    ]
    history = pa.Table.from_pylist(rows, schema=HISTORY)
    loss, precision = by_epoch(history, "val", "loss"), by_epoch(history, "val", "precision")
    assert loss.epochs == (1, 2)
    assert (loss.mean.tolist(), loss.low.tolist(), loss.high.tolist()) == ([1.5, 2.5], [1, 2], [2, 3])
    assert precision.epochs == (1,)
    assert by_epoch(history, "train", "loss").epochs == ()


def test_arms_on_shares_are_one_line() -> None:
    assert without_axis("fusion[train-fraction=0.25]", "train-fraction") == "fusion"
    assert without_axis("fusion[head=late,train-fraction=0.25]", "train-fraction") == "fusion[head=late]"
    assert without_axis("image", "train-fraction") == "image"
    assert without_axis("image[encoder=lite0,shots=16]", "shots") == "image[encoder=lite0]"


def test_a_page_does_not_grow_with_the_rows() -> None:
    sizes = []
    for n in (400, 40_000):
        curve = curves.roc(folded(n=n, decimals=9))
        assert curve is not None
        assert curve.value.shape == (POINTS,)

        def paint(figure: object, curve: curves.Curve = curve) -> None:
            axes = figure.subplots()  # type: ignore[attr-defined]
            axes.fill_between(GRID, curve.low, curve.high)
            axes.plot(GRID, curve.value)

        sizes.append(len(page_svg(Drawing("roc", "ROC", "", "", 3.0, paint))))
    assert sizes[1] < 1.1 * sizes[0]


def test_the_axis_of_arms_is_zoomed_and_to_scale() -> None:
    kept = {}

    def paint(figure: object) -> None:
        axes = figure.subplots()  # type: ignore[attr-defined]
        forest(
            axes, [Bar("a", 0.971, 0.968, 0.974), Bar("b", 0.965, 0.960, 0.969), Bar("c", None, None, None)], "AUROC"
        )
        kept["limits"] = axes.get_xlim()
        kept["lines"] = [line.get_xdata().tolist() for line in axes.lines]

    svg = page_svg(Drawing("x", "x", "", "", 2.0, paint))
    low, high = kept["limits"]
    assert 0.94 < low < 0.960
    assert 0.974 < high < 0.99
    assert [0.968, 0.974] in kept["lines"]
    assert ">.971 [.968, .974]<" in svg
    assert ">undefined<" in svg


def test_estimates_in_words() -> None:
    assert estimate(Bar("", 0.8124, 0.79, 0.8333)) == ".812 [.790, .833]"
    assert estimate(Bar("", -0.1, -0.2, 0.0)) == "\N{MINUS SIGN}.100 [\N{MINUS SIGN}.200, .000]"
    assert estimate(Bar("", 0.5, None, None)) == ".500"
    assert estimate(Bar("", None, None, None)) == "undefined"
