"""transformers networks as frozen text encoders: the CLS vector and the masked mean of the last layer."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from cxremb.encoders.base import Runtime, Vectors
from cxremb.encoders.table import EncoderSpec
from cxremb.encoders.timm_image import precision
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError
from cxremb.store.layout import SECTIONS
from cxremb.store.manifest import Recipe

MAX_TOKENS = 512  # the positions a BERT has


class HfTextEncoder:
    """A frozen transformer in evaluation mode."""

    def __init__(self, name: str, spec: EncoderSpec, weights: Weights, runtime: Runtime) -> None:
        self.licence = spec.licence
        self.weights = weights
        self.runtime = runtime
        self.max_tokens = MAX_TOKENS
        self.tokeniser = load_tokeniser(weights.path, spec.lower_case)
        config = AutoConfig.from_pretrained(weights.path)
        if config.hidden_size != spec.dim:
            raise EncoderError(
                f"{weights.path}: {config.hidden_size} dimensions, {name} has {spec.dim}",
                f"give the weights of {spec.model}",
            )
        vocabulary = json.dumps(sorted(self.tokeniser.get_vocab().items()), ensure_ascii=True)
        self.recipe = Recipe(
            encoder=name,
            model=spec.model,
            weights_sha256=weights.sha256,
            modality="text",
            dim=spec.dim,
            poolings=spec.poolings,
            sections=SECTIONS,
            input={
                "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
                "lower_case": self.tokeniser.tokenize("Chest") == self.tokeniser.tokenize("chest"),
                "max_tokens": MAX_TOKENS,
            },
            precision=runtime.precision_class,
        )

    @cached_property
    def network(self) -> Any:
        """The network with its weights, on its device."""
        logging.disable_progress_bar()  # ours is the one that counts
        network, report = AutoModel.from_pretrained(self.weights.path, output_loading_info=True)
        missing = sorted(
            key for key in report["missing_keys"] if not key.startswith("pooler.")
        )  # the pooler is not used
        if missing:
            raise EncoderError(
                f"{self.weights.path}: lacks {', '.join(missing[:3])} ({len(missing)} in all)",
                hint=f"give the complete weights of {self.recipe.model}",
            )
        network.eval().requires_grad_(False)
        return network.to(self.runtime.device)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        return [len(ids) for ids in self.tokeniser(list(texts), verbose=False)["input_ids"]]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Vectors:
        """{"cls": (n, dim), "mean": (n, dim)}, padded to the longest of `texts`."""
        batch = self.tokeniser(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self.runtime.device)
        with precision(self.runtime):
            hidden = self.network(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return {"cls": hidden[:, 0].cpu().numpy(), "mean": mean.cpu().numpy()}


def load(name: str, spec: EncoderSpec, weights: Path | None, runtime: Runtime) -> HfTextEncoder:
    """The encoder for a transformers entry of the table."""
    return HfTextEncoder(name, spec, locate_folder(name, spec, weights), runtime)


def load_tokeniser(folder: Path, lower_case: bool | None) -> Any:
    """The folder's tokeniser, with its case forced where the table says so. Raises `EncoderError`."""
    forced = {} if lower_case is None else {"do_lower_case": lower_case}
    try:
        return AutoTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS, **forced)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{folder}: holds no tokeniser ({str(error).splitlines()[0][:120]})",
            hint="copy the model's whole folder: vocab.txt or tokenizer.json is needed",
        ) from error
