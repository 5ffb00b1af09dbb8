"""An ONNX file says what the run recorded, for every kind of head and task; films through the encoder say the same."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from planted import KINDS, Planted, plant
from safetensors.torch import save_file
from test_finetune import films

from cxremb.catalog import add_collection
from cxremb.embedding import start
from cxremb.encoders.base import Machine, What
from cxremb.encoders.table import ENCODERS, timm_net
from cxremb.errors import EncoderError, TrainError
from cxremb.export import subject, write
from cxremb.export.write import export_run
from cxremb.features import Inputs, load_features
from cxremb.splits import choose_split, stored_split
from cxremb.store.reader import open_store
from cxremb.training.bundle import load_bundle
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.options import Options

QUICK = Options(epochs=3, batch_size=64)
NET = "exported_net"
HERE = Machine(workers=1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    plan = Planted(studies=200, image=1.0, text=1.5, kinds=2.0)
    return plant(tmp_path_factory.mktemp("export"), plan)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def stored(run, features, fold):
    """(rows, y_prob (m, k)) of one fold as the run recorded them."""
    table = run.prediction_rows.to_pandas()
    table = table[table["fold"] == fold].pivot(index="item_id", columns="label", values="y_prob")[list(features.labels)]
    row_of = {item: row for row, item in enumerate(features.item_ids.tolist())}
    return [row_of[item] for item in table.index], table.to_numpy()


CASES = [
    ("normal_abnormal", "fusion"),
    ("normal_abnormal", "linear"),
    ("normal_abnormal", "gated"),
    ("normal_abnormal", "late"),
    ("kind", "text"),
    ("kind", "linear-text"),
    ("found", "fusion"),
]


@pytest.mark.parametrize(("label_set", "arm"), CASES)
def test_a_file_gives_the_stored_predictions(planted, tmp_path, label_set, arm):
    blocks = ("text",) if "text" in arm else ("image", "text")
    features = load_features(planted, blocks, Inputs(label_set))
    run = fit_run(FitJob(planted, features, stored_split(planted, label_set), Plan(arm, options=QUICK, folds=(0, 1))))
    done = export_run(planted, run, tmp_path / "one.onnx", fold=1)
    assert (done.models, done.rows) == (["repeat0.fold1.seed0"], min(len(features.y), subject.CHECKED))
    assert done.difference < 1e-5
    rows, wanted = stored(run, features, 1)
    found = session(done.path).run(None, {block: np.asarray(features.blocks[block][rows]) for block in blocks})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted) > 0.1


def test_the_mean_of_all_models_and_what_the_file_says_of_itself(planted, tmp_path):
    features = load_features(planted, ("text",), Inputs("kind"))
    run = fit_run(
        FitJob(planted, features, stored_split(planted, "kind"), Plan("text", options=QUICK, folds=(0, 1, 2)))
    )
    done = export_run(planted, run, tmp_path / "all.onnx")
    texts = {"text": np.asarray(features.blocks["text"][:7])}
    found = session(done.path).run(["probability"], texts)[0]
    each = [load_bundle(run.folder).predict(texts, model=name) for name in done.models]
    assert len(each) == 3
    np.testing.assert_allclose(found, np.mean([one.prob for one in each], axis=0), atol=1e-6)
    told = {prop.key: prop.value for prop in onnx.load(done.path).metadata_props}
    assert (told["run_id"], told["task"], json.loads(told["labels"])) == (run.run_id, "multiclass", list(KINDS))
    assert json.loads(told["keys"]) == run.record.keys
    assert set(json.loads(told["licence"])) == {"dataset", "citation", "encoders"}
    assert done.inputs == {"text": ("n", features.blocks["text"].shape[1])}


@pytest.mark.parametrize("arm", ["attention", "either"])
def test_rows_that_lack_something_are_told_by_a_mask(planted, tmp_path, arm):
    inputs = Inputs(unit="study") if arm == "attention" else Inputs(missing="keep")
    features = load_features(planted, ("image", "text"), inputs)
    run = fit_run(
        FitJob(planted, features, stored_split(planted, "normal_abnormal"), Plan(arm, options=QUICK, folds=(0,)))
    )
    done = export_run(planted, run, tmp_path / "masked.onnx")
    rng, bundle = np.random.default_rng(0), load_bundle(run.folder)
    masked = ["image"] if arm == "attention" else ["image", "text"]
    shape = (9, 4, 6) if arm == "attention" else (9, 6)  # another number of views than in training
    vectors = {"image": rng.standard_normal(shape), "text": rng.standard_normal((9, 6))}
    vectors = {name: array.astype(np.float32) for name, array in vectors.items()}
    present = {name: rng.random(vectors[name].shape[:-1]) < 0.6 for name in masked}
    for name in masked:
        vectors[name][~present[name]] = 0
    fed = vectors | {f"present_{name}": mask for name, mask in present.items()}
    found = session(done.path).run(None, fed)[0]
    np.testing.assert_allclose(found, bundle.predict(vectors, present).prob, atol=1e-5)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """(data set with a store of a small timm network, its weights)."""
    folder = tmp_path_factory.mktemp("filmed")
    torch.manual_seed(2)
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), folder / "model.safetensors")
    dataset = add_collection(films(folder / "films"), folder / "root").dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, NET, timm_net("test_resnet.r160_in1k", network.num_features, 64))
        start.run(dataset, What(NET, folder / "model.safetensors"), HERE)
        yield dataset, folder / "model.safetensors"


def test_encoder_and_head_on_films_equal_embed_and_predict(filmed, tmp_path):
    dataset, _ = filmed
    features = load_features(dataset, ("image",), Inputs("bright"))
    run = fit_run(FitJob(dataset, features, choose_split(dataset, "bright"), Plan("image", options=QUICK, folds=(0,))))
    done = export_run(dataset, run, tmp_path / "films.onnx", with_encoder=True)
    assert done.inputs == {"films": ("n", 64, 64)}
    assert (done.rows, done.notes) == (subject.FILMS_CHECKED, [])
    from PIL import Image

    folder = dataset.paths.root.parent / "films"
    rows, wanted = stored(run, features, 0)
    pixels = np.stack([np.asarray(Image.open(folder / f"{features.item_ids[row][1:]}.png")) for row in rows])
    found = session(done.path).run(None, {"films": pixels})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted) > 0.01


def test_a_file_that_differs_is_not_put_in_place(planted, tmp_path, monkeypatch):
    features = load_features(planted, ("text",))
    run = fit_run(
        FitJob(planted, features, stored_split(planted, "normal_abnormal"), Plan("text", options=QUICK, folds=(0,)))
    )
    wrong = subject.mean_probability
    monkeypatch.setattr(subject, "mean_probability", lambda *words, **named: wrong(*words, **named) + 2e-4)
    with pytest.raises(TrainError, match=r"differs from the run by 0\.0002"):
        export_run(planted, run, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_says_why(planted, filmed, tmp_path, monkeypatch):
    features = load_features(planted, ("text",))
    run = fit_run(
        FitJob(planted, features, stored_split(planted, "normal_abnormal"), Plan("text", options=QUICK, folds=(0,)))
    )
    target = tmp_path / "none.onnx"
    with pytest.raises(TrainError, match="reads no films"):
        export_run(planted, run, target, with_encoder=True)
    with pytest.raises(TrainError, match="has no fold 4"):
        export_run(planted, run, target, fold=4)
    monkeypatch.setattr(write, "find_spec", lambda package: None if package == "onnxruntime" else True)
    with pytest.raises(TrainError, match="needs onnxruntime") as caught:
        export_run(planted, run, target)
    assert "cxremb[export]" in caught.value.hint
    monkeypatch.undo()
    dataset, weights = filmed
    network = timm.create_model("test_resnet", pretrained=False)
    kept = weights.read_bytes()
    save_file(network.state_dict(), weights)
    with pytest.raises(EncoderError, match="is not what"):
        subject.encoder_of(open_store(dataset, NET))
    weights.write_bytes(kept)
    assert not target.exists()


def test_the_command(planted, tmp_path, cxremb):
    features = load_features(planted, ("text",))
    run = fit_run(
        FitJob(planted, features, stored_split(planted, "normal_abnormal"), Plan("text", options=QUICK, folds=(0,)))
    )
    call = ["export", run.run_id, "--output", tmp_path / "model.onnx", "--root", planted.paths.root]
    done = cxremb(*call)
    assert done.code == 0, done.err
    assert "differs from the run by" in done.out
    before = (tmp_path / "model.onnx").read_bytes()
    refused = cxremb(*call)
    assert refused.code == 1
    assert "--force" in refused.err
    assert (tmp_path / "model.onnx").read_bytes() == before
    told = json.loads(cxremb(*call, "--force", "--format", "json").out)
    assert told["file"] == str(tmp_path / "model.onnx")
    assert told["difference"] < 1e-5
