"""What is asked about: an item of a store, a new film or a new text, as vectors of one store."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb import images
from cxremb.alignment.publish import read_projection, source_of
from cxremb.embedding.choose import renew_hint
from cxremb.embedding.fresh import Encoded, LoadedEncoders, encode_like
from cxremb.embedding.parts import NO_VECTOR, as_stored
from cxremb.embedding.plan import Item
from cxremb.errors import DataError, ImageError, StoreError, did_you_mean
from cxremb.store.dataset import Dataset
from cxremb.store.pseudonyms import known_as, pseudonym_of, why_unknown
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched

NEW = "new"  # the id of an item that is in no data set
LONGEST = 100_000  # letters: some thirty pages, where a report has one
SHOWN = 40  # letters of a text in a heading


@dataclass(frozen=True)
class Asked:
    """One thing that is asked about. Exactly one of its four is given, or it is both a film and a study."""

    words: str  # as it was given
    film: str | None = None  # an image_id
    study: str | None = None
    file: Path | None = None
    text: str | None = None

    @property
    def in_words(self) -> str:
        """For a heading."""
        if self.text is not None:
            line = " ".join(self.text.split())
            return f"text {line if len(line) <= SHOWN else line[:SHOWN].rstrip() + ' ...'!r}"
        return f"film {self.words}" if self.file or self.film else f"study {self.words}"


@dataclass(frozen=True)
class Query:
    """Its vectors, and the items and contents that it is itself."""

    vectors: NDArray[np.float16]  # (q, dim)
    items: frozenset[str] = frozenset()  # of the data set that it is of
    contents: frozenset[str] = frozenset()  # SHA-256 of what was encoded
    section: str = "image"
    notes: tuple[str, ...] = ()


def read_query(datasets: Sequence[Dataset], words: str) -> tuple[Asked, Dataset | None]:
    """(what is meant, the data set that it is of): an id of a film or a study, else a file.

    Raises `DataError` if it is neither, or an id of several data sets.
    """
    holding = []
    for dataset in datasets:
        films, studies = set(dataset.images["image_id"].to_pylist()), set(dataset.studies["study_id"].to_pylist())
        name = known_as(words, films | studies, pseudonym_of(dataset))
        if name in films | studies:
            asked = Asked(name, name if name in films else None, name if name in studies else None)
            holding.append((asked, dataset))
    if len(holding) > 1:
        names = ", ".join(dataset.name for _, dataset in holding)
        raise DataError(f"{words} is an id of several data sets: {names}", hint="say which with --dataset NAME")
    if holding:
        return holding[0]
    if Path(words).exists():
        return Asked(words, file=Path(words)), None
    tables = [(one.images, "image_id") for one in datasets] + [(one.studies, "study_id") for one in datasets]
    known = [name for table, column in tables for name in table[column].to_pylist()]
    raise DataError(
        f"{words!r} is no film or study of {', '.join(one.name for one in datasets)}, and no file",
        hint="".join(map(why_unknown, datasets))
        + did_you_mean(words, known)
        + 'see ids: `cxremb sql "select image_id, study_id from images limit 10"`',
    )


def query_of(asked: Asked, dataset: Dataset, store: Store, *, section: str, progress: Progress = unwatched) -> Query:
    """The vectors of what is asked about, of `store` of `dataset`.

    section: of texts, which one. A film is its own; a study is each of its films, or its text. Raises `StoreError` if
    the store has none of it, `ImageError` for a file that is no film, and as `encode_like`.
    """
    if asked.file is not None:
        content = images.digest_file(asked.file)
        return new_query(dataset, store, Item(NEW, NEW, "image", content, str(asked.file)), progress=progress)
    if asked.text is not None:
        refuse_text(asked.text, "the text")
        content = hashlib.sha256(asked.text.encode()).hexdigest()
        return new_query(dataset, store, Item(NEW, NEW, section, content, asked.text), progress=progress)
    if store.modality == "image":
        films = dataset.images
        pairs = zip(films["image_id"].to_pylist(), films["study_id"].to_pylist(), strict=True)
        items = [asked.film] if asked.film else [image for image, study in pairs if study == asked.study]
    else:
        of_film = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "study_id")), strict=True))
        items = [asked.study or of_film[str(asked.film)]]
    matrix = store.load(section)
    rows = matrix.rows(items)
    if not (rows >= 0).any():
        what = "film" if store.modality == "image" else f"{section} text"
        raise StoreError(
            f"{store.name} has no vector of a {what} of {asked.words}",
            hint=f"was it added since, or could it not be encoded? {renew_hint(store)}",
        )
    rows = rows[rows >= 0]
    contents = matrix.contents.take(rows).to_pylist()
    return Query(matrix.vectors[rows], frozenset(filter(None, items)), frozenset(contents), section)


def new_query(dataset: Dataset, store: Store, item: Item, *, progress: Progress) -> Query:
    """The vector of one new film or text. Raises `ImageError` or `DataError`, saying why, if it has none."""
    found = encode_new(dataset, store, [item], progress=progress)
    if item.content not in found.vectors:
        why = found.failures[item.content]
        raise ImageError(why) if item.section == "image" else DataError(f"the text: {why}", hint="give it some words")
    cut = ("the text is longer than the encoder reads and was cut",) if found.truncated else ()
    vectors = found.vectors[item.content][None]
    return Query(vectors, frozenset(), frozenset([item.content]), item.section, (*found.notes, *cut))


def encode_new(
    dataset: Dataset,
    store: Store,
    items: Sequence[Item],
    *,
    progress: Progress = unwatched,
    loaded: LoadedEncoders | None = None,
) -> Encoded:
    """The vectors of new items as `store` would hold them; of a projected one by way of the store it was made of.

    loaded: as for `encode_like`. Raises as `encode_like`, and `StoreError` if that store or the projection is gone.
    """
    if not store.projected:
        return encode_like(store, items, cache=dataset.paths.cache, progress=progress, loaded=loaded)
    projection, source = read_projection(store), source_of(dataset, store)
    found = encode_like(source, items, cache=dataset.paths.cache, progress=progress, loaded=loaded)
    if not found.vectors:
        return found
    stored, there = as_stored({store.pooling: projection(np.stack(list(found.vectors.values())))})
    pairs = list(zip(found.vectors, stored[store.pooling], there.tolist(), strict=True))
    lost = {content: NO_VECTOR for content, _, whole in pairs if not whole}
    kept = {content: vector for content, vector, whole in pairs if whole}
    return replace(found, vectors=kept, failures={**found.failures, **lost})


def refuse_text(text: str, name: str) -> None:
    """Raises `DataError` for a text of no words, and for one that no report is as long as."""
    if not text.strip():
        raise DataError(f"{name} is empty", hint="give it some words")
    if len(text) > LONGEST:
        raise DataError(
            f"{name} has {len(text):,} letters, which is no report: {LONGEST:,} are the most",
            hint="give its report alone",
        )
