"""A collection into the store: read once, a record at a time, into tables that are committed together."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cxremb.errors import DataError, ImageError, StoreError
from cxremb.ids import id_notes
from cxremb.images import image_size, is_packed, packed_facts
from cxremb.processes import in_order
from cxremb.splits import store_published
from cxremb.store.commit import Draft, commit_dataset, drafting, writing_tables
from cxremb.store.dataset import Dataset, read_dataset, verified
from cxremb.store.facts import day_of, number_of
from cxremb.store.files import sha256_of
from cxremb.store.label_rows import MAKE_AGAIN, LabelRows, keep_own, made_here, own_sets
from cxremb.store.layout import LABEL_SOURCE, PRE_READ, ROLES, DatasetPaths, is_name
from cxremb.store.readings import decided_sets, reading_rows
from cxremb.store.tables import changes, count, related
from cxremb.store.texts import REPORT
from cxremb.types import EXAMPLES, PARTS, Collection, Image, Note, NoteCounter, Progress, notes_of, unwatched

RECORD = ("patient_id", "sections", "terms", "labels", "parts", "facts", "readings")  # of a study, beside its id
TAKEN = ("image", REPORT, PRE_READ)  # what a row of a store is of, when it is of no section


@dataclass(frozen=True)
class Added:
    """What `add_collection` did. `changes` counts only what happened: {"images added": 8}; empty if nothing did."""

    dataset: Dataset
    counts: Mapping[str, int]
    notes: Sequence[Note]
    changes: Mapping[str, int]


@dataclass
class RecordIndex:
    """What is remembered of every record while the next ones stream by: ids and digests, never contents."""

    studies: dict[str, int] = field(default_factory=dict)  # id -> digest of the record
    images: dict[str, int] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)  # study -> patient
    parts: dict[str, dict[str, str]] = field(default_factory=dict)  # published split -> study -> part


def add_collection(collection: Collection, root: Path, progress: Progress = unwatched) -> Added:
    """The collection as a data set under `root`; every image file is hashed, none is decoded.

    Adding it again replaces the tables and says what changed; nothing is written if nothing did. Label sets that the
    user made stay, for the studies that are still there. What grows in memory is ids, not contents.
    Raises `DataError` if it is empty or contradicts itself, or if another collection has its name, `StoreError` if
    `root` cannot be written.
    """
    if not is_name(collection.name):
        raise DataError(f"{collection.name!r} cannot name a data set", hint="use letters, digits, _ - and . in --name")
    paths = DatasetPaths(root, collection.name)
    with writing_tables(paths):
        return replace_tables(collection, paths, progress)


def replace_tables(collection: Collection, paths: DatasetPaths, progress: Progress) -> Added:
    """As `add_collection`, for whoever alone writes there."""
    described, unreadable = read_described(paths)
    own = own_sets(described, {about.name for about in collection.label_sets})
    before = described if described and whole(described) else None
    index = RecordIndex()
    with drafting(paths) as drafts:
        sets = [*((about, {}) for about in collection.label_sets), *own.sets]
        rows = LabelRows(sets, drafts["labels"].add, kept=[about.name for about, _ in own.sets])
        write_studies(collection, index, drafts, labels=rows, progress=progress)
        notes = write_images(collection.images, index, drafts, progress=progress)
        if not index.studies and not index.images:
            raise DataError(f"{collection.name}: no study and no image in it", hint="check the paths you gave")
        lost = keep_own(own, rows, index.studies)
        label_sets = rows.finish()
        notes = [*collection.notes, *notes, *patient_notes(index), *lost, *rows.notes]
        about = {**description_of(collection, notes), "label_sets": label_sets}
        if collection.default_label_set in label_sets:
            about["default_label_set"] = collection.default_label_set
        dataset, found = settle(before, paths, drafts, about=about)
    for name, parts in index.parts.items():
        store_published(dataset, name, parts)
    # what has happened to whole label sets is said once: adding again neither repeats it nor changes the description
    events = [*own.notes, *unreadable, *gone_sets(described, dataset)]
    return Added(dataset, count(dataset), [*notes, *events], found)


def description_of(collection: Collection, notes: Sequence[Note]) -> dict[str, Any]:
    """What dataset.json says of the collection itself."""
    return {
        "licence": collection.licence,
        "citation": collection.citation,
        "source": dict(collection.source),
        "notes": [{**asdict(note), "examples": list(note.examples)} for note in notes],
        "simulated": collection.simulated,
    }


def settle(
    before: Dataset | None, paths: DatasetPaths, drafts: Mapping[str, Draft], *, about: Mapping[str, Any]
) -> tuple[Dataset, dict[str, int]]:
    """The data set, written unless all of it is there already, and what changed."""
    found = compare(before, drafts, about["source"])
    if before and not found and any(before.descriptor.get(name) != value for name, value in about.items()):
        found = {"description changed": 1}
    return (before if before and not found else commit_dataset(paths, drafts, about)), found


def compare(before: Dataset | None, drafts: Mapping[str, Draft], source: Mapping[str, Any]) -> dict[str, int]:
    """What committing the drafts would change. Raises `DataError` if they are of another collection."""
    for draft in drafts.values():
        draft.finish()
    if before is None:
        added = {f"{name} added": drafts[name].rows for name in ("studies", "images")}
        return {what: n for what, n in added.items() if n}
    old = {name: before.table_path(name) for name in before.table_names}
    new = {name: draft.draft for name, draft in drafts.items()}
    if before.descriptor.get("source") != source and not related(old, new):
        raise DataError(
            f"{before.name}: another collection has this name; of its {before.studies.num_rows:,} studies no film and "
            "no report is in this one",
            hint=f"give this one another --name; to have it in place of the other remove {before.paths.folder} first",
        )
    return changes(old, new)


def write_studies(
    collection: Collection, index: RecordIndex, drafts: Mapping[str, Draft], *, labels: LabelRows, progress: Progress
) -> None:
    """Every study once: its patient, its sections with their roles, its labels. Fills `index`."""
    roles = {**ROLES, **collection.roles}
    for study in progress(collection.studies, length(collection.studies), "reading studies"):
        content = [getattr(study, name) for name in RECORD]
        if repeated(index.studies, study.study_id, content, what="studies"):
            continue
        index.patients[study.study_id] = study.patient_id
        drafts["studies"].add(study.study_id, study.patient_id)
        write_facts(drafts["facts"], "study", study.study_id, facts=study.facts)
        for section, text in study.sections.items():
            if section in TAKEN:
                raise DataError(
                    f"study {study.study_id}: a section is called {section!r}, which means something else here",
                    hint="give that column or section another name",
                )
            drafts["reports"].add(study.study_id, section, roles.get(section, LABEL_SOURCE), text)
        for row in reading_rows(study.study_id, study.readings):
            drafts["readings"].add(*row)
        labels.add(study.study_id, {**study.labels, **decided_sets(collection.label_sets, study.readings)})
        for split, part in study.parts.items():
            if part not in PARTS:
                raise DataError(
                    f"study {study.study_id}, split {split!r}: no part is called {part!r}", f"use {', '.join(PARTS)}"
                )
            index.parts.setdefault(split, {})[study.study_id] = part


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
    for image in images:
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


def read_described(paths: DatasetPaths) -> tuple[Dataset | None, list[Note]]:
    """The data set as dataset.json describes it, whatever its tables are like; None, and a note, if it is damaged.

    Raises `StoreError` for a data set of another format, which must not be overwritten.
    """
    if not paths.descriptor.is_file():
        return None, []
    try:
        return read_dataset(paths.descriptor), []
    except StoreError as error:
        if error.__cause__ is None:  # readable, and of another format
            raise
        what = "dataset.json could not be read: label sets of your own are lost, if there were any"
        return None, [Note(what, 1, [str(paths.descriptor)], f"{MAKE_AGAIN}; the old tables are still in that folder")]


def gone_sets(before: Dataset | None, now: Dataset) -> list[Note]:
    """A note on the label sets that the collection brought before and does not bring now."""
    old = before.descriptor.get("label_sets", {}) if before else {}
    gone = [name for name in old if name not in now.descriptor["label_sets"] and not made_here(old[name])]
    hint = "if they are missed, add the collection with the options that it was added with before"
    return [Note("label sets that came with the collection before and are gone", len(gone), gone, hint)] if gone else []


def whole(dataset: Dataset) -> bool:
    """Whether every table is the file that dataset.json names. If not, adding the collection again mends it."""
    try:
        for name in dataset.table_names:
            verified(dataset, name)
    except (StoreError, KeyError):
        return False
    return True


def file_facts(image: Image) -> tuple[str | None, str | None, int | None, int | None]:
    """(absolute path, SHA-256, width, height) of an image's file; null for what cannot be read."""
    if image.path is None:
        return None, None, None, None
    path = image.path.absolute()
    try:
        path = image.path.resolve()
        if is_packed(path):
            digest, size = packed_facts(path)
            return str(path), digest, *(size or (None, None))
        if not path.is_file():  # a pipe would never end
            return str(path), None, None, None
        digest = sha256_of(path)
    except (OSError, RuntimeError, ImageError):  # not there, not readable, or links that go round
        return str(path), None, None, None
    try:
        return str(path), digest, *image_size(path)
    except ImageError:
        return str(path), digest, None, None
