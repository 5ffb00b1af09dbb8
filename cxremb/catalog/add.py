"""What `data add` does: the tables of a collection are drafted, compared with those that are there, committed."""

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.catalog.about import chosen_names, description_of, in_short, located, unnamed
from cxremb.catalog.records import RecordIndex, patient_notes, write_images, write_studies
from cxremb.datasets.pseudonymised import SafeFacts, pseudonymised
from cxremb.errors import DataError, StoreError
from cxremb.splits import store_published
from cxremb.store.commit import Draft, commit_dataset, drafting, writing_tables
from cxremb.store.dataset import LOCATIONS, Dataset, read_dataset, verified
from cxremb.store.label_rows import MAKE_AGAIN, LabelRows, keep_own, made_here, own_sets
from cxremb.store.layout import DatasetPaths, is_name
from cxremb.store.locations import Locations, drop_locations, name_of, write_locations
from cxremb.store.tables import changes, count, related
from cxremb.types import Collection, Note, Progress, unwatched


@dataclass(frozen=True)
class Added:
    """What `add_collection` did. `changes` counts only what happened: {"images added": 8}; empty if nothing did."""

    dataset: Dataset
    counts: Mapping[str, int]
    notes: Sequence[Note]
    changes: Mapping[str, int]


def add_collection(
    collection: Collection,
    root: Path,
    progress: Progress = unwatched,
    *,
    key: Path | None = None,
    keep: Names[str] = (),
) -> Added:
    """The collection as a data set under `root`; every image file is hashed, none is decoded.

    Adding it again replaces the tables and says what changed; nothing is written if nothing did. Label sets that the
    user made stay, for the studies that are still there. What grows in memory is ids, not contents.
    key: a file, made if it is missing; all ids are pseudonyms by it, and days are shifted. keep: facts that stay then.
    Raises `DataError` if it is empty or contradicts itself, or if another collection has its name, `StoreError` if
    `root` cannot be written.
    """
    if not is_name(collection.name):
        raise DataError(f"{collection.name!r} cannot name a data set", hint="use letters, digits, _ - and . in --name")
    if keep and key is None:
        raise DataError(
            "columns to keep, and no pseudonyms", hint="add --pseudonymise KEYFILE; else all columns are kept"
        )
    paths = DatasetPaths(root, collection.name)
    with writing_tables(paths):
        described, unreadable = read_described(paths)
        names = chosen_names(described, key, paths)
        facts = SafeFacts(names, keep) if names else None
        if names and facts:
            collection = pseudonymised(collection, names, facts)
        return replace_tables(collection, paths, progress, described=described, unreadable=unreadable, facts=facts)


def replace_tables(
    collection: Collection,
    paths: DatasetPaths,
    progress: Progress,
    *,
    described: Dataset | None,
    unreadable: Sequence[Note],
    facts: SafeFacts | None,
) -> Added:
    """As `add_collection`, for whoever alone writes there. facts: of a collection under pseudonyms."""
    names = facts.names if facts else None
    own = own_sets(described, {about.name for about in collection.label_sets})
    before = described if described and whole(described) else None
    index = RecordIndex()
    with drafting(paths) as drafts:
        sets = [*((about, {}) for about in collection.label_sets), *own.sets]
        rows = LabelRows(sets, drafts["labels"].add, kept=[about.name for about, _ in own.sets])
        notes = write_studies(collection, index, drafts, labels=rows, progress=progress)
        notes += write_images(collection.images, index, drafts, progress=progress)
        if not index.studies and not index.images:
            raise DataError(f"{collection.name}: no study and no image in it", hint="check the paths you gave")
        lost = keep_own(own, rows, index.studies)
        label_sets = rows.finish()
        drafts["images"].finish()
        locations = located(drafts["images"].draft, collection, names)
        if before and before.descriptor.get(LOCATIONS) == name_of(locations):
            write_locations(paths, locations)  # the data set came here without
        notes = [*collection.notes, *notes]
        notes = [*unnamed(notes), *facts.notes()] if facts else notes
        notes += [*patient_notes(index), *lost, *rows.notes]
        notes = [in_short(note, locations) for note in notes]
        about = {**description_of(collection, notes, names), "label_sets": label_sets}
        if collection.default_label_set in label_sets:
            about["default_label_set"] = collection.default_label_set
        dataset, found = settle(before, paths, drafts, about=about, source=collection.source, locations=locations)
    for name, parts in index.parts.items():
        store_published(dataset, name, parts)
    # what has happened to whole label sets is said once: adding again neither repeats it nor changes the description
    events = [*own.notes, *unreadable, *gone_sets(described, dataset)]
    return Added(dataset, count(dataset), [*notes, *events], found)


def settle(
    before: Dataset | None,
    paths: DatasetPaths,
    drafts: Mapping[str, Draft],
    *,
    about: Mapping[str, Any],
    source: Mapping[str, str],
    locations: Locations,
) -> tuple[Dataset, dict[str, int]]:
    """The data set, written unless all of it is there already, and what changed."""
    found = compare(before, drafts, source)
    if before and not found:
        same = all(before.descriptor.get(name) == value for name, value in about.items())
        if same and before.locations == locations:
            return before, {}
        found = {"description changed": 1}
    with drafting(paths, ["images"]) as short:
        file = pq.ParquetFile(drafts["images"].draft)
        for rows in map(file.read_row_group, range(file.num_row_groups)):
            column = [path if path is None else locations.short(path) for path in rows["path"].to_pylist()]
            place = rows.column_names.index("path")
            short["images"].extend(rows.set_column(place, "path", pa.array(column, pa.string())))
        name = write_locations(paths, locations)
        dataset = commit_dataset(paths, {**drafts, **short}, {**about, LOCATIONS: name})
    drop_locations(paths, [name, *([before.descriptor.get(LOCATIONS, "")] if before else [])])
    return dataset, found


def compare(before: Dataset | None, drafts: Mapping[str, Draft], source: Mapping[str, Any]) -> dict[str, int]:
    """What committing the drafts would change. Raises `DataError` if they are of another collection."""
    for draft in drafts.values():
        draft.finish()
    if before is None:
        added = {f"{name} added": drafts[name].rows for name in ("studies", "images")}
        return {what: n for what, n in added.items() if n}
    old: dict[str, Any] = {name: before.table_path(name) for name in before.table_names}
    old["images"] = before.images  # whose paths are whole, as those of the drafts
    new = {name: draft.draft for name, draft in drafts.items()}
    if before.source != source and not related(old, new):
        raise DataError(
            f"{before.name}: another collection has this name; of its {before.studies.num_rows:,} studies no film and "
            "no report is in this one",
            hint=f"give this one another --name; to have it in place of the other remove {before.paths.folder} first",
        )
    return changes(old, new)


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
