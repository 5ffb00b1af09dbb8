"""The one training loop: arrays in, a trained module and its history out. It knows neither stores nor folds."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cxremb.errors import TrainError
from cxremb.train.presets import Options
from cxremb.types import Progress, unwatched

CHUNK = 8192  # rows per forward pass when only predicting: bounds memory, changes no value


class Part(NamedTuple):
    """The rows of one part of a split."""

    X: NDArray[np.float32]  # (n, dim)
    y: NDArray[np.float64]  # (n,) class 0 or 1
    name: str = "val"  # which part: the phase that its figures go under


@dataclass(frozen=True)
class Epoch:
    """How the model of the end of an epoch does on one part. None: undefined, as precision without a positive call."""

    epoch: int  # from 1
    phase: str  # train or val; test where there is no val
    loss: float
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Trained:
    """The module of the epoch that was kept, in evaluation mode, and every epoch's figures on both parts."""

    model: nn.Module
    epoch: int
    history: list[Epoch]


def fit(
    model: nn.Module, train: Part, watched: Part, options: Options, seed: int, progress: Progress = unwatched
) -> Trained:
    """`model`, trained with Adam and cross entropy; the epoch is chosen by loss on `watched`, never on a test part.

    model: (n, dim) float32 -> (n, 2) logits. Figures of both phases are measured in evaluation mode, with the
    weights of the end of the epoch, so both compare like with like. The same seed gives the same weights on one
    machine. Raises `TrainError` if the loss stops being finite, or an epoch would be chosen on test rows.
    """
    if watched.name == "test" and options.chooses_epoch:
        raise TrainError("an epoch must not be chosen on test rows", hint="use a preset that keeps the last epoch")
    X, y = tensors(train)
    X_watched, y_watched = tensors(watched)
    optimiser = torch.optim.Adam(model.parameters(), lr=options.learning_rate, fused=True)
    order = torch.Generator().manual_seed(seed)
    history: list[Epoch] = []
    kept, lowest, chosen = model.state_dict(), float("inf"), 0
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for epoch in progress(range(1, options.epochs + 1), options.epochs, "epochs"):
            run_epoch(model, X, y, optimiser, options.batch_size, order)
            history.append(measure(model, X, y, epoch, "train"))
            history.append(measure(model, X_watched, y_watched, epoch, watched.name))
            loss = history[-1].loss
            if not np.isfinite([history[-2].loss, loss]).all():
                raise TrainError(f"the loss is no number any more after epoch {epoch}", hint="lower the learning rate")
            if loss < lowest:
                kept, lowest, chosen = deepcopy(model.state_dict()), loss, epoch
            if options.patience and epoch - chosen >= options.patience:
                break
    if options.select == "last":
        return Trained(model.eval(), history[-1].epoch, history)
    model.load_state_dict(kept)
    return Trained(model.eval(), chosen, history)


def run_epoch(
    model: nn.Module, X: Tensor, y: Tensor, optimiser: torch.optim.Optimizer, batch_size: int, order: torch.Generator
) -> None:
    """One pass over the rows in a new order; the last batch may be short."""
    model.train()
    for rows in torch.split(torch.randperm(len(X), generator=order), batch_size):
        optimiser.zero_grad()
        loss = cross_entropy(model(X[rows]), y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.inference_mode()
def logits_of(model: nn.Module, X: Tensor) -> Tensor:
    """(n, classes) logits in evaluation mode."""
    model.eval()
    return torch.cat([model(rows) for rows in torch.split(X, CHUNK)])


def predict(model: nn.Module, X: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(probability of class 1, its logit), each (n,), for the rows of `X` (n, dim)."""
    logits = logits_of(model, torch.from_numpy(np.ascontiguousarray(X))).double()
    margin = logits[:, 1] - logits[:, 0]
    return torch.sigmoid(margin).numpy(), margin.numpy()


def measure(model: nn.Module, X: Tensor, y: Tensor, epoch: int, phase: str) -> Epoch:
    """The figures of one phase, with class 1 called where its probability is at least 0.5."""
    logits = logits_of(model, X)
    called, true = logits[:, 1] >= logits[:, 0], y == 1
    tp, calls, positives = (int(mask.sum()) for mask in (called & true, called, true))
    return Epoch(
        epoch=epoch,
        phase=phase,
        loss=float(cross_entropy(logits, y)),
        accuracy=float((called == true).double().mean()),
        precision=tp / calls if calls else None,
        recall=tp / positives if positives else None,
        f1=2 * tp / (calls + positives) if calls + positives else None,
    )


def tensors(part: Part) -> tuple[Tensor, Tensor]:
    """The part as float32 rows and integer classes. Raises `TrainError` if there is none or a value is no number."""
    if not len(part.y):
        raise TrainError("a part of the split holds no row", hint="add studies, or choose another fold with --fold")
    if not np.isfinite(part.X).all():
        bad = int((~np.isfinite(part.X)).any(axis=1).sum())
        raise TrainError(f"{bad} of {len(part.X)} rows hold a value that is no number", hint="run `cxremb embed` again")
    return torch.from_numpy(np.ascontiguousarray(part.X)), torch.from_numpy(part.y.astype(np.int64))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the arithmetic inside.

    A step of a head is a millisecond: a second thread gains little, waits for the first, and on a machine with other
    work makes it five times slower (measured). The result then does not depend on the number of cores either.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
