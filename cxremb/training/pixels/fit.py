"""A data set, a split and a preset -> a finished run of a network from pixels, like that of any head."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxremb.embedding.trained_on import weights_trained_on
from cxremb.errors import TrainError
from cxremb.features import Features, Inputs
from cxremb.predictions import joined
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.data import Place, Trained
from cxremb.training.finish import FitResult, finish_run, key_of, predictions_of_model
from cxremb.training.fit import device_named, member, rows_of
from cxremb.training.heads import find_network
from cxremb.training.options import PixelRecipe
from cxremb.training.parts import judged_rows, parts_of_job, refuse_seen_by_job
from cxremb.training.pixels.films import Films, load_films
from cxremb.training.plan import FitJob, Plan
from cxremb.training.presets import Preset, find_preset
from cxremb.training.runs import Run, find_run
from cxremb.training.stopped import resumable
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
            hint=f"name the head: `cxremb train {preset.head} --preset {preset.name}`",
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
    seen = weights_trained_on(start.path, dataset)
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
    job = FitJob(dataset, features, split, plan, other=spec_of(source, plan), reads=BLOCKS)
    key = key_of(job)
    refuse_seen_by_job(job)
    if done := find_run(dataset, key):
        return replace(done, reused=True)
    parts_of_job(job)  # raises before anything is written
    with resumable(dataset, key) as folder:
        return finish_run(job, fit_places(job, source, plan, folder=folder, device=device, progress=progress))


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
    job: FitJob, source: NetworkSource, plan: NetworkPlan, *, folder: Path, device: str, progress: Progress
) -> FitResult:
    """The models of a plan, one after the other. folder: of the checkpoints, of each model one."""
    from cxremb.training.inputs import tensors_of
    from cxremb.training.pixels.loop import fit
    from cxremb.training.pixels.networks import parameters_of
    from cxremb.training.pixels.predict import NetworkJob, predict

    device, parts = device_named(device), parts_of_job(job)
    targets, parameters, seconds = tensors_of(rows_of(source.features, ())), 0, 0.0
    models: dict[Place, Trained] = {}
    predictions = []
    for place in plan.places:
        own = parts[place.repeat, place.fold]
        checkpoint = folder / f"{place.name}.safetensors"
        network = NetworkJob(
            find_network(plan.arm), plan.pixels, plan.options, start=source.start, device=device, checkpoint=checkpoint
        )
        trained = fit(network, source.films, targets, member=member(own, place), progress=progress)
        prob, logit = predict(trained.network, source.films, judged_rows(own), job=network, task=targets.task)
        predictions.append(predictions_of_model(job, place, own, prob=prob, logit=logit))
        weights = {name: value.cpu().contiguous().numpy() for name, value in trained.network.state_dict().items()}
        models[place] = Trained(weights, trained.epoch, trained.history, trained.diverged)
        seconds += trained.seconds
        parameters = parameters_of(trained.network.requires_grad_(True))
    return FitResult(models, joined(predictions), parts, parameters, seconds)
