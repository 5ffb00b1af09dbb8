"""The films of cases as a network from pixels reads them: by the decoder, frame and cleaning that it was trained with.

What is kept of a film is what the models say of it, not its pixels: a folder of any size takes the memory of a batch.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxremb.embedding.encode import Log, films_of, stacked
from cxremb.embedding.plan import Item, group_by_content, image_items
from cxremb.encoders.base import Machine
from cxremb.inference.cases import Case, FilmInput
from cxremb.inference.choice import Model
from cxremb.inference.known import FilmPlace, known_films
from cxremb.similarity.query import NEW
from cxremb.types import Progress

if TYPE_CHECKING:
    from cxremb.training.pixels.predict import Networks

AT_ONCE = 64  # films that every model is asked about before the next are read
NO_FILE = "its file is not on this machine"


@dataclass(frozen=True)
class FilmsAsked:
    """What the models say of films, by the SHA-256 of their files, and why nothing is said of others."""

    said: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # -> (2, models, k) probabilities, logits
    failures: Mapping[str, str] = field(default_factory=dict)


def place_pixels(
    model: Model, networks: "Networks", cases: Sequence[Case], *, progress: Progress
) -> dict[int, list[FilmPlace]]:
    """Case -> its films with what the models say of each, or why they say nothing. A film by its id is read anew."""
    known = known_films(model.dataset)
    of_collection = {item.item_id: item for item in image_items(model.dataset)}
    placed: dict[int, list[FilmPlace]] = {}
    items: dict[FilmInput, Item] = {}
    for number, case in enumerate(cases):
        for film, image in zip(case.films, known.images_of(case.films), strict=True):
            new = Item(NEW, NEW, "image", film.content, str(film.path)) if film.path else None
            if item := new or of_collection.get(str(image)):
                items[film] = item
            one = FilmPlace(film, image, known.study_of.get(image or ""), None, "" if item else NO_FILE)
            placed.setdefault(number, []).append(one)
    asked = ask(model, networks, list(items.values()), progress=progress)

    def answered(one: FilmPlace) -> FilmPlace:
        if one.why:
            return one
        content = items[one.film].content
        return replace(one, read=asked.said.get(content), why=asked.failures.get(content, ""))

    return {number: [answered(one) for one in own] for number, own in placed.items()}


def ask(model: Model, networks: "Networks", items: Sequence[Item], *, progress: Progress) -> FilmsAsked:
    """What each model says of each film."""
    groups, log, said = group_by_content(items), Log(), dict[str, NDArray[np.float64]]()
    with closing(films_of(groups, networks.frame, Machine(), log=log, cache=model.dataset.paths.cache)) as films:
        for batch, pixels in stacked(iter(progress(films, len(groups), "judging films")), AT_ONCE, log):
            each = [networks.predict(list(pixels), name) for name in networks.models]
            for row, group in enumerate(batch):
                said[group[0].content] = np.array([[one.prob[row] for one in each], [one.logit[row] for one in each]])
    return FilmsAsked(said, {failure.item.content: failure.message for failure in log.failures})
