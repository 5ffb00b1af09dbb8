"""The records of a collection as rows of tables: each is read once, checked against the others, and forgotten."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from cxremb.catalog.markup import MarkupNotes
from cxremb.errors import DataError, ImageError
from cxremb.ids import id_notes, printable
from cxremb.images import facts_at_once, film_address, image_size, is_packed
from cxremb.processes import in_order
from cxremb.store.commit import Draft
from cxremb.store.expected import refuse_control
from cxremb.store.facts import day_of, number_of
from cxremb.store.files import sha256_of
from cxremb.store.label_rows import LabelRows
from cxremb.store.layout import LABEL_SOURCE, PRE_READ, ROLES
from cxremb.store.readings import decided_sets, reading_rows
from cxremb.store.texts import REPORT
from cxremb.types import EXAMPLES, PARTS, Collection, Image, Note, NoteCounter, Progress, Study, notes_of

RECORD = ("patient_id", "sections", "terms", "labels", "parts", "facts", "readings")  # of a study, beside its id
Record = TypeVar("Record", Study, Image)
TAKEN = ("image", REPORT, PRE_READ)  # what a row of a store is of, when it is of no section


@dataclass
class RecordIndex:
    """What is remembered of every record while the next ones stream by: ids and digests, never contents."""

    studies: dict[str, int] = field(default_factory=dict)  # id -> digest of the record
    images: dict[str, int] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)  # study -> patient
    parts: dict[str, dict[str, str]] = field(default_factory=dict)  # published split -> study -> part


def write_studies(
    collection: Collection, index: RecordIndex, drafts: Mapping[str, Draft], *, labels: LabelRows, progress: Progress
) -> list[Note]:
    """Every study once: its patient, its sections with their roles, its labels. Fills `index`; notes on the texts."""
    roles, markup = {**ROLES, **collection.roles}, MarkupNotes()
    for study in map(with_plain_ids, progress(collection.studies, length(collection.studies), "reading studies")):
        content = [getattr(study, name) for name in RECORD]
        if repeated(index.studies, study.study_id, content, what="studies"):
            continue
        index.patients[study.study_id] = study.patient_id
        drafts["studies"].add(study.study_id, study.patient_id)
        write_facts(drafts["facts"], "study", study.study_id, facts=study.facts)
        refuse_control(study.sections, "a section called")
        for section, text in study.sections.items():
            if section in TAKEN:
                raise DataError(
                    f"study {study.study_id}: a section is called {section!r}, which means something else here",
                    hint="give that column or section another name",
                )
            drafts["reports"].add(study.study_id, section, roles.get(section, LABEL_SOURCE), text)
        markup.add(study.study_id, study.sections.items())
        for row in reading_rows(study.study_id, study.readings):
            drafts["readings"].add(*row)
        labels.add(study.study_id, {**study.labels, **decided_sets(collection.label_sets, study.readings)})
        for split, part in study.parts.items():
            if part not in PARTS:
                raise DataError(
                    f"study {study.study_id}, split {split!r}: no part is called {part!r}", f"use {', '.join(PARTS)}"
                )
            index.parts.setdefault(split, {})[study.study_id] = part
    return markup.notes()


def with_plain_ids(record: Record) -> Record:
    """The record with ids of which every character is seen: some are names of files, which may hold any."""
    ids = {name: getattr(record, name, "") for name in ("image_id", "study_id", "patient_id")}
    strange: dict[str, Any] = {name: printable(given) for name, given in ids.items() if not given.isprintable()}
    return replace(record, **strange) if strange else record


def patient_notes(index: RecordIndex) -> list[Note]:
    """Whatever reader they came through: patients in several parts of a published split, and ids that may be one."""
    notes = id_notes("patient", sorted({patient for study, patient in index.patients.items() if patient != study}))
    for split, placed in index.parts.items():
        parts: dict[str, set[str]] = {}
        for study, part in placed.items():
            parts.setdefault(index.patients[study], set()).add(part)
        torn = [patient for patient, its in parts.items() if len(its) > 1]
        what = f"patients in more than one part of the split `{split}`"
        hint = "results on this split are too good: train with the default split, which keeps patients together"
        notes += [Note(what, len(torn), torn[:EXAMPLES], hint)] if torn else []
    return notes


def write_facts(draft: Draft, level: str, name: str, *, facts: Mapping[str, str]) -> None:
    """What a table says of one image or study, as text, and as a number and a day where it is one."""
    for fact, text in facts.items():
        draft.add(level, name, fact, text, number_of(fact, text), day_of(text))


def write_images(
    images: Iterable[Image], index: RecordIndex, drafts: Mapping[str, Draft], *, progress: Progress
) -> list[Note]:
    """Every image once, with what its file says. Notes on the files that cannot be read or have no header."""
    later = "until then embedding records them as failures and goes on"
    unread = NoteCounter("image files that are not there or cannot be read", f"restore them and add again; {later}")
    unsized = NoteCounter("image files without a readable header", f"replace or remove them; {later}")
    watched = progress(images, length(images), "reading image files")
    for image, facts in in_order(file_facts, distinct(watched, index)):
        path, digest, width, _ = facts
        if path and digest is None:
            unread.add(path)
        elif path and width is None:
            unsized.add(path)
        write_facts(drafts["facts"], "image", image.image_id, facts=image.facts)
        drafts["images"].add(image.image_id, image.study_id, image.patient_id, image.view, *facts, image.view_raw)
    return notes_of(unread, unsized)


def distinct(images: Iterable[Image], index: RecordIndex) -> Iterator[Image]:
    """Each image once. Raises `DataError` if no study says that it is there and of that patient."""
    for image in map(with_plain_ids, images):
        if index.patients.get(image.study_id) != image.patient_id:
            raise DataError(
                f"image {image.image_id} is of study {image.study_id} and patient {image.patient_id}: no study says so",
                hint="give the collection a study with that id and patient",
            )
        content = [image.study_id, image.patient_id, image.view, image.view_raw, str(image.path), image.facts]
        if not repeated(index.images, image.image_id, content, what="images"):
            yield image


def repeated(known: dict[str, int], name: str, content: Sequence[Any], *, what: str) -> bool:
    """Whether this id was there before. Raises `DataError` if it said something else then.

    Compared are 64 bits of a digest: of two records that differ, one pair in 10^19 would pass as the same.
    """
    digest = int.from_bytes(blake2b(json.dumps(content, sort_keys=True, default=dict).encode(), digest_size=8).digest())
    is_known = name in known
    if known.setdefault(name, digest) != digest:
        raise DataError(
            f"two {what} with one id, {name}, and their contents differ", hint="remove or rename one of them"
        )
    return is_known


def length(items: Iterable[Any]) -> int | None:
    """How many, if they know it."""
    return len(items) if isinstance(items, Sized) else None


def file_facts(image: Image) -> tuple[str | None, str | None, int | None, int | None]:
    """(absolute path or address, SHA-256, width, height) of an image's file; null for what cannot be read."""
    if image.path is None:
        return None, None, None, None
    if address := film_address(image.path):
        return address, *read_once(image.path)
    path = image.path.absolute()
    try:
        path = image.path.resolve()
        if is_packed(path):
            return str(path), *read_once(path)
        digest = sha256_of(path) if path.is_file() else None  # a pipe would never end
    except (OSError, RuntimeError):  # not there, not readable, or links that go round
        return str(path), None, None, None
    try:
        return str(path), digest, *(image_size(path) if digest else (None, None))
    except ImageError:
        return str(path), digest, None, None


def read_once(path: Path) -> tuple[str | None, int | None, int | None]:
    """The same but the path, of a film of which two readings would cost too much."""
    try:
        digest, size = facts_at_once(path)
    except ImageError:
        return None, None, None
    return digest, *(size or (None, None))
