"""Runs see training rows only, repeat themselves, are whole, found again, and say what they rest on."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from planted import Planted, known_auc, plant
from predicted import within
from sklearn.metrics import log_loss, roc_auc_score

from cxremb.errors import StoreError, TrainError
from cxremb.features import TuningPatients, load_features
from cxremb.splits import LEAKY, SplitSpec, choose_split, fold_parts, new_split, store_published, stored_split
from cxremb.training import loop, stack
from cxremb.training.fit import FitJob, Plan, fit, fit_run
from cxremb.training.presets import Options
from cxremb.training.runs import find_run, list_runs, publish_folder, read_run
from cxremb.training.scores import INTERVALS

pytestmark = pytest.mark.arithmetic

QUICK = Options(epochs=3, batch_size=64)
LAST = replace(QUICK, select="last", patience=None)
BOTH = ("image", "text")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    dataset = plant(tmp_path_factory.mktemp("train"), Planted(studies=400, image=1.0, text=1.5))
    return dataset, load_features(dataset, BOTH), stored_split(dataset, "normal_abnormal")


@pytest.mark.parametrize("arm", ["image", "text", "fusion", "linear", "linear-text", "gated", "late", "either"])
def test_a_planted_signal_is_found_as_strong_as_it_is(planted, arm):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan(arm)))
    distances = {"image": (1.0,), "text": (1.5,), "linear-text": (1.5,)}.get(arm, (1.0, 1.5))
    value, low, high = run.metric("auroc")
    assert low <= known_auc(*distances) <= high + 0.02
    assert abs(value - known_auc(*distances)) < 0.06
    tests = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
    assert sorted(tests["item_id"].to_pylist()) == sorted(features.item_ids.tolist())  # each exactly once
    assert value == pytest.approx(within(*(tests[name].to_numpy() for name in ("y_true", "y_prob", "fold"))))
    pooled = roc_auc_score(tests["y_true"].to_numpy(), tests["y_prob"].to_numpy())
    assert run.metric("auroc_pooled")[0] == pytest.approx(pooled)
    made = run.predictions().interval(INTERVALS)
    for name in ("auroc", "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1"):
        assert run.metric(name) == pytest.approx((made[name].value, made[name].low, made[name].high))
        assert made[name].low < made[name].value < made[name].high


def test_predictions_lie_in_their_part_and_never_in_training(planted):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan("text", options=QUICK, folds=(2,))))
    place = fold_parts(split.table, 0, 2)
    rows = run.prediction_rows.to_pylist()
    assert {row["part"] for row in rows} == {"val", "test"}
    assert all(place[row["study_id"]] == row["part"] for row in rows)
    assert len(rows) == sum(place[study] != "train" for study in features.study_ids.tolist())
    assert {row["fold"] for row in rows} == {2}


def test_test_rows_have_no_influence_on_training(planted, tmp_path):
    _, features, split = planted
    place = fold_parts(split.table, 0, 0)
    outside = np.array([place[study] == "test" for study in features.study_ids.tolist()])
    blocks = {name: np.asarray(block) for name, block in features.blocks.items()}
    moved = {name: np.where(outside[:, None], block * 1000 + 50, block) for name, block in blocks.items()}
    plan = Plan("fusion", options=QUICK, folds=(0,))
    runs = [
        fit_run(FitJob(plant(tmp_path / name, Planted(studies=5)), changed, split, plan))
        for name, changed in (("a", features), ("b", replace(features, blocks=moved)))
    ]
    first, second = (run.weights()["repeat0.fold0.seed0"] for run in runs)
    assert first.keys() == second.keys() >= {"mean", "scale"}
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    train = np.array([place[study] == "train" for study in features.study_ids.tolist()])
    side_by_side = np.hstack([features.blocks[name] for name in BOTH])
    np.testing.assert_allclose(first["mean"], side_by_side[train].mean(axis=0), atol=1e-5)
    assert runs[0].history.equals(runs[1].history)
    assert not runs[0].prediction_rows.equals(runs[1].prediction_rows)


def test_a_finished_run_is_re_used_and_any_change_trains_anew(planted):
    dataset, features, split = planted
    plan = Plan("image", options=replace(QUICK, epochs=2), folds=(0,))
    first, again = (fit_run(FitJob(dataset, features, split, plan)) for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert again.run_id == first.run_id
    assert find_run(dataset, first.record.key).run_id == first.run_id
    others = [
        fit_run(FitJob(dataset, features, split, replace(plan, seeds=(1,)))),
        fit_run(FitJob(dataset, features, split, replace(plan, arm="text"))),
        fit_run(FitJob(dataset, features, split, replace(plan, folds=(1,)))),
        fit_run(FitJob(dataset, replace(features, y=1 - features.y), split, plan)),
        fit_run(FitJob(dataset, features, replace(split, key="f" * 64), plan)),
    ]
    assert not any(run.reused for run in others)
    assert len({run.record.key for run in (first, *others)}) == 6
    listed = [run.run_id for run in list_runs(dataset)]
    assert {run.run_id for run in (first, *others)} <= set(listed)
    assert listed == sorted(listed, reverse=True)


def test_the_record_and_the_card_say_what_was_done(planted):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan("fusion", options=QUICK, folds=(0,))))
    record = json.loads((run.folder / "run.json").read_text())
    assert run.folder.name == record["run_id"] == f"{run.run_id.split('-')[0]}-{record['key'][:8]}"
    assert record["parameters"] == (12 + 1) * 256 + 257 * 2
    assert record["note"].startswith("simulated images; label recovery, not diagnosis")
    assert record["stores"] == [features.stores["image"], features.stores["text"]]
    card = (run.folder / "README.md").read_text()
    assert record["run_id"] in card
    assert f"| auroc | {run.metric('auroc')[0]:.4f} |" in card
    assert "simulated images" in card
    assert (record["dataset_licence"], record["dataset_citation"]) == ("none", "none")
    assert sorted(record["licences"]) == sorted(title.partition(" ")[0] for title in record["stores"])
    assert "- licence of the collection: none; of the encoders: " in card
    assert "- cite: none" in card
    assert {path.name for path in run.folder.iterdir()} == {
        "README.md",
        "history.csv",
        "history.parquet",
        "metrics.parquet",
        "model.safetensors",
        "predictions.parquet",
        "run.json",
    }


@pytest.mark.parametrize(("native", "auto", "seed"), [(True, "bf16", 41), (False, "fp32", 42)])
def test_the_record_says_which_precision_it_was(planted, monkeypatch, native, auto, seed):
    monkeypatch.setattr("cxremb.training.loop.native_bf16", lambda device: native)
    dataset, features, split = planted
    # a seed of its own: no run of another test answers this plan
    plans = [Plan(arm, options=QUICK, folds=(0,), seeds=(seed,)) for arm in ("text", "linear-text")]
    runs = fit([FitJob(dataset, features, split, plan) for plan in plans])
    assert [run.reused for run in runs] == [False, False]
    assert [run.record.precision for run in runs] == [auto, "fp32"]  # a linear head is solved, never in halves


@pytest.mark.parametrize("failing", ["replace_table", "replace_file", "replace_text", "publish_folder"])
def test_a_failure_midway_leaves_no_run(tmp_path, planted, monkeypatch, failing):
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())

    def full(*_):
        raise OSError(28, "No space left on device")

    plan = Plan("text", options=QUICK, folds=(0,))
    with monkeypatch.context() as patch:
        patch.setattr(f"cxremb.training.runs.{failing}", full)
        if failing == "publish_folder":  # after the rename the run is there, whole
            patch.setattr(
                "cxremb.training.runs.publish_folder", lambda *its, **more: full(publish_folder(*its, **more))
            )
            assert fit_run(FitJob(dataset, features, split, plan)).metric("auroc")[0] is not None
        else:
            with pytest.raises(StoreError, match="No space left"):
                fit_run(FitJob(dataset, features, split, plan))
            assert not list(dataset.paths.runs.glob("*"))
    assert fit_run(FitJob(dataset, features, split, plan)).reused is (failing == "publish_folder")


def test_a_damaged_run_says_which_folder_to_delete(tmp_path, planted):
    _, features, split = planted
    run = fit_run(FitJob(plant(tmp_path, Planted(studies=5)), features, split, Plan("text", options=QUICK, folds=(0,))))
    (run.folder / "history.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError) as caught:
        _ = run.history
    assert str(run.folder) in caught.value.hint
    (run.folder / "run.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        read_run(run.folder)


def test_without_a_val_part_the_last_epoch_is_kept_and_test_is_only_watched(planted, tmp_path):
    dataset, features, _ = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    plan = Plan("fusion", options=replace(LAST, precision="fp32"), folds=(0,))  # losses are those of predictions
    run = fit_run(FitJob(dataset, features, split, plan))
    assert [(row["epoch"], row["phase"]) for row in run.history.to_pylist()] == [
        (epoch, phase) for epoch in (1, 2, 3) for phase in ("train", "test")
    ]
    place = fold_parts(split.table, 0, 0)
    tests = run.prediction_rows.to_pylist()
    assert sorted(row["item_id"] for row in tests) == sorted(item for item in place if place[item] == "test")
    assert {row["part"] for row in tests} == {"test"}
    loss = log_loss([row["y_true"] for row in tests], [row["y_prob"] for row in tests])
    assert run.history.to_pylist()[-1]["loss"] == pytest.approx(loss, abs=1e-5)  # the model kept is that of epoch 3
    with pytest.raises(TrainError, match="no val part, and preset default chooses its epoch there") as caught:
        fit_run(FitJob(dataset, features, split, Plan("fusion", options=QUICK, folds=(0,))))
    assert "cnn-llm/as-coded" in caught.value.hint


def test_a_leaky_run_is_marked_in_its_record_and_card(planted):
    dataset, features, sound = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    plan = Plan("image", options=LAST, folds=(0,))
    leaky, clean = (fit_run(FitJob(dataset, features, which, plan)) for which in (split, sound))
    assert (leaky.record.leaky, clean.record.leaky) == (True, False)
    assert leaky.record.split == split.title
    assert LEAKY in leaky.caveats
    assert LEAKY not in clean.caveats
    cards = [(run.folder / "README.md").read_text() for run in (leaky, clean)]
    assert ["(LEAKY)" in card for card in cards] == [True, False]
    assert LEAKY in cards[0]
    assert "80:20 by image at random" in cards[0]
    assert "grouped by patient and copied report" in cards[1]


def test_a_split_by_image_needs_rows_that_are_images(planted):
    dataset, _, _ = planted
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    with pytest.raises(TrainError, match="a row of these inputs is a study") as caught:
        fit_run(FitJob(dataset, load_features(dataset, ("text",)), split, Plan("text", options=LAST)))
    assert "reads images" in caught.value.hint


def test_rows_that_a_published_split_does_not_list_are_left_out_and_counted(planted):
    dataset, features, _ = planted
    studies = dataset.studies["study_id"].to_pylist()
    parts = {study: ("train", "val", "test")[number % 3] for number, study in enumerate(studies[:200])}
    split = store_published(dataset, "official", parts)
    run = fit_run(FitJob(dataset, features, split, Plan("image", options=QUICK, folds=(0,))))
    rows = [study for study in features.study_ids.tolist() if study in parts]
    assert run.record.left_out == {"not in split official": len(features.y) - len(rows)}
    assert run.record.rows == len(rows)
    for row in run.prediction_rows.to_pylist():
        assert parts[row["study_id"]] == row["part"] != "train"
    assert run.prediction_rows.num_rows == sum(parts[study] != "train" for study in rows)


@pytest.mark.parametrize(
    ("change", "plan", "says"),
    [
        (lambda f: f.take(np.arange(8)), Plan("image"), "10 are the least"),
        (lambda f: f.take(f.y[:, 0] == 1), Plan("image"), "nothing to tell apart"),
        (lambda f: replace(f, blocks={"image": np.asarray(f.blocks["image"]) * np.nan}), Plan("image"), "no number"),
        (
            lambda f: replace(f, present={**f.present, "image": f.y[:, 0] > 2}),
            Plan("image"),
            "no training row of fold 0",
        ),
        (lambda f: replace(f, task="multilabel"), Plan("fusion", "cnn-llm/as-coded", LAST), "is for binary labels"),
        (lambda f: f, Plan("attention"), "pools the films of a study"),
        (lambda f: f, Plan("text", options=Options(learning_rate=1e30, epochs=5)), "no number after epoch 1"),
        (lambda f: replace(f, study_ids=np.char.add(f.study_ids, "?")), Plan("image"), "no part of fold 0"),
        (lambda f: f, Plan("unheard_of"), "no head called 'unheard_of'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_a_hint_and_leaves_nothing(planted, tmp_path, change, plan, says):
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())
    with pytest.raises(TrainError, match=says) as caught:
        fit_run(FitJob(dataset, change(features), split, plan))
    assert caught.value.hint
    assert not dataset.paths.runs.exists()


def test_history_and_predictions_tables_are_plain_parquet(planted):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan("fusion", options=QUICK, folds=(0, 1))))
    table = pa.parquet.read_table(run.folder / "history.parquet")
    assert table.num_rows == 2 * 3 * 2
    assert {row["part"] for row in run.metrics.to_pylist()} == {"test", "test.by-study", "test.fold0", "test.fold1"}


def test_history_is_there_as_csv_too(planted):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan("fusion", options=QUICK, folds=(0, 1))))
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, told in zip(run.history.to_pylist(), rows, strict=True):
        assert list(told) == list(row)
        assert told["phase"] == row["phase"]
        assert all(float(told[name]) == row[name] for name in row if row[name] is not None and name != "phase")


def test_runs_trained_together_equal_runs_trained_alone(planted, tmp_path):
    """Two arms share a shape, one does not; one plan stands for the run of another."""
    _, features, split = planted
    plans = [
        Plan("fusion", options=QUICK, folds=(0, 1)),
        Plan("fusion", options=QUICK, folds=(2,), seeds=(3, 4)),
        Plan("text", options=QUICK, folds=(0,)),
        Plan("fusion", options=QUICK, folds=(0, 1)),
    ]
    together = fit([FitJob(plant(tmp_path / "a", Planted(studies=5)), features, split, plan) for plan in plans])
    apart = [fit_run(FitJob(plant(tmp_path / "b", Planted(studies=5)), features, split, plan)) for plan in plans]
    assert together[0].run_id == together[3].run_id
    for one, other in zip(together, apart, strict=True):
        assert one.record.key == other.record.key
        assert one.record.epochs == other.record.epochs
        mine, theirs = one.prediction_rows, other.prediction_rows
        drop = ["y_prob", "y_logit"]
        assert mine.drop_columns(drop).equals(theirs.drop_columns(drop))
        np.testing.assert_allclose(mine["y_prob"].to_numpy(), theirs["y_prob"].to_numpy(), atol=1e-5)


def test_a_model_that_diverges_stops_alone_and_the_record_says_so(planted, monkeypatch):
    dataset, features, split = planted
    wild = replace(LAST, learning_rate=1e30)
    with pytest.raises(TrainError, match=r"text, repeat0\.fold0\.seed0: the loss is no number after epoch 1") as caught:
        fit_run(FitJob(dataset, features, split, Plan("text", options=wild, folds=(0,))))
    assert "--learning-rate" in caught.value.hint
    real_figures = stack.figures

    def lost_in_the_third(*arguments, epoch, phase):
        found = real_figures(*arguments, epoch=epoch, phase=phase)
        return replace(found, loss=float("nan")) if epoch == 3 and phase == "val" else found

    monkeypatch.setattr(stack, "figures", lost_in_the_third)
    run = fit_run(FitJob(dataset, features, split, Plan("text", options=replace(LAST, epochs=60), folds=(0,))))
    monkeypatch.undo()
    [epoch] = run.record.epochs
    assert 2 == epoch == len(run.history) // 2
    assert f"repeat0.fold0.seed0 diverged in epoch {epoch + 1}: its epoch {epoch} was kept" in (run.record.note)

    real = loop.fit_members

    def one_lost(*arguments, **options):
        first, *others = real(*arguments, **options)
        return [replace(first, epoch=0, diverged=1), *others]

    monkeypatch.setattr(loop, "fit_members", one_lost)
    plans = [Plan("text", options=LAST, folds=(0,), seeds=(seed,)) for seed in (70, 71, 72)]
    with pytest.raises(TrainError, match=r"fold0\.seed70: the loss is no number"):
        fit([FitJob(dataset, features, split, plan) for plan in plans])
    monkeypatch.undo()
    assert [run.reused for run in fit([FitJob(dataset, features, split, plan) for plan in plans])] == [
        False,
        True,
        True,
    ]


def test_repeats_and_seeds_are_averaged_and_never_ranked_against_each_other(planted):
    dataset, features, _ = planted
    split = new_split(dataset, "normal_abnormal", SplitSpec("twice", repeats=2, folds=3))
    plan = Plan("fusion", options=QUICK, folds=split.folds, repeats=(0, 1), seeds=(0, 5))
    run = fit_run(FitJob(dataset, features, split, plan))
    names = [f"repeat{r}.fold{f}.seed{s}" for r in (0, 1) for s in (0, 5) for f in split.folds]
    assert list(run.weights()) == [one.name for one in run.record.members] == names
    tests = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test")).to_pandas()
    pools = {
        f"test.repeat{repeat}.seed{seed}": within(pool["y_true"], pool["y_prob"], pool["fold"])
        for (repeat, seed), pool in tests.groupby(["repeat", "seed"])
    }
    for part, value in pools.items():
        assert run.metric("auroc", part)[0] == pytest.approx(value)
    value, low, high = run.metric("auroc")
    assert value == pytest.approx(np.mean(list(pools.values())))
    assert low < value < high
    one = tests[(tests.repeat == 1) & (tests.fold == 2) & (tests.seed == 5)]
    assert run.metric("auroc", "test.repeat1.fold2.seed5")[0] == pytest.approx(
        roc_auc_score(one["y_true"], one["y_prob"])
    )
    assert tests.groupby(["repeat", "seed"])["item_id"].nunique().eq(len(features.y)).all()


def test_patients_that_an_encoder_was_fine_tuned_on_are_never_predicted(planted, tmp_path):
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())
    place = fold_parts(split.table, 0, 0)
    patient = dict(zip(features.study_ids.tolist(), features.patient_ids.tolist(), strict=True))
    train, val, test = ({patient[s] for s in patient if place[s] == part} for part in ("train", "val", "test"))

    def tuned(patients: set[str], split_name: str | None = None):
        record = TuningPatients(dataset.name, split_name, None, sorted(patients), ())
        return replace(features, seen={"image": record})

    plan = Plan("fusion", options=QUICK, folds=(0,))
    for shared, name in ((val, None), (test, "mine@0123"), ({min(test)}, None)):
        with pytest.raises(TrainError, match=f"{len(shared)} of the {len(val | test)} patients") as caught:
            fit_run(FitJob(dataset, tuned(train | shared, name), split, plan))
        assert ("--split mine@0123" if name else "--image-model") in caught.value.hint
    with pytest.raises(TrainError, match="fine-tuned on"):  # another fold tests whom this one trained on
        fit_run(FitJob(dataset, tuned(train), split, replace(plan, folds=(0, 1))))
    assert not dataset.paths.runs.exists()
    assert fit_run(FitJob(dataset, tuned(train), split, plan)).record.rows == len(features.y)
    assert fit_run(FitJob(dataset, tuned(test), split, replace(plan, arm="text"))).arm == "text"  # it reads no image


@pytest.mark.parametrize("wrong", [{"folds": ()}, {"seeds": (1, 1)}, {"repeats": ()}])
def test_a_plan_of_no_model_or_of_one_twice_is_refused(wrong):
    with pytest.raises(TrainError, match=next(iter(wrong))):
        Plan("image", **wrong)
