"""The image branch fine-tuned on the training part of one fold: weights with a digest, then a store like any other."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cxremb.embedding.asked import what_of
from cxremb.embedding.choose import usual_stores
from cxremb.embedding.job import Update
from cxremb.embedding.start import run
from cxremb.embedding.trained_on import weights_trained_on
from cxremb.encoders.base import Machine, load_encoder
from cxremb.encoders.table import TIMM, find_spec, short_name
from cxremb.errors import EncoderError, StoreError, TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.splits import StoredSplit, fold_parts
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FORMAT_VERSION
from cxremb.store.manifest import Recipe
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.training.data import Place
from cxremb.training.fit import device_named, member, rows_of
from cxremb.training.heads import NetworkSpec
from cxremb.training.options import PixelRecipe
from cxremb.training.parts import parts_of_plan, parts_of_rows
from cxremb.training.pixels.films import load_films
from cxremb.training.plan import Plan
from cxremb.training.probe import solved_head
from cxremb.training.stopped import resumable
from cxremb.training.tuned import (
    FineTune,
    FineTuning,
    Tuned,
    find_tuned,
    loss_on_val,
    measured_on,
    record_of_weights,
    save,
)
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.encoders.forward import FilmEncoder
    from cxremb.training.pixels.loop import TrainedNetwork


@dataclass(frozen=True)
class Refreshed:
    """A fine-tuning, and the job that embedded with its weights, or with those of the start where they are better."""

    tuned: Tuned
    update: Update
    note: str = ""  # if it took the place of a better one as the store that is read by default


def refresh_finetuned(
    dataset: Dataset,
    model: str,
    split: StoredSplit,
    *,
    plan: FineTune,
    machine: Machine,
    progress: Progress = unwatched,
) -> Refreshed:
    """The image encoder `model` fine-tuned on one fold of `split`, and its store: a new one only if an epoch was better
    on val than the start, so that no store becomes the newest of its encoder without being better.

    It starts from the store's weights. A bare name means the newest store that was not fine-tuned, so that the same
    call finds what it did before; a full store name goes on from a fine-tuned one, and the new store has seen the
    patients of both. Raises as `finetune` and `embedding.start.run`.
    """
    store, default = base_store(dataset, model), next(iter(usual_stores(dataset, "image")), None)
    tuned = finetune(dataset, store, split, plan=plan, progress=progress, device=machine.device)
    what = what_of(store)
    if tuned.path is not None:
        what = replace(what, weights=tuned.path.resolve())
    update = run(dataset, what, machine, progress=progress)
    return Refreshed(tuned, update, replaced(dataset, default, by=update.store, tuned=tuned))


def replaced(dataset: Dataset, default: Store | None, *, by: Store, tuned: Tuned) -> str:
    """What to say if the store that was read by default was tuned on the same labels and fold, and better; else ""."""
    if default is None or default.name in (by.name, usual_stores(dataset, "image")[0].name):
        return ""
    before = record_of_weights(dataset, default.manifest.recipe.weights_sha256)
    if before is None or measured_on(before) != measured_on(tuned.record):
        return ""
    then, now = loss_on_val(before), loss_on_val(tuned.record)
    if now < then:
        return ""
    return (
        f"{by.name} is read by default now, and its val loss of {now:.4f} is no better than the {then:.4f} of "
        f"{default.name}, tuned on the same labels and fold: name that with --image-model {default.name}"
    )


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
        hint=f"embed with the original weights: `cxremb embed --model {model}`; or go on: --model {stores[0].name}",
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

    Trained on the train part, the epoch chosen on val, the start among them as epoch 0; test films are neither read nor
    decoded. If the same was done before, that is the answer. A training that was stopped goes on after its last whole
    epoch, from `runs/.training-<key>`. Raises `EncoderError` for an encoder that cannot be trained here, `TrainError`
    for rows that cannot be trained on.
    """
    tuning = open_finetuning(dataset, store, split, plan=plan, progress=progress)
    if done := find_tuned(dataset, tuning.key):
        return done
    with resumable(dataset, tuning.key) as folder:
        checkpoint = folder / "checkpoint.safetensors"
        trained = train(tuning, checkpoint=checkpoint, device=device_named(device), progress=progress)
        return save(tuning, trained)


def open_finetuning(
    dataset: Dataset, store: Store, split: StoredSplit, *, plan: FineTune, progress: Progress = unwatched
) -> FineTuning:
    """All that a fine-tuning reads, checked. Films of train and val are decoded into the pixel cache where they are not
    in it, and no others: who is tested need not be here yet.
    """
    what = what_of(store)
    refuse_untrainable(what.model, store)
    if "val" not in fold_parts(split.table, 0, plan.fold).values():
        raise TrainError(
            f"fold {plan.fold} of split {split.title} has no val part, and fine-tuning chooses its epoch there",
            hint="choose another --split",
        )
    vectors = load_features(dataset, ("image",), Inputs(plan.label_set, image_model=store.name))
    if seen := weights_trained_on(what.weights, dataset):
        vectors = replace(vectors, seen={"image": seen})
    parts_of_plan(vectors, split, Plan("image", options=plan.options, folds=(plan.fold,)), blocks=("image",))
    encoder = cast("FilmEncoder", load_encoder(what, Machine()))  # the network is moved to its device by the loop
    recipe = PixelRecipe(encoder.frame.side, encoder.frame.aspect, augment=plan.augment)

    def learnt_from(rows: Features) -> NDArray[np.bool_]:
        return np.isin(parts_of_rows(rows, split, (0, plan.fold)), ("train", "val"))

    films_of = partial(load_films, progress=progress, frame=encoder.frame, wanted=learnt_from)
    features, films = films_of(dataset, Inputs(plan.label_set), recipe)
    key = key_of(dataset, split, plan, digests=(features.digest, vectors.digest), start=encoder.recipe)
    parts = parts_of_rows(features, split, (0, plan.fold))
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
        "split": [split.key, split.digest],
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

    options = plan.options
    job = NetworkJob(
        NetworkSpec(), recipe, options, device=device, checkpoint=checkpoint, build=build, starts_trained=True
    )
    targets = tensors_of(rows_of(tuning.features, ()))
    one = member(tuning.parts, Place(0, plan.fold, plan.seed))
    return fit(job, tuning.films, targets, member=one, progress=progress)
