"""transformers networks as frozen text encoders: the CLS vector and the masked mean of the last layer."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, BertTokenizer

from cxremb.encoders.base import Runtime, Vectors
from cxremb.encoders.forward import Forward, choose_forward
from cxremb.encoders.hf_body import load_body, read_config
from cxremb.encoders.table import EncoderSpec, short_name
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError, reason
from cxremb.store.manifest import Recipe

MAX_TOKENS = 512  # the positions a BERT has


class TextNet(torch.nn.Module):
    """Token ids and mask, (n, length) each, to the vectors of the first token and the mean over real tokens."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """((n, dim), (n, dim))."""
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return hidden[:, 0], (hidden * weights).sum(1) / weights.sum(1)


class HfTextEncoder:
    """A frozen transformer in evaluation mode, built on the first call of `encode`."""

    def __init__(self, name: str, spec: EncoderSpec, weights: Weights, runtime: Runtime) -> None:
        self.licence = spec.licence
        self.weights = weights
        self.runtime = runtime
        self.bert = spec.bert
        self.notes: list[str] = []
        self.forward: Forward | None = None
        self.config = read_config(weights.path, spec.bert)
        self.max_tokens = min(MAX_TOKENS, getattr(self.config, "max_position_embeddings", None) or MAX_TOKENS)
        self.tokeniser = load_tokeniser(weights.path, spec.lower_case, spec.bert, self.max_tokens)
        if self.config.hidden_size != spec.dim:
            raise EncoderError(
                f"{weights.path}: {self.config.hidden_size} dimensions, {name} has {spec.dim}",
                f"give the weights of {spec.model}",
            )
        words = self.tokeniser.get_vocab()
        token = self.tokeniser.special_tokens_map.get("mask_token")
        self.mask_token = token if token in words else None  # what may stand for a removed word
        vocabulary = json.dumps(sorted(words.items()), ensure_ascii=True)
        self.recipe = Recipe(
            encoder=short_name(name),
            model=spec.model,
            weights_sha256=weights.sha256,
            modality="text",
            dim=spec.dim,
            poolings=spec.poolings,
            input={
                "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
                "lower_case": self.tokeniser.tokenize("Chest") == self.tokeniser.tokenize("chest"),
                "max_tokens": self.max_tokens,
            },
            precision=runtime.precision_class,
        )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        return [len(ids) for ids in self.tokeniser(list(texts), verbose=False)["input_ids"]]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """{"cls": (n, dim), "mean": (n, dim)}, padded to the longest of `texts`."""
        batch = self.tokeniser(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="np"
        )
        inputs = (batch["input_ids"].astype(np.int64), batch["attention_mask"].astype(np.int64))
        if self.forward is None:
            module = TextNet(load_body(self.weights.path, self.config, self.bert))
            probes = [inputs, longer(inputs, self.max_tokens)]
            self.forward = choose_forward(module, self.runtime, probes, self.notes)
        cls, mean = self.forward(*inputs)
        return {"cls": cls, "mean": mean}


def longer(inputs: Sequence[NDArray[np.int64]], most: int) -> list[NDArray[np.int64]]:
    """The first texts of `inputs` three times over: a shape that a traced network has not seen."""
    return [np.tile(array[:2], (1, 3))[:, :most] for array in inputs]


def load(name: str, spec: EncoderSpec, weights: Path | None, runtime: Runtime) -> HfTextEncoder:
    """The encoder for a transformers entry of the table."""
    return HfTextEncoder(name, spec, locate_folder(name, spec, weights), runtime)


def load_tokeniser(folder: Path, lower_case: bool | None, bert: bool = False, most: int = MAX_TOKENS) -> Any:
    """The folder's tokeniser, with its case forced where the table says so. Raises `EncoderError`."""
    forced = {} if lower_case is None else {"do_lower_case": lower_case}
    loader = BertTokenizer if bert else AutoTokenizer
    try:
        return loader.from_pretrained(folder, model_max_length=most, local_files_only=True, **forced)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{folder}: holds no tokeniser ({reason(error)})",
            hint="copy the model's whole folder: vocab.txt or tokenizer.json is needed",
        ) from error
