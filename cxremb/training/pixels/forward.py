"""What a network says of films: in evaluation mode, in chunks, on the threads and in the precision that suit them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxremb.encoders.machine import native_bf16
from cxremb.errors import TrainError
from cxremb.training.data import BINARY
from cxremb.training.loop import Predicted, one_thread, predicted
from cxremb.training.options import Options, PixelRecipe
from cxremb.training.pixels.augment import scaled
from cxremb.training.pixels.networks import Start
from cxremb.training.pixels.source import Films
from cxremb.training.pixels.specs import NetworkSpec

SMALL = 64  # pixels a side
ROWS_AT_ONCE = 64  # films in one forward pass when only predicting, or a training batch if that is larger


@dataclass(frozen=True)
class Job:
    """One network to train. `device` is WHERE: all else decides the result, `checkpoint` aside."""

    spec: NetworkSpec
    recipe: PixelRecipe
    options: Options
    start: Start = field(default_factory=Start)
    device: str = "cpu"
    checkpoint: Path | None = None  # written after each epoch, and gone on from
    build: Callable[[int, int], nn.Module] | None = None  # (outputs, seed) -> a network that is not that of `spec`


def telling(logits: Tensor, task: str) -> Tensor:
    """The logits that count: of a binary task the first two, for a class that is never right has nothing to say."""
    return logits[:, :2] if task == BINARY else logits


def predict(network: nn.Module, films: Films, rows: NDArray[np.int64], *, job: Job, task: str) -> Predicted:
    """What a network predicts of some rows (m,), films as they are.

    Of a binary task with several logits, the logit is how far the second is above the first.
    """
    with threads_for(job):
        return predicted(telling(logits_of(network, films, rows, job=job).double(), task), task)


@torch.inference_mode()
def logits_of(network: nn.Module, films: Films, rows: NDArray[np.int64], *, job: Job) -> Tensor:
    """(m, outputs) float32 on the CPU, in evaluation mode."""
    network.eval()
    size, found = max(ROWS_AT_ONCE, job.options.batch_size), []
    for start in range(0, len(rows), size):
        X = scaled(torch.from_numpy(films.take(rows[start : start + size])).to(job.device))
        with mixed(job):
            found.append(network(X.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(found)


def threads_for(job: Job) -> AbstractContextManager[Any]:
    """One thread for small films on a CPU, else as many as there are.

    A step on small films is some milliseconds: a second thread gains little, and on a machine with other work makes
    it up to nine times slower (measured). The result then does not depend on the number of cores either.
    """
    return one_thread() if job.device == "cpu" and job.recipe.side <= SMALL else nullcontext()


def mixed(job: Job) -> torch.autocast:
    """bfloat16 where the options ask for it, or leave it open on a GPU that multiplies in it; else float32.

    Raises `TrainError` if it is asked for and the hardware lacks it.
    """
    asked, native = job.options.precision, native_bf16(job.device)
    if asked == "bf16" and not native:
        raise TrainError(f"{job.device} does not multiply in bfloat16", hint="use --precision fp32")
    half = asked == "bf16" or (asked == "auto" and native and job.device != "cpu")
    return torch.autocast(torch.device(job.device).type, torch.bfloat16, enabled=half)
