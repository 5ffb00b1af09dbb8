"""A collection into the store: four tables, what they count, and what changed since the last time."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import DataError, ImageError, StoreError
from cxremb.images import image_size
from cxremb.labels import LABEL_SETS, label_rows
from cxremb.store.dataset import Dataset, read_dataset, write_dataset
from cxremb.store.files import sha256_of
from cxremb.store.layout import IMAGES, REPORTS, STUDIES, TABLES, DatasetPaths
from cxremb.types import Collection, Image, Note, Progress, Study, unwatched

ADAPTERS = {"iu_xray": "cxremb.datasets.iu_xray:read"}
READERS = 8  # threads: hashing leaves the interpreter lock, and a network disk answers slowly
EXAMPLES = 10
Item = TypeVar("Item", Study, Image)
Adapter = Callable[[Path | None, Path, Path | None], Collection]  # images, reports, projections
Rows = dict[str, dict[str, list[Any]]]  # "studies" -> id -> everything the tables say of it


@dataclass(frozen=True)
class Added:
    """What `add_collection` did. `changes` counts only what happened: {"images added": 8}; empty if nothing did."""

    dataset: Dataset
    counts: Mapping[str, int]
    notes: Sequence[Note]
    changes: Mapping[str, int]


def open_adapter(name: str) -> Adapter:
    """The function that reads a collection of this kind. Raises `DataError`, listing them, if there is none."""
    if name not in ADAPTERS:
        known = ", ".join(ADAPTERS)
        raise DataError(f"no adapter called {name!r}; there is {known}", hint=f"run `cxremb data add {next(iter(ADAPTERS))} --help`")
    module, _, function = ADAPTERS[name].partition(":")
    adapter: Adapter = getattr(import_module(module), function)
    return adapter


def add_collection(collection: Collection, root: Path, progress: Progress = unwatched) -> Added:
    """The collection as a data set under `root`; every image file is hashed, none is decoded.

    Adding it again replaces the tables and says what changed; nothing is written if nothing did.
    Raises `DataError` if it is empty or contradicts itself, `StoreError` if `root` cannot be written.
    """
    if not re.fullmatch(r"\w[\w.-]*", collection.name, flags=re.ASCII):
        raise DataError(f"{collection.name!r} cannot name a data set", hint="use letters, digits, _ - and . in --name")
    if not collection.studies and not collection.images:
        raise DataError(f"{collection.name}: no study and no image in it", hint="check the paths you gave")
    studies = once(collection.studies, "studies", lambda study: study.study_id)
    images = once(collection.images, "images", lambda image: image.image_id)
    if strays := [image.image_id for image in images if image.study_id not in {study.study_id for study in studies}]:
        raise DataError(
            f"{collection.name}: image {strays[0]} belongs to a study that the collection lacks",
            hint="this is a bug in the adapter: please report it",
        )
    image_table, file_notes = read_images(images, progress)
    tables = {
        "studies": table_of(STUDIES, ((study.study_id, study.patient_id) for study in studies)),
        "images": image_table,
        "reports": table_of(
            REPORTS, ((study.study_id, name, text) for study in studies for name, text in study.sections.items())
        ),
        "labels": label_rows(collection),
    }
    notes = [*collection.notes, *file_notes]
    about = {
        "licence": collection.licence,
        "citation": collection.citation,
        "source": dict(collection.source),
        "notes": [{**asdict(note), "examples": list(note.examples)} for note in notes],
        "simulated": collection.simulated,
    }
    return commit(DatasetPaths(root, collection.name), tables, about, notes)


def commit(
    paths: DatasetPaths, tables: Mapping[str, pa.Table], about: Mapping[str, Any], notes: Sequence[Note]
) -> Added:
    """The data set, written unless all of it is there already."""
    dataset, known = previous(paths)
    changes = compare(known, tables)
    same_words = dataset is not None and all(dataset.descriptor.get(name) == value for name, value in about.items())
    if dataset is None or changes or not same_words:
        if known and not changes:
            changes = {"description": 1}
        dataset = write_dataset(paths, tables, about)
    return Added(dataset, count(dataset), notes, changes)


def once(items: Iterable[Item], what: str, key: Callable[[Item], str]) -> list[Item]:
    """Each item once. Raises `DataError` if two differ under one id."""
    kept: dict[str, Item] = {}
    for item in items:
        if kept.setdefault(key(item), item) != item:
            raise DataError(
                f"two {what} with one id, {key(item)}, and their contents differ", hint="remove or rename one of them"
            )
    return list(kept.values())
