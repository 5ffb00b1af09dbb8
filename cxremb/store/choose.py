"""Which store of a modality is read: the one asked for or the newest, and whom its encoder was fine-tuned on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.texts import section_roles, text_parts

EXAMPLE_MODEL = {"image": "efficientnet_b1", "text": "biobert"}  # what the hints suggest


@dataclass(frozen=True)
class Seen:
    """The patients whose films or reports an encoder was fine-tuned on."""

    patients: frozenset[str]
    split: str | None  # the split whose train and val part they are, if the encoder says so
    fold: int | None = None
    watched: frozenset[str] = frozenset()  # of the patients, those on whom only the epoch was chosen: its val part


def choose_stores(
    dataset: Dataset, modalities: Sequence[str], models: Mapping[str, str | None]
) -> tuple[dict[str, Store], list[str]]:
    """(store per modality, what was chosen among several). Raises `StoreError` with the command that makes one."""
    stores, notes = {}, []
    for modality in modalities:
        model = models[modality]
        there = [store for store in list_stores(dataset) if store.modality == modality and not store.projected]
        if model is not None:
            stores[modality] = open_store(dataset, model)
            if stores[modality].modality != modality:
                raise StoreError(f"{model} is no {modality} encoder", hint=f"name one with --{modality}-model")
        elif there:
            stores[modality] = there[0]
        else:
            raise StoreError(
                f"{dataset.name} has no {modality} store yet",
                hint=f"run `cxremb embed --model {EXAMPLE_MODEL[modality]}`",
            )
        if model is None and len(there) > 1:
            notes.append(f"newest of {len(there)} {modality} stores: {there[0].name}; choose with --{modality}-model")
    return stores, notes


def has_store(dataset: Dataset, modality: str) -> bool:
    """Whether any encoder of `modality` has been run on the data set."""
    return any(store.modality == modality for store in list_stores(dataset))


def check_text(dataset: Dataset, store: Store, text: str) -> None:
    """Raises `StoreError`, listing the texts that the store holds, if this one is not among them."""
    if text not in store.sections:
        late = text in text_parts(section_roles(dataset.reports))  # the collection has it: the store is behind
        raise StoreError(
            f"{store.name} holds no text called {text!r}; it has {', '.join(store.sections)}",
            hint=f"run `cxremb embed --model {store.encoder}`" if late else "name one of them with --text",
        )


def fine_tuned_on(store: Store) -> Seen | None:
    """Whom the encoder was fine-tuned on; None for one that was not.

    The manifest's provenance names the file, under `trained_on`; its column is `patient_id`, another may say which
    `part` a patient was in, and its metadata may name the `split` and the `fold`. Raises `StoreError` if that file is
    gone: then nobody knows whom the encoder has not seen.
    """
    if not (name := store.manifest.provenance.get("trained_on")):
        return None
    path = store.folder / str(name)
    try:
        table = pq.read_table(path)
        patients = table["patient_id"].to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StoreError(
            f"{path}: cannot be read, and it lists the patients that {store.name} was fine-tuned on",
            hint=f"restore the file, or fine-tune again with `cxremb refresh --model {store.encoder} --finetune`",
        ) from error
    about = table.schema.metadata or {}
    split, fold = about.get(b"split"), about.get(b"fold")
    parts = table["part"].to_pylist() if "part" in table.column_names else [""] * len(patients)
    watched = frozenset(patient for patient, part in zip(patients, parts, strict=True) if part == "val")
    return Seen(frozenset(patients), split.decode() if split else None, int(fold) if fold else None, watched)
