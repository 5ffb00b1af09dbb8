"""The one training loop: rows in, trained heads and their histories out. It knows neither stores nor splits."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb.encoders.runtime import native_bf16
from cxremb.errors import TrainError
from cxremb.train.data import BINARY, MULTICLASS, Member, Rows
from cxremb.train.heads import HeadSpec
from cxremb.train.inputs import saved_scaling, table_of
from cxremb.train.learner import Learner, Work, logits_of
from cxremb.train.losses import Epoch, targets_of
from cxremb.train.options import Options
from cxremb.train.stack import Stack
from cxremb.types import Progress, unwatched

__all__ = ["Epoch", "Predicted", "Trained", "fit_members", "one_thread", "predict"]

STACKED = 8  # members of one batched product on a CPU: more fall out of its caches, fewer pay torch's price per call

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Trained:
    """One member: the weights of the epoch that was kept, with their standardisation, and every epoch's figures."""

    weights: Weights  # takes raw store vectors: `mean`, `scale`, `limit`, then the parameters of `HeadSpec.shapes`
    epoch: int
    history: list[Epoch]


class Predicted(NamedTuple):
    """Each (m, k). Multiclass: probabilities of a row sum to 1, and the softmax of its logits is them."""

    prob: NDArray[np.float64]
    logit: NDArray[np.float64]


def fit_members(
    rows: Rows,
    members: Sequence[Member],
    head: HeadSpec,
    options: Options,
    progress: Progress = unwatched,
    device: str = "cpu",
) -> list[Trained]:
    """Every member, trained on its own rows; the epoch is chosen by the loss on its watched rows, never on a test part.

    Members are trained together as batched products, and each has its own generators: it comes out the same alone or
    in any company, within rounding. Figures of both phases are measured in evaluation mode, with the weights of the
    end of the epoch, so both compare like with like. A linear head is solved, not trained: see `linear`.
    Raises `TrainError` for rows that nothing can be learnt from, an epoch that would be chosen on test rows, a
    precision that the device lacks, or a loss that stops being finite.
    """
    if options.chooses_epoch and any(member.watched_name == "test" for member in members):
        raise TrainError("an epoch must not be chosen on test rows", hint="use a preset that keeps the last epoch")
    if options.precision == "bf16" and not native_bf16(device):
        raise TrainError(f"{device} does not multiply in bfloat16", hint="use precision fp32")
    work = Work(table_of(rows, head, device), targets_of(rows, device), head, options, device)
    with one_thread() as cores:
        if head.kind == "linear":
            from cxremb.train.linear import fit_linear  # scikit-learn takes seconds to import

            solved = [fit_linear(work, member) for member in progress(members, len(members), "members")]
            return [Trained(weights, epoch, history) for weights, epoch, history in solved]
        learners = train(work, members, progress, cores if device == "cpu" else 0)
    last = options.select == "last"
    return [Trained(one.saved(), one.history[-1].epoch if last else one.chosen, one.history) for one in learners]


def train(work: Work, members: Sequence[Member], progress: Progress, cores: int) -> list[Learner]:
    """The learners, in the order of their members.

    On a CPU the cores take different members, and each member's arithmetic stays on one: a core never waits for
    another within a step, which on a machine with other work makes it many times slower, and the result does not
    depend on how many cores there are. A GPU (0 cores) takes all members at once.
    """
    size = max(1, min(STACKED, ceil(len(members) / cores)) if cores else len(members))
    groups = [members[start : start + size] for start in range(0, len(members), size)]
    with ThreadPoolExecutor(max(cores, 1), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        stacks = list(pool.map(lambda group: Stack(work, group), groups))
        for epoch in progress(range(1, work.options.epochs + 1), work.options.epochs, "epochs"):
            list(pool.map(Stack.run_epoch, stacks, repeat(epoch)))
            if not any(stack.running for stack in stacks):
                break
    return [learner for stack in stacks for learner in stack.learners]


def predict(rows: Rows, head: HeadSpec, weights: Weights, index: NDArray[np.int64]) -> Predicted:
    """What one trained head says of the rows `index` (m,).

    A row may lack a block. Raises `TrainError` for weights of inputs of another width, or values that are no number.
    """
    table = table_of(rows, head, "cpu")
    scaling = saved_scaling(weights, table.dims, "cpu")
    shapes = head.shapes(table.dims, head.outputs(rows.task, rows.y.shape[1]))
    try:
        parameters = {name: torch.tensor(weights[name]).reshape(shape) for name, shape in shapes.items()}
    except (KeyError, RuntimeError) as error:
        raise TrainError(f"the weights are not those of a {head.kind} head: {error}", hint="train it again") from error
    wanted = torch.from_numpy(np.asarray(index, dtype=np.int64))
    with one_thread():
        logits = logits_of(table, head, scaling, parameters, wanted).double()
    if rows.task == MULTICLASS:
        return Predicted(torch.softmax(logits, dim=1).numpy(), logits.numpy())
    if rows.task == BINARY and logits.shape[1] == 2:
        logits = logits[:, 1:] - logits[:, :1]
    return Predicted(torch.sigmoid(logits).numpy(), logits.numpy())


@contextmanager
def one_thread() -> Iterator[int]:
    """One thread for the arithmetic inside; yields how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
