"""From what a user asks to a job: the precision settled, who does it; and a preview that writes nothing."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import cast

from cxremb.embedding.asked import Preview, asked_like, made_with, settled_precision
from cxremb.embedding.encode import Log, encode_groups
from cxremb.embedding.engines import Engine, fill, fill_on_devices, fill_on_ray, fill_share
from cxremb.embedding.job import Update, embed
from cxremb.embedding.pixels import bytes_needed
from cxremb.embedding.plan import Group, current_plan, to_encode, wanted_items
from cxremb.embedding.trained_on import carry
from cxremb.encoders.base import ImageEncoder, Machine, What, load_encoder
from cxremb.encoders.machine import choose_machine, with_precision
from cxremb.errors import EncoderError
from cxremb.store.dataset import Dataset
from cxremb.store.locations import remember_weights
from cxremb.store.manifest import Recipe
from cxremb.store.reader import DECODER, Store, list_stores
from cxremb.types import Progress, unwatched

PILOT = 64  # contents that a preview encodes at most, to learn the rate
PILOT_SECONDS = 5.0  # after which it encodes no more of them: of a network that takes seconds a film, three do
HALF_BYTES = 2  # of a stored value


def run(dataset: Dataset, what: What, machine: Machine | None = None, *, progress: Progress = unwatched) -> Update:
    """Bring one store up to date. If its weights were fine-tuned, the store says on whom.

    machine: this one if left out. Raises what `load_encoder` and `embed` raise.
    """
    what, machine = settle(dataset, what, machine or choose_machine())
    encoder = load_encoder(what, machine)
    weights, digest = what.weights, encoder.recipe.weights_sha256
    about = {
        "device": ", ".join(machine.devices),
        "engine": "ray" if machine.ray_workers else "local",
        "encode": {**asdict(what), "weights": weights and remember_weights(dataset.paths, weights, digest)},
        "made_with": made_with(what),
        **carry(dataset, encoder.recipe.store, what.weights),
    }
    before = next((store for store in list_stores(dataset) if asked_like(store, what)), None)  # the newest
    update = embed(dataset, encoder, machine, progress=progress, about=about, engine=engine_for(what, machine))
    return said_anew(update, before) if before else update


def said_anew(update: Update, before: Store) -> Update:
    """The update with a note if it made another store than `before`, which was asked for in the same words."""
    if update.store.name == before.name:
        return update
    kind = "a new store" if update.changed and update.store.version == 1 else "another store"
    note = f"{kind}: {'; '.join(differences(before, update.store))}. {before.name} stays"
    return replace(update, notes=[*update.notes, note])


def run_share(
    dataset: Dataset, what: What, machine: Machine, *, share: tuple[int, int], progress: Progress = unwatched
) -> Log:
    """Write one share, (number, of how many), of what is missing, and commit nothing: `run` takes it up."""
    what, machine = settle(dataset, what, machine)
    return fill_share(dataset.paths.root, dataset.name, what, machine=machine, share=share, progress=progress)


def settle(dataset: Dataset, what: What, machine: Machine) -> tuple[What, Machine]:
    """What is encoded with its precision as full or half, and the machine with its arithmetic.

    `auto` precision is that of the store that is there: measured anew it might come out otherwise, and make a second.
    """
    precision = what.precision
    if precision == "auto":
        precision = settled_precision(dataset, what) or precision
    machine = with_precision(machine, precision)
    return replace(what, precision=machine.precision_class), machine


def engine_for(what: What, machine: Machine) -> Engine:
    """Who writes the parts."""
    if machine.ray_workers:
        if len(machine.devices) > 1:
            raise EncoderError("Ray gives out the devices itself", hint="leave --device out, or name one kind")
        return partial(fill_on_ray, what=what)
    return partial(fill_on_devices, what=what) if len(machine.devices) > 1 else fill


def preview(dataset: Dataset, what: What, machine: Machine) -> Preview:
    """What `run` would do, measured on a few contents; nothing is written."""
    encoder = load_encoder(*settle(dataset, what, machine))
    recipe = encoder.recipe
    folder = dataset.paths.embeddings / recipe.store
    _, plan = current_plan(wanted_items(dataset, recipe.modality), folder)
    groups = to_encode(plan)

    def encode(part: Sequence[Group]) -> None:
        pilot = replace(machine, keep_pixels=False)
        for _ in encode_groups(part, encoder, pilot, log=Log(), cache=dataset.paths.cache):
            pass

    seconds = seconds_each(groups, encode) * len(groups) if groups else None
    kept = bytes_needed(len(groups), cast(ImageEncoder, encoder).frame) if machine.keep_pixels else 0
    size = len(plan.todo) * len(recipe.poolings) * recipe.dim * HALF_BYTES
    return Preview(
        store=recipe.store,
        asked=plan.asked,
        reused=plan.asked - len(plan.todo),
        todo=len(plan.todo),
        contents=len(groups),
        store_bytes=size,
        cache_bytes=kept,
        seconds=seconds,
        older=older_store(dataset, recipe),
    )


def seconds_each(groups: Sequence[Group], encode: Callable[[Sequence[Group]], None]) -> float:
    """Seconds for one of `groups`, measured on a few that lie all over them: of texts, the first are not like the last.

    The first one builds the network. Then twice as many are encoded each time, until `PILOT_SECONDS` have passed or
    `PILOT` are done; what the last ones took counts. (A first batch would be slow, and one as large as a job's long.)
    """
    spread = [groups[index * len(groups) // PILOT] for index in range(PILOT)] if len(groups) > PILOT else [*groups]
    order = [group for start in (0, 2, 1, 3) for group in spread[start::4]]  # each step has some of every region
    encode(order[:1])
    begin, done, step, each = time.perf_counter(), 0, 1, 0.0
    while done < len(order) and time.perf_counter() - begin < PILOT_SECONDS:
        part = order[done : done + step]
        start = time.perf_counter()
        encode(part)
        each = (time.perf_counter() - start) / len(part)
        done, step = done + len(part), 2 * step
    return each


def older_store(dataset: Dataset, recipe: Recipe) -> str | None:
    """The newest store of this recipe but for its decoder, which is an older one; None without such a store."""
    for store in list_stores(dataset):
        its = store.manifest.recipe
        if store.older_decoder and replace(its, input={**its.input, DECODER: recipe.input.get(DECODER)}) == recipe:
            return store.name
    return None


def differences(old: Store, new: Store) -> list[str]:
    """What decides the vectors of either of two stores and is not the same in both."""
    recipes = (old.manifest.recipe, new.manifest.recipe)
    before, now = ({**asdict(recipe), **recipe.input, "input": None} for recipe in recipes)
    both = {name: (before.get(name, "nothing"), now.get(name, "nothing")) for name in {**before, **now}}
    return [f"{name} was {short(was)} and is {short(now)}" for name, (was, now) in both.items() if was != now]


def short(value: object) -> str:
    """A value in words; of a SHA-256 as much as tells it from another."""
    return f"{value[:12]}..." if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else str(value)
