"""What an encoder is to the embed job, what is asked of it, the machine it runs on, and how one is made."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cxremb.encoders.table import find_spec
from cxremb.errors import EncoderError
from cxremb.images import ASPECTS, Frame
from cxremb.processes import usable_cores
from cxremb.store.manifest import Recipe
from cxremb.store.texts import KEEP, MARKS, MASK, RULES, WAYS, edited

Vectors = Mapping[str, NDArray[np.float32]]  # pooling -> (n, dim)


@dataclass(frozen=True)
class What:
    """What is encoded, and how: all of it enters the store's key, so it is no matter of the machine."""

    model: str  # see `find_spec`
    weights: Path | None = None  # a file or folder in place of a package or the hub; in a job file, relative to it
    aspect: str = "squash"  # of images, as is `scaled_jpeg`: see `images.Frame`
    scaled_jpeg: bool = False
    precision: str = "full"  # full, half; until `settle` has turned it into one of them also fp32, bf16, fp16 or auto
    xxxx: str = KEEP  # of texts: what becomes of the marks of removed words, see `store.texts`

    def __post_init__(self) -> None:
        """The store remembers where the weights were, and is asked for again from another folder."""
        if self.weights is not None:
            object.__setattr__(self, "weights", self.weights.absolute())


@dataclass(frozen=True)
class Machine:
    """Where encoders run, once it is resolved (`encoders.machine`): no vector depends on it, but for half precision."""

    devices: tuple[str, ...] = ("cpu",)  # several: one process for each
    precision: str = "fp32"  # of the arithmetic, or bf16 or fp16; of it the class alone, full or half, enters the key
    engine: str = "torch"  # or openvino; or auto: openvino if its vectors agree with torch's on the first batch
    compiled: bool = False  # through torch.compile
    batch_size: int = 32  # films handed over at once; a CPU cuts them up again, as its caches like it
    token_budget: int = 1024  # tokens in one batch of texts, padding included
    workers: int = field(default_factory=usable_cores)  # processes that decode films
    part_items: int = 4096  # groups in one part: what a stopped run can lose at most
    keep_pixels: bool = False  # keep decoded films under `cache/` for the next encoder
    ray_workers: int = 0  # on a Ray cluster; 0: here

    @property
    def device(self) -> str:
        return self.devices[0]

    @property
    def precision_class(self) -> str:
        return "full" if self.precision == "fp32" else "half"


class ImageEncoder(Protocol):
    """Films in, vectors out. The network is built on the first call of `encode`."""

    recipe: Recipe
    licence: str
    frame: Frame
    notes: list[str]  # what the user should know of this run, from the first `encode` on

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """films: uint8 (n, side, side), grey."""
        ...


class TextTower(Protocol):
    """Texts into the space of the films: what an encoder of two towers has as `texts`."""

    max_tokens: int

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim). No text may be longer than `max_tokens`."""
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


def refuse_unknown_ways(what: What) -> None:
    """Raises `EncoderError` for a way of framing films or of reading texts that there is not."""
    for name, given, known in (("aspect", what.aspect, ASPECTS), ("xxxx", what.xxxx, WAYS)):
        if given not in known:
            raise EncoderError(f"unknown {name} {given!r}", hint=f"choose one of {', '.join(known)}")


def load_encoder(what: What, machine: Machine | None = None) -> ImageEncoder | TextEncoder:
    """The encoder that is asked for, with its recipe known and its weights found but not yet loaded.

    machine: the plain one if left out, a CPU in float32. Raises `EncoderError`.
    """
    refuse_unknown_ways(what)
    spec = find_spec(what.model)
    module, function = spec.build.split(":")
    load = getattr(importlib.import_module(module), function)
    encoder: ImageEncoder | TextEncoder = load(what, spec, machine or Machine())
    if what.xxxx == KEEP:
        return encoder
    if encoder.recipe.modality != "text":
        raise EncoderError(f"{encoder.recipe.encoder} reads no texts, so no XXXX", hint="leave --xxxx out")
    return EditedTexts(cast(TextEncoder, encoder), what.xxxx)


def start_encoding(encoder: ImageEncoder | TextEncoder, batch: Any) -> Callable[[], Vectors]:
    """What waits for the vectors of a batch. An encoder with a method `start` may compute them until then."""
    if start := getattr(encoder, "start", None):
        waiting: Callable[[], Vectors] = start(batch)
        return waiting
    vectors = encoder.encode(batch)
    return lambda: vectors


class EditedTexts:
    """Any text encoder, made to read texts whose marks of removed words are dropped or masked.

    The recipe says so, and all else of it is the encoder's own.
    """

    def __init__(self, encoder: TextEncoder, way: str) -> None:
        """way: drop or mask. Raises `EncoderError` if it is to be masked and the encoder has no `mask_token`."""
        token: str | None = getattr(encoder, "mask_token", None) if way == MASK else ""
        if token is None:
            raise EncoderError(
                f"{encoder.recipe.encoder} has no mask token to put in place of XXXX", hint="use --xxxx drop"
            )
        self.encoder, self.way, self.token = encoder, way, token
        how = {"way": way, "rules": RULES, **({"token": token} if token else {})}
        self.recipe = replace(encoder.recipe, input={**encoder.recipe.input, MARKS: how})
        self.licence, self.max_tokens, self.notes = encoder.licence, encoder.max_tokens, encoder.notes

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it is read; 0 where no word is left."""
        read = self.read(texts)
        there = [text for text in read if text]
        known = iter(self.encoder.lengths(there) if there else ())  # a tokeniser cannot read no text at all
        return [next(known) if text else 0 for text in read]

    def start(self, texts: Sequence[str]) -> Callable[[], Vectors]:
        """What waits for the encoder's vectors of the texts as they are read. None of them may be of length 0."""
        return start_encoding(self.encoder, self.read(texts))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The encoder's vectors of the texts as they are read. None of them may be of length 0."""
        return self.encoder.encode(self.read(texts))

    def read(self, texts: Sequence[str]) -> list[str]:
        """The texts as the encoder gets them."""
        return [edited(text, self.way, self.token) for text in texts]
