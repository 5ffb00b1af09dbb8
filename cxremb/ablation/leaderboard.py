"""Encoders side by side on one data set: an arm for each store of films, and what each costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cxremb.ablation.arms import AXES, Arm, parse_arms
from cxremb.ablation.costs import line_of
from cxremb.ablation.run import ARMS, ablate
from cxremb.ablation.table import Ablation
from cxremb.ablation.trial import Trial
from cxremb.ablation.vectors import known_texts
from cxremb.embedding.trained_on import store_trained_on
from cxremb.errors import StoreError, TrainError, name_list
from cxremb.features import Inputs
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.training.runs import Run
from cxremb.types import Progress, unwatched

ALL = "all"
WHOLE = 0.9  # of the films of the largest store: a smaller one would take its films away from all


def compare_encoders(
    dataset: Dataset,
    encoders: Sequence[str],
    arms: Sequence[str] = ARMS,
    *,
    inputs: Inputs | None = None,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> Ablation:
    """The arms once for each encoder, on the same rows, folds and head, those of the best mean rank first.

    encoders: names of encoders or stores; `ALL` for every store of films that none of its patients was tuned on. arms:
    words of the grammar that read films and name no encoder; `image` where nobody named any. The first arm is the
    reference unless `trial` names one. Raises what `ablate` raises, and `TrainError` for fewer than two stores.
    """
    stores, notes = stores_of(dataset, encoders)
    words = ["image"] if list(arms) == list(ARMS) else arms
    by_arm = arms_of(dataset, parse_arms(words, known_texts(dataset)), stores)
    found = ablate(dataset, list(by_arm), inputs, trial=replace(trial or Trial(), alone=True), progress=progress)
    return as_leaderboard(replace(found, notes=(*notes, *found.notes)), by_arm, dataset)


def as_leaderboard(found: Ablation, by_arm: Mapping[str, Store], dataset: Dataset) -> Ablation:
    """The comparison with the arms of the best mean rank first, and what the encoder of each costs."""
    rows = sorted(found.rows, key=lambda row: (row.mean_rank is None, row.mean_rank, row.arm))
    lines = {row.arm: line_of(row.arm, by_arm[row.arm], dataset) for row in rows}
    return replace(found, rows=tuple(rows), encoders=lines)


def stores_of_runs(dataset: Dataset, runs: Mapping[str, Run]) -> dict[str, Store]:
    """Arm -> the store of films that its run read, where each arm names its encoder; else, or if one is gone, none."""
    there = {store.name: store for store in list_stores(dataset) if store.modality == "image"}
    read = {
        arm: [name for title in run.record.stores if (name := title.partition(" ")[0]) in there]
        for arm, run in runs.items()
        if "encoder=" in arm
    }
    if len(read) < len(runs) or not all(len(names) == 1 for names in read.values()):
        return {}
    return {arm: there[names[0]] for arm, names in read.items()}


def stores_of(dataset: Dataset, encoders: Sequence[str]) -> tuple[list[Store], list[str]]:
    """(the stores that are compared, what is left out and why). Raises `TrainError` for fewer than two."""
    if list(encoders) != [ALL]:
        stores = [open_store(dataset, name) for name in dict.fromkeys(encoders)]
        if texts := [store.name for store in stores if store.modality != "image"]:
            raise StoreError(f"{name_list(texts)} encodes no films", hint="name encoders of films, or `all`")
        notes = []
    else:
        there = [store for store in list_stores(dataset) if store.modality == "image"]
        most = max((store.manifest.written for store in there), default=0)
        small = [store for store in there if store.manifest.written < WHOLE * most]
        tuned = [store for store in there if store not in small and store_trained_on(dataset, store)]
        notes = [f"left out, {store.manifest.written:,} of {most:,} films: {store.name}" for store in small]
        notes += [f"left out, tuned on patients of this collection: {store.name}" for store in tuned]
        stores = [store for store in reversed(there) if store not in small and store not in tuned]
    if len({store.name for store in stores}) < 2:
        raise TrainError(
            f"{dataset.name} has {len(stores)} store of films to compare",
            hint="encode its films with another encoder: `cxremb embed --model NAME`",
        )
    return stores, notes


def arms_of(dataset: Dataset, arms: Sequence[Arm], stores: Sequence[Store]) -> dict[str, Store]:
    """Name of an arm -> its store: each arm with each. Raises `TrainError` for one that reads no films or names one."""
    names = [store.encoder for store in stores]
    found = {}
    for arm in arms:
        if arm.is_zero_shot or "image" not in arm.blocks or arm.get("encoder"):
            raise TrainError(f"{arm.name}: not an arm for every encoder", hint="name one that reads films, as image")
        for store in stores:
            name = store.encoder if names.count(store.encoder) == 1 else store.name
            if open_store(dataset, name).name != store.name:
                name = store.name
            changes = {**dict(arm.changes), "encoder": name}
            found[replace(arm, changes=tuple((axis, changes[axis]) for axis in AXES if axis in changes)).name] = store
    return found
