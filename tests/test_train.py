"""The loop equals plain torch, sees training rows only, repeats itself; runs are whole, found again, predict alike."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from planted import Planted, known_auc, plant
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score, roc_auc_score

from cxremb.errors import StoreError, TrainError
from cxremb.features import Features, load_features
from cxremb.splits import LEAKY, choose_split, fold_parts, store_published, stored_split
from cxremb.train import loop
from cxremb.train.fit import Plan, fit_run
from cxremb.train.heads import HEADS, HeadSpec, find_head
from cxremb.train.mlp import new_perceptron, restored_perceptron
from cxremb.train.presets import PRESETS, Options, find_preset
from cxremb.train.runs import find_run, list_runs, read_run

QUICK = Options(epochs=3, batch_size=64)
BOTH = ("image", "text")


def arrays(n: int = 200, dim: int = 5, seed: int = 0) -> loop.Part:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.5).astype(float)
    X = rng.standard_normal((n, dim)).astype(np.float32)
    X[:, 0] += 2 * y.astype(np.float32)
    return loop.Part(X, y)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    dataset = plant(tmp_path_factory.mktemp("train"), Planted(studies=400, image=1.0, text=1.5))
    return dataset, load_features(dataset, "normal_abnormal", BOTH), stored_split(dataset, "normal_abnormal")


def test_the_reference_head_has_its_525058_parameters():
    head, preset = HEADS["fusion"], next(iter(PRESETS.values()))
    model = new_perceptron(head, 1280 + 768, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 525_058
    assert head.parameters(preset.dims) == 525_058
    assert preset.name == "cnn-llm/as-documented"
    assert (preset.options.learning_rate, preset.options.epochs, preset.options.batch_size) == (0.003, 40, 8)
    assert find_preset("cnn-llm/as-coded").options == replace(preset.options, learning_rate=0.001)


@pytest.mark.parametrize("standardise", [True, False])
def test_loop_equals_a_plain_torch_loop(standardise):
    train, val = arrays(150), arrays(40, seed=1)
    options = Options(0.003, batch_size=16, epochs=4, select="last", patience=None, standardise=standardise)
    model = new_perceptron(HeadSpec(("image",), hidden=12), 5, seed=3)
    if standardise:
        model.standardise(train.X)
    trained = loop.fit(model, train, val, options, seed=3)

    torch.manual_seed(3)
    plain = torch.nn.Sequential(torch.nn.Linear(5, 12), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(12, 2))
    X, y = torch.from_numpy(train.X), torch.from_numpy(train.y).long()
    if standardise:
        X = (X - X.mean(0)) / X.std(0, correction=0)
    adam = torch.optim.Adam(plain.parameters(), lr=0.003, fused=False, foreach=False)
    order = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    for _ in range(4):
        rows = torch.randperm(150, generator=order)
        for start in range(0, 150, 16):
            batch = rows[start : start + 16]
            adam.zero_grad()
            torch.nn.functional.cross_entropy(plain(X[batch]), y[batch]).backward()
            adam.step()
    assert trained.epoch == 4
    for ours, theirs in zip(trained.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_unit_silent_in_training_cannot_decide_a_fold():
    """One waking row hundreds of deviations out gave a validation loss of 32 on a fold of real vectors."""
    train, val = arrays(300), arrays(60, seed=1)
    for part in (train, val):
        part.X[:, 4] = 0
    train.X[0, 4], val.X[0, 4] = 1e-3, 5.0
    model = new_perceptron(HEADS["image"], 5, 0)
    model.standardise(train.X)
    raw = (val.X - train.X.mean(0)) / train.X.std(0)
    assert raw.max() > 1000
    with torch.no_grad():
        expected = model.eval().layers(torch.from_numpy(np.clip(raw, -10, 10)))
        torch.testing.assert_close(model(torch.from_numpy(val.X)), expected, rtol=1e-4, atol=1e-4)
        plain = new_perceptron(HEADS["image"], 5, 0).eval()  # not standardised: vectors go in as they are
        torch.testing.assert_close(plain(torch.full((1, 5), 99.0)), plain.layers(torch.full((1, 5), 99.0)))


def test_history_holds_what_sklearn_says():
    train, val = arrays(150), arrays(60, seed=1)
    options = Options(epochs=3, batch_size=32, select="last", patience=None)
    trained = loop.fit(new_perceptron(HEADS["image"], 5, 0), train, val, options, seed=0)
    for row, part in zip(trained.history[-2:], (train, val), strict=True):
        prob, logit = loop.predict(trained.model, part.X)
        called = prob >= 0.5
        assert row.loss == pytest.approx(log_loss(part.y, prob), abs=1e-5)
        assert row.accuracy == pytest.approx((called == part.y).mean())
        assert row.precision == pytest.approx(precision_score(part.y, called))
        assert row.recall == pytest.approx(recall_score(part.y, called))
        assert row.f1 == pytest.approx(f1_score(part.y, called))
        np.testing.assert_allclose(np.log(prob / (1 - prob)), logit, rtol=1e-9)
    assert [(row.epoch, row.phase) for row in trained.history] == [(e, p) for e in (1, 2, 3) for p in ("train", "val")]


def test_best_epoch_has_the_lowest_validation_loss_and_its_weights():
    train, val = arrays(40, dim=60), arrays(80, dim=60, seed=1)  # more columns than rows: it overfits soon
    options = Options(learning_rate=0.02, batch_size=8, epochs=30, patience=4)
    trained = loop.fit(new_perceptron(HEADS["image"], 60, 0), train, val, options, seed=0)
    losses = [row.loss for row in trained.history if row.phase == "val"]
    assert trained.epoch == int(np.argmin(losses)) + 1
    assert len(losses) == trained.epoch + 4 < 30
    assert loop.measure(trained.model, *loop.tensors(val), 0, "val").loss == pytest.approx(min(losses), abs=1e-7)


def test_same_seed_same_weights_and_torchs_own_state_is_untouched():
    def weights(seed: int) -> torch.Tensor:
        model = new_perceptron(HEADS["image"], 5, seed)
        trained = loop.fit(model, arrays(), arrays(50, seed=1), QUICK, seed)
        return torch.cat([parameter.detach().ravel() for parameter in trained.model.parameters()])

    before = torch.random.get_rng_state()
    first = weights(0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


def test_divergence_stops_with_an_error():
    train = arrays()
    huge = loop.Part(np.clip(train.X, -3, 3) * np.float32(1e38), train.y)
    with pytest.raises(TrainError, match="after epoch 1"):
        loop.fit(new_perceptron(HEADS["image"], 5, 0), huge, huge, QUICK, seed=0)


def test_a_value_that_is_no_number_is_refused():
    train = arrays()
    train.X[3, 2] = np.nan
    with pytest.raises(TrainError, match="1 of 200 rows"):
        loop.fit(new_perceptron(HEADS["image"], 5, 0), train, arrays(50, seed=1), QUICK, seed=0)


@pytest.mark.parametrize("arm", ["image", "text", "fusion"])
def test_a_planted_signal_is_found_as_strong_as_it_is(planted, arm):
    dataset, features, split = planted
    run = fit_run(dataset, features, split, Plan(arm))
    distances = {"image": (1.0,), "text": (1.5,), "fusion": (1.0, 1.5)}[arm]
    value, low, high = run.metric("auroc")
    assert low <= known_auc(*distances) <= high + 0.02
    assert abs(value - known_auc(*distances)) < 0.06
    tests = run.predictions.filter(pc.equal(run.predictions["part"], "test"))
    assert sorted(tests["item_id"].to_pylist()) == sorted(features.item_ids.tolist())  # each exactly once
    assert value == pytest.approx(roc_auc_score(tests["y_true"].to_numpy(), tests["y_prob"].to_numpy()))


def test_predictions_lie_in_their_part_and_never_in_training(planted):
    dataset, features, split = planted
    run = fit_run(dataset, features, split, Plan("text", options=QUICK, folds=(2,)))
    place = fold_parts(split.table, 0, 2)
    rows = run.predictions.to_pylist()
    assert {row["part"] for row in rows} == {"val", "test"}
    assert all(place[row["study_id"]] == row["part"] for row in rows)
    assert len(rows) == sum(place[study] != "train" for study in features.study_ids.tolist())
    assert {row["fold"] for row in rows} == {2}


def test_test_rows_have_no_influence_on_training(planted, tmp_path):
    _, features, split = planted
    place = fold_parts(split.table, 0, 0)
    outside = np.array([place[study] == "test" for study in features.study_ids.tolist()])
    moved = {name: np.where(outside[:, None], block * 1000 + 50, block) for name, block in features.blocks.items()}
    plan = Plan("fusion", options=QUICK, folds=(0,))
    runs = [
        fit_run(plant(tmp_path / name, Planted(studies=5)), changed, split, plan)
        for name, changed in (("a", features), ("b", replace(features, blocks=moved)))
    ]
    first, second = (run.weights(0, 0) for run in runs)
    assert first.keys() == second.keys() >= {"mean", "scale"}
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    train = np.array([place[study] == "train" for study in features.study_ids.tolist()])
    np.testing.assert_allclose(first["mean"], features.matrix(BOTH)[train].mean(axis=0), atol=1e-5)
    assert runs[0].history.equals(runs[1].history)
    assert not runs[0].predictions.equals(runs[1].predictions)


def test_a_saved_model_predicts_what_the_run_recorded(planted):
    dataset, features, split = planted
    run = fit_run(dataset, features, split, Plan("fusion", options=QUICK, folds=(0, 1)))
    row_of = {item: row for row, item in enumerate(features.item_ids.tolist())}
    for fold in (0, 1):
        model = restored_perceptron(find_head("fusion"), run.weights(0, fold))
        stored = run.predictions.filter(pc.equal(run.predictions["fold"], fold))
        X = features.matrix(BOTH)[[row_of[item] for item in stored["item_id"].to_pylist()]]
        prob, logit = loop.predict(model, X)
        np.testing.assert_array_equal(prob, stored["y_prob"].to_numpy())
        np.testing.assert_array_equal(logit, stored["y_logit"].to_numpy())
    with pytest.raises(StoreError, match="no fold 7"):
        run.weights(0, 7)


def test_a_finished_run_is_re_used_and_any_change_trains_anew(planted):
    dataset, features, split = planted
    plan = Plan("image", options=replace(QUICK, epochs=2), folds=(0,))
    first, again = (fit_run(dataset, features, split, plan) for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert again.run_id == first.run_id
    assert find_run(dataset, first.record["key"]).run_id == first.run_id
    others = [
        fit_run(dataset, features, split, replace(plan, seed=1)),
        fit_run(dataset, features, split, replace(plan, arm="text")),
        fit_run(dataset, features, split, replace(plan, folds=(1,))),
        fit_run(dataset, replace(features, y=1 - features.y), split, plan),
        fit_run(dataset, features, replace(split, key="f" * 64), plan),
    ]
    assert not any(run.reused for run in others)
    assert len({run.record["key"] for run in (first, *others)}) == 6
    listed = [run.run_id for run in list_runs(dataset)]
    assert {run.run_id for run in (first, *others)} <= set(listed)
    assert listed == sorted(listed, reverse=True)


def test_the_record_and_the_card_say_what_was_done(planted):
    dataset, features, split = planted
    run = fit_run(dataset, features, split, Plan("fusion", options=QUICK, folds=(0,)))
    record = json.loads((run.folder / "run.json").read_text())
    assert run.folder.name == record["run_id"] == f"{run.run_id.split('-')[0]}-{record['key'][:8]}"
    assert record["parameters"] == (12 + 1) * 256 + 257 * 2
    assert record["note"].startswith("simulated images; label recovery, not diagnosis")
    assert record["stores"] == [features.stores["image"], features.stores["text"]]
    card = (run.folder / "README.md").read_text()
    assert record["run_id"] in card
    assert f"| auroc | {run.metric('auroc')[0]:.4f} |" in card
    assert "simulated images" in card
    assert {path.name for path in run.folder.iterdir()} == {
        "README.md",
        "history.parquet",
        "metrics.parquet",
        "model.safetensors",
        "predictions.parquet",
        "run.json",
    }


@pytest.mark.parametrize("failing", ["replace_table", "replace_file", "replace_text", "sync_folder"])
def test_a_failure_midway_leaves_no_run(tmp_path, planted, monkeypatch, failing):
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())

    def full(*_):
        raise OSError(28, "No space left on device")

    plan = Plan("text", options=QUICK, folds=(0,))
    with monkeypatch.context() as patch:
        patch.setattr(f"cxremb.train.runs.{failing}", full)
        if failing == "sync_folder":  # after the rename the run is there, whole
            assert fit_run(dataset, features, split, plan).metric("auroc")[0] is not None
        else:
            with pytest.raises(StoreError, match="No space left"):
                fit_run(dataset, features, split, plan)
            assert not list(dataset.paths.runs.glob("*"))
    assert fit_run(dataset, features, split, plan).reused is (failing == "sync_folder")


def test_a_damaged_run_says_which_folder_to_delete(tmp_path, planted):
    _, features, split = planted
    run = fit_run(plant(tmp_path, Planted(studies=5)), features, split, Plan("text", options=QUICK, folds=(0,)))
    (run.folder / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError) as caught:
        _ = run.history
    assert str(run.folder) in caught.value.hint
    (run.folder / "run.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        read_run(run.folder)


LAST = replace(QUICK, select="last", patience=None)


def test_without_a_val_part_the_last_epoch_is_kept_and_test_is_only_watched(planted, tmp_path):
    dataset, features, _ = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    run = fit_run(dataset, features, split, Plan("fusion", options=LAST, folds=(0,)))
    assert [(row["epoch"], row["phase"]) for row in run.history.to_pylist()] == [
        (epoch, phase) for epoch in (1, 2, 3) for phase in ("train", "test")
    ]
    place = fold_parts(split.table, 0, 0)
    tests = run.predictions.to_pylist()
    assert sorted(row["item_id"] for row in tests) == sorted(item for item in place if place[item] == "test")
    assert {row["part"] for row in tests} == {"test"}
    loss = log_loss([row["y_true"] for row in tests], [row["y_prob"] for row in tests])
    assert run.history.to_pylist()[-1]["loss"] == pytest.approx(loss, abs=1e-5)  # the model kept is that of epoch 3
    with pytest.raises(TrainError, match="no val part, and preset default chooses its epoch there") as caught:
        fit_run(dataset, features, split, Plan("fusion", options=QUICK, folds=(0,)))
    assert "cnn-llm/as-coded" in caught.value.hint
    with pytest.raises(TrainError, match="must not be chosen on test rows"):
        loop.fit(new_perceptron(HEADS["image"], 5, 0), arrays(), loop.Part(*arrays()[:2], "test"), QUICK, seed=0)


def test_a_leaky_run_is_marked_in_its_record_and_card(planted):
    dataset, features, sound = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    plan = Plan("image", options=LAST, folds=(0,))
    leaky, clean = (fit_run(dataset, features, which, plan) for which in (split, sound))
    assert (leaky.record["leaky"], clean.record["leaky"]) == (True, False)
    assert leaky.record["split"] == split.title
    assert LEAKY in leaky.caveats
    assert LEAKY not in clean.caveats
    cards = [(run.folder / "README.md").read_text() for run in (leaky, clean)]
    assert ["(LEAKY)" in card for card in cards] == [True, False]
    assert LEAKY in cards[0]
    assert "80:20 by image at random" in cards[0]
    assert "grouped by patient and identical report text" in cards[1]


def test_a_split_by_image_needs_rows_that_are_images(planted):
    dataset, _, _ = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    with pytest.raises(TrainError, match="a row of these inputs is a study") as caught:
        fit_run(dataset, load_features(dataset, "normal_abnormal", ("text",)), split, Plan("text", options=LAST))
    assert "reads images" in caught.value.hint


def test_rows_that_a_published_split_does_not_list_are_left_out_and_counted(planted):
    dataset, features, _ = planted
    studies = dataset.studies["study_id"].to_pylist()
    parts = {study: ("train", "val", "test")[number % 3] for number, study in enumerate(studies[:200])}
    split = store_published(dataset, "official", parts)
    run = fit_run(dataset, features, split, Plan("image", options=QUICK, folds=(0,)))
    rows = [study for study in features.study_ids.tolist() if study in parts]
    assert run.record["left_out"] == {"not in split official": len(features.y) - len(rows)}
    assert run.record["rows"] == len(rows)
    for row in run.predictions.to_pylist():
        assert parts[row["study_id"]] == row["part"] != "train"
    assert run.predictions.num_rows == sum(parts[study] != "train" for study in rows)


def shrunk(features: Features, keep: np.ndarray) -> Features:
    blocks = {name: block[keep] for name, block in features.blocks.items()}
    columns = {name: getattr(features, name)[keep] for name in ("item_ids", "study_ids", "patient_ids", "y")}
    return replace(features, blocks=blocks, **columns)


@pytest.mark.parametrize(
    ("change", "plan", "says"),
    [
        (lambda f: shrunk(f, np.arange(8)), Plan("image"), "10 are the least"),
        (lambda f: shrunk(f, f.y == 1), Plan("image"), "nothing to tell apart"),
        (lambda f: replace(f, study_ids=np.char.add(f.study_ids, "?")), Plan("image"), "no part of fold 0"),
        (lambda f: f, Plan("unheard_of"), "no head called 'unheard_of'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_a_hint_and_leaves_nothing(planted, tmp_path, change, plan, says):
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())
    with pytest.raises(TrainError, match=says) as caught:
        fit_run(dataset, change(features), split, plan)
    assert caught.value.hint
    assert not dataset.paths.runs.exists()


@pytest.mark.parametrize("wrong", [{"select": "first"}, {"epochs": 0}, {"learning_rate": -1.0}, {"batch_size": 0}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(TrainError):
        Options(**wrong)


def test_unknown_preset_lists_the_presets():
    with pytest.raises(TrainError) as caught:
        find_preset("unheard_of")
    assert all(name in caught.value.hint for name in PRESETS)


def test_train_command_prints_every_epoch_and_the_test_line(planted):
    import typer
    from typer.testing import CliRunner

    from cxremb.cli.train import presets, train

    app = typer.Typer()
    app.command()(train)
    app.command()(presets)
    root = str(planted[0].paths.root)
    said = CliRunner().invoke(app, ["train", "fusion", "--epochs", "2", "--root", root]).stdout
    assert "…" not in said
    for text in (
        "3,842 trainable parameters",
        "patient-cluster",
        "majority accuracy",
        "simulated images",
        "cxremb sql",
    ):
        assert text in said
    refused = CliRunner().invoke(app, ["train", "fusion", "--split", "image-80-20", "--root", root])
    assert "--allow-leaky" in refused.exception.hint
    leaky = ["--split", "image-80-20", "--allow-leaky", "--preset", "cnn-llm/as-coded", "--epochs", "1"]
    said_leaky = CliRunner().invoke(app, ["train", "fusion", *leaky, "--root", root]).stdout
    assert "Test, fold 0 (LEAKY)" in said_leaky
    assert LEAKY in said_leaky
    heading = said_leaky.splitlines()[:4]
    assert any("test" in line for line in heading)
    assert not any("val" in line for line in heading)
    told = json.loads(CliRunner().invoke(app, ["train", "fusion", "--epochs", "2", "--root", root, "--json"]).stdout)
    assert told["reused"]
    assert [(row["epoch"], row["phase"]) for row in told["history"]] == [
        (e, p) for e in (1, 2) for p in ("train", "val")
    ]
    for row in told["history"]:
        for name in ("loss", "accuracy", "precision", "recall", "f1"):
            assert f"{row[name]:.4f}" in said
    assert f"{told['test']['auroc']['value']:.4f}" in said
    listed = json.loads(CliRunner().invoke(app, ["presets", "--json"]).stdout)
    assert listed[0]["parameters"] == 525_058
    assert "525,058" in CliRunner().invoke(app, ["presets"]).stdout


def test_history_and_predictions_tables_are_plain_parquet(planted):
    dataset, features, split = planted
    run = fit_run(dataset, features, split, Plan("fusion", options=QUICK, folds=(0, 1)))
    table = pa.parquet.read_table(run.folder / "history.parquet")
    assert table.num_rows == 2 * 3 * 2
    assert {row["part"] for row in run.metrics.to_pylist()} == {"test", "test.fold0", "test.fold1"}
