"""Encoders of two towers that open_clip loads, against a plain forward pass of the library."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_towers
import torch
from conftest import film
from tiny_towers import TEXTS, WORDS

from cxremb.encoders.base import What, load_encoder
from cxremb.encoders.table import ENCODERS
from cxremb.errors import EncoderError
from cxremb.images import resize
from cxremb.store.files import sha256_of

pytestmark = pytest.mark.arithmetic
SIDE, DIM, LONGEST = 32, 12, 20
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
VISION = {"image_size": SIDE, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8}
OWN = {"context_length": LONGEST, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 2}
BERT = {"hf_model_name": "lab/bert", "hf_tokenizer_name": "lab/bert", "hf_proj_type": "mlp", "context_length": LONGEST}


@pytest.fixture
def open_clip() -> Any:
    return pytest.importorskip("open_clip", reason="open_clip, of the extra open-clip, is not installed")


def save_bert(folder: Path) -> None:
    """The shape and the words of a BERT, without weights: as its page on the hub has them."""
    from transformers import BertConfig, BertTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "-", *WORDS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def save_towers(open_clip: Any, folder: Path, kind: str, suffix: str = ".safetensors") -> Any:
    """As on the hub: open_clip_config.json, the weights, and of a BERT its tokeniser beside them."""
    text = OWN if kind == "own" else BERT
    config = {"embed_dim": DIM, "vision_cfg": VISION, "text_cfg": text}
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if kind == "own":
        network = open_clip.CLIP(**config)
    else:
        save_bert(folder / "text")
        here = {**BERT, "hf_model_name": str(folder / "text"), "hf_model_pretrained": False}
        network = open_clip.CustomTextCLIP(embed_dim=DIM, vision_cfg=VISION, text_cfg=here)
    for parameter in network.parameters():  # random values that keep signals alive
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    how = {"mean": MEAN, "std": STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": how}))
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        state = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    return network.eval()


def plain_pass(open_clip: Any, network: Any, folder: Path, kind: str, pictures: np.ndarray) -> tuple[Any, Any]:
    """(films, texts): unit vectors by one forward pass of the whole network."""
    if kind == "own":
        words = open_clip.tokenizer.SimpleTokenizer(context_length=LONGEST)(TEXTS)
    else:
        words = open_clip.tokenizer.HFTokenizer(str(folder / "text"), context_length=LONGEST)(TEXTS)
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    batch = (torch.from_numpy(pictures)[:, None].expand(-1, 3, -1, -1) / 255 - mean) / std
    with torch.inference_mode():
        films, texts, _ = network(batch, words)
    return films.numpy(), texts.numpy()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("kind", ["own", "bert"])
def test_either_tower_equals_a_plain_pass(open_clip: Any, kind: str, suffix: str, tmp_path: Path) -> None:
    network = save_towers(open_clip, tmp_path / "m", kind, suffix)
    encoder = load_encoder(What(f"hf:lab/{kind}", tmp_path / "m"))
    assert (encoder.recipe.modality, encoder.recipe.poolings, encoder.recipe.dim) == ("image", ("joint",), DIM)
    pictures = np.stack([resize(film(seed), encoder.frame) for seed in range(3)])
    films, texts = plain_pass(open_clip, network, tmp_path / "m", kind, pictures)
    np.testing.assert_allclose(unit(encoder.encode(pictures)["joint"]), films, atol=1e-5)
    np.testing.assert_allclose(unit(encoder.texts.encode(TEXTS)), texts, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 0.01
    assert encoder.texts.max_tokens == LONGEST
    assert encoder.texts.lengths(["no pneumonia"]) == [4]
    assert encoder.recipe.input["text_tower"]["lower_case"] is True


def test_a_page_with_the_files_of_both_libraries_is_read_by_transformers(tmp_path: Path) -> None:
    """As the CLIPs of LAION have them: neither takes the weights of the other, and no extra is needed."""
    network = tiny_towers.save_towers(tmp_path, "clip")
    config = {"embed_dim": DIM, "vision_cfg": VISION, "text_cfg": OWN}
    how = {"mean": MEAN, "std": STD}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": how}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no weights")
    encoder = load_encoder(What("hf:lab/both", tmp_path))
    assert encoder.recipe.input["text_tower"]["filled_to"] == "longest"
    assert encoder.recipe.weights_sha256 == sha256_of(tmp_path / "model.safetensors")
    assert encoder.recipe.dim == network.config.projection_dim
    assert encoder.encode(np.zeros((1, SIDE, SIDE), np.uint8))["joint"].shape == (1, encoder.recipe.dim)


def test_weights_of_transformers_beside_them_are_not_taken_for_open_clip_s(open_clip: Any, tmp_path: Path) -> None:
    save_towers(open_clip, tmp_path, "own")
    (tmp_path / "model.safetensors").write_bytes(b"of another library")
    encoder = load_encoder(What("hf:lab/own", tmp_path))
    assert encoder.recipe.weights_sha256 == sha256_of(tmp_path / "open_clip_model.safetensors")
    assert encoder.encode(np.zeros((1, SIDE, SIDE), np.uint8))["joint"].shape == (1, DIM)


def test_nothing_is_fetched_and_what_is_missing_is_named(
    open_clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BiomedCLIP's repository does not say how its BERT is built: its configuration has to be brought once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    save_towers(open_clip, tmp_path / "m", "bert")
    bare = shutil.copytree(tmp_path / "m", tmp_path / "bare")
    for path in (bare / "text").iterdir():  # words lie beside the weights, the configuration nowhere
        if path.name != "config.json":
            shutil.move(path, bare / path.name)
    (bare / "text" / "config.json").unlink()
    encoder = load_encoder(What("hf:lab/bert", bare))
    with pytest.raises(EncoderError, match="texts are read by a lab/bert") as caught:
        encoder.texts.encode(TEXTS)
    assert str(bare / "text") in caught.value.hint
    dumb = shutil.copytree(tmp_path / "m", tmp_path / "dumb")
    for path in (dumb / "text").iterdir():
        if path.name != "config.json":
            path.unlink()
    with pytest.raises(EncoderError, match="holds no tokeniser"):
        load_encoder(What("hf:lab/bert", dumb))
    lame = shutil.copytree(tmp_path / "m", tmp_path / "lame")
    (lame / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 3}, "preprocess_cfg": {}}))
    with pytest.raises(EncoderError, match="does not describe two towers"):
        load_encoder(What("hf:lab/bert", lame))


def test_weights_that_lack_something_are_named(open_clip: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_towers(open_clip, tmp_path, "own")
    path = tmp_path / "open_clip_model.safetensors"
    state = load_file(path)
    lost = "visual.transformer.resblocks.1.mlp.c_fc.weight"
    save_file({name: value for name, value in state.items() if name != lost}, path)
    encoder = load_encoder(What("hf:lab/own", tmp_path))
    with pytest.raises(EncoderError, match=lost):
        encoder.encode(np.zeros((1, SIDE, SIDE), np.uint8))
    with pytest.raises(EncoderError, match="12 dimensions, biomedclip has 512"):
        load_encoder(What("biomedclip", tmp_path))


def test_without_the_library_the_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ENCODERS["biomedclip"]
    assert (spec.model, spec.dim) == ("microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", 512)
    config = {"embed_dim": 512, "vision_cfg": VISION, "text_cfg": OWN}
    how = {"mean": MEAN, "std": STD}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": how}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(EncoderError, match="needs open_clip") as caught:
        load_encoder(What("biomedclip", tmp_path))
    assert 'pip install "cxremb[open-clip]"' in caught.value.hint
