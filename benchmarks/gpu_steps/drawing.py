"""One film as a file. Apart from the rest, for processes that draw to start without torch."""

from pathlib import Path

import numpy as np
from PIL import Image as PilImage


def draw_one(number: int, path: Path, shape: tuple[int, int]) -> None:
    """A film of smooth noise with a detector's grain."""
    random = np.random.default_rng(number)
    coarse = PilImage.fromarray(random.integers(20, 200, (13, 11), dtype=np.uint8))
    film = np.asarray(coarse.resize(shape[::-1], PilImage.Resampling.BICUBIC)).astype(np.float32)
    film += 2 * random.standard_normal(shape, dtype=np.float32)
    film[:, shape[1] // 2 :] += 40 * (number % 2)
    quality = {"quality": 90} if path.suffix == ".jpg" else {}
    PilImage.fromarray(np.clip(film, 0, 255).astype(np.uint8)).save(path, **quality)
