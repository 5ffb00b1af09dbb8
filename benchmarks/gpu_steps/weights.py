"""Random weights of the real architectures, such that agreement can be judged by them. For --quick, of tiny ones."""

from pathlib import Path
from typing import Any

import torch

from gpu_steps.setting import Setting

SEED = 2
CASED_WORDS = 28_996  # rows of BioBERT's table of words
SPREAD = 0.05  # of weights; with the usual 0.02 the vectors of any two texts are nearly the same


def film_model(setting: Setting) -> str:
    """The encoder of films, by its name in the package."""
    return "timm:test_efficientnet.r160_in1k" if setting.quick else "efficientnet_b1"


def film_weights(setting: Setting) -> Path:
    """Where its weights lie."""
    return setting.folder / "films.safetensors"


def text_weights(setting: Setting) -> Path:
    """Where those of the encoder of texts lie."""
    return setting.folder / "texts"


def write_film_weights(setting: Setting) -> dict[str, Any]:
    """The network as timm draws it, but for the scale of its last layer.

    Drawn like that its vectors are as small as 1e-6, of which float16, in which a store keeps them, holds next to
    nothing. Scaled to values around 1 they survive, and the cosine of half to full precision is 0.99997 (on a CPU).
    """
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    name = "test_efficientnet" if setting.quick else "efficientnet_b1"
    network = timm.create_model(name, pretrained=False).eval()
    with torch.inference_mode():
        features = network.forward_head(network.forward_features(torch.rand(2, 3, 160, 160) * 2 - 1), pre_logits=True)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    norms[-1].weight.data.div_(4 * features.std())
    save_file(network.state_dict(), film_weights(setting))
    return {"architecture": name, "parameters": sum(tensor.numel() for tensor in network.parameters())}


def write_text_weights(setting: Setting, words: list[str]) -> dict[str, Any]:
    """A BERT-base as transformers draws it, with a vocabulary of `words`; for --quick of one thin layer."""
    from transformers import BertConfig, BertModel

    folder = text_weights(setting)
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    rows = len(vocabulary) if setting.quick else CASED_WORDS
    vocabulary += [f"[unused{number}]" for number in range(rows - len(vocabulary))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    thin = {"num_hidden_layers": 1, "intermediate_size": 64} if setting.quick else {}
    torch.manual_seed(SEED)
    network = BertModel(BertConfig(vocab_size=rows, initializer_range=SPREAD, **thin))
    network.save_pretrained(folder)
    return {"architecture": "BERT-base, " + ("one thin layer" if setting.quick else "12 layers"),
            "parameters": sum(tensor.numel() for tensor in network.parameters())}  # fmt: skip
