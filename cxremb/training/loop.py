"""The one training loop: rows in, trained heads and their histories out. It knows neither stores nor splits."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.encoders.machine import native_bf16
from cxremb.errors import TrainError
from cxremb.training.data import BINARY, MULTICLASS, Member, Rows, Trained, Weights
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import gather, saved_scaling, tensors_of
from cxremb.training.modules import logits_of
from cxremb.training.options import Options
from cxremb.training.stack import Stack
from cxremb.types import Progress, unwatched

LONG = 0.05  # seconds of an epoch from which on a second thread may be worth its waiting
STACKED = 16  # members of one batched product on a CPU at most: more save next to nothing, and take memory


class Predicted(NamedTuple):
    """Each (m, k). Multiclass: probabilities of a row sum to 1, and the softmax of its logits is them."""

    prob: NDArray[np.float64]
    logit: NDArray[np.float64]


def fit_members(
    rows: Rows,
    members: Sequence[Member],
    head: HeadSpec,
    *,
    options: Options,
    progress: Progress = unwatched,
    device: str = "cpu",
) -> list[Trained]:
    """Every member, trained on its own rows; the epoch is chosen by the loss on its watched rows, never on a test part.

    Members are trained together as batched products, and each has its own generators: it comes out the same alone or
    in any company, within rounding. Figures of both phases are measured in evaluation mode, with the weights of the
    end of the epoch, and on as many training rows as there are watched ones, so both compare like with like. A member
    whose loss stops being a number stops, and the others go on. A linear head is solved, not trained: see `linear`;
    its figures are of all training rows.
    Raises `TrainError` for rows that nothing can be learnt from, an epoch that would be chosen on test rows, an
    optimiser or a schedule of networks, or a precision that the device lacks.
    """
    if head.kind == "stacked":
        from cxremb.training.stacked import fit_stacked

        again = partial(fit_members, options=options, progress=progress, device=device)
        return fit_stacked(rows, members, head, options=options, fit=again)
    if options.chooses_epoch and any(member.watched_name == "test" for member in members):
        raise TrainError("an epoch must not be chosen on test rows", hint="use a preset that keeps the last epoch")
    options.check_head()
    dtype = torch.bfloat16 if precision_of(options, head, device) == "bf16" else torch.float32
    table = tensors_of(rows, head, device)
    with one_thread() as threads:
        if head.kind == "linear":
            from cxremb.training.linear import fit_linear  # scikit-learn takes seconds to import

            solved = [fit_linear(table, member, options) for member in progress(members, len(members), "members")]
            return [Trained(weights, epoch, history) for weights, epoch, history in solved]
        cores = threads if device == "cpu" else 0  # a GPU takes all members at once
        groups = shared_out(members, cores)
        stacks = [Stack(table, group, head, options=options, dtype=dtype) for group in groups]
        train(stacks, progress(range(1, options.epochs + 1), options.epochs, "epochs"), cores=cores)
    learners = (learner for stack in stacks for learner in stack.learners)
    return [Trained(one.saved(), one.epoch, one.history, one.diverged, one.scales) for one in learners]


def precision_of(options: Options, head: HeadSpec, device: str) -> str:
    """fp32 or bf16; `auto` is bf16 where products run in it in hardware. A linear head is solved in fp32 always.

    Raises `TrainError` if the device does not have it.
    """
    if options.precision == "bf16" and not native_bf16(device):
        raise TrainError(f"{device} does not multiply in bfloat16", hint="use --precision fp32")
    if head.kind == "linear":
        return "fp32"
    if options.precision == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return options.precision


def shared_out(members: Sequence[Member], cores: int) -> list[Sequence[Member]]:
    """The members as stacks: as many for each core, all of about the same size. 0 cores: one stack."""
    count = len(members)
    stacks = min(count, ceil(count / STACKED / cores) * cores) if cores else min(count, 1)
    ends = [count * number // max(stacks, 1) for number in range(stacks + 1)]
    return [members[start:end] for start, end in pairwise(ends)]


def train(stacks: Sequence[Stack], epochs: Iterable[int], *, cores: int) -> None:
    """Train the stacks, until all members have stopped.

    On a CPU the cores take different stacks, and the arithmetic of each stays on one, unless it is the only stack.
    """
    spare = len(stacks) == 1 and cores > 1  # it stays in this thread, which may have a second one at hand
    with ThreadPoolExecutor(max(cores, 1), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        each = map if len(stacks) == 1 else pool.map
        for epoch in epochs:
            list(each(partial(run_epoch, epoch=epoch, spare=spare), stacks))
            if not any(stack.running for stack in stacks):
                break


def run_epoch(stack: Stack, *, epoch: int, spare: bool) -> None:
    """An epoch of a stack, timed. spare: it may have a second thread."""
    started = time.perf_counter()
    if spare:
        torch.set_num_threads(threads_after(stack.seconds))
    stack.run_epoch(epoch)
    stack.seconds.append(time.perf_counter() - started)


def threads_after(seconds: Sequence[float]) -> int:
    """One thread for the products of the next epoch, or two, by what the epochs before took.

    Threads within a product wait for each other busily. On a quiet machine two are half as fast again as one; where
    other work takes one of the cores they are many times slower. So the first epoch is done with one, and two go on
    only as long as no epoch takes them longer than that. The weights are the same to the bit (tests/test_stack.py).
    """
    return 2 if seconds and seconds[0] > LONG and max(seconds) == seconds[0] else 1


def predict(rows: Rows, head: HeadSpec, weights: Weights, *, index: NDArray[np.int64]) -> Predicted:
    """What one trained head predicts of the rows `index` (m,).

    A row may lack a block. Raises `TrainError` for weights of inputs of another width, or values that are no number.
    """
    table = tensors_of(rows, head)
    read = partial(gather, table, scalings=[saved_scaling(weights, table)])
    shapes = head.shapes(table.dims, head.outputs(table.task, table.labels))
    try:
        parameters = {name: torch.tensor(weights[name]).reshape(shape) for name, shape in shapes.items()}
    except (KeyError, RuntimeError) as error:
        raise TrainError(f"the weights are not those of a {head.kind} head: {error}", hint="train it again") from error
    wanted = torch.from_numpy(np.asarray(index, dtype=np.int64))
    with one_thread():
        return predicted(logits_of(head, parameters, wanted, gather=read).double(), rows.task)


def predicted(logits: Tensor, task: str) -> Predicted:
    """Of (m, outputs) logits; of a binary task with two, the logit is how far the second is above the first."""
    if task == MULTICLASS:
        return Predicted(torch.softmax(logits, dim=1).numpy(), logits.numpy())
    if task == BINARY and logits.shape[1] == 2:
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
