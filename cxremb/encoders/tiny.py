"""Encoders that need no weights: fixed random projections of pixels and of words. For tests and for trying out."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxremb import images
from cxremb.encoders.base import Machine, Vectors, What
from cxremb.encoders.table import EncoderSpec
from cxremb.errors import EncoderError
from cxremb.store.manifest import Recipe
from cxremb.store.prompts import TEXT_TOWER

WORDS = 4096  # hash buckets


class TinyImage:
    """Every film's 64 x 64 pixels through one fixed Gaussian projection."""

    def __init__(self, what: What, spec: EncoderSpec) -> None:
        self.frame = images.Frame(spec.side, what.aspect, what.scaled_jpeg)
        self.licence = spec.licence
        self.notes: list[str] = []
        self.projection = fixed_projection(spec.side**2, spec.dim)
        self.recipe = tiny_recipe(
            what.model, spec, self.projection, given={**self.frame.recipe, "decoder": images.RECIPE}
        )

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """{"avg": (n, dim)} for films of shape (n, side, side)."""
        pixels = films.reshape(len(films), -1).astype(np.float32) / 255 - 0.5
        return {
            "avg": np.stack([row @ self.projection for row in pixels])
        }  # row by row: the same bits at any batch size


class TinyText:
    """The mean of a fixed Gaussian vector per lower-cased word, and that of the first word."""

    max_tokens = 10_000

    def __init__(self, what: What, spec: EncoderSpec) -> None:
        self.licence = spec.licence
        self.notes: list[str] = []
        self.projection = fixed_projection(WORDS, spec.dim)
        self.recipe = tiny_recipe(what.model, spec, self.projection, given={"lower_case": True, "buckets": WORDS})

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """{"mean": (n, dim), "first": (n, dim)}."""
        rows = [self.projection[[bucket(word) for word in text.lower().split()]] for text in texts]
        return {"mean": np.stack([row.mean(axis=0) for row in rows]), "first": np.stack([row[0] for row in rows])}


class TinyTowers:
    """Films as `TinyImage` has them, and texts as `TinyText` does: of one length, and in no common space."""

    def __init__(self, what: What, spec: EncoderSpec) -> None:
        self.films, self.texts = TinyImage(what, spec), TinyWords(spec)
        self.frame, self.licence, self.notes = self.films.frame, spec.licence, self.films.notes
        given = {**self.films.recipe.input, TEXT_TOWER: {"lower_case": True, "buckets": WORDS}}
        self.recipe = tiny_recipe(what.model, spec, self.films.projection, given=given)

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """{"joint": (n, dim)} for films of shape (n, side, side)."""
        return {"joint": self.films.encode(films)["avg"]}


class TinyWords:
    """The mean of a fixed Gaussian vector per lower-cased word."""

    max_tokens = 100

    def __init__(self, spec: EncoderSpec) -> None:
        self.projection = fixed_projection(WORDS, spec.dim)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim)."""
        return np.stack(
            [self.projection[[bucket(word) for word in text.lower().split()]].mean(axis=0) for text in texts]
        )


def load_image(what: What, spec: EncoderSpec, machine: Machine) -> TinyImage:
    """The `tiny` image encoder."""
    refuse_weights(what)
    return TinyImage(what, spec)


def load_text(what: What, spec: EncoderSpec, machine: Machine) -> TinyText:
    """The `tiny_text` encoder."""
    refuse_weights(what)
    return TinyText(what, spec)


def load_towers(what: What, spec: EncoderSpec, machine: Machine) -> TinyTowers:
    """The `tiny_towers` encoder."""
    refuse_weights(what)
    return TinyTowers(what, spec)


def refuse_weights(what: What) -> None:
    """Raises `EncoderError` if somebody gave weights that would be ignored."""
    if what.weights is not None:
        raise EncoderError(f"{what.model} has no weights to load", hint="leave out --weights")


def fixed_projection(inputs: int, dim: int) -> NDArray[np.float32]:
    """The same Gaussian matrix (inputs, dim) everywhere, scaled to keep unit variance."""
    values = np.random.default_rng(20_260_101).standard_normal((inputs, dim), dtype=np.float32)
    return values / np.float32(dim**0.5)


def bucket(word: str) -> int:
    """A word's hash bucket, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % WORDS


def tiny_recipe(name: str, spec: EncoderSpec, projection: NDArray[np.float32], *, given: Mapping[str, Any]) -> Recipe:
    """The recipe of a fixed projection."""
    return Recipe(
        encoder=name,
        model=spec.model,
        weights_sha256=hashlib.sha256(projection.tobytes()).hexdigest(),
        modality=spec.modality,
        dim=spec.dim,
        poolings=spec.poolings,
        input=given,
        precision="full",
    )
