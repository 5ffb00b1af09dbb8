"""Several classes and several labels, from the label table to the figures: every one against scikit-learn."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from planted import FOUND, KINDS, Planted, known_auc, more_labels, plant
from predicted import within
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from cxremb.errors import TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import SplitSpec, new_split, stored_split
from cxremb.training.bundle import load_bundle
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.options import Options

PLAN = Planted(studies=500, image=0.5, kinds=2.0)
SETS = {"kind": KINDS, "found": FOUND}
QUICK = Options(epochs=15, batch_size=32, learning_rate=3e-3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("tasks"), PLAN)


@pytest.fixture(scope="module")
def runs(dataset):
    made = {}
    for label_set in SETS:
        features = load_features(dataset, ("text",), Inputs(label_set))
        split = stored_split(dataset, label_set)
        made[label_set] = features, fit_run(FitJob(dataset, features, split, Plan("text", options=QUICK)))
    return made


def folds_of(run) -> np.ndarray:
    """(n,) the fold of each of `test_rows`."""
    rows = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test")).to_pandas()
    return rows.groupby("item_id")["fold"].first().to_numpy()


def precision_within(y, score, fold) -> float:
    """The average precision within folds, weighted by positives: scikit-learn's of each."""
    rows = [fold == one for one in np.unique(fold)]
    found = [average_precision_score(y[own], score[own]) for own in rows]
    return float(np.average(found, weights=[y[own].sum() for own in rows]))


def test_rows(run, labels) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(y, prob, items) of the test rows, (n, k), read from the long table by name."""
    rows = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test")).to_pandas()
    wide = [rows.pivot(index="item_id", columns="label", values=name)[list(labels)] for name in ("y_true", "y_prob")]
    return wide[0].to_numpy(), wide[1].to_numpy(), wide[0].index.tolist()


test_rows.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("label_set", SETS)
def test_every_prediction_is_a_row_per_label_with_its_own_truth(runs, label_set):
    features, run = runs[label_set]
    y, prob, items = test_rows(run, SETS[label_set])
    kind, found = more_labels(PLAN)
    truth = np.eye(len(KINDS))[kind] if label_set == "kind" else found
    expected = truth[[int(item[1:]) for item in items]]
    np.testing.assert_array_equal(y, expected)
    assert sorted(items) == sorted(features.item_ids.tolist())  # each tested exactly once
    assert run.prediction_rows.num_rows == run.prediction_rows.group_by(["item_id", "part"]).aggregate(
        []
    ).num_rows * len(SETS[label_set])
    assert np.isfinite(prob).all()
    if label_set == "kind":
        np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-6)
    else:
        assert np.isnan(y).any()  # a missing label is predicted, and null in y_true
        assert features.left_out == {"no label": 50}


def test_figures_of_classes_are_those_of_scikit_learn(runs):
    _, run = runs["kind"]
    y, prob, _ = test_rows(run, KINDS)
    called, true = prob.argmax(1), y.argmax(1)
    fold = folds_of(run)
    aucs = [within(y[:, c], prob[:, c], fold) for c in range(3)]
    for c, name in enumerate(KINDS):
        assert run.metric("auroc", label=name)[0] == pytest.approx(aucs[c])
        assert run.metric("f1", label=name)[0] == pytest.approx(f1_score(true == c, called == c))
        assert run.metric("prevalence", label=name)[0] == pytest.approx(y[:, c].mean())
    assert run.label == "macro"
    assert run.metric("auroc")[0] == pytest.approx(np.mean(aucs))
    assert run.metric("auroc_pooled")[0] == pytest.approx(roc_auc_score(true, prob, multi_class="ovr"))
    assert run.metric("accuracy")[0] == pytest.approx(accuracy_score(true, called))
    assert run.metric("f1")[0] == pytest.approx(f1_score(true, called, average="macro"))
    assert run.metric("loss")[0] == pytest.approx(log_loss(true, prob))
    assert run.metric("auroc", "test.fold2")[0] is not None


def test_figures_of_labels_leave_missing_ones_out(runs):
    _, run = runs["found"]
    y, prob, _ = test_rows(run, FOUND)
    fold = folds_of(run)
    scores: dict[str, list[float]] = {"auroc": [], "average_precision": [], "accuracy": [], "f1": []}
    for column, name in enumerate(FOUND):
        known = ~np.isnan(y[:, column])
        true, score = y[known, column], prob[known, column]
        told = {
            "auroc": within(true, score, fold[known]),
            "average_precision": precision_within(true, score, fold[known]),
            "accuracy": accuracy_score(true, score >= 0.5),
            "f1": f1_score(true, score >= 0.5),
        }
        for metric, value in told.items():
            assert run.metric(metric, label=name)[0] == pytest.approx(value)
            scores[metric].append(value)
        assert abs(told["auroc"] - known_auc(PLAN.kinds)) < 0.05  # as strong as it was planted
    for metric, values in scores.items():
        assert run.metric(metric)[0] == pytest.approx(np.mean(values))
    known = ~np.isnan(y)
    cells = np.repeat(fold, len(FOUND)).reshape(y.shape)[known]
    assert run.metric("auroc", label="micro")[0] == pytest.approx(within(y[known], prob[known], cells))
    assert run.metric("auroc_pooled", label="micro")[0] == pytest.approx(roc_auc_score(y[known], prob[known]))


@pytest.mark.parametrize("label_set", SETS)
def test_macro_figures_have_intervals_and_labels_have_none(runs, label_set):
    _, run = runs[label_set]
    for metric in ("auroc", "accuracy", "f1"):
        value, low, high = run.metric(metric)
        assert low < value < high < low + 0.2
        assert run.metric(metric, label=SETS[label_set][0])[1] is None


@pytest.mark.parametrize("label_set", SETS)
def test_repeats_of_several_labels_are_averaged(dataset, label_set):
    features = load_features(dataset, ("text",), Inputs(label_set))
    split = new_split(dataset, label_set, SplitSpec("thrice", folds=3))
    run = fit_run(
        FitJob(dataset, features, split, Plan("text", options=replace(QUICK, epochs=3), folds=(0, 1, 2), seeds=(0, 1)))
    )
    pools = [run.metric("auroc", f"test.repeat0.seed{seed}")[0] for seed in (0, 1)]
    value, low, high = run.metric("auroc")
    assert pools[0] != pools[1]
    assert value == pytest.approx(np.mean(pools))
    assert low < value < high


@pytest.mark.parametrize("label_set", SETS)
@pytest.mark.parametrize("arm", ["linear", "gated", "attention"])
def test_every_kind_of_head_learns_every_task(dataset, label_set, arm):
    unit = "study" if arm == "attention" else None
    features = load_features(dataset, ("image", "text"), Inputs(label_set, unit=unit))
    split = stored_split(dataset, label_set)
    run = fit_run(FitJob(dataset, features, split, Plan(arm, options=QUICK, folds=(0,))))
    assert run.metric("auroc")[0] > 0.75
    assert run.record.unit == (unit or "image")
    assert (run.record.task, run.record.labels) == (features.task, tuple(SETS[label_set]))
    prob = load_bundle(run.folder).predict_features(features, "repeat0.fold0.seed0").prob
    place = {item: row for row, item in enumerate(features.item_ids.tolist())}
    for row in run.prediction_rows.to_pylist():
        column = SETS[label_set].index(row["label"])
        assert row["y_prob"] == pytest.approx(prob[place[row["item_id"]], column], abs=1e-6)


def test_a_row_without_its_image_is_scored_by_its_text(tmp_path):
    """Half of the films have no vector; a head that was trained to lose a block still reads the text of these rows."""
    dataset = plant(tmp_path, Planted(studies=500, image=0.5, text=2.0))
    split = stored_split(dataset, "normal_abnormal")
    features = load_features(dataset, ("image", "text"), Inputs(missing="keep"))
    gone = np.random.default_rng(0).random(len(features.y)) < 0.5
    blocks = {**features.blocks, "image": np.where(gone[:, None], 0, features.blocks["image"])}
    features = replace(features, blocks=blocks, present={**features.present, "image": ~gone})
    run = fit_run(FitJob(dataset, features, split, Plan("either", options=QUICK)))
    lost = dict(zip(features.item_ids.tolist(), gone.tolist(), strict=True))
    rows = [row for row in run.prediction_rows.to_pylist() if row["part"] == "test" and lost[row["item_id"]]]
    assert len(rows) == gone.sum()
    assert abs(roc_auc_score([r["y_true"] for r in rows], [r["y_prob"] for r in rows]) - known_auc(2.0)) < 0.05


def test_a_label_without_both_answers_in_training_does_not_stop_the_others(dataset):
    features = load_features(dataset, ("text",), Inputs("found"))
    split = stored_split(dataset, "found")
    y = features.y.copy()
    y[y[:, 0] == 1, 0] = 0
    run = fit_run(FitJob(dataset, replace(features, y=y), split, Plan("text", options=QUICK, folds=(0,))))
    assert run.metric("auroc", label=FOUND[0])[0] is None
    assert run.metric("auroc")[0] == pytest.approx(run.metric("auroc", label=FOUND[1])[0])
    y[y[:, 1] == 1, 1] = 0
    with pytest.raises(TrainError, match="no label of found has both a positive and a negative") as caught:
        fit_run(FitJob(dataset, replace(features, y=y), split, Plan("text", options=QUICK, folds=(0,))))
    assert "--label-set" in caught.value.hint
