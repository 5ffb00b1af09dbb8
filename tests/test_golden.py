"""What an earlier version wrote is read as it was: a store of format 1, its runs and its splits (tests/golden)."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cxremb.splits.stored import read_split
from cxremb.store.check import check_store
from cxremb.store.dataset import open_dataset
from cxremb.store.reader import list_stores
from cxremb.store.sql import query
from cxremb.training.bundle import load_bundle
from cxremb.training.runs import list_runs

GOLDEN = Path(__file__).parent / "golden"
FOUND = json.loads((GOLDEN / "format1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: reading vectors writes a cache."""
    return Path(shutil.copytree(GOLDEN / "format1", tmp_path_factory.mktemp("golden") / "stores"))


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype=np.float32).tobytes()).hexdigest()


def test_vectors_are_those_of_then(root: Path) -> None:
    stores = list_stores(open_dataset(root))
    assert {store.name for store in stores} == set(FOUND["stores"])
    for store in stores:
        matrix = store.load("image" if store.modality == "image" else "findings+impression")
        then = FOUND["stores"][store.name]
        assert (store.version, matrix.ids.to_pylist(), digest(matrix.vectors)) == (
            then["version"],
            then["ids"],
            then["sha256"],
        )
        assert check_store(store.folder) == []


def test_runs_are_those_of_then(root: Path) -> None:
    runs = list_runs(open_dataset(root))
    assert {run.run_id for run in runs} == set(FOUND["runs"])
    for run in runs:
        then, test = FOUND["runs"][run.run_id], run.predictions()
        assert (run.arm, list(run.caveats), len(test.y)) == (then["arm"], then["caveats"], then["rows"])
        assert float(test.prob.sum()) == pytest.approx(then["prob"], abs=1e-12)
        assert list(run.metric("auroc")) == then["auroc"]
        weights = {
            name: np.concatenate([w.ravel() for w in one.values()]) for name, one in run.weights().items() if one
        }
        assert {name: digest(values) for name, values in weights.items()} == then["weights"]


def test_a_run_of_then_predicts_what_it_stored(root: Path) -> None:
    dataset = open_dataset(root)
    store = next(store for store in list_stores(dataset) if store.name.startswith("tiny@"))
    run = next(run for run in list_runs(dataset) if run.arm == "image")
    bundle, test, matrix = load_bundle(run.folder), run.predictions(), store.load("image")
    for fold in range(5):
        own = test.take(test.fold == fold)
        vectors = {"image": matrix.vectors[matrix.rows(own.items.tolist())].astype(np.float32)}
        prob = bundle.predict(vectors, model=f"repeat0.fold{fold}.seed0").prob
        np.testing.assert_allclose(prob, own.prob, atol=1e-6)


@pytest.mark.parametrize("text", FOUND["sql"])
def test_sql_gives_what_it_gave(root: Path, text: str) -> None:
    rows = json.loads(json.dumps(query(root, text).to_pylist(), default=str))
    then = FOUND["sql"][text]
    assert len(rows) == len(then)
    for row, expected in zip(rows, then, strict=True):
        assert row == pytest.approx(expected, abs=1e-12)


def test_splits_of_then_are_there(root: Path) -> None:
    splits = [read_split(path) for path in sorted(open_dataset(root).paths.splits.glob("*.parquet"))]
    assert {split.name for split in splits} == {"grouped-5fold", "grouped-5fold-x2", "image-80-20", "mine"}
    assert {split.name for split in splits if split.leaky} == {"image-80-20"}
