"""`runs ls`, `store ls` and `data ls`: nothing that must be copied or compared is cut, in 100 columns or in 80."""

from dataclasses import replace

import numpy as np
import pytest
from planted import Planted, plant, write_store

from cxremb.caveats import SOURCED
from cxremb.cli.runs import show_listing
from cxremb.store.dataset import Dataset
from cxremb.store.reader import list_stores
from cxremb.table import span
from cxremb.training.runs import list_runs

LONG = "efficientnet_lite1"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Two encoders of texts, and one of films with a long name and many rows."""
    made = plant(tmp_path_factory.mktemp("listings"), Planted(studies=300, image=1.0, text=1.5))
    ids = [f"s{i:05d}" for i in range(300)]
    vectors = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32)
    write_store(made, "minilm", "text", ids, vectors, section="findings", created="2026-10-01T00:00:00+00:00")
    ids = [f"i{i}" for i in range(43_600)]
    write_store(made, LONG, "image", ids, np.ones((43_600, 2), np.float32), created="2026-09-01T00:00:00+00:00")
    return made


@pytest.fixture(params=[100, 80])
def width(request, monkeypatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.fixture
def call(cxremb, dataset, width):
    return lambda *words: cxremb(*words, "--root", dataset.paths.root)


def lines_of(said: str, width: int) -> list[str]:
    """The lines, none too long and none cut."""
    assert "…" not in said
    assert all(len(line) <= width for line in said.splitlines())
    return said.splitlines()


def test_each_run_has_one_line_and_marks(call, dataset, width):
    for words in (("image",), ("text",), ("text", "--text", "findings", "--text-model", "minilm"), ("fusion",)):
        assert call("train", *words, "--epochs", "1").code == 0
    lines = lines_of(call("runs", "ls").out, width)
    notes = {line[0]: line[2:] for line in lines if line[:1] in ("¹", "²")}
    assert set(" ".join(notes.values()).split()) <= set(f"{SOURCED} simulated images".split())
    marks = {next(mark for mark in notes if notes[mark].startswith(start)): start for start in ("label", "simulated")}
    found = set()
    for run in list_runs(dataset):
        line = next(line for line in lines if line.startswith(run.run_id))
        value, low, high = run.metric("auroc")
        cell, figure, told = line.partition(span(value, low, high))
        assert figure
        assert {marks[mark] for mark in told.strip()} == {
            start for start in ("label", "simulated") if any(caveat.startswith(start) for caveat in run.caveats)
        }
        found.add(cell.removeprefix(run.run_id).strip())
    assert found == {"image", "text", "text (findings)", "fusion"}
    split = run.record.split.partition("@")[0]
    assert f"all: data set planted, labels normal_abnormal, split {split}, models 1" in lines


def test_splits_of_one_name_are_listed_with_their_keys(dataset, call, capsys):
    call("train", "text", "--epochs", "1")
    call("train", "image", "--epochs", "1")
    run, other, *_ = list_runs(dataset)
    name = run.record.split.partition("@")[0]
    assert run.record.split == other.record.split
    for split, said in ((run.record.split, f"split {name},"), (f"{name}@0a1b2c3d", "")):
        capsys.readouterr()
        show_listing([run, replace(other, record=replace(other.record, split=split))])
        out = " ".join(capsys.readouterr().out.split())
        assert (f"split {name}," in out) == bool(said)
        assert ({run.record.split, split} <= set(out.split())) == (not said)


def test_where_lines_are_short_the_end_of_an_id_names_a_run(dataset, call, width, capsys):
    call("train", "text", "--epochs", "1")
    call("train", "text", "--epochs", "2")
    capsys.readouterr()
    run, other, *_ = list_runs(dataset)
    long = {
        "arm": "text[label-shuffle]",
        "label_set": "normal_abnormal_clean",
        "members": run.record.members * 25,
        "epochs": run.record.epochs * 25,
        "leaky": True,
    }
    show_listing([replace(run, record=replace(run.record, **long)), other])
    lines = lines_of(capsys.readouterr().out, width)
    short = run.run_id[-8:]
    words = " ".join(lines).split()
    assert {
        short,
        "text[label-shuffle]",
        "normal_abnormal_clean",
        run.record.split.partition("@")[0],
        "LEAKY",
        "25",
    } <= set(words)
    assert call("runs", "show", run.run_id[-8:]).code == 0


def test_stores_keep_names_and_counts(call, dataset, width):
    lines = lines_of(call("store", "ls", "--dataset", "planted").out, width)
    for store in list_stores(dataset):
        cells = next(line for line in lines if line.startswith(f"{store.name} ")).split()
        assert f"{store.rows:,}" in cells
        assert store.created[:10] in cells
    assert "all: data set planted" in lines
    refused = call("store", "ls", "--dataset", "other")
    assert refused.code == 1
    assert "planted" in refused.err


def test_data_sets_keep_their_counts_beside_a_long_licence(call, dataset, width, monkeypatch):
    licence = "reports: CC BY-NC-ND 4.0; images: simulated, no licence needed; " * 2
    about = replace(dataset, descriptor={**dataset.descriptor, "licence": licence})
    monkeypatch.setattr("cxremb.store.dataset.list_datasets", lambda root: [about])
    lines = lines_of(call("data", "ls").out, width)
    row = next(line for line in lines if line.startswith("planted "))
    assert row.split()[1:6] == ["300", "300", "400", "400", "300"]
    assert " ".join(licence.split()) in " ".join(" ".join(line[len("planted") :] for line in lines).split()).replace(
        " yes ", " "
    )
