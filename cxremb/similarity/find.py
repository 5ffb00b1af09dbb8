"""The nearest films or texts of every data set that has the store, as a table."""

from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.errors import DataError
from cxremb.labels import read_labels
from cxremb.similarity.conditions import items_that
from cxremb.similarity.cosines import NOTHING, candidates, cosines
from cxremb.similarity.people import hanging_together, owners, patients_of
from cxremb.similarity.query import Asked, Query, query_of
from cxremb.similarity.stores import WORDS, Wanted, holding, section_of, stores_for
from cxremb.store.dataset import Dataset
from cxremb.store.matrices import Matrix
from cxremb.store.outdated import text_contents
from cxremb.tabular import Tabular
from cxremb.types import Progress, unwatched

NOBODY = "--other-patients left nobody out: what is asked about is of no patient of these data sets"
COLUMNS = pa.schema(
    [
        ("rank", pa.int64()),
        ("similarity", pa.float64()),
        *((name, pa.string()) for name in ("item_id", "study_id", "patient_id", "labels", "dataset")),
    ]
)


@dataclass(frozen=True)
class Neighbour:
    """One film or text, and how near it is."""

    rank: int  # from 1
    similarity: float  # cosine
    item_id: str
    study_id: str
    patient_id: str
    labels: str | None  # those of its study, in words; None where it has none
    dataset: str


@dataclass(frozen=True, repr=False)
class Neighbours(Tabular):
    """What lies nearest, the nearest first."""

    query: str
    store: str  # the title of the one that was searched
    to: str  # image or text
    searched: int  # vectors that were compared
    rows: tuple[Neighbour, ...]
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = field(default=())

    def to_arrow(self) -> pa.Table:
        """A row for each neighbour."""
        return pa.Table.from_pylist([asdict(row) for row in self.rows], schema=COLUMNS)

    def heading(self) -> str:
        """What was asked, of which store."""
        return f"the {len(self.rows)} {WORDS[self.to]} nearest to {self.query}, of {self.searched:,} in {self.store}"


def find_similar(dataset: Dataset, asked: Asked, wanted: Wanted, *, progress: Progress = unwatched) -> Neighbours:
    """The nearest items by cosine, exactly, of all data sets beside `dataset` whose store has the key of its own.

    Of equal cosines what is asked about comes first, then by data set and id. Raises as `stores_for`, `query_of` and
    `items_that`.
    """
    ours, theirs = stores_for(dataset, asked, wanted)
    sections = {one.modality: section_of(dataset, one, wanted) for one in (ours, theirs)}
    holders = list(holding(dataset, theirs))
    # before anything is encoded: a condition that is wrong need not wait for it
    such = {one.name: items_that(one, theirs.modality, wanted.where) for one, _ in holders if wanted.where is not None}
    query = query_of(asked, dataset, ours, section=sections[ours.modality], progress=progress)
    rows: list[Row] = []
    searched = left_out = 0
    for holder, store in holders:
        matrix = store.load(sections[theirs.modality])
        kept = np.ones(len(matrix.ids), dtype=np.bool_)
        if holder.name in such:
            kept &= flags(matrix, such[holder.name])
        if wanted.other_patients:
            own = replace(query, items=query.items if holder.name == dataset.name else frozenset())
            out = flags(matrix, of_same_people(holder, own, asked=ours.modality, found=theirs.modality))
            left_out += int(out.sum())
            kept &= ~out
        searched += int(kept.sum())
        near = nearest(matrix, query.vectors, np.flatnonzero(kept), limit=wanted.limit)
        itself = query.items if (holder.name, theirs.modality) == (dataset.name, ours.modality) else frozenset[str]()
        rows += [(similarity, item not in itself, holder, item) for similarity, item in near]
    rows.sort(key=lambda row: (-row[0], row[1], row[2].name, row[3]))
    notes = [*query.notes, *([NOBODY] if wanted.other_patients and not left_out else [])]
    return Neighbours(
        asked.in_words,
        theirs.title if theirs.modality == "image" else f"{theirs.title}, {sections['text']}",
        theirs.modality,
        searched,
        tuple(described(rows[: wanted.limit], theirs.modality)),
        tuple(notes),
        ("simulated images",) if "image" in sections and any(holder.simulated for holder, _ in holders) else (),
    )


Row = tuple[float, bool, Dataset, str]  # similarity, whether it is another than what is asked about, whose, item


def nearest(
    matrix: Matrix, queries: NDArray[np.float16], rows: NDArray[np.int64], *, limit: int
) -> list[tuple[float, str]]:
    """(cosine, item) of the nearest of some rows of a store, and of all that are as near as the last of them."""
    rows = candidates(matrix.vectors, queries, rows, count=limit)
    similarity = cosines(matrix.vectors, queries, rows)
    near = similarity > NOTHING
    if near.sum() > limit:
        near &= similarity >= np.partition(similarity, len(similarity) - limit)[len(similarity) - limit]
    items = matrix.ids.take(pa.array(rows[near])).to_pylist()
    return list(zip(similarity[near].tolist(), items, strict=True))


def described(rows: Sequence[Row], modality: str, *, label_set: str | None = None) -> Iterator[Neighbour]:
    """The rows with whose they are and what is known of them. label_set: else that of each data set by default."""
    known = {}
    for dataset in {row[2].name: row[2] for row in rows}.values():
        table = owners(dataset, modality)
        items = {row[3] for row in rows if row[2].name == dataset.name}
        columns = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        whose = {item: (study, patient) for item, study, patient in columns if item in items}
        known[dataset.name] = whose, labels_in_words(dataset, {study for study, _ in whose.values()}, label_set)
    for rank, (similarity, _, dataset, item) in enumerate(rows, 1):
        whose, labels = known[dataset.name]
        study, patient = whose.get(item, (item, ""))  # the store is behind its data set
        yield Neighbour(rank, similarity, item, study, patient, labels.get(study), dataset.name)


def labels_in_words(dataset: Dataset, studies: Set[str], label_set: str | None = None) -> dict[str, str]:
    """Study -> `abnormal 1`; of several labels those that it has. Nothing for a data set or a study without labels."""
    found = {}
    with suppress(DataError):  # none to train on, or several and no default
        labels = read_labels(dataset, label_set)
        for study, values in zip(labels.study_ids, labels.values, strict=True):
            if study in studies:
                if len(labels.names) == 1:
                    found[study] = f"{labels.names[0]} {values[0]:g}"
                else:
                    own = [name for name, value in zip(labels.names, values, strict=True) if value == 1]
                    found[study] = ", ".join(own) or f"none of {len(labels.names)}"
    return found


def of_same_people(dataset: Dataset, query: Query, *, asked: str, found: str) -> frozenset[str]:
    """The items of a data set that are of who is asked about, and of who hangs together with them.

    query: its items are of this data set; in another one ids are of other people. There, as for a new film, the same
    bytes say who it is. asked, found: image or text: what is asked about, and what is found.
    """
    if asked == "image":
        contents = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "sha256")), strict=True))
    else:
        contents = text_contents(dataset.reports, query.section)
    told = query.items | {item for item, content in contents.items() if content in query.contents}
    people = hanging_together(dataset, patients_of(dataset, told, asked)) if told else frozenset[str]()
    table = owners(dataset, found)
    pairs = zip(table["item_id"].to_pylist(), table["patient_id"].to_pylist(), strict=True)
    return frozenset(item for item, patient in pairs if patient in people)


def flags(matrix: Matrix, items: Set[str]) -> NDArray[np.bool_]:
    """(n,) whether each row is of one of these items."""
    return np.array([item in items for item in matrix.ids.to_pylist()], dtype=np.bool_)
