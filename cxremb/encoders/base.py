"""What an encoder is to the embed job, and how one is made from its table entry."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cxremb.encoders.table import find_spec
from cxremb.errors import EncoderError
from cxremb.images import ASPECTS, Frame
from cxremb.store.manifest import Recipe
from cxremb.store.texts import KEEP, WAYS

Vectors = Mapping[str, NDArray[np.float32]]  # pooling -> (n, dim)


@dataclass(frozen=True)
class Runtime:
    """WHERE an encoder runs. `precision` is fp32, bf16 or fp16; of it only the class (full or half) enters the key.

    engine: torch; openvino; or auto: openvino if its vectors agree with torch's on the first batch.
    """

    device: str = "cpu"
    precision: str = "fp32"
    engine: str = "torch"
    compile: bool = False  # through torch.compile
    why: tuple[str, ...] = field(default=(), compare=False)  # what was chosen for the user, and what speaks for it

    @property
    def precision_class(self) -> str:
        return "full" if self.precision == "fp32" else "half"

    @property
    def batch_size(self) -> int:
        """Films worth handing over at once. A CPU cuts them up again, as its caches like it."""
        return 32 if self.device == "cpu" else 128

    @property
    def token_budget(self) -> int:
        """Tokens of one batch of texts. On a CPU the activations of more fall out of its caches."""
        return 1024 if self.device == "cpu" else 16_384


class ImageEncoder(Protocol):
    """Films in, vectors out. The network is built on the first call of `encode`."""

    recipe: Recipe
    licence: str
    frame: Frame
    notes: list[str]  # what the user should know of this run, from the first `encode` on

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """films: uint8 (n, side, side), grey."""
        ...


class TextEncoder(Protocol):
    """Texts in, vectors out, and how long each text is to the network."""

    recipe: Recipe
    licence: str
    max_tokens: int
    notes: list[str]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation to `max_tokens`; 0: nothing to encode."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One batch, padded to its longest text."""
        ...


def load_encoder(
    name: str,
    weights: Path | None = None,
    runtime: Runtime | None = None,
    aspect: str = "squash",
    scaled_jpeg: bool = False,
    xxxx: str = KEEP,
) -> "ImageEncoder | TextEncoder":
    """The encoder called `name`, with its recipe known and its weights found but not yet loaded.

    name: see `find_spec`. weights: a file or folder to use instead of a package or the hub. aspect, scaled_jpeg: of
    images, see `images.Frame`. xxxx: of texts, what becomes of the marks of removed words, see `store.marks`.
    Raises `EncoderError`.
    """
    for what, given, known in (("aspect", aspect, ASPECTS), ("xxxx", xxxx, WAYS)):
        if given not in known:
            raise EncoderError(f"unknown {what} {given!r}", hint=f"choose one of {', '.join(known)}")
    spec = replace(find_spec(name), aspect=aspect, scaled_jpeg=scaled_jpeg)
    module, function = spec.build.split(":")
    load = getattr(importlib.import_module(module), function)
    encoder: ImageEncoder | TextEncoder = load(name, spec, weights, runtime or Runtime())
    return encoder if xxxx == KEEP else without_marks(encoder, xxxx)


def without_marks(encoder: ImageEncoder | TextEncoder, xxxx: str) -> TextEncoder:
    """The encoder, made to read edited texts. Raises `EncoderError` for one of films."""
    from cxremb.encoders.edited import EditedTexts

    if encoder.recipe.modality != "text":
        raise EncoderError(f"{encoder.recipe.encoder} reads no texts, so no XXXX", hint="leave --xxxx out")
    return EditedTexts(cast(TextEncoder, encoder), xxxx)
