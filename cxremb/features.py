"""Stores and labels -> one matrix per modality and y: the rows that every arm of a comparison shares."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import DataError, StoreError
from cxremb.labels import binary_labels
from cxremb.store.dataset import Dataset
from cxremb.store.layout import BEFORE_READING, LABEL_SOURCE
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.texts import REPORT, section_roles, text_parts, text_role

EXAMPLE_MODEL = {"image": "efficientnet_b1", "text": "biobert"}  # what the hints suggest
SOURCED = "label recovery, not diagnosis: the text that this arm reads is a source of the label"
ROLE_TOLD = {BEFORE_READING: "written before the film was read", LABEL_SOURCE: "a source of the label"}

Ids = NDArray[np.str_]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """What to learn from what. A model is an encoder or a full store name; None takes the newest store."""

    label_set: str = "normal_abnormal"
    image_model: str | None = None
    text_model: str | None = None
    text: str = REPORT  # a section, `findings+impression` or `pre-read`


@dataclass(frozen=True)
class Features:
    """n rows, in the order of the data set's tables. A row is an image or a study; `unit` says which."""

    unit: str
    item_ids: Ids  # (n,) image_id, or study_id
    study_ids: Ids  # (n,)
    patient_ids: Ids  # (n,)
    blocks: Mapping[str, Matrix]  # modality -> (n, dim)
    y: NDArray[np.float64]  # (n,) 0 or 1
    stores: Mapping[str, str]  # modality -> "encoder@key12 v3"
    left_out: Mapping[str, int]  # reason -> rows; a row counts under the first reason that holds
    label_set: str
    label: str
    text: str | None = None  # which text; None without one
    text_role: str | None = None  # `BEFORE_READING` or `LABEL_SOURCE`
    pooling: Mapping[str, str] | None = None  # modality -> pooling
    notes: Sequence[str] = ()  # choices made for the user

    @property
    def patients(self) -> int:
        return len(np.unique(self.patient_ids))

    @property
    def digest(self) -> str:
        """SHA-256 of which rows, of whom, with which label, from which vectors: equal digests train equal heads."""
        told = "\n".join(map(str, [self.unit, self.label_set, self.text, self.text_role, self.stores, self.pooling]))
        digest = hashlib.sha256(told.encode())
        for column in (self.item_ids, self.study_ids, self.patient_ids):
            digest.update("\n".join(column.tolist()).encode())
        digest.update(self.y.tobytes())
        return digest.hexdigest()

    def matrix(self, blocks: Sequence[str]) -> Matrix:
        """The named blocks side by side, (n, sum of their dims)."""
        return np.hstack([self.blocks[name] for name in blocks])


def caveats(blocks: Sequence[str], role: str | None, simulated: bool) -> tuple[str, ...]:
    """What must stand beside every figure that rests on these inputs. role: that of the text, if there is one."""
    said = []
    if "image" in blocks and simulated:
        said.append("simulated images")
    if "text" in blocks and role != BEFORE_READING:
        said.append(SOURCED)
    return tuple(said)


def text_told(text: str | None, role: str | None) -> str:
    """Which text it is and how it stands to the label, such as `text pre-read (written before ...)`; or `no text`."""
    return f"text {text} ({ROLE_TOLD[role]})" if text and role else "no text"


def load_features(
    dataset: Dataset,
    label_set: str,
    modalities: Sequence[str],
    image_model: str | None = None,
    text_model: str | None = None,
    text: str = REPORT,
) -> Features:
    """The rows that have a label and a vector of every modality; the others are counted in `left_out`.

    modalities: image, text or both. With image, a row is an image and carries its study's text vector; without,
    a row is a study. Raises `DataError` for an unknown label set or when no row is left, `StoreError` when a
    modality has no store.
    """
    labels = binary_labels(dataset, label_set)
    stores, notes = choose_stores(dataset, modalities, {"image": image_model, "text": text_model})
    unit = "image" if "image" in modalities else "study"
    table = dataset.images if unit == "image" else dataset.studies
    study_ids, patient_ids = as_text(table["study_id"]), as_text(table["patient_id"])
    item_ids = as_text(table["image_id"]) if unit == "image" else study_ids
    y = np.array([labels.get(study, np.nan) for study in study_ids.tolist()], dtype=np.float64)

    missing = {"no label": ~np.isfinite(y)}
    found: dict[str, tuple[Matrix, NDArray[np.int64]]] = {}
    for modality, store in stores.items():
        if modality == "image":
            vectors, rows = locate(store, "image", item_ids)
        else:
            check_text(dataset, store, text)
            vectors, rows = locate(store, text, study_ids)
        missing["no image embedding" if modality == "image" else f"no {text} text"] = rows < 0
        found[modality] = vectors, rows
    kept, left_out = rows_kept(missing)
    if not kept.any():
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(
            f"{dataset.name}: no {unit} has a label and every vector asked for ({told or 'it is empty'})",
            hint='see what is there: cxremb sql "select store, section, count(*) from embeddings group by all"',
        )
    return Features(
        unit=unit,
        item_ids=item_ids[kept],
        study_ids=study_ids[kept],
        patient_ids=patient_ids[kept],
        blocks={modality: vectors[rows[kept]] for modality, (vectors, rows) in found.items()},
        y=y[kept],
        stores={modality: f"{store.name} v{store.version}" for modality, store in stores.items()},
        left_out=left_out,
        label_set=label_set,
        label=label_name(dataset, label_set),
        text=text if "text" in modalities else None,
        text_role=text_role(dataset.reports, text) if "text" in modalities else None,
        pooling={modality: store.pooling for modality, store in stores.items()},
        notes=notes,
    )


def choose_stores(
    dataset: Dataset, modalities: Sequence[str], models: Mapping[str, str | None]
) -> tuple[dict[str, Store], list[str]]:
    """(store per modality, what was chosen among several). Raises `StoreError` with the command that makes one."""
    stores, notes = {}, []
    for modality in modalities:
        model = models[modality]
        there = [store for store in list_stores(dataset) if store.modality == modality]
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


def locate(store: Store, section: str, ids: Ids) -> tuple[Matrix, NDArray[np.int64]]:
    """(vectors, the row of each id in them or -1)."""
    stored, vectors = store.vectors(section)
    place = {item: row for row, item in enumerate(stored)}
    return vectors, np.array([place.get(item, -1) for item in ids.tolist()], dtype=np.int64)


def rows_kept(missing: Mapping[str, NDArray[np.bool_]]) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """(mask of the rows nothing is missing from, count per reason)."""
    kept = ~np.zeros_like(next(iter(missing.values())))
    left_out = {}
    for reason, mask in missing.items():
        if count := int((kept & mask).sum()):
            left_out[reason] = count
        kept = kept & ~mask
    return kept, left_out


def label_name(dataset: Dataset, label_set: str) -> str:
    """What value 1 means, such as `abnormal`."""
    rows = dataset.labels.filter(pc.equal(dataset.labels["label_set"], label_set))
    return str(rows["label"][0].as_py()) if rows.num_rows else label_set


def as_text(column: Any) -> Ids:
    """An Arrow string column as NumPy text."""
    return np.array(column.to_pylist(), dtype=np.str_)
