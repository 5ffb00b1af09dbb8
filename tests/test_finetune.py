"""Fine-tuning on refresh: who is learnt from, what is written, what is refused after, and that it goes on or stays."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file, save_file

from cxremb.catalog import add_collection
from cxremb.embedding import start
from cxremb.embedding.asked import what_of
from cxremb.embedding.trained_on import read_weights
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.table import ENCODERS, timm_net
from cxremb.errors import EncoderError, StoreError, TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import choose_split, fold_parts
from cxremb.store.check import check_store
from cxremb.store.clean import collect
from cxremb.store.reader import list_stores, open_store
from cxremb.training import finetune as room
from cxremb.training.finetune import FineTune, finetune, refresh_finetuned
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.heads import NETWORKS, NetworkSpec
from cxremb.training.options import Options, PixelRecipe
from cxremb.training.pixels.films import Films
from cxremb.training.pixels.fit import NetworkPlan, fit_network, open_source
from cxremb.training.pixels.loop import Training
from cxremb.training.stopped import read_checkpoint
from cxremb.types import Collection, Image, LabelSet, Study, unwatched

NET = "small_net"
HERE = Machine(workers=1)
QUICK = Options(1e-3, batch_size=4, epochs=4, patience=None, standardise=False, optimiser="adamw")
PLAN = FineTune(label_set="bright", options=QUICK)
RATE = ["--epochs", "4", "--batch-size", "4", "--learning-rate", "0.001"]
HEAD = Options(epochs=2, batch_size=16)


def films(folder: Path, n: int = 60) -> Collection:
    """n studies of n patients, one film each: noise, with a brighter square somewhere in it where the label is 1.

    The others are as bright on the whole: a head on the vectors of an untrained network does not know them apart.
    """
    folder.mkdir(parents=True)
    studies, images = [], []
    for number in range(n):
        rng = np.random.default_rng(number)
        film = rng.integers(0, 120, (64, 64), dtype=np.uint8)
        if number % 2:
            row, column = rng.integers(0, 40, 2)
            film[row : row + 24, column : column + 24] += 20
        else:
            film += 20 * 24 * 24 // 64**2
        PilImage.fromarray(film).save(path := folder / f"{number}.png")
        studies.append(Study(f"s{number}", f"p{number}", {}, {}, {"bright": {"bright": float(number % 2)}}))
        images.append(Image(f"i{number}", f"s{number}", f"p{number}", "Frontal", path))
    about = [LabelSet("bright", "binary", "1 = a bright square", ("bright",))]
    return Collection("squares", studies, images, "none", "made by the tests", {}, label_sets=about)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a small timm network, its statistics those of such films, and its entry in the table."""
    torch.manual_seed(1)
    network = timm.create_model("test_resnet", pretrained=False).train()
    with torch.no_grad():
        for _ in range(60):
            network((torch.rand(16, 3, 64, 64) * 120 / 255 - 0.45) / 0.22)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(network.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, NET, timm_net("test_resnet.r160_in1k", network.num_features, 64))
        yield path


def embedded(folder, weights):
    """A data set with a store of the network as it is."""
    dataset = add_collection(films(folder / "films"), folder / "root").dataset
    start.run(dataset, What(NET, weights), HERE)
    return dataset


@pytest.fixture
def data(weights, tmp_path):
    """One that a test may change."""
    return embedded(tmp_path, weights)


@pytest.fixture(scope="module")
def tuned_data(weights, tmp_path_factory):
    """(one that no test changes, what refreshing it gave)."""
    dataset = embedded(tmp_path_factory.mktemp("tuned"), weights)
    return dataset, refresh_finetuned(dataset, NET, split_of(dataset), plan=PLAN, machine=HERE)


def split_of(dataset):
    return choose_split(dataset, "bright")


def patients_of(dataset, fold):
    """Part -> patients of one fold."""
    place = fold_parts(split_of(dataset).table, 0, fold)
    return {part: {f"p{study[1:]}" for study in place if place[study] == part} for part in ("train", "val", "test")}


def test_refresh_fine_tunes_embeds_and_says_on_whom(tuned_data, weights):
    data, done = tuned_data
    store, tuned = done.update.store, done.tuned
    before = room.base_store(data, NET)

    # the weights: all of the backbone, changed, under their own digest, and accepted as --weights
    old, new = load_file(weights), load_file(tuned.path)
    assert {name for name in old if not name.startswith("fc.")} == set(new)
    assert not any(torch.equal(old[name], new[name]) for name in new if name.endswith("conv1.weight"))
    assert tuned.path.name == f"{NET}@{tuned.record['weights_sha256'][:12]}.safetensors"
    assert store.manifest.recipe == load_encoder(What(NET, tuned.path)).recipe
    assert store.manifest.recipe.weights_sha256 == tuned.record["weights_sha256"]

    # the store: another one, whole, like any other; the old one stays
    assert (store.version, store.rows, store.failed) == (1, before.rows, 0)
    assert store.manifest.key != before.manifest.key
    assert {one.name for one in list_stores(data)} == {before.name, store.name}
    assert check_store(store.folder) == []
    ids, vectors = store.vectors()
    pixels = np.stack([np.asarray(PilImage.open(data.paths.root.parent / "films" / f"{name[1:]}.png")) for name in ids])
    wanted = load_encoder(What(NET, tuned.path)).encode(pixels)["avg"]
    np.testing.assert_allclose(vectors, wanted, rtol=2e-3, atol=1e-3)  # float16 as stored

    # whom it has seen: train and val of the fold, nobody of test
    parts = patients_of(data, 0)
    table = pq.read_table(store.folder / store.manifest.provenance["trained_on"])
    told = dict(zip(table["patient_id"].to_pylist(), table["part"].to_pylist(), strict=True))
    whose = dict(zip(*(data.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    assert {whose[study] for study in table["study_id"].to_pylist()} == told.keys()
    assert told == dict.fromkeys(parts["train"], "train") | dict.fromkeys(parts["val"], "val")
    losses = [e["loss"] for e in tuned.record["history"] if e["phase"] == "val"]
    assert tuned.record["epoch"] == int(np.argmin(losses)) > 0  # the first is that of the start
    assert not (data.paths.cache / "finetune" / tuned.record["key"]).exists()


def test_the_training_reads_no_film_of_the_test_part(data, monkeypatch):
    rows = set()
    take = Films.take
    monkeypatch.setattr(Films, "take", lambda self, wanted: rows.update(wanted.tolist()) or take(self, wanted))
    subject = room.open_finetuning(data, room.base_store(data, NET), split_of(data), plan=PLAN)
    finetune(data, open_store(data, NET), split_of(data), plan=PLAN, device="cpu")
    assert rows == set(np.flatnonzero((subject.parts == "train") | (subject.parts == "val")).tolist())


def test_films_of_the_test_part_are_not_even_decoded(data):
    """They may be damaged, or gone: what is learnt is the same."""
    for patient in patients_of(data, 0)["test"]:
        (data.paths.root.parent / "films" / f"{patient[1:]}.png").write_bytes(b"no film")
    subject = room.open_finetuning(data, room.base_store(data, NET), split_of(data), plan=PLAN)
    assert (subject.features.left_out, list(subject.features.notes)) == ({}, [])
    parts = patients_of(data, 0)
    assert set(subject.features.patient_ids.tolist()) == parts["train"] | parts["val"]


def test_where_no_epoch_is_better_the_start_is_kept_and_nothing_new_is_the_default(data, cxremb):
    """Two steps at a high rate: worse than the solved head, so the bare name goes on meaning the encoder as it is."""
    before = open_store(data, NET)
    options = ["--epochs", "1", "--batch-size", "32", "--learning-rate", "0.003", "--label-set", "bright"]
    tune = ["refresh", "--model", NET, "--finetune", *options, "--device", "cpu", "--root", data.paths.root]
    first, again = cxremb(*tune), cxremb(*tune)
    assert first.code == again.code == 0, first.err
    assert "no epoch was better on val than the start: the encoder stays as it was" in first.out
    assert "nothing to do: fine-tuned on the same films" in again.out
    assert [store.name for store in list_stores(data)] == [before.name]
    [record] = [json.loads(path.read_text("utf-8")) for path in data.paths.weights.iterdir()]
    assert (record["epoch"], record["weights"]) == (0, None)
    start, after = (e["loss"] for e in record["history"] if e["phase"] == "val")
    assert start < after
    assert f"{start:.4f} at the start" in first.out
    val = load_features(data, ("image",), Inputs("bright", image_model=before.name))
    run = fit_run(FitJob(data, val, split_of(data), Plan("linear-image", folds=(0,))))
    rows = [row for row in run.prediction_rows.to_pylist() if row["part"] == "val"]
    losses = [-np.log(row["y_prob"] if row["y_true"] else 1 - row["y_prob"]) for row in rows]
    assert start == pytest.approx(np.mean(losses), rel=0.02)  # the head on the vectors, which are stored as float16


def test_who_was_seen_is_never_tested_and_the_others_are(tuned_data):
    data, done = tuned_data
    split, store = split_of(data), done.update.store
    features = load_features(data, ("image",), Inputs("bright", image_model=store.name))
    plan = Plan("image", options=HEAD, folds=(0,))
    run = fit_run(FitJob(data, features, split, plan))  # its own fold: tested on those it has not seen
    tested = {row["patient_id"] for row in run.prediction_rows.to_pylist() if row["part"] == "test"}
    assert tested == patients_of(data, 0)["test"]
    for folds in ((1,), (0, 1)):
        with pytest.raises(TrainError, match="fine-tuned on: it has seen them") as caught:
            fit_run(FitJob(data, features, split, replace(plan, folds=folds)))
        assert f"--split {split.title} --fold 0" in caught.value.hint
    raw = next(one for one in list_stores(data) if one.name != store.name)
    plain = load_features(data, ("image",), Inputs("bright", image_model=raw.name))
    assert fit_run(FitJob(data, plain, split, replace(plan, folds=(1,)))).record.rows == len(plain.y)


def test_whom_the_epoch_was_chosen_on_may_be_val_again_and_not_test(tuned_data):
    data, done = tuned_data
    split, store = split_of(data), done.update.store
    features = load_features(data, ("image",), Inputs("bright", image_model=store.name))
    seen = features.seen["image"]
    assert seen.epoch_only == patients_of(data, 0)["val"]
    assert seen.patients == patients_of(data, 0)["val"] | patients_of(data, 0)["train"]
    only_val = replace(features, seen={"image": replace(seen, train=())})
    hit = next(fold for fold in range(1, 5) if patients_of(data, fold)["test"] & seen.epoch_only)
    with pytest.raises(TrainError, match="fine-tuned on"):
        fit_run(FitJob(data, only_val, split, Plan("image", options=HEAD, folds=(hit,))))


def test_the_list_follows_the_weights_wherever_they_embed(data, tmp_path, monkeypatch):
    """Later versions, a store made anew, and pixels all know; another collection's ids are of other people."""
    split = split_of(data)
    store = refresh_finetuned(data, NET, split, plan=PLAN, machine=HERE).update.store
    whole = patients_of(data, 0)["train"] | patients_of(data, 0)["val"]
    grown = add_collection(films(tmp_path / "more", 64), data.paths.root).dataset
    second = start.run(grown, what_of(store), HERE).store
    assert (second.name, second.version) == (store.name, 2)
    collect(second.folder, keep=1)
    assert load_features(grown, ("image",), Inputs("bright", image_model=store.name)).seen["image"].patients == whole

    path = what_of(store).weights
    assert read_weights(path.parent).dataset == "squares"  # a folder of one file, as `--weights` takes it
    monkeypatch.setitem(NETWORKS, NET, NetworkSpec(base=NET))
    plan = NetworkPlan(NET, "default/small-films", QUICK, folds=(1,), pixels=PixelRecipe(side=64))
    network = open_source(grown, Inputs("bright"), plan, weights=path)
    with pytest.raises(TrainError, match="fine-tuned on"):
        fit_network(grown, network, split, plan=plan, device="cpu")

    other = add_collection(replace(films(tmp_path / "other"), name="other"), tmp_path / "root2").dataset
    there = start.run(other, what_of(store), HERE).store
    assert "trained_on" not in there.manifest.provenance
    assert there.manifest.provenance["fine_tuned"]["dataset"] == "squares"
    assert load_features(other, ("image",), Inputs("bright")).seen == {}


def test_an_unchanged_refresh_does_nothing_and_a_changed_one_does(data, monkeypatch):
    first = refresh_finetuned(data, NET, split_of(data), plan=PLAN, machine=HERE)
    files = sorted(path.name for path in data.paths.weights.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(room, "train", None)  # would fail if it were called
        again = refresh_finetuned(data, NET, split_of(data), plan=PLAN, machine=HERE)
    assert again.tuned.reused
    assert not again.update.changed
    assert again.update.store.name == first.update.store.name
    assert sorted(path.name for path in data.paths.weights.iterdir()) == files
    other = replace(PLAN, seed=3)
    assert finetune(data, room.base_store(data, NET), split_of(data), plan=other, device="cpu").path != first.tuned.path
    first.tuned.path.write_bytes(first.tuned.path.read_bytes()[:-8])  # a damaged file is not taken for the answer
    mended = finetune(data, room.base_store(data, NET), split_of(data), plan=PLAN, device="cpu")
    assert (mended.reused, mended.path) == (False, first.tuned.path)


def test_a_plain_refresh_keeps_the_encoder_and_each_fold_of_it_up_to_date(data, tmp_path, cxremb):
    plain, split = open_store(data, NET), split_of(data)
    moved = replace(PLAN, options=replace(QUICK, select="last"))  # two that stay as they start are one store
    plans = (moved, replace(moved, seed=3), replace(moved, fold=1, seed=1))
    older, fold0, fold1 = (refresh_finetuned(data, NET, split, plan=plan, machine=HERE).update.store for plan in plans)
    grown = add_collection(films(tmp_path / "more", 64), data.paths.root).dataset
    done = cxremb("refresh", "--device", "cpu", "--root", data.paths.root)
    assert done.code == 0, done.err
    assert done.out.count("64 asked = 60 re-used + 4 new") == 3
    versions = {store.name: store.version for store in list_stores(grown)}
    assert versions == {plain.name: 2, fold0.name: 2, fold1.name: 2, older.name: 1}
    order = [store.name for store in list_stores(grown)]
    assert order == [fold1.name, fold0.name, plain.name, older.name]  # the default is what it was


def test_a_worse_one_that_becomes_the_default_is_said(data):
    split = split_of(data)
    better = refresh_finetuned(data, NET, split, plan=PLAN, machine=HERE)
    gently = replace(PLAN, options=replace(QUICK, epochs=2, learning_rate=5e-4))
    worse = refresh_finetuned(data, NET, split, plan=gently, machine=HERE)
    then, now = (
        min(e["loss"] for e in done.tuned.record["history"] if e["phase"] == "val") for done in (better, worse)
    )
    assert then < now
    assert list_stores(data)[0].name == worse.update.store.name != better.update.store.name
    assert f"val loss of {now:.4f} is no better than the {then:.4f}" in worse.note
    assert worse.note.endswith(f"--image-model {better.update.store.name}")
    other = refresh_finetuned(data, NET, split, plan=replace(gently, fold=1), machine=HERE)
    assert (better.note, other.note) == ("", "")  # of another fold it is another loss


def test_resumed_equals_uninterrupted(data, monkeypatch, cxremb):
    store, split = open_store(data, NET), split_of(data)
    close = Training.close_epoch

    def stop_after_two(self, epoch):
        close(self, epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "close_epoch", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            finetune(data, store, split, plan=PLAN, device="cpu")
    assert not data.paths.weights.exists()
    assert list(data.paths.runs.glob(".training-*/checkpoint.safetensors"))
    assert cxremb("store", "gc", "--yes", "--root", data.paths.root).code == 0  # frees caches, and leaves this
    [checkpoint] = data.paths.runs.glob(".training-*/checkpoint.safetensors")
    spent, epochs = read_checkpoint(checkpoint).record["seconds"], []
    with monkeypatch.context() as patch:
        patch.setattr(Training, "close_epoch", lambda self, epoch: epochs.append(epoch) or close(self, epoch))
        resumed = finetune(data, store, split, plan=PLAN, device="cpu")
    assert epochs == [3, 4]
    assert resumed.record["seconds"] > round(spent, 2)  # those of the first two epochs too
    for path in data.paths.weights.iterdir():
        path.unlink()
    whole = finetune(data, store, split, plan=PLAN, device="cpu")
    assert whole.record["history"] == resumed.record["history"]
    assert whole.path == resumed.path  # the name is the digest: bit for bit the same


def test_going_on_from_a_fine_tuned_store_has_seen_the_patients_of_both(data):
    split = split_of(data)
    first = refresh_finetuned(data, NET, split, plan=PLAN, machine=HERE).update.store
    with pytest.raises(TrainError, match="fine-tuned on"):
        refresh_finetuned(data, first.name, split, plan=replace(PLAN, fold=1), machine=HERE)
    gently = replace(
        PLAN, seed=4, options=replace(QUICK, learning_rate=1e-4, select="last")
    )  # on any processor, it moves
    second = refresh_finetuned(data, first.name, split, plan=gently, machine=HERE)
    assert second.tuned.record["start"]["weights_sha256"] == first.manifest.recipe.weights_sha256
    patients = read_weights(second.tuned.path)
    assert set(patients.train) == patients_of(data, 0)["train"]
    assert set(patients.val) == patients_of(data, 0)["val"]


def test_it_starts_from_the_linear_head_on_the_vectors_as_they_are(tuned_data, monkeypatch):
    """Vectors need not be bent to a head that is nothing yet: before the first step it says what `train` would."""
    data, _ = tuned_data
    split = split_of(data)
    subject = room.open_finetuning(data, room.base_store(data, NET), split, plan=PLAN)
    monkeypatch.setattr(Training, "steps", lambda self: iter(()))
    network = room.train(subject, checkpoint=data.paths.cache / "none", device="cpu", progress=unwatched).network
    run = fit_run(FitJob(data, subject.vectors, split, Plan("linear-image", folds=(0,))))
    said = {row["item_id"]: row["y_logit"] for row in run.prediction_rows.to_pylist() if row["part"] == "val"}
    rows = np.flatnonzero([item in said for item in subject.features.item_ids.tolist()])
    pixels = subject.films.take(rows)
    grey = torch.from_numpy(pixels).unsqueeze(1).float() / 255
    with torch.no_grad():
        vectors, logits = network.base.vectors(grey)[0].numpy(), network(grey)[:, 0].numpy()
    np.testing.assert_allclose(vectors, subject.encoder.encode(pixels)["avg"], rtol=1e-4, atol=1e-5)
    wanted = np.array([said[item] for item in subject.features.item_ids[rows].tolist()])
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(logits, wanted, atol=0.02 * np.ptp(wanted))  # the store's vectors are float16


def test_what_cannot_be_fine_tuned_is_refused(data, small):
    split = split_of(data)
    for model in ("tiny", "tiny_text"):
        start.run(small, What(model), HERE)
    with pytest.raises(EncoderError, match="only networks of timm"):
        finetune(small, open_store(small, "tiny"), split, plan=PLAN)
    with pytest.raises(EncoderError, match="stay frozen"):
        finetune(small, open_store(small, "tiny_text"), split, plan=PLAN)
    no_val = split.table.filter(pc.not_equal(split.table["part"], "val"))
    with pytest.raises(TrainError, match="has no val part"):
        finetune(data, open_store(data, NET), replace(split, table=no_val), plan=PLAN)
    with pytest.raises(StoreError, match="no store of 'resnet50'"):
        refresh_finetuned(data, "resnet50", split, plan=PLAN, machine=HERE)


def test_the_command(data, cxremb):
    root = ["--root", data.paths.root, "--device", "cpu"]
    tune = ["refresh", "--model", NET, "--finetune", "--label-set", "bright", *RATE, *root]
    first = cxremb(*tune)
    assert first.code == 0, first.err
    assert "val loss by epoch" in first.out
    again = cxremb(*tune)
    assert again.out.count("nothing to do") == 2
    told = json.loads(cxremb(*tune, "--format", "json").out)
    assert (told["version"], told["asked"], told["reused"]) == (1, 60, 60)
    assert cxremb("refresh", "--epochs", "2", *root).code == 2
    assert cxremb("refresh", "--finetune", *root).code == 2
    train = ["train", "image", "--label-set", "bright", "--epochs", "2", "--root", data.paths.root]
    refused = cxremb(*train, "--fold", "1")  # the newest store is the fine-tuned one
    assert refused.code == 1
    assert "fine-tuned on" in refused.err
    assert cxremb(*train, "--fold", "0").code == 0
