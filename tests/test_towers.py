"""Encoders of two towers against a plain forward pass of transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import film
from tiny_towers import MOST, SIDE, TEXTS, save_towers
from transformers import AutoModel, AutoTokenizer

from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.table import ENCODERS
from cxremb.errors import EncoderError
from cxremb.images import resize
from cxremb.store.dataset import Dataset

pytestmark = pytest.mark.arithmetic
KINDS = ("clip", "siglip")


def plain_pass(folder: Path, kind: str, pictures: np.ndarray, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(films, texts) by one forward pass of the whole network, as its documentation has it: unit vectors."""
    network, tokeniser = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    prepare = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(prepare[name])[:, None, None] for name in ("image_mean", "image_std"))
    batch = (torch.from_numpy(pictures)[:, None].expand(-1, 3, -1, -1) / 255 - mean) / std
    filled = "max_length" if kind == "siglip" else True
    words = tokeniser(texts, padding=filled, truncation=True, max_length=MOST, return_tensors="pt")
    words = {name: words[name] for name in ("input_ids", *(("attention_mask",) if kind == "clip" else ()))}
    with torch.inference_mode():
        found = network(pixel_values=batch, **words)
    return found.image_embeds.numpy(), found.text_embeds.numpy()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_either_tower_equals_a_plain_transformers_pass(kind: str, tmp_path: Path) -> None:
    save_towers(tmp_path / "m", kind)
    encoder = load_encoder(What(f"hf:lab/{kind}", tmp_path / "m"))
    assert (encoder.recipe.modality, encoder.recipe.poolings) == ("image", ("joint",))
    pictures = np.stack([resize(film(seed), encoder.frame) for seed in range(3)])
    assert pictures.shape == (3, SIDE, SIDE)
    films, texts = plain_pass(tmp_path / "m", kind, pictures, TEXTS)
    own = encoder.encode(pictures)["joint"]
    assert own.shape == (3, encoder.recipe.dim) == films.shape
    np.testing.assert_allclose(unit(own), films, atol=1e-5)
    np.testing.assert_allclose(unit(encoder.texts.encode(TEXTS)), texts, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 0.01  # texts are told apart at all
    one = np.concatenate([encoder.texts.encode([text]) for text in TEXTS])  # what is filled in says nothing
    np.testing.assert_allclose(encoder.texts.encode(TEXTS), one, atol=1e-5)
    many = encoder.texts.encode(TEXTS * 20)
    np.testing.assert_allclose(many[-3:], one, atol=1e-5)  # of more than one pass


@pytest.mark.parametrize("kind", KINDS)
def test_one_key_says_how_films_and_texts_are_read(kind: str, tmp_path: Path, small: Dataset) -> None:
    save_towers(tmp_path / "m", kind)
    encoder = load_encoder(What(f"hf:lab/{kind}", tmp_path / "m"))
    asked = encoder.recipe.input["text_tower"]
    assert asked["max_tokens"] == MOST
    assert asked["lower_case"] is True
    assert asked["filled_to"] == {"clip": "longest", "siglip": "max_length"}[kind]
    assert [len(TEXTS[0].split()) + (2 if kind == "clip" else 1)] == encoder.texts.lengths(TEXTS[:1])
    other = shutil.copytree(tmp_path / "m", tmp_path / "other")
    words = json.loads((other / "tokenizer.json").read_text())
    words["model"]["vocab"]["lungs"] = words["model"]["vocab"].pop("lung")  # another vocabulary, the same weights
    (other / "tokenizer.json").write_text(json.dumps(words))
    assert load_encoder(What(f"hf:lab/{kind}", other)).recipe.key != encoder.recipe.key
    store = embed(small, encoder).store
    assert store.manifest.recipe.key == encoder.recipe.key
    ids, X = store.vectors()
    assert X.shape == (24, encoder.recipe.dim)
    paths = dict(zip(small.images["image_id"].to_pylist(), small.images["path"].to_pylist(), strict=True))
    from PIL import Image

    pictures = np.stack([resize(np.asarray(Image.open(paths[name])), encoder.frame) for name in ids])
    films, _ = plain_pass(tmp_path / "m", kind, pictures, TEXTS)
    assert (unit(X) * films).sum(1).min() > 0.9999


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_films_go_through_any_engine_and_texts_through_torch(engine: str, tmp_path: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    save_towers(tmp_path, "clip")
    plain, other = (load_encoder(What("hf:lab/clip", tmp_path), Machine(engine=one)) for one in ("torch", engine))
    pictures = np.stack([resize(film(seed), plain.frame) for seed in range(4)])
    np.testing.assert_allclose(plain.encode(pictures)["joint"], other.encode(pictures)["joint"], atol=2e-3)
    half = load_encoder(What("hf:lab/clip", tmp_path), Machine(precision="bf16"))
    assert half.recipe.key != plain.recipe.key
    np.testing.assert_array_equal(half.texts.encode(TEXTS), plain.texts.encode(TEXTS))


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    save_towers(tmp_path / "m", "clip")
    with pytest.raises(EncoderError, match="12 dimensions, clip has 512") as caught:
        load_encoder(What("clip", tmp_path / "m"))
    assert "openai/clip-vit-base-patch16" in caught.value.hint
    bare = shutil.copytree(tmp_path / "m", tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match="does not say how to prepare a film"):
        load_encoder(What("hf:lab/clip", bare))
    dumb = shutil.copytree(tmp_path / "m", tmp_path / "dumb")
    for path in dumb.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(EncoderError, match="holds no tokeniser"):
        load_encoder(What("hf:lab/clip", dumb))
    other = shutil.copytree(tmp_path / "m", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "flava"}))
    with pytest.raises(EncoderError, match="neither a plain image encoder"):
        load_encoder(What("hf:lab/flava", other))
    bert = tmp_path / "bert"
    shutil.copytree(tmp_path / "m", bert)
    (bert / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 12}))
    with pytest.raises(EncoderError, match="no network of two towers"):
        load_encoder(What("medsiglip", bert))


def test_the_table_names_real_repositories() -> None:
    named = {name: (spec.model, spec.dim, spec.side) for name, spec in ENCODERS.items() if spec.poolings == ("joint",)}
    assert named["medsiglip"] == ("google/medsiglip-448", 1152, 448)
    assert named["siglip"] == ("google/siglip-base-patch16-224", 768, 224)
    assert named["clip"] == ("openai/clip-vit-base-patch16", 512, 224)
