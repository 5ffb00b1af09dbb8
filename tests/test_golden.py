"""What an earlier version wrote is read as it was: a store of format 1, its runs and its splits (tests/golden)."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from cxremb.evaluation.metrics import POOLED, WITHIN
from cxremb.evaluation.ranking import ON_ONE_SCALE
from cxremb.splits import choose_split
from cxremb.splits.stored import read_split
from cxremb.store.check import check_store
from cxremb.store.dataset import open_dataset
from cxremb.store.layout import ONCE_MEANS, ONCE_POOLED
from cxremb.store.reader import list_stores
from cxremb.store.sql import query
from cxremb.training.bundle import load_bundle
from cxremb.training.runs import list_runs, read_run

GOLDEN = Path(__file__).parent / "golden"
FOUND = json.loads((GOLDEN / "format1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: reading vectors writes a cache."""
    return Path(shutil.copytree(GOLDEN / "format1", tmp_path_factory.mktemp("golden") / "stores"))


@pytest.fixture
def untouched(tmp_path: Path) -> Path:
    """A copy of which nothing has been read: reading the figures of a run makes them again."""
    return Path(shutil.copytree(GOLDEN / "format1", tmp_path / "stores"))


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
        assert run.metric("auroc_pooled")[0] == then["auroc"][0]
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


def test_a_figure_that_ranked_the_rows_of_all_folds_is_not_shown_as_one_within_folds(untouched: Path) -> None:
    dataset = open_dataset(untouched)
    run = next(run for run in list_runs(dataset) if run.arm == "image")
    test, folder = run.predictions(), run.folder
    area = [roc_auc_score(test.y[test.fold == fold], test.prob[test.fold == fold]) for fold in range(5)]
    pairs = [(y == 1).sum() * (y == 0).sum() for y in (test.y[test.fold == fold] for fold in range(5))]
    within, pooled = np.average(area, weights=pairs), roc_auc_score(test.y, test.prob)
    assert abs(within - pooled) > 0.005
    sql = f"select metric, value from metrics where run_id = '{run.run_id}' and part = 'test' and metric like 'auroc%'"
    before = {row["metric"]: row["value"] for row in query(untouched, sql).to_pylist()}
    assert before == {"auroc_pooled": pytest.approx(pooled)}
    assert f"| auroc | {pooled:.4f} |" in (folder / "README.md").read_text(encoding="utf-8")
    assert run.metric("auroc")[0] == pytest.approx(within)
    after = {row["metric"]: row["value"] for row in query(untouched, sql).to_pylist()}  # the run has been read
    assert after == {"auroc": pytest.approx(within), "auroc_pooled": pytest.approx(pooled)}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| auroc | {within:.4f} |" in card
    assert f"# {run.run_id}" in card
    assert read_run(folder).metrics.equals(run.metrics)


def test_a_store_that_may_only_be_read_gives_the_same_figures(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _: object) -> None:
        raise PermissionError(path)

    run = next(run for run in list_runs(open_dataset(untouched)) if run.arm == "text")
    written = {path: path.read_bytes() for path in run.folder.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr("cxremb.training.again.replace_text", refuse)
        found = read_run(run.folder).metrics
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == written
    assert found.equals(read_run(run.folder).metrics)


def test_rates_that_were_a_mean_over_folds_are_made_again(untouched: Path) -> None:
    run = next(run for run in list_runs(open_dataset(untouched)) if len(run.record.folds) > 1)
    file, wanted = run.folder / "metrics.parquet", run.metrics
    since = pq.read_table(file)
    doubled = since.set_column(3, "value", pc.multiply(since["value"], 2))
    pq.write_table(doubled.replace_schema_metadata(None), file)  # as a version between the two wrote it
    asked = f"select metric, value from metrics where run_id = '{run.run_id}' and part = 'test' and metric like 's%95%'"
    then = {row["metric"]: row["value"] for row in query(untouched, asked).to_pylist()}
    assert set(then) == {f"{name}{end}" for name in ON_ONE_SCALE for end in ("_mean", "_pooled")}
    assert read_run(run.folder).metrics.equals(wanted)
    assert pq.read_table(file).equals(since)
    now = {row["metric"]: row["value"] for row in query(untouched, asked).to_pylist()}
    assert set(now) == {f"{name}{end}" for name in ON_ONE_SCALE for end in ("", "_pooled")}
    assert all(then[f"{name}_mean"] == 2 * now[name] for name in ON_ONE_SCALE)
    pq.write_table(doubled, file)  # one of today is believed
    assert read_run(run.folder).metrics.equals(doubled)


def test_names_of_pooled_figures_are_one_list() -> None:
    assert set(ONCE_POOLED) == set(WITHIN)
    assert set(ONCE_MEANS) == set(ON_ONE_SCALE)


@pytest.mark.parametrize("text", FOUND["sql"])
def test_sql_gives_what_it_gave(untouched: Path, text: str) -> None:
    rows = json.loads(json.dumps(query(untouched, text).to_pylist(), default=str))
    then = [named_now(row) for row in FOUND["sql"][text]]
    assert len(rows) == len(then)
    for row, expected in zip(sorted(rows, key=str), sorted(then, key=str), strict=True):
        assert row == pytest.approx(expected, abs=1e-12)


def named_now(row: dict[str, object]) -> dict[str, object]:
    """A row of then; figures that were made of the rows of all folds as one have another name by now."""
    return row | {"metric": f"{row['metric']}{POOLED}"} if row.get("metric") in WITHIN else row


def test_splits_of_then_are_there(root: Path) -> None:
    splits = [read_split(path) for path in sorted(open_dataset(root).paths.splits.glob("*.parquet"))]
    assert {split.name for split in splits} == {"grouped-5fold", "grouped-5fold-x2", "image-80-20", "mine"}
    assert {split.name for split in splits if split.leaky} == {"image-80-20"}


def test_the_default_split_of_then_is_used_by_its_name(root: Path) -> None:
    dataset = open_dataset(root)
    chosen = choose_split(dataset, "abnormal", "grouped-5fold")
    assert (chosen.name, chosen.leaky) == ("grouped-5fold", False)
    assert "identical report text" in chosen.means
    assert chosen.title in {run.record.split for run in list_runs(dataset)}
    assert choose_split(dataset, "abnormal").name == "patient-5fold"
