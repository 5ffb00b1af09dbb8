"""Networks of two towers, CLIP and SigLIP: films and texts brought into one space, by one encoder with one recipe."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb import images
from cxremb.encoders.base import Machine, What
from cxremb.encoders.forward import FilmEncoder, FilmNet, film_input
from cxremb.encoders.hf import load_body, load_tokeniser, read_config, read_preprocessor
from cxremb.encoders.table import JOINT, EncoderSpec, short_name
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError
from cxremb.store.manifest import Recipe
from cxremb.store.prompts import TEXT_TOWER

# Kind of network, as its config.json has it -> what a text is filled up to: the longest of its batch where the network
# masks what is filled in, and always the most where it was trained so and masks nothing (Zhai et al. 2023).
FILLED = {"clip": "longest", "siglip": "max_length"}
ROWS = 32  # texts in one pass
WORDS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")  # of a tokeniser that knows any word


def is_towers(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a network with two towers that can be read here."""
    return config.get("model_type") in FILLED and {"vision_config", "text_config"} <= config.keys()


def load(what: What, spec: EncoderSpec, machine: Machine) -> FilmEncoder:
    """The encoder for an entry of the table. Raises `EncoderError` as `tower_encoder`."""
    return tower_encoder(what, spec, locate_folder(what.model, spec, what.weights), machine=machine)


def tower_encoder(what: What, spec: EncoderSpec, weights: Weights, *, machine: Machine) -> FilmEncoder:
    """The encoder whose folder is found: its vectors of films are what its library calls image features.

    Its recipe says how texts are read too. Raises `EncoderError` for a folder of something else, or of another length
    of vectors than the table says.
    """
    config = read_config(weights.path)
    if config.model_type not in FILLED:
        raise EncoderError(
            f"{weights.path}: {config.model_type} is no network of two towers that is known here",
            hint=f"give one of {', '.join(FILLED)}; others by a function of your own, module:function",
        )
    dim = config.projection_dim if config.model_type == "clip" else config.vision_config.hidden_size
    if spec.dim not in (0, dim):
        raise EncoderError(
            f"{weights.path}: {dim} dimensions, {what.model} has {spec.dim}", f"give the weights of {spec.model}"
        )
    side, mean, std = read_preprocessor(weights.path)
    frame = images.Frame(side, what.aspect, what.scaled_jpeg)
    texts = HfTextTower(weights, config)
    recipe = Recipe(
        encoder=short_name(what.model),
        model=spec.model,
        weights_sha256=weights.sha256,
        modality="image",
        dim=dim,
        poolings=JOINT,
        input={**film_input(frame, mean, std), TEXT_TOWER: texts.recipe},
        precision=machine.precision_class,
    )

    def build() -> FilmNet:
        network = load_body(weights.path, config)
        network.text_model = torch.nn.Identity()  # it is not needed, and may be as large as the other
        return FilmNet(network, image_features, mean, std)

    encoder = FilmEncoder(recipe, frame, spec.licence, machine, build)
    encoder.texts = texts
    return encoder


def image_features(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The vector of each film in the space of both."""
    return (vectors_of(network.get_image_features(pixel_values=batch)),)


def vectors_of(found: Any) -> torch.Tensor:
    """What a library of before 5.0 gives as it is, and later ones as a part of their answer."""
    vectors: torch.Tensor = getattr(found, "pooler_output", found)
    return vectors


@dataclass
class HfTextTower:
    """The tower of transformers that reads texts, built on the first call of `encode`.

    Prompts are few: they are always computed by torch in float32 on the CPU, whatever machine the films are for.
    """

    weights: Weights
    config: Any
    network: Any = None

    def __post_init__(self) -> None:
        self.max_tokens: int = self.config.text_config.max_position_embeddings
        self.tokeniser = load_words(self.weights.path, self.max_tokens)

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the vector of a text beside the weights."""
        return text_recipe(self.tokeniser, self.max_tokens, FILLED[self.config.model_type])

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        return [len(ids) for ids in self.tokeniser(list(texts), verbose=False)["input_ids"]]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim)."""
        if self.network is None:
            self.network = load_body(self.weights.path, self.config)
            self.network.vision_model = torch.nn.Identity()
        filled = FILLED[self.config.model_type]
        names = ("input_ids", "attention_mask") if filled == "longest" else ("input_ids",)

        def pass_of(some: list[str]) -> torch.Tensor:
            batch = self.tokeniser(
                some, padding=filled, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            )
            return vectors_of(self.network.get_text_features(**{name: batch[name] for name in names}))

        return in_passes(texts, pass_of)


def load_words(folder: Path, most: int) -> Any:
    """The folder's tokeniser. Raises `EncoderError` where there is none: transformers would make one without words."""
    if not any((folder / name).is_file() for name in WORDS):
        raise EncoderError(
            f"{folder}: holds no tokeniser, none of {', '.join(WORDS)}", hint="copy the model's whole folder"
        )
    return load_tokeniser(folder, None, most=most)


@torch.inference_mode()
def in_passes(texts: Sequence[str], pass_of: Callable[[list[str]], torch.Tensor]) -> NDArray[np.float32]:
    """(n, dim) float32, of `ROWS` texts at a time."""
    found = [pass_of(list(texts[start : start + ROWS])) for start in range(0, len(texts), ROWS)]
    return np.asarray(torch.cat(found).float().numpy())


def text_recipe(tokeniser: Any, max_tokens: int, filled: str) -> dict[str, Any]:
    """How texts become tokens, as a recipe has it."""
    vocabulary = json.dumps(sorted(tokeniser.get_vocab().items()), ensure_ascii=True)
    return {
        "vocabulary_sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "lower_case": tokeniser.tokenize("Chest") == tokeniser.tokenize("chest"),
        "max_tokens": max_tokens,
        "filled_to": filled,
    }
