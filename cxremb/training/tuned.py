"""What is fine-tuned on what, as data, and what a fine-tuning leaves: weights with a digest, and a record."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cxremb.embedding.trained_on import TuningPatients, read_weights
from cxremb.encoders.base import What
from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.store.expected import read_object
from cxremb.store.files import replace_file, replace_text, sha256_of
from cxremb.store.layout import FORMAT_VERSION
from cxremb.training.options import Augment, Options
from cxremb.training.parts import Parts
from cxremb.training.pixels.films import Films
from cxremb.version import VERSION

if TYPE_CHECKING:
    from cxremb.encoders.forward import FilmEncoder
    from cxremb.training.pixels.loop import TrainedNetwork

# A rate a tenth of a new network's: the weights are to be bent, not learnt again. Small turns and shifts as a film may
# really have them; no mirroring, see `Augment`.
RECIPE = Options(
    1e-4, batch_size=32, epochs=5, patience=None, standardise=False, optimiser="adamw", weight_decay=1e-2,
    schedule="cosine",
)  # fmt: skip
AUGMENT = Augment(rotation=7, shift=0.05, contrast=0.2)


@dataclass(frozen=True)
class FineTune:
    """How to fine-tune, and on which labels of which fold. All of it enters the key."""

    label_set: str
    fold: int = 0
    seed: int = 0
    options: Options = RECIPE
    augment: Augment = field(default_factory=lambda: AUGMENT)


@dataclass(frozen=True)
class FineTuning:
    """What is fine-tuned on what: an encoder, the films in its own frame, and the part of each row."""

    dataset: Dataset
    plan: FineTune
    split: StoredSplit
    what: What
    encoder: "FilmEncoder"
    features: Features
    films: Films
    vectors: Features  # of the encoder as it is: the head starts from them
    parts: Parts
    key: str  # SHA-256 of all that decides the weights


@dataclass(frozen=True)
class Tuned:
    """What became of a fine-tuning. `record` is the JSON kept of it; `reused` says that nothing was trained now."""

    path: Path | None  # the weights; None: no epoch was better on val than the start, and there are no new ones
    record: dict[str, Any]
    reused: bool = False


def save(tuning: FineTuning, trained: "TrainedNetwork") -> Tuned:
    """The weights, named by their digest, and then the record that makes them count.

    Where the start was best there is the record alone, under the key: the weights are those that it started from.
    """
    encoder, folder = tuning.encoder.recipe.encoder, tuning.dataset.paths.weights
    if not trained.epoch:
        record = record_of(tuning, trained)
        write_record(folder / f"{encoder}@start-{tuning.key[:12]}.json", record)
        return Tuned(None, record)
    content = weights_of(tuning, trained)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{encoder}@{digest[:12]}.safetensors"
    replace_file(path, lambda draft: write_bytes(content, draft))
    record = record_of(tuning, trained) | {"weights": path.name, "weights_sha256": digest}
    write_record(path.with_suffix(".json"), record)
    return Tuned(path, record)


def weights_of(tuning: FineTuning, trained: "TrainedNetwork") -> bytes:
    """The encoder without its head, as the content of a safetensors file that says whom it has seen."""
    from safetensors.torch import save as to_bytes

    network = cast(Any, trained.network).base.network
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    return bytes(to_bytes(tensors, trained_on(tuning).metadata))


def write_bytes(content: bytes, path: Path) -> None:
    """`path`, with this content."""
    path.write_bytes(content)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """`path`, as JSON."""
    replace_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def record_of(tuning: FineTuning, trained: "TrainedNetwork") -> dict[str, Any]:
    """What decided the weights and how it went. `weights` is null where the start was best."""
    dataset, recipe, patients = tuning.dataset, tuning.encoder.recipe, trained_on(tuning)
    return {
        "format": FORMAT_VERSION,
        "key": tuning.key,
        "weights": None,
        "weights_sha256": None,
        "model": recipe.model,
        "start": {"weights": str(tuning.what.weights or ""), "weights_sha256": recipe.weights_sha256},
        "licence": tuning.encoder.licence,
        "dataset": dataset.name,
        "dataset_licence": dataset.descriptor.get("licence"),
        "dataset_citation": dataset.descriptor.get("citation"),
        "simulated": dataset.simulated,
        "split": tuning.split.title,
        "plan": asdict(tuning.plan),
        "task": tuning.features.task,
        "labels": list(tuning.features.labels),
        "rows": {part: int((tuning.parts == part).sum()) for part in ("train", "val")},
        "patients": {"train": len(patients.train), "val": len(patients.val)},
        "left_out": dict(tuning.features.left_out),
        "notes": list(tuning.features.notes),
        "epoch": trained.epoch,
        "diverged": trained.diverged,
        "history": [asdict(epoch) for epoch in trained.history],
        "seconds": round(trained.seconds, 2),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "timm")} | {"cxremb": VERSION},
    }


def trained_on(tuning: FineTuning) -> TuningPatients:
    """Whom the new weights have seen: train and val of this fold, and whoever the old ones had seen here."""
    features, parts = tuning.features, tuning.parts
    train, val = (set(features.patient_ids[parts == part].tolist()) for part in ("train", "val"))
    studies: dict[str, set[str]] = {}
    for patient, study, part in zip(features.patient_ids.tolist(), features.study_ids.tolist(), parts, strict=True):
        if part in ("train", "val"):
            studies.setdefault(patient, set()).add(study)
    before = read_weights(tuning.what.weights)
    if before and before.dataset == tuning.dataset.name:
        train, val = train | set(before.train), val | set(before.val)
        for patient, its in before.studies.items():
            studies.setdefault(patient, set()).update(its)
    return TuningPatients(
        tuning.dataset.name,
        tuning.split.title,
        tuning.plan.fold,
        train=sorted(train),
        val=sorted(val - train),
        studies={patient: sorted(its) for patient, its in sorted(studies.items())},
    )


def find_tuned(dataset: Dataset, key: str) -> Tuned | None:
    """What a fine-tuning of this key left, if its weights are still what their record says."""
    for path in sorted(dataset.paths.weights.glob("*.json")):
        try:
            record = read_object(path.read_text(encoding="utf-8"))
            if record["key"] != key:
                continue
            if record["weights"] is None:
                return Tuned(None, record, reused=True)
            weights = path.with_name(record["weights"])
            if sha256_of(weights) == record["weights_sha256"]:
                return Tuned(weights, record, reused=True)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not whole: trained again
    return None


def record_of_weights(dataset: Dataset, sha256: str | None) -> dict[str, Any] | None:
    """The record of the fine-tuning that left these weights; None for weights of elsewhere, or a damaged record."""
    for path in sorted(dataset.paths.weights.glob("*.json")):
        try:
            record: dict[str, Any] = read_object(path.read_text(encoding="utf-8"))
            if sha256 and record["weights_sha256"] == sha256:
                return record
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def measured_on(record: Mapping[str, Any]) -> tuple[str, str, int]:
    """The label set, split and fold of a val loss: only of the same are two to be compared."""
    return record["plan"]["label_set"], record["split"], record["plan"]["fold"]


def loss_on_val(record: Mapping[str, Any]) -> float:
    """That of the epoch that was kept."""
    losses = {epoch["epoch"]: epoch["loss"] for epoch in record["history"] if epoch["phase"] == "val"}
    return float(losses[record["epoch"]])
