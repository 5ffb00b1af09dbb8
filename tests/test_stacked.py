"""The stacked head: what is chosen on which rows, what its regression is, and that val is predicted by others of it."""

from dataclasses import replace

import numpy as np
import pytest
from planted import Planted, plant
from sklearn.linear_model import LogisticRegression
from test_scales import planted

from cxremb.errors import TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import choose_split
from cxremb.training.bundle import load_bundle
from cxremb.training.data import MULTICLASS, MULTILABEL, Member, Rows
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.heads import HEADS
from cxremb.training.inputs import tensors_of
from cxremb.training.loop import fit_members, predict
from cxremb.training.options import Options
from cxremb.training.stacked import choosing, parts_of, problems, solved_stack

BRIEF = Options(epochs=4, patience=None, precision="fp32")
STACKED = HEADS["stacked"]
MEMBER = Member(np.arange(120), np.arange(120, 200), seed=1)


def voices_of(rows: Rows) -> np.ndarray:
    """(n, 2) the logits of the heads below, each trained by itself."""
    below = choosing(rows, MEMBER)
    logits = []
    for name in ("image", "text"):
        weights = fit_members(rows, [below], HEADS[name], options=BRIEF)[0].weights
        logits.append(predict(rows, HEADS[name], weights, index=np.arange(len(rows.y))).logit[:, 0])
    return np.stack(logits, axis=1)


def regression(voices: np.ndarray, rows: Rows, on: np.ndarray) -> np.ndarray:
    """(n,) logits of scikit-learn's logistic regression of the standardised voices."""
    spread = voices[on].std(axis=0)
    model = LogisticRegression().fit(voices[on] / spread, rows.y[on, 0])
    return model.decision_function(voices / spread)


def test_it_is_the_regression_of_two_logits_on_val_rows():
    rows = planted(1, 1.5, n=300)
    [trained] = fit_members(rows, [MEMBER], STACKED, options=BRIEF)
    voices = voices_of(rows)
    found = predict(rows, STACKED, trained.weights, index=np.arange(300)).logit[:, 0]
    np.testing.assert_allclose(found, regression(voices, rows, MEMBER.watched), atol=2e-3)
    assert HEADS["stacked"].parameters({"image": 40, "text": 24}) == sum(
        array.size for name, array in trained.weights.items() if name not in ("mean", "scale", "limit")
    )


def test_a_val_row_is_predicted_by_a_stack_that_was_solved_without_its_patient():
    rows = planted(1, 1.5, n=300)
    rows = replace(rows, groups=(np.arange(300) // 2).astype(str))  # two rows of each patient
    [trained] = fit_members(rows, [MEMBER], STACKED, options=BRIEF)
    voices, parts = voices_of(rows), parts_of(rows.groups[MEMBER.watched], MEMBER.seed)
    assert sorted(set(parts.tolist())) == [0, 1, 2, 3, 4]
    crossed = trained.crossed[:, 1] - trained.crossed[:, 0]
    for part in range(5):
        here = parts == part
        assert not set(rows.groups[MEMBER.watched[here]]) & set(rows.groups[MEMBER.watched[~here]])
        wanted = regression(voices, rows, MEMBER.watched[~here])[MEMBER.watched[here]]
        np.testing.assert_allclose(crossed[here], wanted, atol=2e-3)


def test_epochs_are_chosen_on_other_rows_than_those_that_fit_the_stack():
    rows = planted(1, 1)
    below = choosing(rows, MEMBER)
    assert set(below.train) | set(below.watched) == set(MEMBER.train)
    assert not set(below.train) & set(below.watched)
    assert len(below.watched) == 18  # a seventh of 120, upwards
    with pytest.raises(TrainError, match="fitted on val rows"):
        fit_members(rows, [replace(MEMBER, watched_name="test")], STACKED, options=replace(BRIEF, select="last"))


@pytest.mark.parametrize("task", [MULTICLASS, MULTILABEL])
def test_stacks_of_several_labels(task):
    """Voices that say the truth, half of them in other units: the stack's answers are right."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 150)
    y = np.eye(3)[classes] if task == MULTICLASS else (rng.random((150, 3)) < 0.5).astype(float)
    voices = np.concatenate([rng.standard_normal((150, 3)), 20 * y + rng.standard_normal((150, 3))], axis=1)
    rows = Rows({}, {}, y, task, np.arange(150).astype(str))
    weight, bias = solved_stack(tensors_of(rows), voices, problems(task, 2, 3), rows=np.arange(100))
    said = voices[100:] @ weight.T + bias
    right = said.argmax(1) == classes[100:] if task == MULTICLASS else (said > 0) == (y[100:] == 1)
    assert right.mean() > 0.97
    assert np.abs(weight[:, :3] * 1).max() < np.abs(weight[:, 3:] * 20).max() / 5


def test_where_val_has_one_answer_the_voices_are_averaged():
    y = np.ones((20, 1))
    rows = Rows({}, {}, y, "binary", np.arange(20).astype(str))
    voices = np.random.default_rng(0).standard_normal((20, 4))
    weight, bias = solved_stack(tensors_of(rows), voices, problems("binary", 2, 2), rows=np.arange(20))
    said = voices @ weight.T + bias
    np.testing.assert_allclose(said[:, 1] - said[:, 0], (voices[:, 1] - voices[:, 0] + voices[:, 3] - voices[:, 2]) / 2)


def test_a_run_keeps_cross_fitted_val_rows_and_a_bundle_that_predicts_the_test_rows(tmp_path):
    dataset = plant(tmp_path, Planted(studies=300, image=1.0, text=1.5))
    features, split = load_features(dataset, ("image", "text"), Inputs()), choose_split(dataset, None)
    run = fit_run(FitJob(dataset, features, split, Plan("stacked", options=BRIEF, folds=(0,))))
    assert run.record.head == "stacked"
    bundle = load_bundle(run.folder)
    place = {item: row for row, item in enumerate(features.item_ids.tolist())}
    said = bundle.predict_features(features)
    for part, same in (("test", True), ("val", False)):
        kept = run.predictions(part)
        rows = [place[item] for item in kept.items.tolist()]
        assert np.allclose(kept.logit[:, 0], said.logit[rows, 0], atol=1e-4) is same
        assert np.corrcoef(kept.logit[:, 0], said.logit[rows, 0])[0, 1] > 0.98  # only the stack is another
