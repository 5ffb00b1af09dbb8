"""Which concept a label means, across collections: a literal table that a radiologist can read and edit.

`concepts.csv` ships; a data set may have one of its own beside its tables, in the same columns. Labels are matched
whole, to the letter: by substring `pseudonodule` would become a nodule.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxremb.errors import DataError, StoreError, did_you_mean, name_list
from cxremb.store.dataset import Dataset
from cxremb.store.expected import CONTROL, FOREIGN, refuse_links
from cxremb.store.files import replace_text, unwritable
from cxremb.tablefile import open_table

SHIPPED = Path(__file__).with_name("concepts.csv")
COLUMNS = ("label_set", "label", "concept", "relation", "source")
# What a label is beside its concept. Narrower: its 1 is a 1 of the concept, its 0 says nothing. Broader: the reverse.
EXACT, BROADER, NARROWER = RELATIONS = ("exact", "broader", "narrower")
VOCABULARIES = ("chexpert", "torchxrayvision")  # sources that say the same in two ways: one of them counts at a time
LONGEST = 200  # letters of a cell


@dataclass(frozen=True)
class Meaning:
    """A label of a label set means a concept. `source`: a vocabulary, or whoever says so."""

    label_set: str
    label: str
    concept: str
    relation: str  # one of `RELATIONS`
    source: str


@dataclass(frozen=True)
class StoredMeanings:
    """What became of a user's table: how many rows count, and the labels, each `label set: label`, that it has not."""

    path: Path
    matched: int
    others: tuple[str, ...]


@cache
def shipped_meanings() -> tuple[Meaning, ...]:
    """The rows that come with the package."""
    return tuple(read_meanings(SHIPPED))


def read_meanings(path: Path) -> list[Meaning]:
    """The rows of a table with the columns `COLUMNS` (see `tablefile`); other columns are not read.

    Raises `DataError`, naming the line, for an empty cell, a relation that there is not, a comma in a concept (the
    command line parts concepts by commas) or a row that comes twice.
    """
    table = open_table(path, encoding="utf-8")
    table.require(COLUMNS, f"give the columns {name_list(COLUMNS)}")
    found: dict[Meaning, int] = {}
    for line, cells in table.rows(COLUMNS):
        row = Meaning(**cells)
        where = f"{path}: {table.place(line)}"
        for name, cell in cells.items():
            if not cell or len(cell) > LONGEST or CONTROL.search(cell):
                what = "is empty" if not cell else f"is no name: {cell[:40]!r}"
                raise DataError(f"{where}: {name} {what}", hint="fill the cell, or remove the row")
        if row.relation not in RELATIONS:
            near = did_you_mean(row.relation, RELATIONS)
            raise DataError(f"{where}: no relation {row.relation!r}", hint=f"{near}it is one of {name_list(RELATIONS)}")
        if "," in row.concept:
            raise DataError(f"{where}: a comma in the concept {row.concept!r}", hint="write it without")
        if row in found:
            raise DataError(f"{where}: the row of line {found[row]} again", hint="remove one of them")
        found[row] = line
    return list(found)


def own_meanings(dataset: Dataset) -> list[Meaning]:
    """The rows of the data set's own table; none where it has none. Raises `StoreError` for one that is damaged."""
    if not dataset.paths.concepts.exists():
        return []
    refuse_links(dataset.paths.folder, dataset.paths.folder.resolve(), 1)
    try:
        return read_meanings(dataset.paths.concepts)
    except DataError as error:
        raise StoreError(str(error), hint=f"{FOREIGN}; or delete the file") from error


def meanings_of(dataset: Dataset) -> list[Meaning]:
    """What the labels of the data set mean, in the order of its label sets and labels.

    What its own table says of a label replaces what ships for that label. Sets of terms have no labels to train on.
    """
    own = own_meanings(dataset)
    said = {(row.label_set, row.label) for row in own}
    return matched(dataset, [*own, *(row for row in shipped_meanings() if (row.label_set, row.label) not in said)])


def matched(dataset: Dataset, rows: Iterable[Meaning]) -> list[Meaning]:
    """Those of the rows whose label set and label the data set has."""
    by_label: dict[tuple[str, str], list[Meaning]] = {}
    for row in rows:
        by_label.setdefault((row.label_set, row.label), []).append(row)
    return [row for key in labels_of(dataset) for row in by_label.get(key, ())]


def labels_of(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """(label set, label) of all that can be trained on."""
    for name, about in dataset.descriptor.get("label_sets", {}).items():
        if about["task"] != "terms":
            yield from ((name, label) for label in about["labels"])


def store_meanings(dataset: Dataset, path: Path) -> StoredMeanings:
    """The user's table, copied beside the tables of the data set in place of an earlier one, in one step.

    Raises `DataError` if it cannot be read, or no row is of a label that the data set has.
    """
    rows = read_meanings(path)
    known = {(row.label_set, row.label) for row in matched(dataset, rows)}
    if not known:
        names = [f"{label_set}: {label}" for label_set, label in labels_of(dataset)]
        given = [f"{row.label_set}: {row.label}" for row in rows]
        near = did_you_mean(given[0], names) if given else ""
        raise DataError(
            f"{path}: names no label of {dataset.name}; it names {name_list(given, 10) or 'nothing'}",
            hint=f"{near}labels are matched whole; {dataset.name} has {name_list(names, 10) or 'none'}",
        )
    try:
        stored = replace_text(dataset.paths.concepts, as_csv(rows))
    except OSError as error:
        raise unwritable(dataset.paths.concepts, error) from error
    own = [row for row in rows if (row.label_set, row.label) in known]
    others = dict.fromkeys(f"{row.label_set}: {row.label}" for row in rows if row not in own)
    return StoredMeanings(stored, len(own), tuple(others))


def as_csv(rows: Sequence[Meaning]) -> str:
    """The table as it is stored."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([row.label_set, row.label, row.concept, row.relation, row.source] for row in rows)
    return text.getvalue()


def in_vocabulary(rows: Iterable[Meaning], vocabulary: str = VOCABULARIES[0]) -> list[Meaning]:
    """The rows of one of `VOCABULARIES`, and those of any source that is neither.

    Raises `DataError` for another vocabulary.
    """
    if vocabulary not in VOCABULARIES:
        near = did_you_mean(vocabulary, VOCABULARIES)
        raise DataError(f"no vocabulary {vocabulary!r}", hint=f"{near}choose one of {name_list(VOCABULARIES)}")
    return [row for row in rows if row.source == vocabulary or row.source not in VOCABULARIES]


def by_concept(rows: Iterable[Meaning]) -> Mapping[str, list[Meaning]]:
    """Concept -> its rows, in their order."""
    found: dict[str, list[Meaning]] = {}
    for row in rows:
        found.setdefault(row.concept, []).append(row)
    return found
