"""A collection into the store: four tables, what they count, and what changed since the last time."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.datasets.openi import OnBytes
from cxremb.errors import DataError, ImageError, StoreError
from cxremb.images import image_size
from cxremb.labels import LABEL_SETS, label_rows
from cxremb.store.dataset import Dataset, read_dataset, write_dataset
from cxremb.store.files import sha256_of
from cxremb.store.layout import IMAGES, LABEL_SOURCE, REPORTS, ROLES, STUDIES, TABLES, DatasetPaths
from cxremb.types import Collection, Image, Note, Progress, Study, unwatched

ADAPTERS = {"iu_xray": "cxremb.datasets.iu_xray:read"}
FETCHERS = {"iu_xray": "cxremb.datasets.openi:obtain"}
READERS = 8  # threads: hashing leaves the interpreter lock, and a network disk answers slowly
EXAMPLES = 10
Item = TypeVar("Item", Study, Image)
Adapter = Callable[[Path | None, Path, Path | None], Collection]  # images, reports, projections
Fetcher = Callable[[Path, str, OnBytes], tuple[Path, Path]]  # folder, address, progress -> images, reports
Said = dict[str, dict[str, list[tuple[Any, ...]]]]  # "studies" or "images" -> id -> all that the tables say of it


@dataclass(frozen=True)
class Added:
    """What `add_collection` did. `changes` counts only what happened: {"images added": 8}; empty if nothing did."""

    dataset: Dataset
    counts: Mapping[str, int]
    notes: Sequence[Note]
    changes: Mapping[str, int]


def open_adapter(name: str) -> Adapter:
    """The function that reads a collection of this kind. Raises `DataError`, listing them, if there is none."""
    adapter: Adapter = look_up(ADAPTERS, name)
    return adapter


def open_fetcher(name: str) -> Fetcher:
    """The function that downloads a collection of this kind. Raises `DataError`, listing them, if there is none."""
    fetcher: Fetcher = look_up(FETCHERS, name)
    return fetcher


def look_up(table: Mapping[str, str], name: str) -> Any:
    """What the table's import path names."""
    if name not in table:
        raise DataError(
            f"no kind of collection is called {name!r}; there is {', '.join(table)}",
            hint=f"type `{next(iter(table))}` in its place; `--name` is what calls the data set as you like",
        )
    module, _, function = table[name].partition(":")
    return getattr(import_module(module), function)


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
    check_studies(studies, images)
    image_table, file_notes = read_images(images, progress)
    roles = {**ROLES, **collection.roles}
    tables = {
        "studies": table_of(STUDIES, [(study.study_id, study.patient_id) for study in studies]),
        "images": image_table,
        "reports": table_of(
            REPORTS,
            [
                (study.study_id, name, roles.get(name, LABEL_SOURCE), text)
                for study in studies
                for name, text in study.sections.items()
            ],
        ),
        "labels": label_rows(replace(collection, studies=studies)),
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
    before = previous(paths)
    changes = compare(before, tables)
    if before and not changes and any(before.descriptor.get(name) != value for name, value in about.items()):
        changes = {"description changed": 1}
    dataset = before if before and not changes else write_dataset(paths, tables, about)
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


def check_studies(studies: Sequence[Study], images: Sequence[Image]) -> None:
    """Raises `DataError` unless every image belongs to a study that is there, and to the patient of that study."""
    patients = {study.study_id: study.patient_id for study in studies}
    for image in images:
        if patients.get(image.study_id) != image.patient_id:
            raise DataError(
                f"image {image.image_id} is of study {image.study_id} and patient {image.patient_id}: no study says so",
                hint="give the collection a study with that id and patient",
            )


def table_of(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """`rows` as a table."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def read_images(images: Sequence[Image], progress: Progress) -> tuple[pa.Table, list[Note]]:
    """The images table, and notes on files without a readable header or that cannot be read at all."""
    here = [image for image in images if image.path]
    with ThreadPoolExecutor(READERS) as readers:
        facts = dict(progress(readers.map(file_facts, here), len(here), "reading image files"))
    rows = [
        (image.image_id, image.study_id, image.patient_id, image.view, *facts.get(image.image_id, (None,) * 4))
        for image in images
    ]
    unsized = [str(path) for path, _, width, _ in facts.values() if width is None]
    notes = [
        Note(
            "image files without a readable header",
            len(unsized),
            unsized[:EXAMPLES],
            "replace or remove them; until then embedding records them as failures and goes on",
        )
    ]
    return table_of(IMAGES, rows), notes if unsized else []


def file_facts(image: Image) -> tuple[str, tuple[str, str | None, int | None, int | None]]:
    """Image id -> (absolute path, SHA-256, width, height); null for what cannot be read."""
    path = Path(image.path or "").resolve()
    try:
        digest = sha256_of(path)
        width, height = image_size(path)
    except OSError:
        return image.image_id, (str(path), None, None, None)
    except ImageError:
        return image.image_id, (str(path), digest, None, None)
    return image.image_id, (str(path), digest, width, height)


def previous(paths: DatasetPaths) -> Dataset | None:
    """The data set as it was, or None if there is none that can be read: adding it is how a damaged one is mended.

    Raises `StoreError` for a data set of another format, which must not be overwritten.
    """
    if not paths.descriptor.is_file():
        return None
    try:
        dataset = read_dataset(paths.descriptor)
    except StoreError as error:
        if error.__cause__ is None:  # readable, and of another format
            raise
        return None
    try:
        _ = [getattr(dataset, name) for name in TABLES]
    except (StoreError, KeyError):
        return None
    return dataset


def compare(before: Dataset | None, tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """How many studies and images were added, removed and changed."""
    old = said({name: getattr(before, name) for name in TABLES}) if before else {"studies": {}, "images": {}}
    new = said(tables)
    found = {}
    for what, ids in new.items():
        known = old[what]
        found[f"{what} added"] = len(ids.keys() - known.keys())
        found[f"{what} removed"] = len(known.keys() - ids.keys())
        found[f"{what} changed"] = sum(known[name] != ids[name] for name in ids.keys() & known.keys())
    return {what: n for what, n in found.items() if n}


def said(tables: Mapping[str, pa.Table]) -> Said:
    """All rows of each study, whichever table they are in, and of each image."""
    found: Said = {"studies": defaultdict(list), "images": defaultdict(list)}
    for name, table in tables.items():
        about = found["images" if name == "images" else "studies"]
        for row in zip(*table.to_pydict().values(), strict=True):
            about[row[0]].append((name, *row))
    return found


def count(dataset: Dataset) -> dict[str, int]:
    """Studies, patients, images listed, images present, and studies with findings or impression."""
    written = pc.is_in(dataset.reports["section"], pa.array(["findings", "impression"]))
    return {
        "studies": dataset.studies.num_rows,
        "patients": len(dataset.studies["patient_id"].unique()),
        "images": dataset.images.num_rows,
        "images_present": dataset.images.num_rows - dataset.images["path"].null_count,
        "reports_with_text": len(dataset.reports.filter(written)["study_id"].unique()),
    }


def describe(dataset: Dataset) -> dict[str, Any]:
    """What `data show` shows: the descriptor's words, the counts, the views, and how the labels are spread.

    labels: per label set its meaning, the number of labels and of studies, and rows per (label, value), most first.
    """
    kept = ("name", "created", "licence", "citation", "simulated", "source", "notes")
    views = pc.value_counts(pc.fill_null(dataset.images["view"], "unknown")).to_pylist()
    return {
        **{name: dataset.descriptor[name] for name in kept},
        "counts": count(dataset),
        "views": {row["values"]: row["counts"] for row in views},
        "labels": {name: spread(dataset, name) for name in dataset.labels["label_set"].unique().to_pylist()},
    }


def spread(dataset: Dataset, label_set: str) -> dict[str, Any]:
    """How one label set is spread over the studies."""
    rows = dataset.labels.filter(pc.equal(dataset.labels["label_set"], label_set))
    counted = rows.group_by(["label", "value"]).aggregate([("study_id", "count")]).to_pylist()
    counted.sort(key=lambda row: (-row["study_id_count"], row["label"]))
    return {
        "means": LABEL_SETS[label_set].means if label_set in LABEL_SETS else "",
        "labels": len(rows["label"].unique()),
        "studies": len(rows["study_id"].unique()),
        "most": [
            {"label": row["label"], "value": row["value"], "studies": row["study_id_count"]}
            for row in counted[:EXAMPLES]
        ],
    }
