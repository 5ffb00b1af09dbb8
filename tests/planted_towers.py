"""Two towers that agree by construction on one label: bright films are near `nodule`, dark ones near `no nodule`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from cxremb.encoders.table import ENCODERS, EncoderSpec
from cxremb.images import RECIPE, Frame
from cxremb.store.manifest import Recipe
from cxremb.store.prompts import TEXT_TOWER

NAME, DIM, SIDE = "planted_towers", 6, 8
SPEC = EncoderSpec("planted_towers:load", "planted-towers-1", "image", DIM, "Apache-2.0", ("joint",), side=SIDE)
STUDIES, SHARE = 90, 3  # every third study has the nodule


class Words:
    """Of `nodule` the second axis, with `no` before it the first; all other words lie where no film lies."""

    max_tokens = 8

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> np.ndarray:
        found = np.zeros(DIM, np.float32)
        if "nodule" in text:
            found[0 if "no" in text.split() else 1] = 3.0
        found[3 + hashlib.sha256(text.encode()).digest()[0] % 3] += 1.0  # nothing that a film says
        return found


class Towers:
    """A film of mean grey g, from 0 to 1, lies at the angle g * 90 degrees between the first two axes."""

    licence = "Apache-2.0"

    def __init__(self) -> None:
        self.frame, self.texts, self.notes = Frame(SIDE), Words(), []
        given = {**self.frame.recipe, "decoder": RECIPE, TEXT_TOWER: {"words": 1}}
        self.recipe = Recipe(NAME, SPEC.model, "0" * 64, "image", DIM, ("joint",), given, "full")

    def encode(self, films: np.ndarray) -> dict[str, np.ndarray]:
        return {"joint": np.stack([film_vector(film) for film in films])}


def film_vector(film: np.ndarray) -> np.ndarray:
    """(DIM,); the third axis is of the film and of no text."""
    angle = float(film.mean()) / 255 * np.pi / 2
    return np.array([np.cos(angle), np.sin(angle), 0.5, 0, 0, 0], np.float32) * 2


def load(what: object, spec: object, machine: object) -> Towers:
    return Towers()


def in_table(monkeypatch) -> None:
    """The encoder becomes one of the table, so that a store of it may be made again."""
    monkeypatch.setitem(ENCODERS, NAME, SPEC)


def has_nodule(number: int) -> bool:
    return number % SHARE == 0


def save_films(folder: Path, seed: int = 5) -> None:
    """`STUDIES` films in folders of two classes: brighter with a nodule, with noise that hides some of them."""
    rng = np.random.default_rng(seed)
    for number in range(STUDIES):
        grey = 90 + 40 * has_nodule(number) + 35 * rng.standard_normal()
        path = folder / ("nodule" if has_nodule(number) else "clear") / f"p{number:03d}_0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-20, 20, (SIDE, SIDE))
        PilImage.fromarray(np.clip(grey + noise, 0, 255).astype(np.uint8)).save(path)
