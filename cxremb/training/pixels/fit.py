"""A data set, a split and a preset -> a finished run of a network from pixels, like that of any head."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxremb.embedding.seen import seen_by
from cxremb.errors import TrainError
from cxremb.features import Features, Inputs
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.finish import Made, finish_run, run_key
from cxremb.training.fit import device_named, member, rows_of
from cxremb.training.heads import find_network
from cxremb.training.options import PixelRecipe
from cxremb.training.parts import Parts, parts_of_plan
from cxremb.training.pixels.films import Films, load_films
from cxremb.training.plan import Plan
from cxremb.training.presets import Preset, find_preset
from cxremb.training.runs import Run, find_run
from cxremb.training.stopped import resumable
from cxremb.training.tables import Fitted
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.training.pixels.networks import Start

BLOCKS = ("image",)


@dataclass(frozen=True)
class NetworkPlan(Plan):
    """What to train from pixels; `arm` names the network. All of it enters the run's key."""

    pixels: PixelRecipe = field(default_factory=PixelRecipe)


@dataclass(frozen=True)
class NetworkSource:
    """What a network is trained from. `features` has the rows, what was left out, and notes for the user."""

    features: Features
    films: Films
    start: "Start"


def plan_of(preset: Preset, folds: Sequence[int] = (0,), seeds: Sequence[int] = (0,), **changed: Any) -> NetworkPlan:
    """The plan that a preset stands for. changed: options other than the preset's, such as `epochs`.

    Raises `TrainError` if the preset is not for a network.
    """
    if not preset.network:
        raise TrainError(
            f"preset {preset.name} trains a head on stored vectors",
            hint=f"name the head: cxremb train {preset.head} --preset {preset.name}",
        )
    options = replace(preset.options, **changed)
    return NetworkPlan(preset.network, preset.name, options, tuple(folds), (0,), tuple(seeds), preset.pixels)


def open_source(
    dataset: Dataset,
    inputs: Inputs,
    plan: NetworkPlan,
    *,
    weights: Path | None = None,
    pretrained: bool = True,
    progress: Progress = unwatched,
) -> NetworkSource:
    """The films of a data set in the frame of the plan, decoded if they have to be, and the weights to start from.

    weights: a file for the base of the network; what is found if left out; nothing with `pretrained` off.
    Of `inputs`, the label set and the views count; a row is a film. Tell the user the notes of its features: they name
    films that cannot be decoded, and say so if there are no ImageNet weights. Raises `DataError` if no labelled film
    can be read, `EncoderError` for weights that are not there.
    """
    from cxremb.training.pixels.networks import find_start

    start = find_start(find_network(plan.arm), weights, pretrained=pretrained)
    features, films = load_films(dataset, inputs, plan.pixels, progress=progress)
    notes = [*features.notes, *([start.note] if start.note else [])]
    seen = seen_by(start.path, dataset.name)
    return NetworkSource(replace(features, notes=notes, seen={"image": seen} if seen else {}), films, start)


def fit_network(
    dataset: Dataset,
    source: NetworkSource,
    split: StoredSplit,
    *,
    plan: NetworkPlan,
    progress: Progress = unwatched,
    device: str = "auto",
) -> Run:
    """The run that answers `plan`: the finished one if there is one (`reused`), else trained and written now.

    A training that was stopped goes on after its last whole epoch; what it needs for that lies under the data set's
    `runs` until it is done. Raises `TrainError` as `fit_run`, `EncoderError` for weights that do not fit or a device
    that cannot be used.
    """
    features = source.features
    check_task(features, plan)
    spec = spec_of(source, plan)
    key = run_key(dataset, features, split, plan, spec)
    if done := find_run(dataset, key):
        return replace(done, reused=True)
    parts = parts_of_plan(features, split, plan, BLOCKS)
    with resumable(dataset, key) as folder:
        fitted, parameters, seconds = fit_places(source, parts, plan, folder=folder, device=device, progress=progress)
        return finish_run(dataset, features, split, Made(plan, BLOCKS, fitted, parts, parameters, seconds, spec))


def check_task(features: Features, plan: NetworkPlan) -> None:
    """Raises `TrainError` if the preset is not for the task of the labels."""
    tasks = find_preset(plan.preset).tasks
    if features.task not in tasks:
        raise TrainError(
            f"preset {plan.preset} is for {' and '.join(tasks)} labels; {features.label_set} is {features.task}",
            hint="name another label set with --label-set, or another preset: see `cxremb presets`",
        )


def spec_of(source: NetworkSource, plan: NetworkPlan) -> dict[str, Any]:
    """What the network is, enough to build it again, and the weights that it starts from. It enters the key."""
    spec, features = find_network(plan.arm), source.features
    outputs = spec.outputs(features.task, len(features.labels))
    start = {"weights": source.start.source, "weights_sha256": source.start.sha256}
    return {"network": plan.arm, **asdict(spec), "outputs": outputs, "pixels": asdict(plan.pixels), **start}


def fit_places(
    source: NetworkSource,
    parts: Mapping[tuple[int, int], Parts],
    plan: NetworkPlan,
    *,
    folder: Path,
    device: str,
    progress: Progress,
) -> tuple[list[Fitted], int, float]:
    """(the plan's models one after the other, how many parameters each has, the seconds spent on them).

    folder: of the checkpoints, of each model one.
    """
    from cxremb.training.inputs import tensors_of
    from cxremb.training.pixels.loop import fit
    from cxremb.training.pixels.networks import parameters_of
    from cxremb.training.pixels.predict import NetworkJob, predict

    device = device_named(device)
    targets, fitted, parameters, seconds = tensors_of(rows_of(source.features, ())), [], 0, 0.0
    for place in plan.places:
        part = parts[place.repeat, place.fold]
        checkpoint = folder / f"{place.name}.safetensors"
        job = NetworkJob(
            find_network(plan.arm), plan.pixels, plan.options, start=source.start, device=device, checkpoint=checkpoint
        )
        trained = fit(job, source.films, targets, member=member(part, place), progress=progress)
        rows = np.flatnonzero((part == "val") | (part == "test"))
        prob, logit = predict(trained.network, source.films, rows, job=job, task=targets.task)
        weights = {name: value.cpu().contiguous().numpy() for name, value in trained.network.state_dict().items()}
        seconds += trained.seconds
        parameters = parameters_of(trained.network.requires_grad_(True))
        told = trained.epoch, weights, trained.history, rows, part[rows], prob, logit, trained.diverged
        fitted.append(Fitted(place, *told))
    return fitted, parameters, seconds
