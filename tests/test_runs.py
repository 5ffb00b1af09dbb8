"""`cxremb train`, `cxremb presets` and `cxremb runs` as a user types them."""

import csv
import io
import json
import shlex

import pytest
from planted import FOUND, KINDS, Planted, plant

from cxremb.cli.run_view import epoch_table, not_learnt, number
from cxremb.cli.screen import show_table
from cxremb.splits import LEAKY
from cxremb.store.dataset import Dataset
from cxremb.training.presets import PRESETS
from cxremb.training.runs import list_runs

FIGURES = ("loss", "accuracy", "precision", "recall", "f1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return plant(tmp_path_factory.mktemp("runs"), Planted(studies=300, image=1.0, text=1.5, kinds=2.0))


@pytest.fixture
def call(cxremb, dataset):
    return lambda *words: cxremb(*words, "--root", dataset.paths.root)


def test_train_prints_every_epoch_and_the_test_line(call):
    said = call("train", "fusion", "--epochs", "2")
    assert said.code == 0, said.err
    assert "…" not in said.out
    words = ("3,842 trainable parameters", "95% over patients", "majority accuracy", "simulated images", "cxremb sql")
    assert all(word in said.out for word in words)
    told = json.loads(call("train", "fusion", "--epochs", "2", "--format", "json").out)
    assert told["reused"]
    assert [(row["epoch"], row["phase"]) for row in told["history"]] == [
        (e, p) for e in (1, 2) for p in ("train", "val")
    ]
    for row in told["history"]:
        assert all(number(row[name]) in said.out for name in FIGURES)
    assert number(told["test"]["auroc"]["value"]) in said.out


@pytest.mark.parametrize(("label_set", "names"), [("kind", KINDS), ("found", FOUND)])
def test_train_shows_every_label(call, label_set, names):
    words = ("train", "text", "--label-set", label_set, "--epochs", "3")
    said, told = call(*words).out, json.loads(call(*words, "--format", "json").out)
    assert f"macro over {len(names)} labels" in said
    assert len(told["history"]) == 6
    for label in (*names, "macro"):
        line = next(line for line in said.splitlines() if line.split()[:1] == [label])
        assert number(told["test_by_label"][label]["auroc"]["value"]) in line
    assert told["test"] == told["test_by_label"]["macro"]


def test_figures_of_few_patients_say_why_they_have_no_interval(cxremb, tmp_path):
    few = plant(tmp_path, Planted(studies=60, text=1.5, kinds=2.0), modalities=("text",))
    for label_set, told in (("normal_abnormal", "abnormal: only "), ("kind", f"{KINDS[0]}: only ")):
        words = ("train", "text", "--label-set", label_set, "--epochs", "2", "--fold", "0", "--root", few.paths.root)
        said = cxremb(*words)
        assert said.code == 0, said.err
        assert f"  no interval: {told}" in said.out
        assert "an interval needs 10 of each" in said.out
        assert "bootstrap" not in said.out


def test_a_preset_shows_what_its_authors_report_and_what_differs(call):
    said = call("train", "--preset", "cnn-llm/as-coded", "--epochs", "1").out
    preset = PRESETS["cnn-llm/as-coded"]
    assert "fusion, 3,842" in said  # the head of the preset
    for name, value in preset.reported.items():
        line = next(line for line in said.splitlines() if line.split()[:1] == [name])
        assert number(value) in line
    assert "differs here: epochs 1, not 40" in said
    assert all(difference in said for difference in preset.differs)
    other = call("train", "text", "--preset", "cnn-llm/as-coded", "--epochs", "1").out
    assert "differs here: text was trained, not fusion" in other


def test_a_leaky_split_needs_leave_and_is_marked(call):
    refused = call("train", "fusion", "--split", "image-80-20")
    assert refused.code == 1
    assert "--allow-leaky" in refused.err
    leaky = ("--split", "image-80-20", "--allow-leaky", "--preset", "cnn-llm/as-coded", "--epochs", "1")
    said = call("train", "fusion", *leaky).out
    assert "Test, fold 0 (LEAKY)" in said
    assert LEAKY in said
    heading = said.splitlines()[:4]
    assert any("test" in line for line in heading)
    assert not any("val" in line for line in heading)


def test_options_of_the_rows_reach_the_record(call):
    told = json.loads(call("train", "attention", "--epochs", "1", "--format", "json").out)
    assert (told["unit"], told["rows"]) == ("study", 300)
    told = json.loads(call("train", "image", "--views", "frontal", "--epochs", "1", "--format", "json").out)
    assert (told["views"], told["rows"], told["left_out"]) == ("frontal", 300, {"not a frontal film": 100})
    told = json.loads(call("train", "either", "--missing", "keep", "--epochs", "1", "--format", "json").out)
    assert told["missing"] == "keep"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "fusion", "--unit", "study"), "takes one film a row"),
        (("train", "attention", "--unit", "image"), "--unit study"),
        (("train", "unheard_of"), "choose one of fusion, image"),
        (("train", "fusion", "--preset", "unheard_of"), "cxremb presets"),
        (("train", "fusion", "--preset", "two-stage"), "leave the head out: `cxremb train --preset two-stage"),
        (("train", "text", "--preset", "default/small-films"), "leave the head out"),
        (("train", "fusion", "--preset", "cnn-llm/as-coded", "--label-set", "found"), "is for binary labels"),
        (("train", "fusion", "--device", "abacus"), "abacus"),
        (("runs", "show", "nothing"), "cxremb runs ls"),
        (("runs", "rm", "2", "--yes"), "give more of its id"),
    ],
)
def test_what_cannot_be_says_what_to_type(call, dataset, words, says):
    call("train", "image", "--epochs", "1")
    call("train", "text", "--epochs", "1")
    before = [run.run_id for run in list_runs(dataset)]
    result = call(*words)
    assert result.code == 1
    assert says in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert [run.run_id for run in list_runs(dataset)] == before


def test_tensorboard_gets_every_epoch(call, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = json.loads(call("train", "text", "--epochs", "2", "--tensorboard", tmp_path, "--format", "json").out)
    for phase in ("train", "val"):
        events = loader.EventAccumulator(str(tmp_path / told["run_id"] / "repeat0.fold0.seed0" / phase))
        events.Reload()
        for name in FIGURES:
            found = {event.step: event.value for event in events.Scalars(name)}
            assert found == pytest.approx({row["epoch"]: row[name] for row in told["history"] if row["phase"] == phase})


def test_without_tensorboard_the_package_is_named_before_anything_is_trained(call, dataset, monkeypatch, tmp_path):
    before = len(list_runs(dataset))
    monkeypatch.setattr("cxremb.training.board.find_spec", lambda _: None)
    result = call("train", "text", "--epochs", "4", "--tensorboard", tmp_path)
    assert result.code == 1
    assert "cxremb[tensorboard]" in result.err
    assert len(list_runs(dataset)) == before


def test_presets_are_listed_with_their_parameters(call, cxremb):
    listed = json.loads(cxremb("presets", "--format", "json").out)
    assert [one["name"] for one in listed] == list(PRESETS)
    assert listed[0]["parameters"] == 525_058
    said = cxremb("presets").out
    for preset in PRESETS.values():
        assert preset.name in said
        assert f"{preset.parameters:,} parameters" in said


def test_runs_are_listed_shown_and_removed(call, dataset):
    call("train", "image", "--epochs", "1")
    call("train", "text", "--epochs", "1")
    listed = json.loads(call("runs", "ls", "--format", "json").out)
    assert [one["run_id"] for one in listed] == [run.run_id for run in list_runs(dataset)]
    shown = call("runs", "ls").out
    for one in listed:
        line = next(line for line in shown.splitlines() if line.startswith(one["run_id"]))
        assert one["arm"] in line.split()
        assert f"{one['test']['auroc']['value']:.3f}".removeprefix("0") in line
    plain = {"label_set": "normal_abnormal", "views": "all", "preset": "default", "epochs": [1]}
    ids = {one["head"]: one["run_id"] for one in listed if all(one[name] == plain[name] for name in plain)}
    image = ids["image"]
    auroc = {one["run_id"]: one["test"]["auroc"]["value"] for one in listed}
    assert json.loads(call("runs", "show", image.split("-")[1], "--format", "json").out)["run_id"] == image
    assert number(auroc[image]) in call("runs", "show", image).out
    assert "add --yes" in call("runs", "rm", image).out
    assert (dataset.paths.runs / image).is_dir()
    assert f"removed {image}" in call("runs", "rm", image, "--yes").out
    assert image not in [run.run_id for run in list_runs(dataset)]
    assert not list(dataset.paths.runs.glob(".*"))


def test_what_it_says_to_ask_gives_the_test_rows_in_a_few_columns(call, cxremb, dataset):
    said = call("train", "text", "--epochs", "1").out
    command = next(line for line in said.splitlines() if line.startswith("Ask: ")).removeprefix("Ask: cxremb ")
    rows = list(
        csv.reader(io.StringIO(cxremb(*shlex.split(command), "--root", dataset.paths.root, "--format", "csv").out))
    )
    run = next(run for run in list_runs(dataset) if run.run_id in command)
    tests = [row for row in run.prediction_rows.to_pylist() if row["part"] == "test"]
    assert rows[0] == ["item_id", "label", "y_true", "y_prob"]
    assert sorted((row[0], float(row[3])) for row in rows[1:]) == sorted(
        (row["item_id"], row["y_prob"]) for row in tests
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.12345, ".1235"),
        (9.87654, "9.8765"),
        (99.987654, "99.988"),
        (-9999.0, "-9999.0"),
        (1.0432e12, "1.04e+12"),
        (-1e5, "-1e+05"),
    ],
)
def test_a_loss_that_explodes_keeps_its_power_of_ten(value, shown):
    assert number(value) == shown


def test_no_loss_is_cut(capsys):
    row = {"loss": 1.0432073e12, "accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": None}
    show_table(epoch_table([row | {"epoch": 1, "phase": phase} for phase in ("train", "val")], 1))
    said = capsys.readouterr().out
    assert said.count("1.04e+12") == 2
    assert "…" not in said


def test_no_run_yet_says_how_to_make_one(cxremb, tmp_path):
    root = plant(tmp_path, Planted(studies=5), modalities=()).paths.root
    result = cxremb("runs", "ls", "--root", root)
    assert result.code == 0
    assert "cxremb train" in result.err
    assert json.loads(cxremb("runs", "ls", "--root", root, "--format", "json").out) == []


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.70, 0.69, 1.05, 0.98], "The loss on train did not fall in 4 epochs, so the figures say little."),
        ([0.70, 0.70], "The loss on train did not fall in 2 epochs, so the figures say little."),
        ([0.70, 1.05, 0.69], ""),
        ([0.70], ""),
    ],
)
def test_a_training_whose_loss_did_not_fall_says_so(losses: list[float], said: str) -> None:
    """Val falls in all of them: it is the rows that were trained on that tell."""
    history = [
        {"phase": phase, "loss": loss if phase == "train" else 0.5 - 0.1 * epoch}
        for epoch, loss in enumerate(losses)
        for phase in ("train", "val")
    ]
    assert not_learnt(history).partition(" Train")[0] == said
