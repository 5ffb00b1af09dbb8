"""Vectors made elsewhere as a store like any other: what they are of is known here, what made them is not."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.datasets.tree import without_suffix
from cxremb.embedding.encode import Log
from cxremb.embedding.job import Update, update_store
from cxremb.embedding.parts import PartWriter, as_stored
from cxremb.embedding.plan import Item, StorePlan, orphans, unread_content
from cxremb.embedding.vector_files import VectorFile
from cxremb.encoders.base import Machine
from cxremb.encoders.table import ENCODERS
from cxremb.errors import StoreError, name_list
from cxremb.ids import clean_id
from cxremb.store import remote
from cxremb.store.dataset import Dataset
from cxremb.store.files import remove_files
from cxremb.store.layout import is_name
from cxremb.store.manifest import Recipe, latest_manifest
from cxremb.store.pseudonyms import pseudonym_of, why_unknown
from cxremb.store.reader import IMPORTED
from cxremb.types import EXAMPLES, Progress, unwatched

UNNAMED = "imported"  # the encoder of vectors of which nobody says what made them
ABSENT = "not in the file"
NOT_FINITE = "the vector in the file is not finite in float16, is null, or is all zero"
STAGE = "import"


@dataclass(frozen=True)
class ImportedVectors:
    """What became of a file of vectors. unknown: its ids that the data set does not have, all and the first few."""

    update: Update
    unknown: int
    examples: tuple[str, ...]


@dataclass
class FilmVectors:
    """Which film each row of a file is of, as the file is read."""

    items: Mapping[str, Item]
    path: Path
    pseudonym: Callable[[str], str]
    taken: dict[str, tuple[str, int]] = field(default_factory=dict)  # film -> its id in the file, hash of its vector
    unknown: int = 0
    examples: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Begin again."""
        self.taken.clear()
        self.examples.clear()
        self.unknown = 0

    def films(self, ids: list[str], vectors: NDArray[np.float32]) -> Iterator[tuple[int, Item]]:
        """(row, film) of each row that is of a film, once. Raises `StoreError` for two vectors of one film."""
        for row, name in enumerate(ids):
            item = film_of(self.items, name, self.pseudonym)
            if item is None:
                self.unknown += 1
                self.examples += [name] if len(self.examples) < EXAMPLES else []
                continue
            says = hash(vectors[row].tobytes())
            first = self.taken.get(item.item_id)
            if first is None:
                self.taken[item.item_id] = name, says
                yield row, item
            elif first[1] != says:
                raise StoreError(
                    f"{self.path}: two vectors of the film {item.item_id}, under {first[0]!r} and {name!r}",
                    hint="one film, one vector: remove one of them",
                )


def import_vectors(
    dataset: Dataset,
    source: VectorFile,
    *,
    encoder_name: str | None = None,
    licence: str = "not given",
    progress: Progress = unwatched,
) -> ImportedVectors:
    """The vectors of a file as a store of the data set's films: a vector or a failure for each film that it lists.

    encoder_name: what made them, on the user's word: stores of one name, dimension and pooling have one key, whatever
    file they came from, and are compared across data sets. Without it the key is that of the file alone. An id is that
    of a film, also with the suffix of a file or folders before it. Ids that the data set does not have are counted.
    Raises `StoreError` for a name that is an encoder's here, for a file of none of the films, for two vectors of one
    film, and where the store of that name holds vectors of another file.
    """
    recipe = recipe_of(source, encoder_name)
    folder = dataset.paths.embeddings / recipe.store
    refuse_another_file(dataset, recipe, source)
    items = {item.item_id: item for item in film_items(dataset)}
    log = Log(progress)
    found = FilmVectors(items, source.path, pseudonym_of(dataset))

    def write(plan: StorePlan) -> None:
        """What the plan lacks, out of the file."""
        found.clear()
        writer = PartWriter(folder, recipe, licence, Machine().part_items, log)
        lacking = {item.item_id for item in plan.todo}
        for ids, vectors in progress(source.rows(), None, "reading vectors"):
            if vectors.shape[1] != source.dim:
                what = f"vectors of {source.dim} and of {vectors.shape[1]} values"
                raise StoreError(f"{source.path}: {what}", hint="they are of one length")
            chosen = [(row, item) for row, item in found.films(ids, vectors) if item.item_id in lacking]
            add_block(writer, [item for _, item in chosen], vectors[[row for row, _ in chosen]])
        if not found.taken:
            raise StoreError(
                f"{source.path}: none of its {found.unknown:,} ids is of a film of {dataset.name}, such as "
                f"{name_list(found.examples, 3)}",
                hint=f"{why_unknown(dataset)}films are called as {name_list(list(items)[:3], 3)}; "
                "is it of another data set?",
            )
        for name in lacking - found.taken.keys():
            log.fail((items[name],), STAGE, ABSENT)
        writer.flush()

    if folder.is_dir():
        remote.up_to_date(folder)
        remove_files(orphans(folder))  # of an import that was stopped: a part does not say of which file it is
    update = update_store(
        folder,
        list(items.values()),
        write,
        recipe=recipe,
        licence=licence,
        log=log,
        about={
            IMPORTED: {
                "file": source.path.name,
                "sha256": source.sha256,
                "named": encoder_name is not None,
                "unknown": found.unknown,
            }
        },
    )
    return ImportedVectors(update, found.unknown, tuple(found.examples))


def add_block(writer: PartWriter, items: Sequence[Item], vectors: NDArray[np.float32]) -> None:
    """Hand some vectors to the writer; those that a store cannot hold are failures."""
    (pooling,) = writer.recipe.poolings
    _, there = as_stored({pooling: vectors})
    good = [(item,) for item, whole in zip(items, there, strict=True) if whole]
    if good:
        writer.log.encoded += len(good)
        writer.add(good, {pooling: vectors[there]})
    for item, whole in zip(items, there, strict=True):
        if not whole:
            writer.log.fail((item,), STAGE, NOT_FINITE)


def recipe_of(source: VectorFile, encoder_name: str | None) -> Recipe:
    """What the vectors are known by. Raises `StoreError` for a name that is none, or that of an encoder."""
    name = encoder_name or UNNAMED
    if name in ENCODERS or not is_name(name) or name.startswith(("align_", "_")):
        raise StoreError(
            f"vectors from elsewhere cannot be called {name!r}: "
            + ("it is an encoder of this cxremb" if name in ENCODERS else "it is no name of a store"),
            hint="use letters, digits, _ - and . in --encoder-name, and say that they are imported",
        )
    named = hashlib.sha256(f"imported vectors named {name}".encode()).hexdigest()
    return Recipe(
        encoder=name,
        model=f"imported: {name}",
        weights_sha256=named if encoder_name else source.sha256,
        modality="image",
        dim=source.dim,
        poolings=(source.pooling,),
        input={IMPORTED: "on the word of a name" if encoder_name else "of one file"},
        precision="full",
    )


def refuse_another_file(dataset: Dataset, recipe: Recipe, source: VectorFile) -> None:
    """Raises `StoreError` if the store holds vectors of another file: which of the two is meant, nobody could tell."""
    folder = dataset.paths.embeddings / recipe.store
    before = latest_manifest(folder) if folder.is_dir() else None
    known = before.provenance.get(IMPORTED, {}).get("sha256") if before else None
    if known not in (None, source.sha256):
        raise StoreError(
            f"{recipe.store} holds vectors of another file",
            hint=f"remove it first: `cxremb store rm {recipe.store} --yes`; or give another --encoder-name",
        )


def film_items(dataset: Dataset) -> Iterator[Item]:
    """Every film that the data set lists, also those that are not on this machine."""
    columns = (dataset.images[name].to_pylist() for name in ("image_id", "study_id", "sha256", "path"))
    for image, study, content, path in zip(*columns, strict=True):
        yield Item(image, study, "image", content or unread_content(image), path or "")


def film_of(items: Mapping[str, Item], name: str, pseudonym: Callable[[str], str]) -> Item | None:
    """The film that an id, or its pseudonym, names, also with the suffix of a file, or with folders before it."""
    cleaned = clean_id(name).replace("\\", "/")
    for one in dict.fromkeys((cleaned, without_suffix(cleaned))):
        words = one.split("/")
        for start in range(len(words)):
            own = "/".join(words[start:])
            if found := items.get(own) or items.get(pseudonym(own)):
                return found
    return None
