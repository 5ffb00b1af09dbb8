"""`import cxremb`: a dozen names, the same defaults and errors as the command line, results of the ecosystem."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from planted import Planted, plant
from predicted import within
from test_architecture import HEAVY

import cxremb
from cxremb.api.data import add
from cxremb.cli import ablate, compare, embed, evaluate, explore, external, predict, report, similar, train
from cxremb.tabular import SHOWN, Tabular

NAMES = [
    *("CxrembError", "HeadClassifier", "__version__", "ablate", "add", "checklist", "compare", "embed", "evaluate"),
    *("explore", "external", "import_store"),
    *("load", "load_features", "open_store", "predict", "report", "similar", "sql", "train"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api") / "stores"
    plant(root, Planted(studies=300, image=1.0, text=1.5))
    return root


@pytest.fixture(scope="module")
def run(root: Path) -> Any:
    return cxremb.train("image", epochs=3, root=root)


def test_the_names_are_these() -> None:
    assert sorted(cxremb.__all__) == dir(cxremb) == sorted(NAMES)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        cxremb.trian  # noqa: B018


def test_the_import_is_light_and_stays_it_until_a_name_is_used() -> None:
    script = f"import sys, cxremb; dir(cxremb); heavy = {HEAVY!r} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_submodule_takes_the_place_of_a_name() -> None:
    for module in pkgutil.walk_packages(cxremb.__path__, "cxremb."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in NAMES:
        assert not isinstance(getattr(cxremb, name), ModuleType), name
        assert name == "__version__" or callable(getattr(cxremb, name))


def plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


@pytest.mark.parametrize(
    ("function", "command", "own"),
    [
        (cxremb.train, train.train, {"progress"}),
        (cxremb.ablate, ablate.ablate, {"progress"}),
        (cxremb.evaluate, evaluate.evaluate, {"progress"}),
        (cxremb.compare, compare.compare, {"progress"}),
        (cxremb.external, external.external, {"progress"}),
        (cxremb.embed, embed.embed, {"progress"}),
        (cxremb.explore, explore.explore, {"progress", "listening"}),
        (cxremb.report, report.report, {"runs", "progress"}),
        (cxremb.similar, similar.similar, {"progress"}),
        (cxremb.predict, predict.predict, {"progress", "files"}),
    ],
)
def test_defaults_are_those_of_the_command(function: Callable[..., Any], command: Any, own: set[str]) -> None:
    ours, theirs = inspect.signature(function).parameters, inspect.signature(command).parameters
    assert set(ours) - own <= set(theirs)
    for name in set(ours) - own - {"root", "model"}:  # the command's root is that of the option; model may be a job's
        assert ours[name].default == plain(theirs[name].default), name
    elsewhere = {"fmt", "seconds", "tensorboard", "text_only", "image_only", "job", "shard", "dry_run", "runs", "each"}
    assert set(theirs) - set(ours) <= elsewhere


def test_a_run_is_its_predictions_and_shows_its_figures(run: Any, root: Path) -> None:
    rows = run.to_pandas()
    test = rows[rows["part"] == "test"]
    assert run.metric("auroc")[0] == pytest.approx(within(test["y_true"], test["y_prob"], test["fold"]))
    assert f"{run.metric('auroc')[0]:.4g}" in run._repr_html_()
    assert cxremb.train("image", epochs=3, root=root).reused


def test_results_are_tables_of_the_ecosystem(run: Any, root: Path) -> None:
    other = cxremb.train("fusion", epochs=3, root=root)
    results = {
        "evaluate": cxremb.evaluate(run, root=root),
        "groups": cxremb.evaluate(run.run_id, by="view", root=root),
        "compare": cxremb.compare(run, other.run_id, shared=True, root=root),
        "ablate": cxremb.ablate("image,text", controls=False, root=root),
        "features": cxremb.load_features(("image",), root=root),
        "store": cxremb.open_store("efficientnet_b1", root=root),
        "run": run,
    }
    for name, result in results.items():
        assert isinstance(result, Tabular), name
        arrow = result.to_arrow()
        assert arrow.num_rows > 0, name
        assert result.to_polars().shape == arrow.shape == result.to_pandas().shape
        assert pl.DataFrame(result).columns == arrow.column_names
        assert duckdb.sql("select count(*) from arrow").fetchall() == [(arrow.num_rows,)]
        shown = result._repr_html_()
        assert shown.count("<tr>") == 1 + min(result.shown().num_rows, SHOWN), name
    gap = results["compare"].to_pandas().set_index("metric").loc["auroc"]
    assert gap["a"] - gap["b"] == pytest.approx(gap["difference_value"])
    arms = results["ablate"].to_pandas().set_index("arm")
    assert arms.loc["image", "auroc"] == results["ablate"].rows[0].auroc.value


def test_features_are_arrays_tables_and_tensors(root: Path) -> None:
    features = cxremb.load_features(root=root)
    frame = features.to_pandas()
    np.testing.assert_array_equal(np.stack(frame["image"]), features.blocks["image"])
    np.testing.assert_array_equal(frame[list(features.labels)].to_numpy(), features.y)
    tensors = features.to_torch()
    np.testing.assert_array_equal(tensors["text"].numpy(), features.blocks["text"])
    assert tensors["y"].shape == features.y.shape


def test_a_loaded_run_predicts_what_it_stored(run: Any, root: Path) -> None:
    features = cxremb.load_features(("image",), root=root)
    predicted = cxremb.load(run.run_id, root=root).predict_features(features)
    stored = run.to_pandas().set_index("item_id")["y_prob"]
    rows = [list(features.item_ids).index(item) for item in stored.index]
    np.testing.assert_allclose(predicted.prob[rows, 0], stored, atol=1e-6)


def test_sql_is_a_relation_that_only_reads(root: Path) -> None:
    found = cxremb.sql("select dataset, count(*) as n from studies group by all", root=root)
    assert isinstance(found, duckdb.DuckDBPyRelation)
    assert found.fetchall() == [("planted", 300)]
    assert isinstance(found.df(), pd.DataFrame)
    with pytest.raises(cxremb.CxrembError, match="only reads"):
        cxremb.sql("drop table studies", root=root)
    with pytest.raises(cxremb.CxrembError, match="nothing_like_it"):
        cxremb.sql("select nothing_like_it from studies", root=root)


def test_the_root_is_that_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREMB_STORES", str(root))
    assert cxremb.sql("select count(*) from studies").fetchall() == [(300,)]


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (lambda root: cxremb.add("foldr", root), "no kind of collection 'foldr'", "did you mean folder"),
        (lambda root: cxremb.add("folder", root), "needs a name", "name="),
        (lambda root: cxremb.add("folder", root, name="x", pattern="y"), "no option 'pattern'", "patient_pattern"),
        (lambda root: cxremb.open_store("resnet", root=root), "resnet", ""),
        (lambda root: cxremb.train("fusoin", root=root), "fusoin", "fusion"),
        (lambda root: cxremb.train("image", split="image-80-20", root=root), "films of one patient", "allow-leaky"),
        (lambda root: cxremb.evaluate("nope", root=root), "no run 'nope'", "runs ls"),
        (lambda root: cxremb.ablate("image", threshold="0.7", root=root), "no threshold '0.7'", "val"),
        (lambda root: cxremb.sql("select 1", root=root / "nowhere"), "nowhere", ""),
    ],
)
def test_errors_say_what_to_do(call: Callable[[Path], Any], message: str, hint: str, root: Path) -> None:
    with pytest.raises(cxremb.CxrembError, match=message) as caught:
        call(root)
    assert hint in (caught.value.hint or "")


def test_remarks_reach_who_asks_for_them(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant(root.parent / "two", Planted(studies=60, image=1.0, text=1.5))
    cxremb.train("image", epochs=1, root=root.parent / "two")
    assert all(record.name == "cxremb" for record in caplog.records)


def test_notes_of_add_reach_who_asks_for_them_and_are_printed_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cxremb: Any
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("study_id,findings\n" + "".join(f"{n},{'Clear.' if n > 4 else ''}\n" for n in range(9)))
    added = add("table", table, name="t", texts=("findings",), root=tmp_path / "stores")
    said = [record.getMessage() for record in caplog.records]
    assert said == [note.in_words for note in added.notes]
    assert "studies without any of the texts: 5 (0, 1, 2 and 2 more); kept: they have no text vector" in said
    words = [
        "data",
        "add",
        "table",
        "--name",
        "t",
        "--table",
        table,
        "--text",
        "findings",
        "--root",
        tmp_path / "other",
    ]
    shown = cxremb(*words)
    assert shown.code == 0
    assert (shown.out.count("without any of the texts"), shown.err.count("without any of the texts")) == (1, 0)


def test_a_text_store_names_its_sections(root: Path) -> None:
    store = cxremb.open_store("biobert", root=root)
    with pytest.raises(cxremb.CxrembError, match="no vectors of section 'image'; it has ") as caught:
        store.vectors()
    assert store.sections[0] in (caught.value.hint or "")
    ids, vectors = store.vectors(store.sections[0])
    assert vectors.shape == (len(ids), store.dim)
    assert ids


@pytest.mark.parametrize("wrong", ["txt", ("image", "reports")])
def test_an_unknown_modality_is_an_error_that_names_those_there_are(wrong: Any, root: Path) -> None:
    with pytest.raises(cxremb.CxrembError, match="no modality") as caught:
        cxremb.load_features(wrong, root=root)
    assert "image, text" in (caught.value.hint or "")
    assert list(cxremb.load_features("text", root=root).blocks) == ["text"]


def test_a_program_ends_quietly(root: Path) -> None:
    """DuckDB complains at exit of what is still held: `typing.overload` would hold whole modules."""
    script = f"import cxremb; cxremb.train('image', epochs=1, seed=11, root={str(root)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "leaked" not in done.stderr
