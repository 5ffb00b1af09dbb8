"""What is wanted of whom: which store what is asked about is looked up in, and which ones are searched."""

from collections.abc import Iterator
from dataclasses import dataclass

from cxremb.alignment.publish import partner
from cxremb.embedding.choose import check_text, named_store, usual_stores
from cxremb.encoders.weights import suggested
from cxremb.errors import DataError, StoreError
from cxremb.similarity.query import Asked
from cxremb.store.dataset import Dataset, list_datasets
from cxremb.store.reader import Store, list_stores
from cxremb.store.texts import REPORT

WORDS = {"image": "films", "text": "texts"}


@dataclass(frozen=True)
class Wanted:
    """Which neighbours are asked for."""

    to: str | None = None  # image or text; None: what is asked about itself is
    model: str | None = None  # the store by which is compared; None: the newest
    section: str | None = None  # of texts; None: the whole report, or what the store was aligned by
    where: str | None = None  # a condition in SQL
    other_patients: bool = False  # leave out the patient of what is asked about, and who hangs together with them
    limit: int = 10

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        if self.to not in (None, *WORDS):
            raise DataError(f"there is nothing to find of kind {self.to!r}", hint="choose --to image or --to text")
        if self.limit < 1:
            raise DataError(f"the nearest {self.limit}", hint="ask for --limit 10")


def stores_for(dataset: Dataset, asked: Asked, wanted: Wanted) -> tuple[Store, Store]:
    """(the store that what is asked about is looked up in, the one that is searched): one, or two of one space.

    Raises `StoreError` with the command that makes what is missing, `DataError` where what is named does not fit.
    """
    named = named_store(dataset, wanted.model) if wanted.model else None
    kind = modality_of(dataset, asked, named)
    to = wanted.to or kind
    if to != kind:
        ours = named or next((one for one in list_stores(dataset) if one.projected and partner(dataset, one)), None)
        other = partner(dataset, ours) if ours is not None and ours.projected else None
        if ours is None or other is None:
            what = "is not of two that were aligned" if ours else "has no two stores that were aligned"
            raise StoreError(
                f"{(ours or dataset).name} {what}: {WORDS[kind]} cannot be compared with {WORDS[to]}",
                hint="make them: `cxremb align`",
            )
        both = {one.modality: one for one in (ours, other)}
        return both[kind], both[to]
    if named is not None and named.modality != kind:
        named = partner(dataset, named) if named.projected else named
        if named is None or named.modality != kind:
            raise DataError(f"{wanted.model} reads no {WORDS[kind]}", hint="name another with --model, or leave it out")
    if named is None:
        there = usual_stores(dataset, kind)
        if not there:
            raise StoreError(
                f"{dataset.name} has no store of {WORDS[kind]}",
                hint=f"make one: `cxremb embed --model {suggested(kind)}`",
            )
        named = there[0]
    return named, named


def modality_of(dataset: Dataset, asked: Asked, named: Store | None) -> str:
    """Whether what is asked about is looked at as a film or as a text; an id may be both."""
    if asked.file is not None or asked.text is not None:
        return "text" if asked.file is None else "image"
    if asked.study is None or asked.film is not None:
        return named.modality if named is not None and not named.projected else "image"
    if named is not None:
        return named.modality
    films = asked.study in set(dataset.images["study_id"].to_pylist())
    return "image" if films and usual_stores(dataset, "image") else "text"


def section_of(dataset: Dataset, store: Store, wanted: Wanted) -> str:
    """What its rows are of: `image`, or the text that is compared. Raises `StoreError` if it has no such text."""
    if store.modality == "image":
        return "image"
    aligned = store.manifest.recipe.input.get("text") if store.projected else None
    section = wanted.section or str(aligned or REPORT)
    check_text(dataset, store, section)
    return section


def holding(dataset: Dataset, store: Store) -> Iterator[tuple[Dataset, Store]]:
    """Every data set that has this store or one of its key, with it; the one that it is of first."""
    yield dataset, store
    for other in list_datasets(dataset.paths.root):
        if other.name != dataset.name:
            same = (one for one in list_stores(other) if one.manifest.key == store.manifest.key)
            yield from ((other, one) for one in same)
