"""What a network predicts of films, while it is trained or out of a finished run: in evaluation mode, in chunks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxremb.encoders.device import overlaps, upload, whole_float32
from cxremb.encoders.machine import native_bf16
from cxremb.errors import StoreError, TrainError
from cxremb.images import Frame, Grey, resize
from cxremb.training.data import BINARY
from cxremb.training.heads import NetworkSpec
from cxremb.training.loop import Predicted, one_thread, predicted
from cxremb.training.options import Augment, Options, PixelRecipe, Stage
from cxremb.training.pixels.films import Films, clean, scaled
from cxremb.training.pixels.networks import Start, new_network
from cxremb.training.runs import Run

SMALL = 64  # pixels a side
ROWS_AT_ONCE = 64  # films in one forward pass when only predicting, or a training batch if that is larger


@dataclass(frozen=True)
class NetworkJob:
    """One network to train. `device` is WHERE: all else decides the result, `checkpoint` aside."""

    spec: NetworkSpec
    recipe: PixelRecipe
    options: Options
    start: Start = field(default_factory=Start)
    device: str = "cpu"
    checkpoint: Path | None = None  # written after each epoch, and gone on from
    build: Callable[[int, int], nn.Module] | None = None  # (outputs, seed) -> a network that is not that of `spec`
    starts_trained: bool = False  # the start is measured too, as epoch 0, and kept where no epoch is better


def counted(logits: Tensor, task: str) -> Tensor:
    """The logits that count: of a binary task the first two, for a class that is never right has nothing to say."""
    return logits[:, :2] if task == BINARY else logits


def predict(network: nn.Module, films: Films, rows: NDArray[np.int64], *, job: NetworkJob, task: str) -> Predicted:
    """What a network predicts of some rows (m,), films as they are.

    Of a binary task with several logits, the logit is how far the second is above the first.
    """
    with computing(job):
        return predicted(counted(logits_of(network, films, rows, job=job).double(), task), task)


@torch.inference_mode()
def logits_of(network: nn.Module, films: Films, rows: NDArray[np.int64], *, job: NetworkJob) -> Tensor:
    """(m, outputs) float32 on the CPU, in evaluation mode."""
    network.eval()
    size, found = max(ROWS_AT_ONCE, job.options.batch_size), []
    for start in range(0, len(rows), size):
        X = scaled(upload(films.take(rows[start : start + size]), job.device))
        with mixed(job):
            found.append(network(X.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(found).cpu()  # waits once, not for each chunk


def computing(job: NetworkJob) -> AbstractContextManager[Any]:
    """One thread for small films on a CPU, else as many as there are; on CUDA float32 is all of it, without TF32.

    A step on small films is some milliseconds: a second thread gains little, and on a machine with other work makes
    it up to nine times slower (measured). The result then does not depend on the number of cores either.
    """
    if job.device == "cpu" and job.recipe.side <= SMALL:
        return one_thread()
    return whole_float32() if overlaps(job.device) and job.options.precision == "fp32" else nullcontext()


def mixed(job: NetworkJob) -> torch.autocast:
    """bfloat16 where the options ask for it, or leave it open on a GPU that multiplies in it; else float32.

    Raises `TrainError` if it is asked for and the hardware lacks it.
    """
    precision, native = job.options.precision, native_bf16(job.device)
    if precision == "bf16" and not native:
        raise TrainError(f"{job.device} does not multiply in bfloat16", hint="use --precision fp32")
    half = precision == "bf16" or (precision == "auto" and native and job.device != "cpu")
    return torch.autocast(torch.device(job.device).type, torch.bfloat16, enabled=half)


@dataclass(frozen=True)
class Networks:
    """The models of one run, by name such as `repeat0.fold0.seed0`."""

    run: Run
    job: NetworkJob = field(repr=False)
    networks: Mapping[str, nn.Module] = field(repr=False)

    @property
    def reads(self) -> tuple[str, ...]:
        """The modalities that they take."""
        return ("image",)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.networks)

    @property
    def task(self) -> str:
        """binary, multiclass or multilabel."""
        return self.run.record.task

    @property
    def labels(self) -> tuple[str, ...]:
        """(k,) what each column of an answer is."""
        return tuple(self.run.record.labels)

    @property
    def frame(self) -> Frame:
        """The square that a film is put into."""
        return Frame(self.job.recipe.side, self.job.recipe.aspect)

    def predict(self, films: Sequence[Grey], model: str | None = None) -> Predicted:
        """What they predict of n decoded films of any size; resized and cleaned as in training.

        model: one of `networks`; the mean over all of them if left out. Raises `TrainError` for an unknown one.
        """
        if model is not None and model not in self.networks:
            raise TrainError(f"{self.run.folder}: no model {model!r}", hint=f"it has {', '.join(self.networks)}")
        recipe = self.job.recipe
        framed = np.stack([resize(film, self.frame) for film in films])
        rows = np.arange(len(framed))
        cleaned = Films(recipe, None, [], rows, clean(framed, recipe))
        found = [
            predict(self.networks[name], cleaned, rows, job=self.job, task=self.task)
            for name in ([model] if model else self.networks)
        ]
        return Predicted(*(np.mean(both, axis=0) for both in zip(*found, strict=True)))


def load_networks(run: Run, device: str = "cpu") -> Networks:
    """The networks of a run, computing as they were trained: in its precision, where the device can.

    Raises `TrainError` if the run is of a head, `StoreError` if its files are not whole.
    """
    spec = run.record.spec
    if "network" not in spec:
        raise TrainError(
            f"{run.folder}: a head on stored vectors, not a network from pixels",
            hint="load it with cxremb.training.bundle.load_bundle",
        )
    shape = NetworkSpec(**{one.name: spec[one.name] for one in fields(NetworkSpec)})
    recipe = recipe_of(spec["pixels"])
    networks = {}
    for name, arrays in run.weights().items():
        network = new_network(shape, recipe.side, spec["outputs"], seed=0)
        try:
            network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in arrays.items()})
        except RuntimeError as error:
            raise StoreError(f"{run.folder}: weights that do not fit {spec['network']}", "train it again") from error
        networks[name] = network.to(device).eval()
    known = {one.name for one in fields(Options)}
    options = Options(**{name: value for name, value in run.record.options.items() if name in known})
    able = replace(options, precision="auto") if options.precision == "bf16" else options
    return Networks(run, NetworkJob(shape, recipe, able, device=device), networks)


def recipe_of(record: Mapping[str, Any]) -> PixelRecipe:
    """The recipe as run.json holds it."""
    stages = tuple(Stage(**stage) for stage in record["stages"])
    return PixelRecipe(**{**record, "augment": Augment(**record["augment"]), "stages": stages})
