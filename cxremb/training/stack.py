"""Members that are trained as one batched model: an epoch of them all, and of each what is kept and when it stops.

Everything random about a member comes from generators of its own, so that it trains as it would alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cxremb.training.adam import Adam
from cxremb.training.data import Epoch, Member
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import RowTensors, Scaling, gather, measure_scaling, taught
from cxremb.training.losses import balanced, figures, labelled, part_sums, summed_loss
from cxremb.training.modules import Batch, forward, logits_of, unchanged
from cxremb.training.options import Options
from cxremb.training.scales import block_scales, column_scales, scales_blocks
from cxremb.training.schedule import finished

# Training rows of an epoch at most where it may be chosen: of more, an epoch is a share of a pass. A network that has
# seen so many has learnt enough for the validation part to be asked.
EPOCH_ROWS = 65_536
READY = 2**30  # bytes of standardised rows that the members of one stack may hold: 16 of IU X-ray's size, in float32


@dataclass
class Learner:
    """One member while it is trained."""

    member: Member
    rows: RowTensors  # with the labels that it learns
    number: int  # its place in the stack
    train: Tensor  # rows with a label
    measured: Tensor  # those of them whose figures are in the history: as many as are watched
    watched: Tensor
    scaling: Scaling
    scales: Mapping[str, float]  # of its blocks; none: they are not scaled
    weights: Tensor  # (n, cells) what each label weighs in its loss; 0 where it is missing
    shares: int  # of a pass over its rows, an epoch each
    order: torch.Generator  # of the rows, on the CPU: the same order on every device
    draws: torch.Generator  # of dropout, on the device
    kept: dict[str, Tensor] = field(default_factory=dict)  # the weights of epoch `epoch`
    epoch: int = 0
    lowest: float = float("inf")
    stopped: bool = False
    diverged: int | None = None  # the epoch in which the loss stopped being a number
    history: list[Epoch] = field(default_factory=list)
    left: list[Tensor] = field(default_factory=list)  # the epochs of this pass that are still to come

    @property
    def size(self) -> int:
        """The rows of each epoch. Of a pass in shares the few that do not divide sit out."""
        return len(self.train) // self.shares

    def rows_of_epoch(self) -> Tensor:
        """Those of the next one, in a new order."""
        if not self.left:
            order = torch.randperm(len(self.train), generator=self.order).to(self.train.device)
            self.left = list(torch.split(self.train[order][: self.size * self.shares], self.size))
        return self.left.pop(0)

    def saved(self) -> dict[str, NDArray[Any]]:
        """The weights that are to be kept, as arrays."""
        return {name: value.cpu().numpy() for name, value in {**self.scaling, **self.kept}.items()}


class Stack:
    """Some members, and where each stands. Those that have not stopped are `running`, the one with most rows first."""

    def __init__(
        self, rows: RowTensors, members: Sequence[Member], head: HeadSpec, *, options: Options, dtype: torch.dtype
    ) -> None:
        """dtype: of the products; weights, moments and losses are float32 whatever it is.

        Raises `TrainError` for rows that nothing can be learnt from.
        """
        self.rows, self.head, self.options, self.dtype = rows, head, options, dtype
        self.seconds: list[float] = []  # that each epoch took
        self.learners = [
            new_learner(rows, member, head, options=options, number=number) for number, member in enumerate(members)
        ]
        self.columns: Tensor | None = None  # (members, dim) what each column is multiplied by
        if scales_blocks(head, options):
            self.columns = torch.stack([column_scales(learner.scales, rows) for learner in self.learners])
        self.running = sorted(self.learners, key=lambda learner: -learner.size)
        start = [self.initial(learner) for learner in self.running]
        self.adam = Adam(start, dtype, rate=options.learning_rate, weight_decay=options.weight_decay)
        self.ready: Tensor | None = None  # all rows, standardised by each member, one below the other: if that fits
        if len(members) * len(rows.known) * sum(rows.widths) * dtype.itemsize <= READY:
            every = torch.arange(len(rows.known), device=rows.known.device).unsqueeze(0)
            self.ready = torch.cat([self.batch([number], every).values[0] for number in range(len(members))])

    def batch(self, members: Sequence[int], rows: Tensor) -> Batch:
        """The batch of `rows` (K, B), of each of these members standardised by its own training rows."""
        if self.ready is None:
            found = gather(self.rows, rows, [self.learners[member].scaling for member in members], dtype=self.dtype)
            if self.columns is not None:
                found.values.mul_(self.columns[list(members)].unsqueeze(1).to(self.dtype))
            return found
        starts = torch.tensor(members, device=rows.device).unsqueeze(1) * len(self.rows.known)
        values = self.ready.index_select(0, (rows + starts).flatten()).view(*rows.shape, -1)
        return self.rows.batch(values, rows)

    def initial(self, learner: Learner) -> dict[str, Tensor]:
        """The weights that a member starts from; of scaled blocks as of so many columns as they then weigh.

        A block that is left out leaves the start, and so the training, of a head of the other block alone.
        """
        start = initial(self.rows, self.head, learner.member.seed)
        if self.columns is not None:
            columns = self.columns[learner.number]
            start["hidden.weight"] *= (len(columns) / columns.square().sum()).sqrt()
        return start

    def run_epoch(self, epoch: int) -> None:
        """An epoch of every running member, then its figures."""
        if not self.running:
            return
        orders = [learner.rows_of_epoch() for learner in self.running]
        size = self.options.batch_size
        for start in range(0, len(orders[0]), size):  # some run out of rows before others: the first ones go on
            self.step([rows for order in orders if len(rows := order[start : start + size])])
        parts = torch.stack([sums for number in range(len(self.running)) for sums in self.measure(number)])
        found = parts.cpu().numpy()  # a GPU is waited for here, and at no step
        for number, learner in enumerate(self.running):
            self.watch(learner, self.adam.of(number), epoch, parts=found[2 * number : 2 * number + 2])
        going = [number for number, learner in enumerate(self.running) if not learner.stopped]
        if len(going) < len(self.running):
            self.running = [self.running[number] for number in going]
            self.adam.narrow(going)

    def step(self, rows: Sequence[Tensor]) -> None:
        """One step on a batch of each of the first learners, all in one product.

        rows: (b,) of each; a member with fewer is filled up with row 0, which weighs nothing.
        """
        active, counts = self.running[: len(rows)], [len(some) for some in rows]
        padded = pad_sequence(list(rows), batch_first=True)
        weights = label_weights(active, padded, counts)
        classes = torch.stack([learner.rows.classes[some] for learner, some in zip(active, padded, strict=True)])
        lost = self.lost_blocks(active, rows) if self.head.modality_dropout else {}
        kept = iter([self.kept_units(active, counts) for _ in range(self.head.drops)])

        def loss(parameters: Mapping[str, Tensor]) -> Tensor:
            """The losses of these members, summed: the gradient of each is its own."""
            batch = self.batch([learner.number for learner in active], padded)
            if lost:
                batch = batch.without(lost)
            drop = (lambda hidden: hidden * next(kept).transpose(1, 2)) if self.head.drops else unchanged
            logits = forward(self.head, parameters, batch, drop=drop)
            return summed_loss(logits.float(), classes, self.rows.task, weights=weights)

        self.adam.step(len(rows), loss)

    def kept_units(self, learners: Sequence[Learner], counts: Sequence[int]) -> Tensor:
        """(K, units, B): 0, or what a unit that is kept is scaled up by (dropout, Srivastava et al. 2014).

        Chance is drawn 64 bits at a time, 16 for a unit of a row: a fraction of the time of `uniform_`.
        """
        dropped, units = min(max(round(self.head.dropout * 2**16), 1), 2**16 - 1), self.head.hidden  # of 2**16
        below, device = dropped - 2**15, self.rows.known.device  # of -32,768 to 32,767
        kept = torch.zeros(len(learners), units, max(counts), dtype=self.dtype, device=device)
        for one, learner, count in zip(kept, learners, counts, strict=True):
            bits = torch.empty(-(-units * count // 4), dtype=torch.int64, device=device)
            bits.random_(torch.iinfo(torch.int64).min, None, generator=learner.draws)
            drawn = bits.view(torch.int16)[: units * count].view(units, count)
            one[:, :count] = drawn.clamp_(below - 1, below).sub_(below - 1)  # 1 from `below` on; >= takes far longer
        return kept.div_(1 - dropped / 2**16)

    def lost_blocks(self, learners: Sequence[Learner], rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """Modality -> (K, B), 1.0 where chance takes it from a row; a row never loses the only block it has."""
        names, share = self.head.blocks, self.head.modality_dropout
        lost: dict[str, list[Tensor]] = {name: [] for name in names}
        for learner, some in zip(learners, rows, strict=True):
            chance, which = torch.rand(2, len(some), generator=learner.draws, device=some.device)
            there = torch.stack([self.rows.present[name][some].view(len(some), -1).amax(dim=1) for name in names])
            spare = (there.sum(dim=0) > 1) & (chance < share)
            for number, name in enumerate(names):
                lost[name].append((spare & ((which * len(names)).long() == number)).float())
        return {name: pad_sequence(masks, batch_first=True) for name, masks in lost.items()}

    def measure(self, number: int) -> list[Tensor]:
        """What the figures of both parts of a running member follow from, as `part_sums`."""
        learner = self.running[number]
        rounded = {name: value.to(self.dtype) for name, value in self.adam.of(number).items()}
        found = []
        for rows in (learner.measured, learner.watched):
            logits = logits_of(self.head, rounded, rows, gather=lambda part: self.batch([learner.number], part))
            found.append(part_sums(logits, learner.rows, rows))
        return found

    def watch(self, learner: Learner, weights: Mapping[str, Tensor], epoch: int, *, parts: NDArray[np.float64]) -> None:
        """Figures of both parts at the end of an epoch, what is kept of it, and whether the member goes on."""
        phases = ("train", learner.member.watched_name)
        found = [figures(sums, epoch=epoch, phase=phase) for sums, phase in zip(parts, phases, strict=True)]
        if not all(isfinite(one.loss) for one in found):
            learner.diverged, learner.stopped = epoch, True
            return
        learner.history += found
        loss = found[-1].loss
        if loss < learner.lowest or self.options.select == "last":
            learner.kept, learner.epoch = {name: value.clone() for name, value in weights.items()}, epoch
            if self.columns is not None:  # a saved head takes blocks that are not scaled
                learner.kept["hidden.weight"].mul_(self.columns[learner.number])
        learner.lowest = min(loss, learner.lowest)
        learner.stopped = finished([one.loss for one in learner.history[1::2]], self.options)


def new_learner(rows: RowTensors, member: Member, head: HeadSpec, *, options: Options, number: int) -> Learner:
    """A member before its first epoch. Raises `TrainError` for rows that nothing can be learnt from."""
    rows = taught(rows, member)
    train = labelled(rows, member, "train")
    watched = labelled(rows, member, member.watched_name)
    scaling, scales = measure_scaling(rows, train, standardise=options.standardise), {}
    if scales_blocks(head, options):
        seen = train if member.watched_name == "test" else torch.cat([train, watched])
        scales = block_scales(rows, seen, scaling, seed=member.seed)
    return Learner(
        member=member,
        rows=rows,
        number=number,
        train=train,
        measured=sample(train, len(watched), member.seed),
        watched=watched,
        scaling=scaling,
        scales=scales,
        weights=balanced(rows, train) if options.class_weights else rows.known.float(),
        shares=-(-len(train) // EPOCH_ROWS) if options.chooses_epoch else 1,
        order=torch.Generator().manual_seed(member.seed),
        draws=torch.Generator(rows.known.device).manual_seed(member.seed),
    )


def sample(rows: Tensor, size: int, seed: int) -> Tensor:
    """So many of the rows, drawn once, in their order."""
    if len(rows) <= size:
        return rows
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:size].sort().values
    return rows[drawn.to(rows.device)]


def initial(rows: RowTensors, head: HeadSpec, seed: int) -> dict[str, Tensor]:
    """Parameters as `torch.nn.Linear` draws them: uniform within 1 / sqrt(inputs) (LeCun et al. 1998)."""
    draws, drawn = torch.Generator().manual_seed(seed), {}
    for name, shape in head.shapes(rows.dims, head.outputs(rows.task, rows.labels)).items():
        if name.endswith("weight"):
            bound = shape[1] ** -0.5  # and the layer's bias, which comes next, has the same
        drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=draws).to(rows.known.device)
    return drawn


def label_weights(learners: Sequence[Learner], rows: Tensor, counts: Sequence[int]) -> Tensor:
    """(K, B, cells) what each label of a batch weighs in the loss of its member: they add up to 1.

    rows: (K, B), of which the first `counts` of each member count.
    """
    weights = torch.stack([learner.weights[some] for learner, some in zip(learners, rows, strict=True)])
    if min(counts) < max(counts):
        within = torch.arange(rows.shape[1]) < torch.tensor(counts).unsqueeze(1)
        weights = weights * within.to(weights.device).unsqueeze(-1)
    return weights / weights.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
