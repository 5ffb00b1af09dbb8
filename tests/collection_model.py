"""What cxremb should hold, in dicts: a collection on disk, as it was added, its stores; and what decides a training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as PilImage


def film_bytes(seed: int) -> bytes:
    """A film of its own for every seed; every fourth is damaged, and decodes no more."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    buffer = BytesIO()
    PilImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()[: 60 if seed % 4 == 3 else None]


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


FILMS = {sha256(film_bytes(seed)): film_bytes(seed) for seed in range(44)}  # digest -> what a file may hold
WHOLE = {sha256(film_bytes(seed)) for seed in range(44) if seed % 4 != 3}  # those that decode
TEXTS = ("clear lungs", "a dense lung", "wide heart", "a dense lung and a wide heart", " ", "")  # " " has no word
REPORT = "findings+impression"

Key = tuple[str, str]  # item, section
Row = tuple[str, str]  # content, study


@dataclass(frozen=True)
class Film:
    """What the collection says of a film, and the digest of its file; None if there is no file."""

    study: str
    view: str
    content: str | None


@dataclass(frozen=True)
class Exam:
    """One study."""

    patient: str
    text: str
    ill: int


@dataclass(frozen=True)
class World:
    """A collection: as it lies on disk now, or as it did when it was added."""

    exams: Mapping[str, Exam]
    films: Mapping[str, Film]

    def with_exam(self, study: str, **changes: Any) -> "World":
        return replace(self, exams={**self.exams, study: replace(self.exams[study], **changes)})

    def with_film(self, image: str, **changes: Any) -> "World":
        return replace(self, films={**self.films, image: replace(self.films[image], **changes)})

    def without(self, study: str) -> "World":
        """A study less, and its films."""
        films = {image: film for image, film in self.films.items() if film.study != study}
        return World({name: exam for name, exam in self.exams.items() if name != study}, films)

    def wanted(self, modality: str, path_of: Any) -> dict[Key, Row]:
        """What a store of it should have tried. A film that could not be read has the digest of its path."""
        if modality == "image":
            return {
                (image, "image"): (film.content or sha256(path_of(image)), film.study)
                for image, film in self.films.items()
            }
        return {
            (study, section): (sha256(exam.text), study)
            for study, exam in self.exams.items()
            if exam.text
            for section in ("findings", REPORT)
        }


@dataclass(frozen=True)
class Held:
    """A store: each item has a row or a failure."""

    rows: Mapping[Key, Row] = field(default_factory=dict)
    failures: Mapping[Key, tuple[Row, str]] = field(default_factory=dict)  # with why

    def after(self, wanted: Mapping[Key, Row], reasons: Mapping[Key, str]) -> "tuple[Held, set[str]]":
        """(the store brought up to date, the contents that went to the encoder).

        reasons: why an item cannot be encoded by itself. A row stays as long as content and study do. A content that
        any row has is copied. Of equal contents one that can be encoded is enough for all.
        """
        known = {content for content, _ in self.rows.values()}
        asked = {key: row for key, row in wanted.items() if self.rows.get(key) != row and row[0] not in known}
        encoded = {content for key, (content, _) in asked.items() if key not in reasons}
        failures = {key: (row, reasons[key]) for key, row in asked.items() if row[0] not in encoded}
        rows = {key: row for key, row in wanted.items() if key not in failures}
        return Held(rows, failures), {content for content, _ in asked.values()}

    def stale(self, wanted: Mapping[Key, Row]) -> bool:
        """Whether `after` would give other rows, if what failed and is as it was fails again."""
        tried = {key: row[0] for key, (row, _) in self.failures.items()}
        return {key: row for key, row in wanted.items() if tried.get(key) != row[0]} != self.rows


def is_leaky(placed: Mapping[str, tuple[str, str]], exams: Mapping[str, Exam]) -> bool:
    """Whether a patient, of those there are now, is in two parts. placed: study -> part, and patient of then."""
    parts: dict[str, set[str]] = {}
    for study, (part, patient) in placed.items():
        parts.setdefault(exams[study].patient if study in exams else patient, set()).add(part)
    return any(len(its) > 1 for its in parts.values())


def rows_of_training(added: World, held: Held, what: str) -> list[tuple[Any, ...]]:
    """The rows that a training reads, in order: item, study, patient, label, contents of its vectors, those of now.

    what: image, a row is a film; text, a row is a study; films or frontal, a row is a study with its (frontal) films.
    """

    def row(item: str, study: str, keys: list[Key], now: list[str | None]) -> tuple[Any, ...] | None:
        found = [(held.rows[key][0], content) for key, content in zip(keys, now, strict=True) if key in held.rows]
        exam = added.exams[study]
        changed = any(new is not None and old != new for old, new in found)
        return (item, study, exam.patient, exam.ill, [old for old, _ in found], changed) if found else None

    if what == "image":
        rows = [row(image, film.study, [(image, "image")], [film.content]) for image, film in added.films.items()]
    elif what == "text":
        texts = {study: sha256(exam.text) if exam.text else "none" for study, exam in added.exams.items()}
        found = {study: row(study, study, [(study, REPORT)], [texts[study]]) for study in added.exams}
        rows = [one and (*one, texts[study]) for study, one in found.items()]  # a run says which words train has
    else:
        taken = {image: film for image, film in added.films.items() if what == "films" or film.view == "PA"}
        bags = {study: [image for image, film in taken.items() if film.study == study] for study in added.exams}
        rows = [
            row(study, study, [(image, "image") for image in bag], [added.films[image].content for image in bag])
            for study, bag in bags.items()
        ]
    return [one for one in rows if one is not None]
