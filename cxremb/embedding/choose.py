"""Which store of a modality is read: the one that is named, else the newest; and what to type where there is none."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxremb.encoders.table import ENCODERS
from cxremb.encoders.weights import BUILT_IN, suggested
from cxremb.errors import DataError, StoreError, name_list
from cxremb.store.dataset import Dataset
from cxremb.store.layout import DatasetPaths
from cxremb.store.locations import recall_weights
from cxremb.store.manifest import Recipe
from cxremb.store.prompts import has_two_towers
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.texts import KEEP, MARKS, as_written, section_roles, text_parts

IMPORT_AGAIN = "encode the new films where the others were, and import them: `cxremb store import FILE`"
NOT_FRONTAL = "not a frontal film"  # why a film is left out
WORDS = {"image": "films on this machine", "text": "report texts"}
WITHOUT = {  # what to type on a data set that lacks a modality
    "image": "`cxremb train text` or `cxremb ablate --text-only`",
    "text": "`cxremb train image` or `cxremb ablate --image-only`",
}


def choose_stores(
    dataset: Dataset, modalities: Sequence[str], models: Mapping[str, str | None]
) -> tuple[dict[str, Store], list[str]]:
    """(store per modality, what was chosen among several). Raises `StoreError` with the command that makes one.

    Unless it is named, none of edited texts is chosen, and none that `align` made.
    """
    stores, notes = {}, []
    for modality in modalities:
        model = models[modality]
        there = usual_stores(dataset, modality)
        if model is not None:
            stores[modality] = named_store(dataset, model)
            if stores[modality].modality != modality:
                raise StoreError(f"{model} is no {modality} encoder", hint=f"name one with --{modality}-model")
        elif there:
            stores[modality] = there[0]
        else:
            raise no_store(dataset, modality)
        if model is None and len(there) > 1:
            which = "newest that was encoded here" if mixed(there) else "newest"
            notes.append(f"{which} of {len(there)} {modality} stores: {there[0].name}; choose with --{modality}-model")
    return stores, notes


def mixed(stores: Sequence[Store]) -> bool:
    """Whether some of them were imported and some made here."""
    return len({store.imported for store in stores}) > 1


def named_store(dataset: Dataset, model: str) -> Store:
    """As `open_store`; where it is only not made yet, the error says how it is."""
    try:
        return open_store(dataset, model)
    except StoreError as error:
        edited = [store for store in list_stores(dataset) if store.encoder == model]
        if edited:
            error.hint = as_written_hint(edited[0])
        elif model in ENCODERS:
            error.hint = f"make it: `cxremb embed --model {model}`"
        raise


def usual_stores(dataset: Dataset, modality: str) -> list[Store]:
    """Those that are read unless another is named: encoded here, newest first, then imported ones, newest first.

    Of the built-in encoders, whose vectors mean nothing, only where there is no other. An imported store is no default
    beside one that was made here: nothing here encodes a new film as it was.
    """
    there = meaningful(store for store in encoded_stores(dataset, modality) if store.xxxx == KEEP)
    return sorted(there, key=lambda store: store.imported)


def meaningful(stores: Iterable[Store]) -> list[Store]:
    """Those of encoders that are not built in; all, where there is no other."""
    found = list(stores)
    return [store for store in found if store.encoder not in BUILT_IN] or found


def encoded_stores(dataset: Dataset, modality: str) -> list[Store]:
    """Those that an encoder made, newest first."""
    return [store for store in list_stores(dataset) if store.modality == modality and not store.projected]


def no_store(dataset: Dataset, modality: str) -> StoreError:
    """The error that says what is there instead."""
    edited = encoded_stores(dataset, modality)
    if not edited and not embeddable(dataset, modality):
        return StoreError(f"{dataset.name} has no {WORDS[modality]}", hint=f"do without: {WITHOUT[modality]}")
    if not edited:
        return StoreError(
            f"{dataset.name} has no {modality} store yet", hint=f"run `cxremb embed --model {suggested(modality)}`"
        )
    return StoreError(
        f"{dataset.name} has no store of texts as they are written; it has {', '.join(one.title for one in edited)}",
        hint=as_written_hint(edited[0]),
    )


def no_rows(dataset: Dataset, unit: str, left_out: Mapping[str, int]) -> DataError:
    """The error where nothing is left to train on. left_out: why -> how many."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    query = "select store, section, count(*) from embeddings group by all"
    if NOT_FRONTAL in left_out:
        query = "select view, view_raw, count(*) from images group by all"
    return DataError(
        f"{dataset.name}: no {unit} has a label and every vector asked for ({reasons or 'it is empty'})",
        hint=f'see what is there: `cxremb sql "{query}"`',
    )


def embeddable(dataset: Dataset, modality: str) -> bool:
    """Whether there is anything of `modality` to encode."""
    if modality == "text":
        return bool(dataset.reports.num_rows)
    return dataset.has_films


def has_store(dataset: Dataset, modality: str, model: str | None = None) -> bool:
    """Whether there is a store of `modality` to read, or one is named."""
    return model is not None or bool(usual_stores(dataset, modality))


def tower_store(dataset: Dataset, model: str | None, *, usual: str | None = None) -> Store:
    """The store whose films prompts can be held against: the one that is named, else `usual` if it reads prompts, else
    the newest that does.

    Raises `StoreError` with the command that makes one.
    """
    for name in filter(None, (model, usual)):
        if has_two_towers((named := named_store(dataset, name)).manifest.recipe):
            return named
        if name == model:
            raise no_prompts(dataset, f"{model} reads no prompts")
    if there := tower_stores(dataset):
        return there[0]
    raise no_prompts(dataset, f"{dataset.name} has no store of an encoder that reads prompts")


def tower_stores(dataset: Dataset) -> list[Store]:
    """Those of encoders that read prompts, newest first; of the built-in one only where there is no other."""
    return meaningful(store for store in encoded_stores(dataset, "image") if has_two_towers(store.manifest.recipe))


def no_prompts(dataset: Dataset, what: str) -> StoreError:
    """The error that says which stores can be asked."""
    names = name_list(store.name for store in tower_stores(dataset))
    made = "make one: `cxremb embed --model medsiglip`, or another with two towers"
    return StoreError(what, hint=f"name one that does: {names}" if names else made)


def edited_store(dataset: Dataset, model: str | None, xxxx: str) -> Store:
    """The counterpart of the text store that `model` means: the same recipe but for the marks of removed words.

    model: as in `choose_stores`. Raises `StoreError` with the command that makes it.
    """
    chosen = choose_stores(dataset, ("text",), {"text": model})[0]["text"]
    wanted = recipe_as_written(chosen)
    for store in encoded_stores(dataset, "text"):
        if store.xxxx == xxxx and recipe_as_written(store) == wanted:
            return store
    raise StoreError(
        f"{dataset.name} has no store like {chosen.name} of texts with xxxx={xxxx}",
        hint="name a text encoder in place of a projection" if chosen.projected else embed_hint(chosen, xxxx),
    )


def recipe_as_written(store: Store) -> Recipe:
    """What decides its vectors, less what was done with the marks."""
    recipe = store.manifest.recipe
    return replace(recipe, input=as_written(recipe.input))


def weights_of(store: Store, said: str) -> Path:
    """The weights that a store was made with, where they lie on this machine."""
    folder = store.folder.parents[1]
    return recall_weights(DatasetPaths(folder.parent, folder.name), said, store.manifest.recipe.weights_sha256)


def embed_hint(store: Store, xxxx: str) -> str:
    """What to type for such a store of texts edited so."""
    if store.imported:
        return IMPORT_AGAIN
    what = store.manifest.provenance.get("encode", {})
    options = {
        "weights": shlex.quote(str(weights_of(store, what["weights"]))) if what.get("weights") else None,
        "precision": "bf16" if store.manifest.recipe.precision == "half" else None,
        MARKS: xxxx if xxxx != KEEP else None,
    }
    flags = "".join(f" --{name} {value}" for name, value in options.items() if value)
    return f"run `cxremb embed --model {what.get('model', store.encoder)}{flags}`"


def renew_hint(store: Store) -> str:
    """What to type for what a store lacks, or has of an older film."""
    return IMPORT_AGAIN if store.imported else f"`cxremb refresh --model {store.encoder}`"


def as_written_hint(edited: Store) -> str:
    """What to type where there are only edited texts."""
    return f"{embed_hint(edited, KEEP)}; or read one that is there: --text-model {edited.name}"


def check_text(dataset: Dataset, store: Store, text: str) -> None:
    """Raises `StoreError`, listing the texts that the store holds, if this one is not among them."""
    if text not in store.sections:
        late = text in text_parts(section_roles(dataset.reports))  # the collection has it: the store is behind
        raise StoreError(
            f"{store.name} holds no text called {text!r}; it has {', '.join(store.sections)}",
            hint=embed_hint(store, store.xxxx) if late else "name one of them with --text",
        )
