"""A data set, a split and a preset -> a finished run of a network from pixels, like that of any head."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.features import Features, Inputs
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.train.finish import Made, finish_run, run_key
from cxremb.train.fit import member
from cxremb.train.options import PixelRecipe
from cxremb.train.parts import parts_of_plan
from cxremb.train.pixels.source import Films, load_films
from cxremb.train.pixels.specs import NetworkSpec, find_network
from cxremb.train.plan import Place, Plan
from cxremb.train.presets import Preset
from cxremb.train.runs import Run, find_run
from cxremb.train.tables import Fitted
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.train.pixels.loop import Job


@dataclass(frozen=True)
class NetworkPlan(Plan):
    """What to train from pixels; `arm` names the network. All of it enters the run's key."""

    pixels: PixelRecipe = field(default_factory=PixelRecipe)


@dataclass(frozen=True)
class From:
    """Where a network's training runs and what its base starts from. The weights' hash is in the key, the device not."""

    device: str = "auto"
    weights: Path | None = None  # a file; None looks in packages, the hub's cache and on the hub
    pretrained: bool = True  # off: the base starts from random weights, and looks nowhere


def plan_of(preset: Preset, folds: Sequence[int] = (0,), seeds: Sequence[int] = (0,), **changed: Any) -> NetworkPlan:
    """The plan that a preset stands for. changed: options other than the preset's.

    Raises `TrainError` if the preset is not for a network.
    """
    if not preset.network:
        raise TrainError(f"preset {preset.name} trains a head on stored vectors", hint="see `cxremb presets`")
    options = replace(preset.options, **changed)
    return NetworkPlan(preset.network, preset.name, options, tuple(folds), (0,), tuple(seeds), preset.pixels)


def fit_network(
    dataset: Dataset,
    inputs: Inputs,
    split: StoredSplit,
    plan: NetworkPlan,
    progress: Progress = unwatched,
    where: From | None = None,
) -> Run:
    """The run that answers `plan`: the finished one if there is one (`reused`), else trained and written now.

    Of `inputs`, the label set and the views count; a row is a film. Films that are not in the pixel cache are decoded
    into it first. A training that was stopped goes on after its last whole epoch. Raises `TrainError` as `fit_run`,
    `DataError` if no labelled film can be read, `EncoderError` for weights that do not fit or a device that is none.
    """
    from cxremb.train.pixels.networks import find_start

    where = where or From()
    spec = find_network(plan.arm)
    features, films = load_films(dataset, inputs, plan.pixels, progress)
    start = find_start(spec, where.weights, pretrained=where.pretrained)
    features = replace(features, notes=[*features.notes, *([start.note] if start.note else [])])
    outputs = spec.outputs(features.task, len(features.labels))
    told = {**asdict(spec), "network": plan.arm, "outputs": outputs, "side": plan.pixels.side}
    told |= {"weights": start.source, "weights_sha256": start.sha256, "note": start.note}
    key = run_key(dataset, features, split, plan, told)
    if done := find_run(dataset, key):
        return replace(done, reused=True)
    parts = parts_of_plan(features, split, plan, ("image",))
    draft, started = dataset.paths.runs / f".training-{key}", time.perf_counter()
    fitted = fit_places(Bench(features, films, parts, draft), plan, replace(where, start=start), progress)
    parameters = parameters_of(spec, plan.pixels.side, outputs)
    made = Made(plan, ("image",), fitted, parts, parameters, time.perf_counter() - started, told)
    run = finish_run(dataset, features, split, made)
    shutil.rmtree(draft, ignore_errors=True)
    return run
