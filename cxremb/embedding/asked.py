"""How a store was asked for, and whether it is all that is asked for now: known without a library of networks."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cxremb.embedding.choose import IMPORT_AGAIN, weights_of
from cxremb.embedding.job import Update
from cxremb.embedding.plan import current_plan, wanted_items
from cxremb.embedding.trust import refuse_code
from cxremb.encoders.base import What
from cxremb.encoders.table import ENCODERS, OPEN_CLIP
from cxremb.encoders.weights import weights_here
from cxremb.errors import EncoderError
from cxremb.store.dataset import Dataset
from cxremb.store.files import sha256_of
from cxremb.store.reader import Store, list_stores
from cxremb.version import VERSION

LIBRARIES = ("timm", "transformers", "tokenizers")  # what a recipe is read from, beside weights and this package
CLASSES = {"fp32": "full", "bf16": "half", "fp16": "half"}


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
    older: str | None = None  # the store that is in use until this is done: as wanted, but for an older decoder


def what_of(store: Store) -> What:
    """What made a store, so that it can be made again.

    Raises `EncoderError` if its version does not say, or names what could run code: see `trust`.
    """
    what = recorded_what(store)
    refuse_code(store, what)
    return what


def recorded_what(store: Store) -> What:
    """What a store says of its making. Raises `EncoderError` if its version does not say."""
    recorded: Mapping[str, Any] | None = store.manifest.provenance.get("encode")
    if store.projected:
        raise EncoderError(f"{store.name} is no encoder's", hint="make it again with `cxremb align`, as it was made")
    if store.imported:
        why = "what made its vectors is not known here, so no others can be made like them"
        raise EncoderError(f"{store.name} was imported: {why}", hint=IMPORT_AGAIN)
    if recorded is None:
        raise EncoderError(
            f"{store.name}: its version does not say how it was asked for",
            hint=f"run `cxremb embed --model {store.encoder}` with the options it was made with",
        )
    weights = weights_of(store, recorded["weights"]) if recorded.get("weights") else None
    # of what was asked for and what was done, the latter: older versions have the former
    found = {**recorded, "weights": weights, "precision": store.manifest.recipe.precision}
    return What(**{one.name: found[one.name] for one in fields(What) if one.name in found})


def settled_precision(dataset: Dataset, what: What) -> str | None:
    """The class, full or half, of the newest store that was asked for like this but for it; None before the first."""
    for store in list_stores(dataset):
        known = "encode" in store.manifest.provenance
        if known and replace(recorded_what(store), precision=what.precision) == what:
            return store.manifest.recipe.precision
    return None


def newest_of_each(stores: Sequence[Store]) -> list[Store]:
    """The newest store of each encoder, as it is and fine-tuned on each fold, and of each way of editing its texts."""
    found: dict[tuple[str, str, str], Store] = {}
    for store in stores:  # newest first
        if not store.projected and not store.imported:  # `cxremb align` makes those, in seconds; these nobody can
            tuned = json.dumps(store.manifest.provenance.get("fine_tuned"), sort_keys=True)
            found.setdefault((store.encoder, store.xxxx, tuned), store)
    return list(found.values())


def made_with(what: What) -> str | None:
    """The digest of all that a recipe is read from: this package, libraries, every file beside the weights.

    None where that cannot be known without them: for encoders that are no entry of the table.
    """
    spec = ENCODERS.get(what.model)
    if spec is None:
        return None
    own = ("open_clip_torch",) if spec.build == OPEN_CLIP else ()
    found = [f"cxremb {VERSION}", repr(spec), *map(library, (*LIBRARIES, *own))]
    if spec.source:
        place = weights_here(spec, what.weights)
        if place is None:
            return None
        found += [f"{path.name} {sha256_of(path)}" for path in files_of(place)]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def library(name: str) -> str:
    """Its name and version."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def files_of(place: Path) -> Iterator[Path]:
    """A file, or those of a folder."""
    yield from [place] if place.is_file() else sorted(path for path in place.iterdir() if path.is_file())


def finished(dataset: Dataset, what: What) -> Update | None:
    """What became of a store that has nothing to do: it is as it was. None where that is not certain.

    It is if the newest store that was asked for like this was made with the same, has no failures to try again, and
    its rows are those of the data set. Then no network needs to be loaded, which takes seconds.
    """
    start = time.perf_counter()
    store = next((store for store in list_stores(dataset) if asked_like(store, what)), None)
    if store is None or store.failed or store.older_decoder or store.manifest.provenance.get("fine_tuned"):
        return None
    made = store.manifest.provenance.get("made_with")
    if made is None or made != made_with(what):
        return None
    manifest, plan = current_plan(wanted_items(dataset, store.modality), store.folder)
    if manifest != store.manifest or plan.todo or plan.mixed or plan.adopted or len(plan.kept) < len(manifest.parts):
        return None
    seconds = time.perf_counter() - start
    return Update(store, plan.asked, plan.asked, 0, 0, (), seconds, {}, {}, changed=False)


def finished_preview(dataset: Dataset, what: What) -> Preview | None:
    """As `finished`, for who only asks."""
    done = finished(dataset, what)
    return None if done is None else Preview(done.store.name, done.asked, done.asked, 0, 0, 0, 0, None)


def asked_like(store: Store, what: What) -> bool:
    """Whether a store is what is asked for, by its own account; of `auto` precision any is."""
    if "encode" not in store.manifest.provenance:
        return False
    made = recorded_what(store)
    precision = made.precision if what.precision == "auto" else CLASSES.get(what.precision, what.precision)
    return made == replace(what, precision=precision)
