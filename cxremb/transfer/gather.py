"""Data sets -> rows that share vectors and concepts: one store of the same key in each, one matrix of labels of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.concepts import ConceptSource, concept_labels, no_concept, sources_of
from cxremb.embedding.choose import choose_stores, embed_hint, no_store, usual_stores
from cxremb.errors import DataError, StoreError, did_you_mean, name_list
from cxremb.features import Features, load_features
from cxremb.splits import StoredSplit, choose_split
from cxremb.store.dataset import Dataset, data_sets, list_datasets, open_dataset
from cxremb.store.kinship import collection_of
from cxremb.store.reader import Store, list_stores
from cxremb.training.data import Rows
from cxremb.training.heads import find_head
from cxremb.training.parts import Parts, parts_of_rows
from cxremb.transfer.plan import TransferPlan

BETWEEN = "/"  # before an id: whose it is. Ids of two collections are of two people, also where they are written alike


@dataclass(frozen=True)
class Collected:
    """One data set with its rows; `known` says which of all concepts it has."""

    dataset: Dataset
    features: Features  # y: the concepts that it has, in their order
    split: StoredSplit
    parts: Mapping[int, Parts]  # fold -> the part of each row
    sources: Mapping[str, str]  # concept -> the label set that it is of

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def collection(self) -> str:
        return collection_of(self.dataset)

    @cached_property
    def vector_digests(self) -> list[bytes]:
        """(n,) of each film's vector; none where no films are read."""
        vectors = np.asarray(self.features.blocks.get("image", ()))
        return [blake2b(vector, digest_size=16).digest() for vector in vectors]


@dataclass(frozen=True)
class Together:
    """The rows of all collections, one after the other. Ids have the data set's name before them."""

    concepts: tuple[str, ...]  # (k,)
    collected: tuple[Collected, ...]
    y: NDArray[np.float64]  # (n, k) NaN where a collection or a study does not say
    notes: tuple[str, ...] = ()

    @cached_property
    def starts(self) -> dict[str, int]:
        """Name -> its first row."""
        ends = np.cumsum([0, *(len(one.features.y) for one in self.collected)])
        return {one.name: int(start) for one, start in zip(self.collected, ends, strict=False)}

    def rows_of(self, name: str) -> NDArray[np.int64]:
        """The row numbers of one collection."""
        one = self.named(name)
        return np.arange(len(one.features.y)) + self.starts[name]

    def named(self, name: str) -> Collected:
        return next(one for one in self.collected if one.name == name)

    @cached_property
    def ids(self) -> dict[str, NDArray[np.str_]]:
        """items, studies and patients: (n,) each, such as `kermany/person1`."""
        columns = {"items": "item_ids", "studies": "study_ids", "patients": "patient_ids"}
        return {
            name: np.concatenate(
                [
                    np.char.add(f"{one.name}{BETWEEN}", getattr(one.features, column).astype(np.str_))
                    for one in self.collected
                ]
            )
            for name, column in columns.items()
        }

    def training_rows(self, blocks: Sequence[str]) -> Rows:
        """What the trainer reads."""
        whole = [one.features for one in self.collected]
        task = "binary" if len(self.concepts) == 1 else "multilabel"
        return Rows(
            blocks={block: np.concatenate([each.blocks[block] for each in whole]) for block in blocks},
            present={block: np.concatenate([each.present[block] for each in whole]) for block in blocks},
            y=self.y,
            task=task,
            groups=self.ids["patients"],
        )


def gather(root: Path, plan: TransferPlan) -> Together:
    """All rows that are trained or tested on.

    Raises `DataError` for a concept that no collection has, a collection that has none of them, or fewer than two
    collections; `StoreError`, with the command, for one without a store of the key that the others have.
    """
    named = [word.partition(":")[::2] for word in plan.collections]
    if len({name for name, _ in named}) < len(named):
        raise DataError("a collection is named twice", hint="name each once, with one label set at most")
    known = {one.name: one for one in (list_datasets(root) if not named else ())}
    chosen = {name: open_dataset(root, name) for name, _ in named} or known
    if len(chosen) < 2:
        data_sets(root)  # which says that there is none
        raise DataError(f"{root}: one collection, {name_list(chosen)}", hint="add another: `cxremb data add`")
    sets = {name: label_set or None for name, label_set in named}
    blocks = find_head(plan.head).blocks
    stores, notes = same_stores(chosen, blocks, plan, must=bool(named))
    chosen = {name: one for name, one in chosen.items() if name in stores}
    if len(chosen) < 2:
        raise StoreError(
            f"{root}: no two collections have a store of one key; it is there of {name_list(chosen) or 'none'}",
            hint="; ".join(notes),
        )
    concepts = concepts_of(chosen, plan, sets)
    collected = []
    for name, dataset in chosen.items():
        sources = sources_of(dataset, plan.vocabulary, label_set=sets.get(name))
        if not set(concepts) & set(sources):
            if named:
                raise no_concept(dataset, sources, concepts)
            notes.append(f"{name} is left out: it has none of the concepts")
            continue
        own = {concept: sources[concept] for concept in concepts if concept in sources}
        collected.append(collect(dataset, own, stores[name], plan=plan, blocks=blocks))
    if len(collected) < 2:
        raise DataError(
            f"fewer than two collections have {name_list(concepts)}",
            hint="see what each has: `cxremb data concepts NAME`",
        )
    return Together(tuple(concepts), tuple(collected), joined_labels(collected, concepts), tuple(notes))


def collect(
    dataset: Dataset,
    sources: Mapping[str, ConceptSource],
    stores: Mapping[str, Store],
    *,
    plan: TransferPlan,
    blocks: Sequence[str],
) -> Collected:
    """One data set's rows, and who of it is in which part. Raises as `load_features` and `choose_split`."""
    sets = {concept: source.label_set for concept, source in sources.items()}
    labels = concept_labels(dataset, list(sets), plan.vocabulary, sources=sources)
    models = {f"{block}_model": store.name for block, store in stores.items()}
    inputs = replace(plan.inputs, label_set=None, unit=None, **models)
    features = load_features(dataset, blocks, inputs, labels=labels)
    split = choose_split(dataset, max(dict.fromkeys(sets.values()), key=list(sets.values()).count), plan.split)
    parts = {fold: parts_of_rows(features, split, (split.repeats[0], fold)) for fold in split.folds}
    return Collected(dataset, features, split, parts, sets)


def joined_labels(collected: Sequence[Collected], concepts: Sequence[str]) -> NDArray[np.float64]:
    """(n, k) what each row says of each concept."""
    found = []
    for one in collected:
        y = np.full((len(one.features.y), len(concepts)), np.nan)
        for column, name in enumerate(one.features.labels):
            y[:, concepts.index(name)] = one.features.y[:, column]
        found.append(y)
    return np.concatenate(found)


def concepts_of(chosen: Mapping[str, Dataset], plan: TransferPlan, sets: Mapping[str, str | None]) -> list[str]:
    """The concepts that are asked for, else all that two collections have, in the order in which they have them.

    Raises `DataError` for one that no collection has, or where no two have one in common.
    """
    having: dict[str, list[str]] = {}
    for name, dataset in chosen.items():
        for concept in sources_of(dataset, plan.vocabulary, label_set=sets.get(name)):
            having.setdefault(concept, []).append(name)
    for wanted in plan.concepts:
        if wanted not in having:
            raise DataError(
                f"no collection has the concept {wanted!r}",
                hint=f"{did_you_mean(wanted, having)}they have {name_list(having) or 'none'}; say what labels mean: "
                "`cxremb data concepts --file TABLE`",
            )
    shared = [concept for concept, names in having.items() if len(names) > 1]
    found = list(plan.concepts) or shared
    if not found:
        each = "; ".join(f"{name}: {name_list(own)}" for name, own in by_collection(having).items())
        raise DataError(
            f"no two of {name_list(chosen)} have a concept in common ({each or 'they have none'})",
            hint="say what their labels mean: `cxremb data concepts --file TABLE`",
        )
    return found


def by_collection(having: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Name -> its concepts."""
    found: dict[str, list[str]] = {}
    for concept, names in having.items():
        for name in names:
            found.setdefault(name, []).append(concept)
    return found


def same_stores(
    chosen: Mapping[str, Dataset], blocks: Sequence[str], plan: TransferPlan, *, must: bool
) -> tuple[dict[str, dict[str, Store]], list[str]]:
    """(data set -> block -> its store, what to know): of each block stores of one key.

    The key is that of the store that is named, or of the newest that most collections have. must: each has to have it;
    else those without are left out. Raises `StoreError` with the command that makes the store that is missing.
    """
    found: dict[str, dict[str, Store]] = {name: {} for name in chosen}
    notes: list[str] = []
    models = {"image": plan.inputs.image_model, "text": plan.inputs.text_model}
    for block in blocks:
        store = common_store(chosen, block, models[block])
        for name, dataset in chosen.items():
            own = next((one for one in list_stores(dataset) if one.manifest.key == store.manifest.key), None)
            if own is not None:
                found[name][block] = own
            elif must:
                raise other_key(dataset, store, block)
            else:
                notes.append(f"{name} is left out: it has no store {store.name}; {embed_here(dataset, store)} makes it")
    return {name: own for name, own in found.items() if len(own) == len(blocks)}, notes


def common_store(chosen: Mapping[str, Dataset], block: str, model: str | None) -> Store:
    """A store with the key that is meant."""
    if model is not None:
        problem = StoreError(f"no collection has a store of {model!r}")
        for dataset in reversed(list(chosen.values())):
            try:
                return choose_stores(dataset, (block,), {block: model})[0][block]
            except StoreError as error:
                problem = StoreError(str(error), hint=of_dataset(error.hint, dataset))
        raise problem
    stores = [store for dataset in chosen.values() for store in usual_stores(dataset, block)]
    if not stores:
        raise first_store(next(iter(chosen.values())), block)
    keys = [store.manifest.key for store in stores]
    return max(stores, key=lambda store: (keys.count(store.manifest.key), not store.imported, store.created))


def first_store(dataset: Dataset, block: str) -> StoreError:
    """The error where no collection has a store yet."""
    problem = no_store(dataset, block)
    return StoreError(str(problem), hint=of_dataset(problem.hint, dataset))


def of_dataset(hint: str, dataset: Dataset) -> str:
    """A hint whose command is for this data set: there are several, and nobody has named one."""
    pieces = hint.split("`")  # those with odd numbers are commands
    own = (f"{piece} --dataset {dataset.name}" if place % 2 and piece.split()[1] == "embed" else piece
           for place, piece in enumerate(pieces))  # fmt: skip
    return "`".join(own)


def other_key(dataset: Dataset, store: Store, block: str) -> StoreError:
    """The error where a collection lacks the store that others have."""
    others = [one.name for one in list_stores(dataset) if one.modality == block]
    has = f"; it has {name_list(others)}" if others else ""
    return StoreError(
        f"{dataset.name} has no store {store.name}, the recipe that the others have{has}: vectors of two recipes "
        "cannot be compared",
        hint=f"encode it with the same recipe: {embed_here(dataset, store)}",
    )


def embed_here(dataset: Dataset, store: Store) -> str:
    """The command that makes the same store of another data set."""
    return embed_hint(store, store.xxxx).removeprefix("run ").removesuffix("`") + f" --dataset {dataset.name}`"
