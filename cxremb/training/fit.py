"""Rows + split + plans -> finished runs: all models of plans that share a shape are trained together, as one stack."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cxremb.errors import TrainError
from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.data import Member, Rows
from cxremb.training.finish import Made, finish_run, run_key
from cxremb.training.heads import HeadSpec, find_head
from cxremb.training.parts import Parts, parts_of_plan
from cxremb.training.plan import Place, Plan
from cxremb.training.presets import find_preset
from cxremb.training.runs import Run, find_run
from cxremb.training.scores import INTERVALS
from cxremb.training.tables import Fitted
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.training.data import Trained

__all__ = ["INTERVALS", "Plan", "fit_run", "fit_runs", "rows_of"]


@dataclass(frozen=True)
class Bench:
    """What all runs of one call share."""

    dataset: Dataset
    features: Features
    split: StoredSplit
    device: str = "cpu"  # where it runs: never part of a key


def fit_run(
    dataset: Dataset,
    features: Features,
    split: StoredSplit,
    plan: Plan,
    progress: Progress = unwatched,
    device: str = "cpu",
) -> Run:
    """The run that answers `plan`; as `fit_runs`."""
    return fit_runs(dataset, features, split, [plan], progress, device)[0]


def fit_runs(
    dataset: Dataset,
    features: Features,
    split: StoredSplit,
    plans: Sequence[Plan],
    progress: Progress = unwatched,
    device: str = "cpu",
) -> list[Run]:
    """The run that answers each plan: the finished one if there is one (`reused`), else trained and written now.

    Plans with the same head and recipe are trained together, with all their folds, repeats and seeds; the result is
    that of training them one by one. The stored models standardise their input themselves, so they take raw store
    vectors. Rows that the split does not list are left out and counted.

    Raises `TrainError` for an unknown head, a task that the preset is not for, too few rows, a single class, a split
    by image without images, patients that an encoder was fine-tuned on, a modality that no training row has, a recipe
    that chooses an epoch where there is no val, values that are no numbers, or, once the other runs are written, a loss
    that is no number from the first epoch on.
    """
    bench = Bench(dataset, features, split, device)
    keys = [key_of(bench, plan) for plan in plans]
    asked = dict(zip(keys, plans, strict=True))
    runs = {key: replace(done, reused=True) for key in asked if (done := find_run(dataset, key))}
    shapes: dict[tuple[str, str], dict[str, Plan]] = {}
    for key, plan in asked.items():
        if key not in runs:
            shapes.setdefault((str(find_head(plan.arm)), str(plan.options)), {})[key] = plan
    for alike in shapes.values():
        runs |= fit_alike(bench, alike, progress)
    return [runs[key] for key in keys]


def key_of(bench: Bench, plan: Plan) -> str:
    """The key of the run that answers a plan. Raises `TrainError` if the preset is not for the task of the labels."""
    head, preset = find_head(plan.arm), find_preset(plan.preset)
    preset.check_head(plan.arm)
    if bench.features.task not in preset.tasks:
        raise TrainError(
            f"preset {preset.name} is for {' and '.join(preset.tasks)} labels; "
            f"{bench.features.label_set} is {bench.features.task}",
            hint="name another label set with --label-set, or use --preset default",
        )
    return run_key(bench.dataset, bench.features, bench.split, plan, asdict(head))


def fit_alike(bench: Bench, plans: Mapping[str, Plan], progress: Progress) -> dict[str, Run]:
    """The runs, by key, of plans that share a head and a recipe: one training of all their models."""
    from cxremb.training import loop  # torch takes seconds to import, and a run that is re-used never needs it

    first = next(iter(plans.values()))
    features, head = bench.features, find_head(first.arm)
    check_shapes(features, head, first.arm)
    parts = {key: parts_of_plan(features, bench.split, plan, head.blocks) for key, plan in plans.items()}
    places = [(key, place) for key, plan in plans.items() for place in plan.places]
    members = [member(parts[key][place.repeat, place.fold], place) for key, place in places]
    rows = rows_of(features, head.blocks)
    started = time.perf_counter()
    device = device_named(bench.device)
    trained = loop.fit_members(rows, members, head, options=first.options, progress=progress, device=device)
    each = (time.perf_counter() - started) / len(members)  # of one model; they were trained side by side
    dims = {block: features.blocks[block].shape[-1] for block in head.blocks}
    parameters = head.parameters(dims, features.task, len(features.labels))
    precision = loop.precision_of(first.options, head, device)
    models = dict(zip(places, trained, strict=True))
    runs = {}
    for key, plan in plans.items():
        if not all(models[key, place].epoch for place in plan.places):
            continue  # the others are written before `refuse_diverged` speaks of this one
        fitted = [
            judged(rows, head, models[key, place], place, parts[key][place.repeat, place.fold]) for place in plan.places
        ]
        made = Made(plan, head.blocks, fitted, parts[key], parameters, each * len(fitted), asdict(head), precision)
        runs[key] = finish_run(bench.dataset, features, bench.split, made)
    refuse_diverged((plans[key].arm, place, one) for (key, place), one in models.items())
    return runs


def refuse_diverged(models: Iterable[tuple[str, Place, "Trained"]]) -> None:
    """Raises `TrainError` if there is a model, of an arm and a place, of which no epoch can be kept."""
    for arm, place, one in models:
        if not one.epoch:
            raise TrainError(
                f"{arm}, {place.name}: the loss is no number after epoch {one.diverged}, the first",
                hint="lower --learning-rate; runs that were trained beside it are kept",
            )


def device_named(name: str) -> str:
    """The device, `auto` resolved. Raises `EncoderError` for one that is not here."""
    from cxremb.encoders.machine import best_device, check_device

    device = best_device() if name == "auto" else name
    check_device(device)
    return device


def rows_of(features: Features, blocks: Sequence[str]) -> Rows:
    """What the trainer reads of the features."""
    return Rows(
        blocks={block: features.blocks[block] for block in blocks},
        present={block: features.present[block] for block in blocks},
        y=features.y,
        task=features.task,
        groups=features.patient_ids,
    )


def member(parts: Parts, place: Place) -> Member:
    """One model: trained on `train`, its epoch chosen on `val`; without `val`, `test` is watched and nothing chosen."""
    watched = "val" if (parts == "val").any() else "test"
    return Member(np.flatnonzero(parts == "train"), np.flatnonzero(parts == watched), place.seed, watched, place.name)


def judged(rows: Rows, head: HeadSpec, trained: "Trained", place: Place, parts: Parts) -> Fitted:
    """A trained model with its predictions on `val` and `test`."""
    from cxremb.training import loop

    index = np.flatnonzero((parts == "val") | (parts == "test"))
    predicted = loop.predict(rows, head, trained.weights, index=index)
    return Fitted(
        place,
        trained.epoch,
        trained.weights,
        trained.history,
        index,
        parts[index],
        predicted.prob,
        predicted.logit,
        trained.diverged,
    )


def check_shapes(features: Features, head: HeadSpec, arm: str) -> None:
    """Raises `TrainError` where films come as the views of a study and the head takes one film, or the reverse."""
    for block in head.blocks:
        if block not in features.blocks:
            raise TrainError(f"head {arm} reads {block}, and these rows have none", hint=f"load {block} features too")
    bag = features.blocks[head.blocks[0]].ndim == 3
    if bag and head.kind != "attention":
        raise TrainError(
            f"head {arm} takes one film a row, and a row of these inputs is a study with all its films",
            hint="leave --unit out, or train attention or attention-image",
        )
    if head.kind == "attention" and not bag:
        raise TrainError(f"head {arm} pools the films of a study, and a row is a film", hint="add --unit study")
