"""Stores and labels -> one block of vectors per modality and y: the rows that every arm of a comparison shares."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.embedding.choose import NOT_FRONTAL, check_text, choose_stores, no_rows
from cxremb.embedding.trained_on import TuningPatients, store_trained_on
from cxremb.errors import DataError
from cxremb.labels import Labels, read_labels
from cxremb.store.dataset import Dataset
from cxremb.store.matrices import Matrix
from cxremb.store.outdated import outdated, rows_with, text_contents
from cxremb.store.reader import Store
from cxremb.store.stored_rows import READ_TOGETHER, Block, Places, places_of_studies, stored_rows
from cxremb.store.texts import KEEP, REPORT, text_role
from cxremb.tabular import Tabular

if TYPE_CHECKING:
    import torch

FRONTAL = ("frontal", "pa", "ap")  # how a frontal view starts, in lower case
CHOICES = {"views": ("all", "frontal"), "unit": (None, "image", "study"), "missing": ("drop", "keep")}

Ids = NDArray[np.str_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Inputs:
    """What to learn from what. A model is an encoder or a full store name; None takes the newest store."""

    label_set: str | None = None  # None: the data set's own
    image_model: str | None = None
    text_model: str | None = None
    text: str = REPORT  # a section, `findings+impression` or `pre-read`
    views: str = "all"  # or frontal: films of other or unknown views are left out
    unit: str | None = None  # a row is an image or a study; None: an image where images are read, else a study
    missing: str = "drop"  # or keep: a row needs one of the modalities, not all

    def __post_init__(self) -> None:
        """Refuse a choice that there is not."""
        for name, known in CHOICES.items():
            if (given := getattr(self, name)) not in known:
                words = ", ".join(word for word in known if word)
                raise DataError(f"{name} is {given!r}", hint=f"choose one of {words} with --{name}")


@dataclass(frozen=True, repr=False)
class Features(Tabular):
    """n rows of k labels, in the order of the data set's tables. A row is an image or a study; `unit` says which."""

    unit: str
    item_ids: Ids  # (n,) image_id, or study_id
    study_ids: Ids  # (n,)
    patient_ids: Ids  # (n,)
    blocks: Mapping[str, Block]  # modality -> (n, dim); a study's films: as (n, views, dim), zero-padded
    present: Mapping[str, Flags]  # modality -> (n,) or (n, views): False where zeros stand for what is not there
    y: NDArray[np.float64]  # (n, k) 0 or 1; NaN where missing, never in a whole row
    labels: tuple[str, ...]  # (k,)
    task: str  # binary, multiclass (one-hot) or multilabel
    stores: Mapping[str, str]  # modality -> `Store.title`, such as "encoder@key12 v3"
    left_out: Mapping[str, int]  # reason -> rows; a row counts under the first reason that holds
    label_set: str
    label_version: str = ""
    text: str | None = None  # which text; None without one
    text_role: str | None = None  # `BEFORE_READING` or `LABEL_SOURCE`
    texts: Ids | None = None  # (n,) SHA-256 of each row's text as it stands now, "" for none; None where none is read
    xxxx: str = KEEP  # what became of the marks of removed words in it
    pooling: Mapping[str, str] = field(default_factory=dict)  # modality -> pooling
    keys: Mapping[str, str] = field(default_factory=dict)  # modality -> the store's full key
    outdated: Mapping[str, Flags] = field(default_factory=dict)  # modality -> (n,): what was encoded is another by now
    seen: Mapping[str, TuningPatients] = field(default_factory=dict)  # modality -> whom its encoder was fine-tuned on
    imported: frozenset[str] = frozenset()  # modalities whose vectors were made elsewhere
    views: str = "all"
    missing: str = "drop"
    notes: Sequence[str] = ()  # choices made for the user
    learnt: NDArray[np.float64] | None = None  # (n, k) what is trained on where that is not y; then y may lack in a row

    @property
    def taught(self) -> NDArray[np.float64]:
        """(n, k) the labels that training rows are trained on."""
        return self.y if self.learnt is None else self.learnt

    @property
    def patients(self) -> int:
        return len(np.unique(self.patient_ids))

    @property
    def label(self) -> str:
        """What is predicted, such as `abnormal`; several labels with commas between."""
        return ", ".join(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of which rows, of whom, with which labels, and of every vector: equal digests train equal heads.

        And of the texts as they stand now, since what a run says of its rows' words is read there. Of contents alone:
        the version of a store says nothing, as they begin at 1 again after a store was removed, and a study's films
        may be others though no vector has changed.
        """
        facts: list[Any] = [self.unit, self.views, self.missing, self.task, self.labels, self.label_set]
        facts += [self.label_version, self.text, self.text_role]
        facts += [sorted(its.items()) for its in (self.pooling, self.keys)]
        facts += [sorted((block, int(flags.sum())) for block, flags in self.outdated.items())]
        digest = hashlib.sha256("\n".join(map(str, facts)).encode())
        for column in (self.item_ids, self.study_ids, self.patient_ids, *([] if self.texts is None else [self.texts])):
            digest.update("\n".join(["", *column.tolist()]).encode())
        for modality in sorted(self.blocks):
            digest.update(f"\n{modality} {self.blocks[modality].shape}\n".encode())
            for start in range(0, len(self.y), READ_TOGETHER):
                digest.update(np.ascontiguousarray(self.blocks[modality][start : start + READ_TOGETHER]).data)
            digest.update(np.ascontiguousarray(self.present[modality]).data)
        digest.update(self.y.tobytes())
        digest.update(b"" if self.learnt is None else self.learnt.tobytes())
        return digest.hexdigest()

    def take(self, rows: Flags | Places) -> "Features":
        """The same, of some rows. rows: a mask, or row numbers."""
        columns = {name: getattr(self, name)[rows] for name in ("item_ids", "study_ids", "patient_ids", "y")}
        for name in ("blocks", "present", "outdated"):
            columns[name] = {modality: array[rows] for modality, array in getattr(self, name).items()}
        columns |= {name: None if (own := getattr(self, name)) is None else own[rows] for name in ("texts", "learnt")}
        return replace(self, **columns)

    def to_arrow(self) -> pa.Table:
        """(n) rows: ids, a column for each label, and the vectors of each modality as lists of float32."""
        columns: dict[str, pa.Array] = {
            "item_id": pa.array(self.item_ids.tolist()),
            "study_id": pa.array(self.study_ids.tolist()),
            "patient_id": pa.array(self.patient_ids.tolist()),
        }
        columns |= {name: pa.array(self.y[:, column], from_pandas=True) for column, name in enumerate(self.labels)}
        for modality, block in self.blocks.items():
            values = pa.array(np.asarray(block).reshape(-1))
            for size in reversed(block.shape[1:]):
                values = pa.FixedSizeListArray.from_arrays(values, size)
            columns[modality] = values
        return pa.table(columns)

    def to_torch(self) -> dict[str, "torch.Tensor"]:
        """Tensors by name: each modality as (n, dim) or (n, views, dim) float32, and `y` as (n, k) float32."""
        import torch

        return {
            **{name: torch.from_numpy(np.asarray(block)) for name, block in self.blocks.items()},
            "y": torch.tensor(self.y).float(),
        }

    def heading(self) -> str:
        """What the rows are, in one line."""
        rows = f"{len(self.y):,} rows ({self.unit}) of {self.patients:,} patients"
        return f"{rows}: {self.label} from {', '.join(self.blocks) or 'nothing'}"


def load_features(
    dataset: Dataset, modalities: Sequence[str], inputs: Inputs | None = None, *, labels: Labels | None = None
) -> Features:
    """The rows that have a label and the vectors asked for; the others are counted in `left_out`.

    modalities: image, text or both; with none, rows without vectors. A row that is an image carries its study's text
    vector; a row that is a study carries all its films. labels: others than those of the label set. Raises `DataError`
    for an unknown label set or when no row is left, `StoreError` when a modality has no store.
    """
    inputs = inputs or Inputs()
    labels = labels or read_labels(dataset, inputs.label_set)
    stores, notes = choose_stores(dataset, modalities, {"image": inputs.image_model, "text": inputs.text_model})
    unit = inputs.unit or ("image" if "image" in modalities else "study")
    table = dataset.images if unit == "image" else dataset.studies
    study_ids = as_text(table["study_id"])
    y = label_rows(labels, study_ids)
    missing: dict[str, Flags] = {"no label": np.asarray(np.isnan(y).all(axis=1))}
    if unit == "image" and inputs.views == "frontal":
        missing[NOT_FRONTAL] = ~is_frontal(table)
    found = {modality: find_vectors(dataset, store, inputs, table=table) for modality, store in stores.items()}
    texts = text_contents(dataset.reports, inputs.text) if "text" in modalities else {}
    missing |= vectors_missing(found, inputs)
    kept, left_out = rows_kept(missing)
    if not kept.any():
        raise no_rows(dataset, unit, left_out)
    return Features(
        unit=unit,
        item_ids=as_text(table["image_id"])[kept] if unit == "image" else study_ids[kept],
        study_ids=study_ids[kept],
        patient_ids=as_text(table["patient_id"])[kept],
        blocks={modality: stored_rows(matrix, rows[kept]) for modality, (matrix, rows) in found.items()},
        present={modality: rows[kept] >= 0 for modality, (_, rows) in found.items()},
        y=y[kept],
        labels=labels.names,
        task=labels.task,
        stores={modality: store.title for modality, store in stores.items()},
        left_out=left_out,
        label_set=labels.label_set,
        label_version=labels.version,
        text=inputs.text if "text" in modalities else None,
        text_role=text_role(dataset.reports, inputs.text) if "text" in modalities else None,
        texts=np.array([texts.get(study, "") for study in study_ids[kept].tolist()]) if "text" in modalities else None,
        xxxx=stores["text"].xxxx if "text" in stores else KEEP,
        pooling={modality: store.pooling for modality, store in stores.items()},
        keys={modality: store.manifest.key for modality, store in stores.items()},
        imported=frozenset(modality for modality, store in stores.items() if store.imported),
        outdated={
            modality: rows_with(outdated(dataset, modality, texts, matrix=matrix), rows[kept])
            for modality, (matrix, rows) in found.items()
        },
        seen={modality: seen for modality, store in stores.items() if (seen := store_trained_on(dataset, store))},
        views=inputs.views,
        missing=inputs.missing,
        notes=notes,
    )


def label_rows(labels: Labels, study_ids: Ids) -> NDArray[np.float64]:
    """(n, k) the values of each row's study, NaN for one that has none."""
    place = {study: row for row, study in enumerate(labels.study_ids)}
    rows = np.array([place.get(study, -1) for study in study_ids.tolist()], dtype=np.int64)
    padded = np.vstack([labels.values, np.full((1, len(labels.names)), np.nan)])  # -1 finds the last row
    return np.asarray(padded[rows])


def find_vectors(dataset: Dataset, store: Store, inputs: Inputs, *, table: pa.Table) -> tuple[Matrix, Places]:
    """(the store's vectors, the place of each row's in them: (n,), or (n, views) of a study's films; -1 for none)."""
    if store.modality == "text":
        check_text(dataset, store, inputs.text)
        matrix = store.load(inputs.text)
        return matrix, matrix.rows(table["study_id"].to_pylist())
    matrix = store.load("image")
    if "image_id" in table.column_names:
        return matrix, matrix.rows(table["image_id"].to_pylist())
    films = dataset.images
    films = films.filter(pa.array(is_frontal(films))) if inputs.views == "frontal" else films
    return matrix, places_of_studies(matrix.rows(films["image_id"].to_pylist()), films["study_id"], table["study_id"])


def vectors_missing(found: Mapping[str, tuple[Matrix, Places]], inputs: Inputs) -> dict[str, Flags]:
    """Reason -> rows that cannot be used for want of a vector."""
    reasons = {"image": "no image embedding", "text": f"no {inputs.text} text"}
    absent = {name: np.asarray((rows.reshape(len(rows), -1) < 0).all(axis=1)) for name, (_, rows) in found.items()}
    if inputs.missing == "drop":
        return {reasons[name]: mask for name, mask in absent.items()}
    return {"no vector at all": np.all(list(absent.values()), axis=0)} if absent else {}


def rows_kept(missing: Mapping[str, Flags]) -> tuple[Flags, dict[str, int]]:
    """(mask of the rows nothing is missing from, count per reason)."""
    kept = ~np.zeros_like(next(iter(missing.values())))
    left_out = {}
    for reason, mask in missing.items():
        if count := int((kept & mask).sum()):
            left_out[reason] = count
        kept = kept & ~mask
    return kept, left_out


def is_frontal(images: pa.Table) -> Flags:
    """(n,) whether the view is known to be frontal."""
    return np.array([(view or "").lower().startswith(FRONTAL) for view in images["view"].to_pylist()], dtype=np.bool_)


def as_text(column: Any) -> Ids:
    """An Arrow string column as NumPy text."""
    return np.array(column.to_pylist(), dtype=np.str_)
