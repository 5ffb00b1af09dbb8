"""The image branch fine-tuned on the training part of one fold: weights with a digest, then a store like any other."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cxremb.embedding.job import Update
from cxremb.embedding.start import run, what_of
from cxremb.embedding.trained_on import TuningPatients, read_weights, weights_trained_on
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.table import TIMM, find_spec, short_name
from cxremb.errors import EncoderError, StoreError, TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.splits import StoredSplit, fold_parts
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_file, replace_text, sha256_of
from cxremb.store.layout import FORMAT_VERSION
from cxremb.store.manifest import Recipe
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.training.data import Place
from cxremb.training.fit import device_named, member, rows_of
from cxremb.training.heads import NetworkSpec
from cxremb.training.options import Augment, Options, PixelRecipe
from cxremb.training.parts import Parts, parts_of_plan
from cxremb.training.pixels.films import Films, load_films
from cxremb.training.plan import Plan
from cxremb.training.probe import solved_head
from cxremb.training.stopped import resumable
from cxremb.types import Progress, unwatched
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
    """Fine-tuned weights. `record` is the JSON beside them; `reused` says that nothing was trained to get them."""

    path: Path
    record: dict[str, Any]
    reused: bool = False


@dataclass(frozen=True)
class Refreshed:
    """Fine-tuned weights, and the job that embedded with them."""

    tuned: Tuned
    update: Update


def refresh_finetuned(
    dataset: Dataset,
    model: str,
    split: StoredSplit,
    *,
    plan: FineTune,
    machine: Machine,
    progress: Progress = unwatched,
) -> Refreshed:
    """The image encoder `model` fine-tuned on one fold of `split`, and its store.

    It starts from the store's weights. A bare name means the newest store that was not fine-tuned, so that the same
    call finds what it did before; a full store name goes on from a fine-tuned one, and the new store has seen the
    patients of both. Raises as `finetune` and `embedding.start.run`.
    """
    store = base_store(dataset, model)
    tuned = finetune(dataset, store, split, plan=plan, progress=progress, device=machine.device)
    what = replace(what_of(store), weights=tuned.path.resolve())
    return Refreshed(tuned, run(dataset, what, machine, progress=progress))


def base_store(dataset: Dataset, model: str) -> Store:
    """The store to start from. Raises `StoreError` if there is none."""
    stores = [store for store in list_stores(dataset) if store.encoder == short_name(model)]
    if not stores:
        return open_store(dataset, model)  # a full name, or the error that says what there is
    for store in stores:
        if "fine_tuned" not in store.manifest.provenance:
            return store
    raise StoreError(
        f"every store of {model} was fine-tuned already",
        hint=f"embed with the original weights: cxremb embed --model {model}; or go on: --model {stores[0].name}",
    )


def finetune(
    dataset: Dataset,
    store: Store,
    split: StoredSplit,
    *,
    plan: FineTune,
    progress: Progress = unwatched,
    device: str = "auto",
) -> Tuned:
    """The weights of `store`'s encoder after training with a linear head, which starts as one on the store's vectors
    is solved, and is then dropped.

    Trained on the train part, the epoch chosen on val; test films are not read. If the same was done before, that is
    the answer. A training that was stopped goes on after its last whole epoch, from `runs/.training-<key>`. Raises
    `EncoderError` for an encoder that cannot be trained here, `TrainError` for rows that cannot be trained on.
    """
    tuning = open_finetuning(dataset, store, split, plan=plan, progress=progress)
    if done := find_tuned(dataset, tuning.key):
        return done
    started = time.perf_counter()
    with resumable(dataset, tuning.key) as folder:
        checkpoint = folder / "checkpoint.safetensors"
        trained = train(tuning, checkpoint=checkpoint, device=device_named(device), progress=progress)
        return save(tuning, trained, time.perf_counter() - started)


def open_finetuning(
    dataset: Dataset, store: Store, split: StoredSplit, *, plan: FineTune, progress: Progress = unwatched
) -> FineTuning:
    """All that a fine-tuning reads, checked. Films are decoded into the pixel cache where they are not in it."""
    what = what_of(store)
    refuse_untrainable(what.model, store)
    if "val" not in fold_parts(split.table, 0, plan.fold).values():
        raise TrainError(
            f"fold {plan.fold} of split {split.title} has no val part, and fine-tuning chooses its epoch there",
            hint="choose another --split",
        )
    encoder = cast("FilmEncoder", load_encoder(what, Machine()))  # the network is moved to its device by the loop
    recipe = PixelRecipe(encoder.frame.side, encoder.frame.aspect, augment=plan.augment)
    features, films = load_films(dataset, Inputs(plan.label_set), recipe, progress=progress, frame=encoder.frame)
    vectors = load_features(dataset, ("image",), Inputs(plan.label_set, image_model=store.name))
    key = key_of(dataset, split, plan, digests=(features.digest, vectors.digest), start=encoder.recipe)
    if seen := weights_trained_on(what.weights, dataset.name):
        features = replace(features, seen={"image": seen}, stores={"image": store.name})
    head = Plan("image", options=plan.options, folds=(plan.fold,))
    parts = parts_of_plan(features, split, head, blocks=("image",))[0, plan.fold]
    return FineTuning(dataset, plan, split, what, encoder, features, films, vectors, parts, key)


def refuse_untrainable(model: str, store: Store) -> None:
    """Raises `EncoderError` for an encoder that this cannot train."""
    if store.modality != "image":
        raise EncoderError(f"{store.name} encodes texts, and text encoders stay frozen", hint="name an image encoder")
    if find_spec(model).build != TIMM:
        raise EncoderError(
            f"{model} cannot be fine-tuned: only networks of timm can",
            hint="name one of timm, such as efficientnet_b1: `cxremb models` lists them",
        )


def key_of(dataset: Dataset, split: StoredSplit, plan: FineTune, *, digests: Sequence[str], start: Recipe) -> str:
    """SHA-256 of all that decides the weights: what is read, split, recipe, and the network and head it starts from.

    The version of cxremb is not in it: an upgrade is no reason to train for hours again. The record has it.
    """
    decides = {
        "format": FORMAT_VERSION,
        "simulated": dataset.simulated,
        "features": list(digests),
        "split": split.key,
        "plan": asdict(plan),
        "network": [start.model, start.weights_sha256, dict(start.input), start.poolings[0]],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def train(tuning: FineTuning, *, checkpoint: Path, device: str, progress: Progress) -> "TrainedNetwork":
    """The encoder with its head, trained by the loop of networks from pixels."""
    import torch

    from cxremb.training.inputs import tensors_of
    from cxremb.training.pixels.loop import fit
    from cxremb.training.pixels.networks import tunable
    from cxremb.training.pixels.predict import NetworkJob

    plan, recipe = tuning.plan, tuning.films.recipe
    solved = solved_head(tuning.vectors, tuning.split, plan.fold, class_weights=plan.options.class_weights)
    weight, bias = (torch.from_numpy(part) for part in solved)

    def build(outputs: int, seed: int) -> torch.nn.Module:
        return tunable(tuning.encoder.build, weight, bias)

    job = NetworkJob(NetworkSpec(), recipe, plan.options, device=device, checkpoint=checkpoint, build=build)
    targets = tensors_of(rows_of(tuning.features, ()))
    one = member(tuning.parts, Place(0, plan.fold, plan.seed))
    return fit(job, tuning.films, targets, member=one, progress=progress)


def save(tuning: FineTuning, trained: "TrainedNetwork", seconds: float) -> Tuned:
    """The weights, named by their digest, and then the record that makes them count."""
    from safetensors.torch import save as to_bytes

    dataset, recipe = tuning.dataset, tuning.encoder.recipe
    patients = trained_on(tuning)
    network = cast(Any, trained.network).base.network
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    content = to_bytes(tensors, patients.metadata)
    digest = hashlib.sha256(content).hexdigest()
    path = dataset.paths.weights / f"{recipe.encoder}@{digest[:12]}.safetensors"

    def write(draft: Path) -> None:
        draft.write_bytes(content)

    replace_file(path, write)
    record = {
        "format": FORMAT_VERSION,
        "key": tuning.key,
        "weights": path.name,
        "weights_sha256": digest,
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
        "seconds": round(seconds, 2),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "timm")} | {"cxremb": VERSION},
    }
    replace_text(path.with_suffix(".json"), json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return Tuned(path, record)


def trained_on(tuning: FineTuning) -> TuningPatients:
    """Whom the new weights have seen: train and val of this fold, and whoever the old ones had seen here."""
    patients = tuning.features.patient_ids
    train, val = (set(patients[tuning.parts == part].tolist()) for part in ("train", "val"))
    before = read_weights(tuning.what.weights)
    if before and before.dataset == tuning.dataset.name:
        train, val = train | set(before.train), val | set(before.val)
    return TuningPatients(tuning.dataset.name, tuning.split.title, tuning.plan.fold, sorted(train), sorted(val - train))


def find_tuned(dataset: Dataset, key: str) -> Tuned | None:
    """The weights that a fine-tuning of this key left, if they are still what their record says."""
    for path in sorted(dataset.paths.weights.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            weights = path.with_name(record["weights"])
            if record["key"] == key and sha256_of(weights) == record["weights_sha256"]:
                return Tuned(weights, record, reused=True)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not whole: trained again
    return None
