"""From what a user asks to a job: the encoder, the runtime, who does it; and a preview that writes nothing."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from cxremb.embedding.encode import Clock, Options, Work, encode_films, encode_texts
from cxremb.embedding.engines import Call, Devices, RayCluster, fill_share
from cxremb.embedding.fill import Filled, Shard, fill, group_by_content
from cxremb.embedding.job import Engine, Outcome, embed
from cxremb.embedding.jobfile import Encode
from cxremb.embedding.pixels import bytes_needed
from cxremb.embedding.plan import make_plan, wanted_items
from cxremb.embedding.seen import carry
from cxremb.encoders.base import ImageEncoder, TextEncoder
from cxremb.encoders.machine import choose_runtime, half_precision
from cxremb.errors import EncoderError
from cxremb.store.dataset import Dataset
from cxremb.store.manifest import latest_manifest
from cxremb.store.reader import Store, list_stores
from cxremb.types import Progress, unwatched

PILOT = 32  # contents that a preview encodes to learn the rate, after as many to warm up
HALF_BYTES = 2  # of a stored value


@dataclass(frozen=True)
class Where:
    """Where and how fast; nothing here changes a vector, but for the class of `precision`."""

    devices: tuple[str, ...] = ("auto",)
    precision: str | None = None  # fp32, bf16, fp16 or auto; None: what the job says
    runtime: str = "auto"
    compiled: bool = False
    batch_size: int | None = None
    workers: int = 2
    keep_pixels: bool = False
    ray_workers: int = 0  # 0: no Ray


@dataclass(frozen=True)
class Preview:
    """What a job would do. seconds: at the rate of a pilot; None where there is nothing to encode."""

    store: str
    asked: int
    reused: int
    todo: int
    contents: int  # equal contents are encoded once
    store_bytes: int
    cache_bytes: int
    seconds: float | None


def run(dataset: Dataset, encode: Encode, where: Where, progress: Progress = unwatched) -> Outcome:
    """Bring one store up to date. If its weights were fine-tuned, the store says on whom.

    Raises what `load_encoder` and `embed` raise.
    """
    call = prepare(dataset, encode, where)
    encoder = call.load()
    about = {
        "device": ", ".join(where.devices if len(where.devices) > 1 else (call.runtime.device,)),
        "engine": "ray" if where.ray_workers else "local",
        "encode": {n: str(value) if isinstance(value, Path) else value for n, value in asdict(call.encode).items()},
        **carry(dataset, encoder.recipe.store, encode.weights),
    }
    return embed(dataset, encoder, call.options, progress, about, engine_for(call, where))


def run_share(dataset: Dataset, encode: Encode, where: Where, shard: Shard, progress: Progress = unwatched) -> Filled:
    """Write one share of what is missing, and commit nothing: `run` takes it up."""
    return fill_share(prepare(dataset, encode, where), shard, progress)


def prepare(dataset: Dataset, encode: Encode, where: Where) -> Call:
    """The call that says it all, the device chosen.

    `auto` precision is that of the store that is there: measured anew it might come out otherwise, and make a second.
    """
    asked = where.precision or encode.precision
    if asked == "auto":
        asked = settled_precision(dataset, encode) or asked
    device = where.devices[0]
    precision = half_precision(device) if asked == "half" else "fp32" if asked == "full" else asked
    runtime = choose_runtime(device, precision, where.runtime, where.compiled)
    options = Options(
        batch_size=where.batch_size or runtime.batch_size,
        workers=where.workers,
        token_budget=runtime.token_budget,
        keep_pixels=where.keep_pixels,
    )
    return Call(dataset.paths.root, dataset.name, replace(encode, precision=runtime.precision_class), runtime, options)


def settled_precision(dataset: Dataset, encode: Encode) -> str | None:
    """The class, full or half, of the newest store that was asked for like this but for it; None before the first."""
    for store in list_stores(dataset):
        told = "encode" in store.manifest.provenance
        if told and replace(asked_for(store), precision=encode.precision) == encode:
            return store.manifest.recipe.precision
    return None


def engine_for(call: Call, where: Where) -> Engine:
    """Who writes the parts."""
    if where.ray_workers:
        if len(where.devices) > 1:
            raise EncoderError("Ray gives out the devices itself", hint="leave --device out, or name one kind")
        return RayCluster(call, where.ray_workers, gpus=1.0 if call.runtime.device.startswith("cuda") else 0.0)
    return Devices(call, where.devices) if len(where.devices) > 1 else fill


def preview(dataset: Dataset, encode: Encode, where: Where) -> Preview:
    """What `run` would do, measured on a few contents; nothing is written."""
    call = prepare(dataset, encode, where)
    encoder = call.load()
    recipe = encoder.recipe
    folder = dataset.paths.embeddings / recipe.store
    plan = make_plan(wanted_items(dataset, recipe.modality), folder, latest_manifest(folder))
    groups = group_by_content(plan.todo)
    seconds = None
    if groups:
        work = Work(replace(call.options, keep_pixels=False), Clock(), dataset.paths.cache)
        images = recipe.modality == "image"
        for part in (groups[:PILOT], groups[-PILOT:]):
            start = time.perf_counter()
            blocks = (
                encode_films(part, cast(ImageEncoder, encoder), work)
                if images
                else encode_texts(part, cast(TextEncoder, encoder), work)
            )
            encoded = sum(len(block.groups) + len(block.failures) for block in blocks)
            seconds = (time.perf_counter() - start) / max(encoded, 1) * len(groups)
    kept = bytes_needed(len(groups), cast(ImageEncoder, encoder).frame) if where.keep_pixels else 0
    size = len(plan.todo) * len(recipe.poolings) * recipe.dim * HALF_BYTES
    return Preview(
        recipe.store, plan.asked, plan.asked - len(plan.todo), len(plan.todo), len(groups), size, kept, seconds
    )


def asked_for(store: Store) -> Encode:
    """What made a store, so that it can be made again. Raises `EncoderError` if its version does not say."""
    told: Mapping[str, Any] | None = store.manifest.provenance.get("encode")
    if told is None:
        raise EncoderError(
            f"{store.name}: its version does not say how it was asked for",
            hint=f"run `cxremb embed --model {store.encoder}` with the options it was made with",
        )
    weights = Path(told["weights"]) if told["weights"] else None
    # of what was asked for and what was done, the latter: older versions tell the former
    return Encode(**{**told, "weights": weights, "precision": store.manifest.recipe.precision})


def differences(old: Store, new: Store) -> list[str]:
    """What decides the vectors of either of two stores and is not the same in both."""
    recipes = (old.manifest.recipe, new.manifest.recipe)
    before, now = ({**asdict(recipe), **recipe.input, "input": None} for recipe in recipes)
    both = {name: (before.get(name, "nothing"), now.get(name, "nothing")) for name in {**before, **now}}
    return [f"{name} was {was} and is {now}" for name, (was, now) in both.items() if was != now]


def newest_of_each(stores: Sequence[Store]) -> list[Store]:
    """The newest store of each encoder, as it is and fine-tuned on each fold, and of each way of editing its texts."""
    found: dict[tuple[str, str, str], Store] = {}
    for store in stores:  # newest first
        if not store.projected:  # `cxremb align` makes those, in seconds
            tuned = json.dumps(store.manifest.provenance.get("fine_tuned"), sort_keys=True)
            found.setdefault((store.encoder, store.xxxx, tuned), store)
    return list(found.values())
