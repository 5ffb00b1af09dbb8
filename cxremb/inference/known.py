"""The films that a collection has, by id and by the SHA-256 of their bytes: of which study one is that is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cxremb.inference.cases import FilmInput
from cxremb.store.dataset import Dataset

ONE_STUDY = "give the films of one study at a time, each study by itself"


Read = NDArray[Any]  # a vector as stored, float16; of a network what its models say, as `inference.films` has it


@dataclass(frozen=True)
class FilmPlace:
    """A film with its place in the collection, if it has one, and what a run reads of it."""

    film: FilmInput
    image: str | None
    study: str | None
    read: Read | None
    why: str = ""  # there is none


@dataclass(frozen=True)
class KnownFilms:
    """The films of a collection. The same bytes may be there under several ids, also of several studies."""

    study_of: Mapping[str, str]  # image_id -> study_id
    by_content: Mapping[str, Sequence[str]]  # SHA-256 -> image_ids

    def images_of(self, films: Sequence[FilmInput]) -> list[str | None]:
        """The id of each film of one study, None for a new one: of several ids, one of the study that all have."""
        maybe = [[film.image] if film.image else self.by_content.get(film.content, ()) for film in films]
        studies = [{self.study_of[image] for image in images} for images in maybe if images]
        common = set.intersection(*studies) if studies else set[str]()
        return [min(images, key=lambda one: self.study_of[one] not in common, default=None) for images in maybe]


def known_films(dataset: Dataset) -> KnownFilms:
    """Those of a data set."""
    columns = (dataset.images[name].to_pylist() for name in ("image_id", "study_id", "sha256"))
    study_of: dict[str, str] = {}
    by_content: dict[str, list[str]] = {}
    for image, study, content in zip(*columns, strict=True):
        study_of[image] = study
        if content:
            by_content.setdefault(content, []).append(image)
    return KnownFilms(study_of, by_content)
