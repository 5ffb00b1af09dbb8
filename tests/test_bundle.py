"""A run folder predicts what it recorded; one that was edited, cut short or given other vectors is refused."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from planted import Planted, plant
from safetensors.numpy import load_file, save_file

from cxremb.errors import StoreError, TrainError
from cxremb.features import load_features
from cxremb.splits import stored_split
from cxremb.training.bundle import load_bundle
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.options import Options

BOTH = ("image", "text")
QUICK = Options(epochs=3, batch_size=64)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    dataset = plant(tmp_path_factory.mktemp("bundle"), Planted(studies=300, image=1.0, text=1.5))
    return dataset, load_features(dataset, BOTH), stored_split(dataset, "normal_abnormal")


@pytest.fixture
def made(tmp_path, planted):
    """A run of its own, to be damaged."""
    _, features, split = planted
    dataset = plant(tmp_path, Planted(studies=5), modalities=())
    return fit_run(FitJob(dataset, features, split, Plan("fusion", options=QUICK, folds=(0,))))


@pytest.mark.parametrize("arm", ["fusion", "text", "linear", "gated", "late", "either"])
def test_a_bundle_predicts_what_the_run_recorded(planted, arm):
    dataset, features, split = planted
    run = fit_run(FitJob(dataset, features, split, Plan(arm, options=QUICK, folds=(0, 1), seeds=(4,))))
    bundle = load_bundle(run.folder)
    row_of = {item: row for row, item in enumerate(features.item_ids.tolist())}
    assert list(bundle.weights) == ["repeat0.fold0.seed4", "repeat0.fold1.seed4"]
    found = []
    for fold in (0, 1):
        stored = run.prediction_rows.filter(pc.equal(run.prediction_rows["fold"], fold))
        rows = [row_of[item] for item in stored["item_id"].to_pylist()]
        predicted = bundle.predict_features(features, f"repeat0.fold{fold}.seed4")
        np.testing.assert_allclose(predicted.prob[rows, 0], stored["y_prob"].to_numpy(), atol=1e-6)
        np.testing.assert_allclose(predicted.logit[rows, 0], stored["y_logit"].to_numpy(), atol=1e-5)
        vectors = {block: features.blocks[block][rows] for block in bundle.head.blocks}
        alone = bundle.predict(vectors, model=f"repeat0.fold{fold}.seed4")  # without the rest of its rows
        np.testing.assert_allclose(alone.prob, predicted.prob[rows], atol=1e-6)
        found.append(predicted.prob)
    np.testing.assert_allclose(bundle.predict_features(features).prob, np.mean(found, axis=0), atol=1e-12)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


def exchange(path) -> None:
    save_file(
        {name: np.asarray(array * 2) for name, array in load_file(path).items()}, path
    )  # as whole as any, but not this run's


@pytest.mark.parametrize("damage", [cut, flip, exchange, lambda path: path.unlink()])
def test_weights_that_are_not_those_of_the_run_are_refused(made, damage):
    damage(made.folder / "model.safetensors")
    with pytest.raises(StoreError, match=r"model\.safetensors") as caught:
        load_bundle(made.folder)
    assert str(made.folder) in caught.value.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("spec"),
        lambda record: record["spec"].update(kind="oracle"),
        lambda record: record["spec"].update(layers=7),
        lambda record: record.pop("model_sha256"),
        lambda record: record.pop("members"),
    ],
)
def test_a_record_that_describes_no_head_is_refused(made, damage):
    path = made.folder / "run.json"
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match=str(made.folder)):
        load_bundle(made.folder)


def test_a_network_from_pixels_is_no_head(made):
    path = made.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "spec": {"network": "custom-cnn"}}))
    with pytest.raises(TrainError, match="network from pixels"):
        load_bundle(made.folder)


def test_vectors_of_another_encoder_are_refused_with_both_keys(made, planted):
    _, features, _ = planted
    bundle = load_bundle(made.folder)
    other = replace(features, keys={**features.keys, "text": "f" * 64})
    with pytest.raises(TrainError) as caught:
        bundle.predict_features(other)
    assert features.keys["text"] in str(caught.value)
    assert "f" * 64 in str(caught.value)
    assert "--text-model" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: replace(f, text="impression"), "trained on text findings[+]impression"),
        (lambda f: replace(f, pooling={**f.pooling, "text": "mean"}), "trained on pooling"),
        (lambda f: replace(f, blocks={**f.blocks, "image": np.asarray(f.blocks["image"])[:, 1:]}), "width 6, not 5"),
    ],
)
def test_rows_of_another_kind_are_refused(made, planted, change, says):
    with pytest.raises(TrainError, match=says):
        load_bundle(made.folder).predict_features(change(planted[1]))


@pytest.mark.parametrize(("images", "texts"), [(4, 2), (2, 4)])
def test_blocks_of_other_lengths_are_refused(made, planted, images, texts):
    bundle, blocks = load_bundle(made.folder), planted[1].blocks
    uneven = {"image": blocks["image"][:images], "text": blocks["text"][:texts]}
    with pytest.raises(TrainError, match=f"{images} of image, {texts} of text"):
        bundle.predict(uneven)
    even = {name: block[:4] for name, block in blocks.items()}
    with pytest.raises(TrainError, match=r"`present` of text has shape \(2,\)"):
        bundle.predict(even, {"text": np.ones(2, bool)})
    assert bundle.predict(even, {"text": np.ones(4, bool)}).prob.shape == (4, 1)


def test_what_a_bundle_lacks_is_named(made, planted):
    bundle = load_bundle(made.folder)
    blocks = planted[1].blocks
    with pytest.raises(TrainError, match=r"no model 'repeat0\.fold7\.seed0'") as caught:
        bundle.predict(blocks, model="repeat0.fold7.seed0")
    assert "repeat0.fold0.seed0" in caught.value.hint
    with pytest.raises(TrainError, match="reads text vectors too"):
        bundle.predict({"image": blocks["image"]})


def test_nothing_in_a_run_is_a_pickle(made):
    for path in made.folder.iterdir():
        assert path.suffix in {".md", ".csv", ".json", ".parquet", ".safetensors"}
        assert not path.read_bytes().startswith((b"\x80", b"PK"))  # a pickle, or the archive that torch.save makes
