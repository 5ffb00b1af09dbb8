"""Whom weights were fine-tuned on: the file of weights says so itself, and every store that is made with them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from cxremb.errors import EncoderError, StoreError
from cxremb.store.dataset import Dataset
from cxremb.store.expected import FOREIGN, conform, read_object
from cxremb.store.files import replace_table
from cxremb.store.reader import Store

PATIENTS = "patients.parquet"
METADATA = "cxremb"  # the one key: several would be written in any order, and change the file's digest


@dataclass(frozen=True)
class TuningPatients:
    """What weights were fine-tuned on: patients of one data set."""

    dataset: str
    split: str | None  # as `--split` takes it; None if the weights do not say
    fold: int | None
    train: Sequence[str]  # patients whose labels the weights were fitted to
    val: Sequence[str]  # those on whom the epoch was chosen
    studies: Mapping[str, Sequence[str]] = field(default_factory=dict)  # patient -> those of theirs that were seen

    @property
    def metadata(self) -> dict[str, str]:
        """What a safetensors file of the weights carries."""
        return {METADATA: json.dumps(asdict(self), sort_keys=True)}

    @property
    def patients(self) -> frozenset[str]:
        return frozenset((*self.train, *self.val))

    @property
    def epoch_only(self) -> frozenset[str]:
        """Those on whom the epoch was chosen and nothing else."""
        return frozenset(self.val) - frozenset(self.train)


def read_weights(weights: Path | None) -> TuningPatients | None:
    """What the weights in a file, or in a folder of one file, were fine-tuned on by cxremb; None for any others."""
    found = sorted(weights.glob("*.safetensors")) if weights and weights.is_dir() else [weights]
    for path in found:
        if path is None or path.suffix != ".safetensors" or not path.is_file():
            continue
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(METADATA)
        except (OSError, SafetensorError):
            continue  # no file of weights: who loads it says what is wrong
        if text:
            try:
                said = read_object(text)
                conform(said, TuningPatients, METADATA)
            except ValueError as error:
                raise EncoderError(f"{path}: {error}, not as cxremb writes it", hint=FOREIGN) from error
            return TuningPatients(**said)
    return None


def weights_trained_on(weights: Path | None, dataset: Dataset) -> TuningPatients | None:
    """The patients of `dataset` that these weights were fine-tuned on. Ids of other collections are of other people."""
    found = read_weights(weights)
    return as_called_now(found, dataset) if found and found.dataset == dataset.name else None


def as_called_now(found: TuningPatients, dataset: Dataset) -> TuningPatients:
    """The same, and whoever the studies that were seen are of by now: `data add` may have found two patients to be one.

    Lists of before do not name studies.
    """
    if not found.studies:
        return found
    now = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))

    def called(patients: Sequence[str]) -> list[str]:
        """These patients under the names of then and of now."""
        studies = (study for patient in patients for study in found.studies.get(patient, ()))
        return sorted({*patients, *(now[study] for study in studies if study in now)})

    return replace(found, train=called(found.train), val=called(found.val))


def carry(dataset: Dataset, store: str, weights: Path | None) -> dict[str, Any]:
    """What a version of `store` must say of its weights; the list of patients is then in the store's folder.

    The list is written before any version names it, and again by every later run: it cannot get lost on the way.
    """
    found = read_weights(weights)
    if found is None:
        return {}
    about = {"fine_tuned": {"dataset": found.dataset, "split": found.split, "fold": found.fold}}
    if found.dataset != dataset.name:
        return about
    rows: list[tuple[str, str | None]] = []
    for patient in sorted(found.patients):
        rows += [(patient, study) for study in found.studies.get(patient, ())] or [(patient, None)]
    table = pa.table(
        {
            "patient_id": pa.array([patient for patient, _ in rows], pa.string()),
            "part": ["val" if patient in found.epoch_only else "train" for patient, _ in rows],
            "study_id": pa.array([study for _, study in rows], pa.string()),
        }
    ).replace_schema_metadata({"split": found.split, "fold": str(found.fold)})
    replace_table(dataset.paths.embeddings / store / PATIENTS, table)
    return {"trained_on": PATIENTS, **about}


def store_trained_on(dataset: Dataset, store: Store) -> TuningPatients | None:
    """Whom the encoder of a store of `dataset` was fine-tuned on; None for one that was not.

    The manifest's provenance names the file, under `trained_on`; its column is `patient_id`, others may say which
    `part` a patient was in and which studies were seen, in a row for each, and its metadata may name the `split` and
    the `fold`. Raises `StoreError` if that file is gone: then nobody knows whom the encoder has not seen.
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
    parts = table["part"].to_pylist() if "part" in table.column_names else ["train"] * len(patients)
    both = list(dict.fromkeys(zip(patients, parts, strict=True)))
    studies: dict[str, list[str]] = {}
    named = table["study_id"].to_pylist() if "study_id" in table.column_names else [None] * len(patients)
    for patient, study in zip(patients, named, strict=True):
        studies.setdefault(patient, []).extend([study] if study else [])
    found = TuningPatients(
        dataset.name,
        split.decode() if split else None,
        int(fold) if fold else None,
        [patient for patient, part in both if part != "val"],
        [patient for patient, part in both if part == "val"],
        studies,
    )
    return as_called_now(found, dataset)
