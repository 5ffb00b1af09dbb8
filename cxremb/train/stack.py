"""Members that are trained as one batched model: an epoch of them all, and of each what is kept and when it stops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cxremb.errors import TrainError
from cxremb.train.data import Member, called
from cxremb.train.inputs import gather, stacked_scaling
from cxremb.train.learner import Learner, Work, logits_of, new_learner
from cxremb.train.losses import Targets, figures, summed_loss
from cxremb.train.modules import forward, unchanged
from cxremb.train.update import scheduled, update

STAND_STILL = 3  # epochs without a lower watched loss after which the plateau schedule slows down
SLOWER = 0.3  # the share of the rate that is left: two steps down are an order of magnitude


class Stack:
    """Some members, and where each stands."""

    def __init__(self, work: Work, members: Sequence[Member]) -> None:
        self.work = work
        self.learners = [new_learner(work, member) for member in members]

    @property
    def running(self) -> list[Learner]:
        """The members that have not stopped."""
        return [learner for learner in self.learners if not learner.stopped]

    def run_epoch(self, epoch: int) -> None:
        """One pass of every running member over its rows in a new order, then its figures.

        Raises `TrainError`, naming the member, if a loss stops being finite.
        """
        running = self.running
        for active, rows in batches(running, self.work.options.batch_size):
            train_step(self.work, active, rows, epoch)
        for learner in running:
            watch(self.work, learner, epoch)


def batches(learners: Sequence[Learner], size: int) -> Iterator[tuple[list[Learner], list[Tensor]]]:
    """Who takes part in each step, and with which rows. The last batch of a member may be short, and it then waits."""
    orders = [
        learner.train[torch.randperm(len(learner.train), generator=learner.order).to(learner.train.device)]
        for learner in learners
    ]
    for start in range(0, max(map(len, orders), default=0), size):
        taking = [(learner, rows[start : start + size]) for learner, rows in zip(learners, orders, strict=True)]
        active = [(learner, rows) for learner, rows in taking if len(rows)]
        yield [learner for learner, _ in active], [rows for _, rows in active]


def train_step(work: Work, learners: Sequence[Learner], rows: Sequence[Tensor], epoch: int) -> None:
    """One batch of each of `learners`, all in one product, and one step of each one's optimiser."""
    parameters = {name: joined([one.parameters[name] for one in learners]) for name in learners[0].parameters}
    batch_loss(work, learners, rows, parameters).backward()  # type: ignore[no-untyped-call]
    for rate in {learner.rate for learner in learners}:  # one, unless the plateau schedule has slowed some
        some = [learner for learner in learners if learner.rate == rate]
        moved = [list(learner.parameters.values()) for learner in some]
        update(work.options, scheduled(work.options, rate, epoch), moved, [learner.moments for learner in some])
    for learner in learners:
        for parameter in learner.parameters.values():
            parameter.grad = None


def batch_loss(
    work: Work, learners: Sequence[Learner], rows: Sequence[Tensor], parameters: Mapping[str, Tensor]
) -> Tensor:
    """The losses of one batch of each learner, summed: the gradient of each is its own. rows: (b,) of each."""
    counts = [len(some) for some in rows]
    padded = pad_sequence(list(rows), batch_first=True)  # (K, B): short batches are filled up with row 0, at weight 0
    with work.arithmetic():
        scaling = stacked_scaling([learner.scaling for learner in learners])
        lost = lost_blocks(work, learners, rows) if work.head.modality_dropout else None
        batch = gather(work.table, padded, scaling, lost)
        logits = forward(work.head, parameters, batch, silencer(work.head.dropout, learners, counts)).float()
    weights = cell_weights(work.targets, learners, padded)
    if min(counts) < max(counts):
        within = torch.arange(padded.shape[1]) < torch.tensor(counts).unsqueeze(1)
        weights = weights * within.to(weights.device).unsqueeze(-1)
    return summed_loss(logits, work.targets, padded, weights)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """(K, ...), without a copy where K is 1."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


def cell_weights(targets: Targets, learners: Sequence[Learner], rows: Tensor) -> Tensor:
    """(K, B, cells) what each label weighs in the loss of each member; 0 where it is missing."""
    known, classes = targets.known[rows], targets.classes[rows]
    table = torch.stack([learner.class_weights for learner in learners]).unsqueeze(1)  # (K, 1, cells, levels)
    weights = table.expand(-1, rows.shape[1], -1, -1).gather(-1, classes.unsqueeze(-1)).squeeze(-1)
    return weights * known


def silencer(share: float, learners: Sequence[Learner], counts: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Dropout (Srivastava et al. 2014), drawn for each member by its own generator and for its own rows only."""

    def drop(hidden: Tensor) -> Tensor:
        keep = torch.zeros(hidden.shape, device=hidden.device)
        for mask, learner, count in zip(keep, learners, counts, strict=True):
            mask[:count].uniform_(generator=learner.draws)  # a third of the time of bernoulli_
        return hidden * keep.lt_(1 - share).div_(1 - share).to(hidden.dtype)

    return drop if share else unchanged


def lost_blocks(work: Work, learners: Sequence[Learner], rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Modality -> (K, B), 1.0 where chance takes it from a row; a row never loses the only block it has."""
    names, share = work.head.blocks, work.head.modality_dropout
    lost: dict[str, list[Tensor]] = {name: [] for name in names}
    for learner, some in zip(learners, rows, strict=True):
        chance, which = torch.rand(2, len(some), generator=learner.draws, device=some.device)
        there = torch.stack([work.table.present[name][some].view(len(some), -1).amax(dim=1) for name in names])
        spare = (there.sum(dim=0) > 1) & (chance < share)
        for number, name in enumerate(names):
            lost[name].append((spare & ((which * len(names)).long() == number)).float())
    return {name: pad_sequence(masks, batch_first=True) for name, masks in lost.items()}


def watch(work: Work, learner: Learner, epoch: int) -> None:
    """Figures of both parts with the weights of the end of the epoch; what to keep, when to slow down or to stop."""
    options = work.options
    for phase, rows in (("train", learner.train), (learner.member.watched_name, learner.watched)):
        with work.arithmetic():
            logits = logits_of(work.table, work.head, learner.scaling, learner.parameters, rows)
        learner.history.append(figures(logits, work.targets, rows, epoch, phase))
    seen, loss = (one.loss for one in learner.history[-2:])
    if not (isfinite(seen) and isfinite(loss)):
        of = called(learner.member)
        raise TrainError(f"{of}the loss is no number any more after epoch {epoch}", hint="lower the learning rate")
    if loss < learner.lowest:
        learner.lowest, learner.chosen, learner.slowed = loss, epoch, epoch
        if options.select == "best":
            learner.kept = {name: value.detach().clone() for name, value in learner.parameters.items()}
    if epoch - learner.slowed >= STAND_STILL and options.schedule == "plateau":
        learner.rate, learner.slowed = learner.rate * SLOWER, epoch
    learner.stopped = epoch == options.epochs or (
        options.patience is not None and epoch - learner.chosen >= options.patience
    )
