"""Whom weights have seen: the file of weights says so itself, and every store that is made with them repeats it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors import SafetensorError, safe_open

from cxremb.store.choose import TuningPatients
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table

PATIENTS = "patients.parquet"
TOLD = "cxremb"  # the one key of the metadata: several would be written in any order, and change the file's digest


@dataclass(frozen=True)
class Lesson:
    """What weights were fine-tuned on: patients of one data set."""

    dataset: str
    split: str  # as `--split` takes it
    fold: int
    train: Sequence[str]  # patients whose labels the weights were fitted to
    val: Sequence[str]  # those on whom the epoch was chosen

    @property
    def metadata(self) -> dict[str, str]:
        """What a safetensors file of the weights carries."""
        return {TOLD: json.dumps(asdict(self), sort_keys=True)}

    @property
    def seen(self) -> TuningPatients:
        """The patients, as those who load features know them."""
        patients = frozenset((*self.train, *self.val))
        return TuningPatients(patients, self.split, self.fold, frozenset(self.val) - frozenset(self.train))


def read_lesson(weights: Path | None) -> Lesson | None:
    """What the weights in a file, or in a folder of one file, were fine-tuned on by cxremb; None for any others."""
    found = sorted(weights.glob("*.safetensors")) if weights and weights.is_dir() else [weights]
    for path in found:
        if path is None or path.suffix != ".safetensors" or not path.is_file():
            continue
        try:
            with safe_open(path, framework="numpy") as file:
                told = (file.metadata() or {}).get(TOLD)
        except (OSError, SafetensorError):
            continue  # no file of weights: who loads it says what is wrong
        if told:
            return Lesson(**json.loads(told))
    return None


def seen_by(weights: Path | None, dataset: str) -> TuningPatients | None:
    """The patients of `dataset` whom these weights have seen. Ids of other collections are of other people."""
    lesson = read_lesson(weights)
    return lesson.seen if lesson and lesson.dataset == dataset else None


def carry(dataset: Dataset, store: str, weights: Path | None) -> dict[str, Any]:
    """What a version of `store` must say of its weights; the list of patients is then in the store's folder.

    The list is written before any version names it, and again by every later run: it cannot get lost on the way.
    """
    lesson = read_lesson(weights)
    if lesson is None:
        return {}
    about = {"fine_tuned": {"dataset": lesson.dataset, "split": lesson.split, "fold": lesson.fold}}
    if lesson.dataset != dataset.name:
        return about
    seen = lesson.seen
    patients = sorted(seen.patients)
    table = pa.table(
        {
            "patient_id": pa.array(patients, pa.string()),
            "part": ["val" if patient in seen.watched else "train" for patient in patients],
        }
    ).replace_schema_metadata({"split": lesson.split, "fold": str(lesson.fold)})
    replace_table(dataset.paths.embeddings / store / PATIENTS, table)
    return {"trained_on": PATIENTS, **about}
