"""What the other steps read: films, reports, labels, and random weights of the real architectures. No download."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from gpu_steps import package, weights
from gpu_steps.drawing import draw_one
from gpu_steps.setting import Findings, Setting, need, rounded

SYLLABLES = ("ba", "cor", "den", "fi", "ga", "hil", "lo", "mar", "nod", "pul", "ra", "sis", "tho", "vas", "xi", "zon")
TOKENS = 66, 0.45  # the median length of a report of IU X-ray, and how far lengths spread (of their logarithm)
CORES = os.cpu_count() or 1


def run(setting: Setting) -> Findings:
    """Weights, films at the network's size, and large films as files of either kind."""
    yield "weights", weights.write_film_weights(setting)
    yield "text_weights", weights.write_text_weights(setting, words())
    sizes, side = setting.sizes, package.film_side(setting)
    shapes = {"films": (sizes.films, (side, side)), "png": (sizes.large, sizes.large_shape)}
    shapes["jpeg"] = shapes["png"]
    for name, (n, shape) in shapes.items():
        draw(setting.folder / name, "png" if name == "png" else "jpg", n, shape, setting.quick)
        paths = film_paths(setting, name)
        size = sum(path.stat().st_size for path in paths) / len(paths)
        yield name, {"films": len(paths), "shape": shape, "bytes_each": rounded(size)}


def collections(setting: Setting) -> Findings:
    """The films as data sets: those of the network's size with a report and a label each, the others as they are."""
    need("duckdb")
    n = setting.sizes.films
    package.add_films(setting, "films", film_paths(setting, "films"), reports(n), labels(n))
    for kind in ("png", "jpeg"):
        package.add_films(setting, kind, film_paths(setting, kind))
    yield "patients", n


def film_paths(setting: Setting, name: str) -> list[Path]:
    """The files that were drawn, in their order; the name of each is its number, and its patient's."""
    return sorted((setting.folder / name).iterdir())


def words() -> list[str]:
    """A vocabulary of 4,096 words."""
    return [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]


def reports(n: int) -> list[str]:
    """Texts as long as real ones; the first of them are the same for any `n`."""
    random, vocabulary = np.random.default_rng(1), np.array(words())
    lengths = (int(np.clip(random.lognormal(np.log(TOKENS[0]), TOKENS[1]), 8, 400)) for _ in range(n))
    return [" ".join(random.choice(vocabulary, length)) for length in lengths]


def labels(n: int) -> list[int]:
    """0 or 1 by number, as `draw_one` draws the films: those of 1 are brighter on the right."""
    return [number % 2 for number in range(n)]


def draw(folder: Path, ending: str, n: int, shape: tuple[int, int], quick: bool) -> None:
    """So many films as files, drawn by all cores."""
    folder.mkdir()
    paths = [folder / f"{number:05d}.{ending}" for number in range(n)]
    one = partial(draw_one, shape=shape)
    if quick:  # starting processes takes longer
        for number, path in enumerate(paths):
            one(number, path)
    else:
        with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
            list(pool.map(one, range(n), paths, chunksize=32))
