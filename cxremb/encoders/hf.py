"""transformers networks as frozen encoders of films or texts: loaded from a folder, no code of which is ever run."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer
from transformers.utils import logging

from cxremb import images
from cxremb.encoders.base import Machine, Vectors, What
from cxremb.encoders.forward import FilmEncoder, FilmNet, Forward, choose_forward, film_input
from cxremb.encoders.table import TOKENS, EncoderSpec, short_name
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError, reason
from cxremb.store.expected import read_object
from cxremb.store.manifest import Recipe

MAX_TOKENS = 512  # the positions a BERT has
UNUSED = ("pooler.", "embeddings.mask_token")  # no vector needs them, and some repositories lack them


def load_image(what: What, spec: EncoderSpec, machine: Machine) -> FilmEncoder:
    """The encoder for an entry of the table that reads films."""
    return film_encoder(what, spec, locate_folder(what.model, spec, what.weights), machine=machine)


def load_text(what: What, spec: EncoderSpec, machine: Machine) -> "HfTextEncoder":
    """The encoder for an entry of the table that reads texts."""
    return HfTextEncoder(what, spec, locate_folder(what.model, spec, what.weights), machine=machine)


def read_config(folder: Path, bert: bool = False) -> Any:
    """The folder's configuration; with `bert` as that of a plain BERT, whatever it calls itself.

    Raises `EncoderError` for a model that only its own code can load.
    """
    try:
        if bert:
            return BertConfig.from_json_file(folder / "config.json")
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(
            f"{folder}: no model that transformers knows ({str(error).splitlines()[0][:120]})",
            hint="code from a model's repository is never run: wrap it in a function of your own, module:function",
        ) from error


def load_body(folder: Path, config: Any, bert: bool = False) -> Any:
    """The network with its weights. Raises `EncoderError` if any is missing."""
    logging.disable_progress_bar()  # ours is the one that counts
    loader = BertModel if bert else AutoModel
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what is left over (heads) is no news, what is missing is an error below
    try:
        # as stored a model may be float16; full precision means float32
        network, report = loader.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    finally:
        logging.set_verbosity(level)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(UNUSED))
    if missing:
        raise EncoderError(
            f"{folder}: lacks {', '.join(missing[:3])} ({len(missing)} in all)",
            hint="give the complete weights of the model",
        )
    network.loss_function = None  # there is none; a tracer, which asks for every attribute, would cause a warning
    return network.eval()


def film_encoder(what: What, spec: EncoderSpec, weights: Weights, *, machine: Machine) -> FilmEncoder:
    """The encoder whose folder is found. Raises `EncoderError` if the folder does not say how to prepare a film."""
    side, mean, std = read_preprocessor(weights.path)
    config = read_config(weights.path)
    frame = images.Frame(side, what.aspect, what.scaled_jpeg)
    recipe = Recipe(
        encoder=short_name(what.model),
        model=spec.model,
        weights_sha256=weights.sha256,
        modality="image",
        dim=spec.dim,
        poolings=spec.poolings,
        input=film_input(frame, mean, std),
        precision=machine.precision_class,
    )

    def build() -> FilmNet:
        network = load_body(weights.path, config)
        prefix = 1 + getattr(config, "num_register_tokens", 0)
        pool = partial(pool_tokens, prefix=prefix) if spec.poolings == TOKENS else pool_map
        return FilmNet(network, pool, mean, std)

    return FilmEncoder(recipe, frame, spec.licence, machine, build)


def read_preprocessor(folder: Path) -> tuple[int, list[float], list[float]]:
    """(side in pixels, mean and std of pixels in 0 to 1) of preprocessor_config.json. Raises `EncoderError`."""
    path = folder / "preprocessor_config.json"
    try:
        given: dict[str, Any] = read_object(path.read_text(encoding="utf-8"))
        size = given.get("crop_size") or given["size"]
        side = size if isinstance(size, int) else size.get("height") or size["shortest_edge"]
        if abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3 or not given.get("do_normalize", True):
            raise ValueError("its pixels are not scaled to 0 to 1 and normalised")
        return int(side), list(given["image_mean"]), list(given["image_std"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{path}: does not say how to prepare a film ({type(error).__name__}: {reason(error)})",
            hint="copy the model's whole folder; it must hold the size, image_mean and image_std",
        ) from error


def pool_tokens(network: Any, batch: torch.Tensor, prefix: int) -> tuple[torch.Tensor, ...]:
    """The class token, and the mean of the patches; `prefix` tokens (class, registers) are no patches."""
    tokens = network(pixel_values=batch).last_hidden_state
    return tokens[:, 0], tokens[:, prefix:].mean(1)


def pool_map(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The mean over the last map."""
    return (network(pixel_values=batch).last_hidden_state.mean((2, 3)),)


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

    def __init__(self, what: What, spec: EncoderSpec, weights: Weights, *, machine: Machine) -> None:
        self.licence = spec.licence
        self.weights = weights
        self.machine = machine
        self.bert = spec.bert
        self.notes: list[str] = []
        self.forward: Forward | None = None
        self.config = read_config(weights.path, spec.bert)
        self.max_tokens = min(MAX_TOKENS, getattr(self.config, "max_position_embeddings", None) or MAX_TOKENS)
        self.tokeniser = load_tokeniser(weights.path, spec.lower_case, spec.bert, most=self.max_tokens)
        if self.config.hidden_size != spec.dim:
            raise EncoderError(
                f"{weights.path}: {self.config.hidden_size} dimensions, {what.model} has {spec.dim}",
                f"give the weights of {spec.model}",
            )
        words = self.tokeniser.get_vocab()
        token = self.tokeniser.special_tokens_map.get("mask_token")
        self.mask_token = token if token in words else None  # what may stand for a removed word
        vocabulary = json.dumps(sorted(words.items()), ensure_ascii=True)
        self.recipe = Recipe(
            encoder=short_name(what.model),
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
            precision=machine.precision_class,
        )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        return [len(ids) for ids in self.tokeniser(list(texts), verbose=False)["input_ids"]]

    def start(self, texts: Sequence[str]) -> Callable[[], Vectors]:
        """What waits for {"cls": (n, dim), "mean": (n, dim)} of `texts`, padded to the longest of them."""
        batch = self.tokeniser(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="np"
        )
        inputs = (batch["input_ids"].astype(np.int64), batch["attention_mask"].astype(np.int64))
        if self.forward is None:
            module = TextNet(load_body(self.weights.path, self.config, self.bert))
            probes = [inputs, longer(inputs, self.max_tokens)]
            self.forward = choose_forward(module, self.machine, probes, notes=self.notes, films=False)
        pending = self.forward.start(*inputs)
        return lambda: dict(zip(("cls", "mean"), pending.wait(), strict=True))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """{"cls": (n, dim), "mean": (n, dim)}, padded to the longest of `texts`."""
        return self.start(texts)()


def longer(inputs: Sequence[NDArray[np.int64]], most: int) -> list[NDArray[np.int64]]:
    """The first texts of `inputs` three times over: a shape that a traced network has not seen."""
    return [np.tile(array[:2], (1, 3))[:, :most] for array in inputs]


def load_tokeniser(folder: Path, lower_case: bool | None, bert: bool = False, *, most: int = MAX_TOKENS) -> Any:
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
