"""The rows of a training from pixels: every labelled film that is here, cleaned, and in training changed by chance."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from cxremb.embedding.encode import Log, films_of
from cxremb.embedding.pixels import PixelCache, frame_name, open_pixels
from cxremb.embedding.plan import Group, image_items
from cxremb.encoders.base import Machine
from cxremb.errors import DataError, TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.images import Film, Frame
from cxremb.store.dataset import Dataset
from cxremb.training.options import Augment, PixelRecipe
from cxremb.types import Progress, unwatched

NAMED = 5  # failures that are named; all are counted
IN_MEMORY = 2**31  # bytes of films that are held ready; beyond that they are read and cleaned batch by batch
AT_ONCE = 1024  # films cleaned in one go: bounds memory
CLIP_LIMIT, TILES = 2.0, (8, 8)  # of CLAHE: OpenCV's usual grid, and a limit that keeps noise from taking over


@dataclass(frozen=True)
class Films:
    """The films of n rows. `ready` holds each content once where they fit in memory, already cleaned."""

    recipe: PixelRecipe
    cache: PixelCache | None  # None where all are ready
    contents: Sequence[str]  # each once
    place: NDArray[np.int64]  # (n,) row -> content
    ready: NDArray[np.uint8] | None = None

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(m, side, side) the films of some rows, cleaned, in the order asked for."""
        if self.ready is not None or self.cache is None:
            return np.asarray(self.ready)[self.place[rows]]
        return clean(self.cache.films([self.contents[place] for place in self.place[rows]]), self.recipe)


def load_films(
    dataset: Dataset,
    inputs: Inputs,
    recipe: PixelRecipe,
    *,
    progress: Progress = unwatched,
    frame: Frame | None = None,
    wanted: Callable[[Features], NDArray[np.bool_]] | None = None,
) -> tuple[Features, Films]:
    """The rows that have a label and a film that can be decoded, and their films; the others are counted and named.

    A film is decoded once: into the pixel cache, from where every later network and encoder of this frame takes it.
    Of `inputs`, the label set and the views count. frame: that of an encoder; what the recipe says if left out.
    wanted: which labelled rows (n,) are read at all; every one if left out. Raises `DataError` if no row is left, or
    as `load_features`.
    """
    frame = frame or Frame(recipe.side, recipe.aspect)
    features = load_features(dataset, (), replace(inputs, unit="image"))
    if wanted is not None:
        features = features.take(wanted(features))
    contents, failures = find_films(dataset, features, frame, progress=progress)
    absent = np.array([content == "" for content in contents])
    failed = np.array([content in failures for content in contents])
    kept = ~(absent | failed)
    counts = {"no film on this machine": int(absent.sum()), "no film that can be decoded": int(failed.sum())}
    left_out = {**features.left_out, **{reason: n for reason, n in counts.items() if n}}
    if not kept.any():
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        raise DataError(
            f"{dataset.name}: no labelled film can be read ({reasons})",
            hint="see `cxremb data show`, then add the images with `cxremb data add`",
        )
    contents = [content for content, keep in zip(contents, kept.tolist(), strict=True) if keep]
    features = replace(
        features.take(kept),
        stores={"image": f"pixels {frame_name(frame)}"},
        # what networks read is not in the blocks: the key stands for it
        keys={"image": hashlib.sha256("\n".join([frame_name(frame), *contents]).encode()).hexdigest()},
        blocks={"image": np.zeros((int(kept.sum()), 0), dtype=np.float32)},  # no vectors: what is read are the films
        present={"image": np.ones(int(kept.sum()), dtype=np.bool_)},
        left_out=left_out,
        notes=[*features.notes, *describe_failures(failures)],
    )
    return features, films_at(dataset, contents, frame, recipe=recipe)


def find_films(
    dataset: Dataset, features: Features, frame: Frame, *, progress: Progress
) -> tuple[list[str], dict[str, str]]:
    """(content of each row's film, "" if it is not on this machine; content -> why it cannot be decoded).

    All others are in the pixel cache of the frame then.
    """
    wanted, groups = set(features.item_ids.tolist()), dict[str, Group]()
    for item in image_items(dataset):
        if item.item_id in wanted:
            groups[item.content] = (*groups.get(item.content, ()), item)
    of_image = {item.item_id: content for content, group in groups.items() for item in group}
    contents = [of_image.get(image, "") for image in features.item_ids.tolist()]
    failures, each = {}, list(groups.values())
    with closing(films_of(each, frame, Machine(keep_pixels=True), log=Log(), cache=dataset.paths.cache)) as films:
        for group, answer in progress(films, len(each), "decoding films"):
            if not isinstance(answer, Film):
                failures[group[0].content] = "; ".join(map(str, answer))
    return contents, failures


def films_at(dataset: Dataset, contents: Sequence[str], frame: Frame, *, recipe: PixelRecipe) -> Films:
    """The films of these contents, one a row, in memory if they fit."""
    cache = open_pixels(dataset.paths.cache, frame)
    each, place = np.unique(np.array(contents, dtype=np.str_), return_inverse=True)
    films = Films(recipe, cache, each.tolist(), place.astype(np.int64))
    if len(each) * recipe.side**2 > IN_MEMORY:
        return films
    ready = np.empty((len(each), recipe.side, recipe.side), np.uint8)
    for start in range(0, len(each), AT_ONCE):
        ready[start : start + AT_ONCE] = clean(cache.films(films.contents[start : start + AT_ONCE]), recipe)
    return replace(films, ready=ready)


def describe_failures(failures: Mapping[str, str]) -> list[str]:
    """What could not be decoded, in one line: how many, and the first few with the reason."""
    if not failures:
        return []
    more = f" and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    return [f"{len(failures)} films cannot be decoded: {'; '.join(list(failures.values())[:NAMED])}{more}"]


def clean(films: NDArray[np.uint8], recipe: PixelRecipe) -> NDArray[np.uint8]:
    """(n, side, side) films after CLAHE and Gaussian blur, each where the recipe asks for it.

    Raises `TrainError` if one is asked for and OpenCV is not installed.
    """
    if not (recipe.clahe or recipe.blur):
        return films
    try:
        import cv2
    except ImportError as error:
        raise TrainError("CLAHE and blur need OpenCV", hint='pip install "cxremb[pixels]"') from error
    out = np.empty_like(films)
    equalise = cv2.createCLAHE(clipLimit=CLIP_LIMIT, tileGridSize=TILES)
    for index, film in enumerate(films):
        equalised = equalise.apply(film) if recipe.clahe else film
        # a width of 0 leaves the Gaussian's spread to OpenCV, which takes it from the size of the kernel
        out[index] = cv2.GaussianBlur(equalised, (recipe.blur, recipe.blur), 0) if recipe.blur else equalised
    return out


def scaled(films: Tensor) -> Tensor:
    """(n, 1, side, side) float32 from 0 to 1 of uint8 films (n, side, side)."""
    return films.unsqueeze(1).to(torch.float32).div_(255)


def augmented(films: Tensor, recipe: Augment, generator: torch.Generator) -> Tensor:
    """The films (n, 1, side, side), each turned, moved, mirrored and given more or less contrast by chance.

    generator: on the CPU, whatever device the films are on, so that chance is the same everywhere.
    """
    n = len(films)

    def within(limit: float) -> Tensor:
        """(n,) uniform in -limit to limit."""
        drawn: Tensor = torch.rand(n, generator=generator) * 2 - 1
        return drawn * limit

    angle, down, right, gain = (
        within(limit) for limit in (recipe.rotation, recipe.shift, recipe.shift, recipe.contrast)
    )
    mirrored = torch.rand(n, generator=generator) < 0.5 if recipe.flip else torch.zeros(n, dtype=torch.bool)
    if recipe.rotation or recipe.shift or recipe.flip:
        films = moved(films, angle, torch.stack([down, right], 1), mirrored=mirrored)
    return contrasted(films, 1 + gain) if recipe.contrast else films


def moved(films: Tensor, angle: Tensor, shift: Tensor, *, mirrored: Tensor) -> Tensor:
    """The films mirrored, then turned about their middle, then shifted: one bilinear look-up for all three.

    angle: (n,) degrees, positive turns clockwise as seen. shift: (n, 2) shares of the side, down and to the right.
    mirrored: (n,). What comes in from outside repeats the edge: black corners would be a mark that says "turned".
    """
    turn = angle * (math.pi / 180)
    sine, cosine = torch.sin(turn), torch.cos(turn)
    # affine_grid asks the other way round: for each place of the new film, where in the old one it comes from.
    # Its coordinates run from -1 to 1, so that a share of the side counts twice.
    down, right = 2 * shift[:, 0], 2 * shift[:, 1]
    side = torch.where(mirrored, -1.0, 1.0)
    across = torch.stack([cosine, sine, -(cosine * right + sine * down)], 1) * side[:, None]
    along = torch.stack([-sine, cosine, sine * right - cosine * down], 1)
    grid = affine_grid(torch.stack([across, along], 1).to(films.device), list(films.shape), align_corners=False)
    return grid_sample(films, grid, mode="bilinear", padding_mode="border", align_corners=False)


def contrasted(films: Tensor, gain: Tensor) -> Tensor:
    """Each grey value's distance from its film's mean times `gain` (n,), kept within 0 and 1."""
    mean = films.mean(dim=(1, 2, 3), keepdim=True)
    return ((films - mean) * gain.to(films.device).view(-1, 1, 1, 1) + mean).clamp_(0, 1)
