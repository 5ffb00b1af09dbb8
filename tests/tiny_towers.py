"""Random networks of the real architectures of two towers, small, with a tokeniser of a few words: as on the hub."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers.normalizers import Lowercase
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

WORDS = [
    *("no", "a", "the", "chest", "x", "ray", "with", "without", "showing", "is", "seen", "evidence", "of", "film"),
    *("abnormal", "normal", "opacity", "nodule", "pneumonia", "heart", "lung", "effusion", "pleural", "consistent"),
]
SIDE, MOST, BEGIN, END = 32, 24, 0, 1
TEXTS = ["no pneumonia", "a chest x-ray with pleural effusion", "abnormal"]


def save_tokeniser(folder: Path, kind: str) -> PreTrainedTokenizerFast:
    """Whole words in lower case. CLIP's begins and ends a text; SigLIP's ends it, and fills up with the same token."""
    vocabulary = {"<s>": BEGIN, "</s>": END, "<unk>": 2, "<pad>": 3, **{word: 4 + at for at, word in enumerate(WORDS)}}
    tokeniser = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokeniser.normalizer = Lowercase()
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    single = "<s> $A </s>" if kind == "clip" else "$A </s>"
    special = [("<s>", BEGIN), ("</s>", END)]
    tokeniser.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokeniser,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>" if kind == "clip" else "</s>",
        model_max_length=MOST,
    )
    found.save_pretrained(folder)
    return found


def configuration(kind: str) -> Any:
    """Two layers in either tower, vectors of 16."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**shape, "image_size": SIDE, "patch_size": 8}
    text = {**shape, "vocab_size": 4 + len(WORDS), "max_position_embeddings": MOST}
    text |= {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": 3 if kind == "clip" else END}
    if kind == "clip":
        return CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    return SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=vision)


def save_towers(folder: Path, kind: str, seed: int = 0) -> Any:
    """The network as its folder holds it: configuration, safetensors, tokeniser, how to prepare a film."""
    torch.manual_seed(seed)
    network = (CLIPModel if kind == "clip" else SiglipModel)(configuration(kind)).eval()
    for parameter in network.parameters():  # random values that keep signals alive
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    save_tokeniser(folder, kind)
    size: dict[str, Any] = {"height": SIDE, "width": SIDE}
    prepare: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop_size": size} if kind == "clip" else {"size": size}
    prepare |= {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    return network
