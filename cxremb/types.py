"""What adapters hand over: a collection of studies and images, and notes on what did not pair."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Hands the items through and lets somebody watch: the command line draws a bar, the library draws nothing."""

    def __call__(self, items: Iterable[T], total: int, what: str) -> Iterator[T]: ...


def unwatched(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items as they come."""
    yield from items


@dataclass(frozen=True)
class Study:
    """One examination: who, what the report says per section, and its indexing terms per vocabulary."""

    study_id: str
    patient_id: str
    sections: Mapping[str, str] = field(default_factory=dict)  # only sections with text
    terms: Mapping[str, Sequence[str]] = field(default_factory=dict)  # "mesh" -> ("Cardiomegaly/mild", ...)


@dataclass(frozen=True)
class Image:
    """One film. `path` is None when the collection lists it and the file is not here."""

    image_id: str
    study_id: str
    patient_id: str
    view: str | None
    path: Path | None


@dataclass(frozen=True)
class Note:
    """Something that was counted while reading a collection: what, how often, the first few, and the remedy."""

    what: str
    count: int
    examples: Sequence[str] = ()
    hint: str = ""


@dataclass(frozen=True)
class Collection:
    """Everything an adapter found, before any pixel is read."""

    name: str
    studies: Sequence[Study]
    images: Sequence[Image]
    licence: str
    citation: str
    source: Mapping[str, str]  # where it came from: argument -> value, kept in dataset.json
    notes: Sequence[Note] = ()
    simulated: bool = False  # True marks every figure that rests on these images
