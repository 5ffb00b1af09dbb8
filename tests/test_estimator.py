"""The scikit-learn face of the heads."""

from pathlib import Path

import numpy as np
import pytest
from planted import Planted, known_auc, plant
from simulated_rows import planted
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from cxremb.errors import TrainError
from cxremb.training.estimator import INNER, HeadClassifier, inner_split

pytestmark = pytest.mark.arithmetic

BLOCKS = {"image": 12, "text": 7}


# Of scikit-learn's checks only `check_array_api_input` does not run: it is off unless SCIPY_ARRAY_API is set.
@pytest.mark.filterwarnings("ignore:Skipping check_array_api_input")
@parametrize_with_checks([HeadClassifier(), HeadClassifier("linear-image")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def matrix(n: int = 400, task: str = "binary") -> tuple[np.ndarray, np.ndarray]:
    rows = planted(n, task)
    codes = rows.y.argmax(axis=1) if task == "multiclass" else rows.y[:, 0].astype(int)
    return np.hstack([rows.blocks["image"], rows.blocks["text"]]), np.array(["no", "yes", "so", "to"])[codes]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("head", ["fusion", "gated", "late", "linear"])
def test_blocks_are_columns_and_classes_are_names(head: str, task: str):
    X, y = matrix(task=task)
    model = HeadClassifier(head, blocks=BLOCKS, epochs=20, learning_rate=3e-3).fit(X[:300], y[:300])
    prob = model.predict_proba(X[300:])
    assert list(model.classes_) == sorted(set(y))
    np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.predict(X[300:]), model.classes_[prob.argmax(axis=1)])
    score = prob[:, 1] if task == "binary" else prob
    assert roc_auc_score(y[300:], score, multi_class="ovr") > 0.8
    assert model.validation_rows_ == pytest.approx(300 / INNER, abs=3)


def test_cross_validation_and_grid_search_with_groups():
    X, y = matrix(240)
    groups = np.repeat(np.arange(80), 3)
    model = HeadClassifier("fusion", blocks=BLOCKS, epochs=12, learning_rate=3e-3)
    scores = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(3), scoring="roc_auc", params={"groups": groups})
    assert len(scores) == 3
    assert scores.min() > 0.75
    search = GridSearchCV(model, {"learning_rate": [1e-5, 3e-3]}, cv=GroupKFold(3), scoring="roc_auc")
    assert search.fit(X, y, groups=groups).best_params_ == {"learning_rate": 3e-3}
    piped = make_pipeline(FunctionTransformer(), clone(model)).fit(X, y)
    np.testing.assert_array_equal(piped.predict_proba(X), clone(model).fit(X, y).predict_proba(X))


def test_no_group_chooses_for_itself():
    codes = np.random.default_rng(0).integers(0, 2, 300)
    groups = np.random.default_rng(1).integers(0, 60, 300)
    train, watched = inner_split(codes, groups, seed=0)
    assert not set(groups[train]) & set(groups[watched])
    assert sorted([*train, *watched]) == list(range(300))
    assert codes[watched].mean() == pytest.approx(codes.mean(), abs=0.1)
    few, none = inner_split(np.array([0] * 20 + [1] * 5), None, seed=0)
    assert (len(few), len(none)) == (25, 0)


def test_rows_too_few_to_choose_on_all_train():
    X, y = matrix(400)
    few = np.concatenate([np.flatnonzero(y == "no")[:30], np.flatnonzero(y == "yes")[:5]])
    model = HeadClassifier("fusion", blocks=BLOCKS, epochs=7).fit(X[few], y[few])
    assert (model.validation_rows_, model.epoch_) == (0, 7)


def test_the_seed_decides():
    X, y = matrix(200)
    model = HeadClassifier("fusion", blocks=BLOCKS, epochs=3)
    probs = [clone(model).set_params(random_state=seed).fit(X, y).predict_proba(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(probs[0], probs[1])
    assert not np.allclose(probs[0], probs[2])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"head": "fusion"}, "X has 19 columns, and head fusion reads image and text"),
        ({"head": "fusion", "blocks": {"image": 12, "text": 8}}, "X has 19 columns"),
        ({"head": "fusion", "blocks": {"image": 12, "sound": 7}}, "reads image and text"),
        ({"head": "attention"}, "bags of views"),
        ({"head": "unheard-of"}, "no head called"),
        ({"epochs": 0}, "must be above zero"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_hint(arguments: dict, says: str):
    X, y = matrix(100)
    with pytest.raises(TrainError, match=says) as caught:
        HeadClassifier(**arguments).fit(X, y)
    assert caught.value.hint


def test_one_class_and_nan_are_refused_as_scikit_learn_does():
    X, y = matrix(100)
    with pytest.raises(ValueError, match="one class"):
        HeadClassifier().fit(X, np.full(100, "yes"))
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        HeadClassifier().fit(X, y)


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
    [example] = [part.split("```")[0] for part in page.split("```python\n")[1:] if "HeadClassifier" in part]
    plant(tmp_path, Planted(studies=400, image=1.0, text=1.5))
    monkeypatch.setenv("CXREMB_STORES", str(tmp_path))
    names: dict = {}
    exec(example, names)
    assert names["scores"].mean() == pytest.approx(known_auc(1.0, 1.5), abs=0.06)
    assert names["prob"].shape == (len(names["y"]), 2)
    assert names["model"].validation_rows_ == pytest.approx(len(names["y"]) / INNER, rel=0.2)
