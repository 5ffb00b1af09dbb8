"""The rows of a training from pixels: every labelled film that is on this machine, out of the pixel cache."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.embedding.decode import Refusal
from cxremb.embedding.encode import Clock, Group, Work, films_of
from cxremb.embedding.encode import Options as Where
from cxremb.embedding.pixels import PixelCache, frame_name, open_pixels
from cxremb.embedding.plan import image_items
from cxremb.errors import DataError
from cxremb.features import Features, Inputs, load_features
from cxremb.images import Frame
from cxremb.store.dataset import Dataset
from cxremb.training.options import PixelRecipe
from cxremb.training.pixels.augment import clean
from cxremb.types import Progress, unwatched

NAMED = 5  # failures that are named; all are counted
IN_MEMORY = (
    2**31
)  # bytes of films that are held ready; beyond that they are read from disk, and cleaned, batch by batch
AT_ONCE = 1024  # films cleaned in one go: bounds memory


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
    progress: Progress = unwatched,
    frame: Frame | None = None,
) -> tuple[Features, Films]:
    """The rows that have a label and a film that can be decoded, and their films; the others are counted and named.

    A film is decoded once: into the pixel cache, from where every later network and encoder of this frame takes it.
    Of `inputs`, the label set and the views count. frame: that of an encoder; what the recipe says if left out.
    Raises `DataError` if no row is left, or as `load_features`.
    """
    frame = frame or Frame(recipe.side, recipe.aspect)
    features = load_features(dataset, (), replace(inputs, unit="image"))
    groups = groups_of(dataset, features)
    failures = fill_cache(dataset, list(groups.values()), frame, progress)
    of_image = {item.item_id: content for content, group in groups.items() for item in group}
    contents = [of_image.get(image, "") for image in features.item_ids.tolist()]
    absent = np.array([content == "" for content in contents])
    failed = np.array([content in failures for content in contents])
    kept = ~(absent | failed)
    counts = {"no film on this machine": int(absent.sum()), "no film that can be decoded": int(failed.sum())}
    left_out = {**features.left_out, **{reason: n for reason, n in counts.items() if n}}
    if not kept.any():
        told = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        raise DataError(
            f"{dataset.name}: no labelled film can be read ({told})",
            hint="see `cxremb data show`, then add the images with `cxremb data add`",
        )
    contents = [content for content, keep in zip(contents, kept.tolist(), strict=True) if keep]
    features = replace(
        features.take(kept),
        stores={"image": f"pixels {frame_name(frame)}"},
        keys={"image": hashlib.sha256("\n".join(contents).encode()).hexdigest()},
        blocks={"image": np.zeros((int(kept.sum()), 0), dtype=np.float32)},  # no vectors: what is read are the films
        present={"image": np.ones(int(kept.sum()), dtype=np.bool_)},
        left_out=left_out,
        notes=[*features.notes, *told_failures(failures)],
    )
    return features, films_at(dataset, frame, recipe, contents)


def groups_of(dataset: Dataset, features: Features) -> dict[str, Group]:
    """Content -> the films of the rows that have it. A film that is not on this machine is in none."""
    wanted, groups = set(features.item_ids.tolist()), dict[str, Group]()
    for item in image_items(dataset):
        if item.item_id in wanted:
            groups[item.content] = (*groups.get(item.content, ()), item)
    return groups


def fill_cache(dataset: Dataset, groups: Sequence[Group], frame: Frame, progress: Progress) -> dict[str, str]:
    """Content -> why its film cannot be decoded; every other film is in the pixel cache then."""
    cache = open_pixels(dataset.paths.cache, frame)
    missing = [group for group in groups if group[0].content not in cache]
    if not missing:
        return {}
    work = Work(Where(keep_pixels=True), Clock(), dataset.paths.cache)
    failures = {}
    with closing(films_of(missing, frame, work)) as films:
        for group, answer in progress(films, len(missing), "decoding films"):
            if isinstance(answer, Refusal):
                failures[group[0].content] = answer.message
    return failures


def films_at(dataset: Dataset, frame: Frame, recipe: PixelRecipe, contents: Sequence[str]) -> Films:
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


def told_failures(failures: Mapping[str, str]) -> list[str]:
    """What could not be decoded, in one line: how many, and the first few with the reason."""
    if not failures:
        return []
    more = f" and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    return [f"{len(failures)} films cannot be decoded: {'; '.join(list(failures.values())[:NAMED])}{more}"]
