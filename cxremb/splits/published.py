"""Splits that somebody else made: of a collection's authors, of a paper, any table of ids and parts, or JSON lists."""

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.datasets.known_ids import RowIds, heading, id_columns, known_ids, row_ids
from cxremb.errors import DataError, SplitError, name_list
from cxremb.splits.spec import BUILT_IN, KEY_LENGTH, METHOD, check_name, fold_table
from cxremb.splits.stored import StoredSplit, store_once
from cxremb.store.dataset import Dataset
from cxremb.store.pseudonyms import pseudonym_of, why_unknown
from cxremb.tablefile import open_bytes, open_table
from cxremb.types import EXAMPLES, PARTS, Note, part_named

PART = ("split", "part", "set", "subset", "partition", "fold")  # headings, in the order of preference
OPENI = re.compile(r"CXR(\d+)_")  # Open-i calls the film of report 2384 CXR2384_IM-0942-1001


class ListEntry(NamedTuple):
    """One line of a list: whose it is, and a part as it is written there."""

    part: str
    ids: RowIds


@dataclass(frozen=True)
class PublishedSplit:
    """What a file says of a data set's studies, or of its images where one study is in two parts."""

    parts: Mapping[str, str]  # study id, or image id -> train, val or test
    by_image: bool = False
    notes: tuple[Note, ...] = ()


def import_split(dataset: Dataset, name: str, file: Path) -> StoredSplit:
    """The split that `file` lists, stored under `name`. Raises as `read_published` and `store_published`."""
    return store_published(dataset, name, read_published(file, dataset), means=f"imported from {file.name}")


def store_published(
    dataset: Dataset,
    name: str,
    parts: Mapping[str, str] | PublishedSplit,
    *,
    means: str = "as published with the collection",
) -> StoredSplit:
    """The split as one fold, read if the same was stored before. parts: study_id -> train, val or test.

    Raises `DataError` for unknown studies or parts, `SplitError` for a name that is taken by a split made here.
    """
    check_name(name)
    if name in BUILT_IN:
        raise SplitError(f"{name} is a split that is made here", hint="give the published one another name")
    given = parts if isinstance(parts, PublishedSplit) else PublishedSplit(parts)
    items = dataset.images if given.by_image else dataset.studies
    what = "image_id" if given.by_image else "study_id"
    refuse_unknown(given.parts, items[what], name)
    placed = {item: known_part(part, name) for item, part in sorted(given.parts.items())}
    rows = items.filter(pc.is_in(items[what], value_set=pa.array(placed, pa.string()))).sort_by(what)
    ids = {column: rows[column] for column in dict.fromkeys(("patient_id", "study_id", what))}
    table = fold_table(name, ids, pa.array([placed[item] for item in rows[what].to_pylist()], pa.string()))
    record = json.dumps([METHOD, table.to_pydict(), [note.count for note in given.notes]])
    key = hashlib.sha256(record.encode()).hexdigest()[:KEY_LENGTH]
    path = dataset.paths.splits / f"{name}@{key}.parquet"
    return store_once(StoredSplit(name, key, path, table, means, by_image=given.by_image, notes=given.notes))


def refuse_unknown(parts: Mapping[str, str], known: pa.ChunkedArray, name: str) -> None:
    """Raises `DataError` for an empty split, and for ids that the data set does not have."""
    if not parts:
        raise DataError(f"split {name}: nobody is in it", hint="check that its ids are those of this data set")
    if lost := sorted(parts.keys() - set(known.to_pylist())):
        raise DataError(
            f"split {name}: {len(lost)} of {len(parts)} ids are of nobody in the data set: {name_list(lost, EXAMPLES)}",
            hint="add the whole collection, or leave these ids out of the split",
        )


def known_part(word: str, where: object) -> str:
    """`word` as this project calls it. Raises `DataError` for one that is not train, val or test."""
    part = part_named(word)
    if part is None:
        folds = "; of numbered folds, write a table for each that is test, and import them one by one"
        hint = f"call the parts {', '.join(PARTS)}{folds * word.isdigit()}"
        raise DataError(f"{where}: {word!r} is no part", hint=hint)
    return part


def read_published(file: Path, dataset: Dataset) -> PublishedSplit:
    """What a list of ids and parts says of `dataset`. Ids that are of nobody here are counted in a note.

    file: JSON with a list per part, as the annotation files of R2Gen have it (Chen et al. 2020); or CSV or TSV, .gz or
    not, with a column of parts (`PART`) and one of studies, images or patients (`id_columns`), as MIMIC-CXR and many
    papers have it. A study in two parts makes it a split by image if every row names an image.

    Raises `DataError` for a file that cannot be read so, and for one that puts something into two parts.
    """
    known = known_ids(dataset)
    own = pseudonym_of(dataset)
    rows = [ListEntry(known_part(part, file), known.in_pseudonyms(ids, own)) for part, ids in read_list(file)]
    found = [(row, known.studies_of(row.ids)) for row in rows]
    unknown = [row.ids.first for row, studies in found if not studies]
    lost = sorted(set(unknown))
    if len(unknown) == len(rows):
        raise nobody_known(file, dataset, lost, like=known.like(rows[0].ids))
    first = [] if dataset.pseudonyms else lost[:EXAMPLES]  # of nobody: then they are ids as the hospital has them
    note = Note("ids in the split that are of nobody here", len(lost), first, "add the whole collection")
    notes = (note,) if lost else ()
    studies, divided = placed((study, row.part) for row, ids in found for study in ids)
    if not divided:
        return PublishedSplit(studies, notes=notes)
    images, twice = placed((known.image(row.ids.image), row.part) for row, ids in found if ids)
    if "" in images or twice:
        raise DataError(
            f"{file}: {len(divided)} studies are in two parts: {name_list(divided, EXAMPLES)}",
            hint="list each study once, or name the image in every row to make it a split by image",
        )
    return PublishedSplit(images, by_image=True, notes=notes)


def nobody_known(file: Path, dataset: Dataset, lost: Sequence[str], *, like: str) -> DataError:
    """The error for a list of which no id is here. like: an id that is, to hold the others against."""
    names = name_list(lost, EXAMPLES)
    return DataError(
        f"{file}: none of its {len(lost):,} ids is in {dataset.name}: {names}; here one is {like!r}",
        hint=why_unknown(dataset) + "give the list of this collection, with ids as they are here: "
        '`cxremb sql "select image_id, study_id, patient_id from images limit 10"`',
    )


def read_list(file: Path) -> list[ListEntry]:
    """The lines of a list. Raises `DataError` if the file is missing, not text, or has no ids or parts in it."""
    rows = read_json(file) if ".json" in file.suffixes else list(read_rows(file))
    if not rows:
        raise DataError(f"{file}: nobody is listed in it", hint="check the path given with --from")
    return rows


def read_json(file: Path) -> list[ListEntry]:
    """The entries of {"train": [{"id": ...}, ...], "val": [...], "test": [...]}; an entry may be the id itself."""
    try:
        with open_bytes(file) as stream:
            lists = json.load(stream)
        entries = [(part, entry) for part, listed in lists.items() for entry in listed]
        return [json_entry(part, entry if isinstance(entry, Mapping) else {"id": entry}) for part, entry in entries]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read ({error})", hint="check the path given with --from") from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f"{file}: no lists of studies by part ({error})", hint='write {"train": [{"id": ...}], "test": [...]}'
        ) from error


def json_entry(part: str, entry: Mapping[str, Any]) -> ListEntry:
    """One study or image. R2Gen's id is that of an image in MIMIC-CXR, beside a study_id, and of a report in Open-i."""
    name = str(entry["id"] if "id" in entry else entry["study_id"])
    report = OPENI.match(name)
    return ListEntry(part, RowIds(image=name, study=str(entry.get("study_id", report[1] if report else name))))


def read_rows(file: Path) -> Iterator[ListEntry]:
    """The rows of a table that names somebody."""
    table = open_table(file, encoding="utf-8")
    ids, part = id_columns(table.columns), heading(table.columns, PART)
    if len(table.columns) == 1 and part is None and not ids:
        raise DataError(
            f"{file}: a list of names alone, which says no part",
            hint="put the lists of all parts into one table with the columns image_id and split (train, val, test)",
        )
    if part is None or not ids:
        raise DataError(
            f"{file}: its columns are {', '.join(table.columns)}",
            hint="call one of them split (train, val, test), and one study_id, image_id or patient_id",
        )
    for _, cells in table.rows([part, *ids.values()]):
        whose = row_ids(cells, ids)
        if any(whose):
            yield ListEntry(cells[part], whose)


def placed(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """(id -> the first part it was put into, the ids that were put into another one too)."""
    parts: dict[str, str] = {}
    divided = {item for item, part in pairs if parts.setdefault(item, part) != part}
    return parts, sorted(divided)
