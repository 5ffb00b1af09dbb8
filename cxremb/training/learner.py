"""One member while it is trained: its rows, its weights, and everything that is random about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.training.data import Epoch, Member
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import Scaling, Table, measure_scaling
from cxremb.training.losses import Targets, balanced, labelled
from cxremb.training.modules import Batch, forward, unchanged
from cxremb.training.options import Options

CHUNK = 1024  # rows per forward pass when only predicting: they stay in a CPU's caches; changes no value


@dataclass(frozen=True)
class Work:
    """What the members of a training share."""

    table: Table
    targets: Targets
    head: HeadSpec
    options: Options
    device: str
    dtype: torch.dtype = torch.float32  # of the products; weights, moments and losses are float32 whatever it is


@dataclass
class Learner:
    """One member while it is trained. Everything random about it comes from its own generators."""

    member: Member
    number: int  # its place in the stack
    train: Tensor  # rows with a label
    seen: Tensor  # those of them whose figures are told: as many as are watched
    watched: Tensor
    scaling: Scaling
    weights: Tensor  # (n, cells) what each label weighs in its loss; 0 where it is missing
    order: torch.Generator  # of the rows, on the CPU: the same order on every device
    draws: torch.Generator  # of dropout, on the device
    kept: dict[str, Tensor] = field(default_factory=dict)  # the weights of epoch `epoch`
    epoch: int = 0
    lowest: float = float("inf")
    stopped: bool = False
    diverged: int | None = None  # the epoch in which the loss stopped being a number
    history: list[Epoch] = field(default_factory=list)

    def keep(self, parameters: Mapping[str, Tensor], epoch: int) -> None:
        """These are the weights to be kept."""
        self.kept, self.epoch = {name: value.clone() for name, value in parameters.items()}, epoch

    def saved(self) -> dict[str, NDArray[Any]]:
        """The weights that are to be kept, as arrays."""
        return self.scaling.saved() | {name: value.cpu().numpy() for name, value in self.kept.items()}


def new_learner(work: Work, member: Member, number: int) -> Learner:
    """A member before its first epoch. Raises `TrainError` for rows that nothing can be learnt from."""
    targets = work.targets
    train = labelled(targets, member.train, "train", member)
    watched = labelled(targets, member.watched, member.watched_name, member)
    return Learner(
        member=member,
        number=number,
        train=train,
        seen=sample(train, len(watched), member.seed),
        watched=watched,
        scaling=measure_scaling(work.table, train, work.options.standardise),
        weights=balanced(targets, train) if work.options.class_weights else targets.known.float(),
        order=torch.Generator().manual_seed(member.seed),
        draws=torch.Generator(work.device).manual_seed(member.seed),
    )


def sample(rows: Tensor, size: int, seed: int) -> Tensor:
    """So many of the rows, drawn once, in their order."""
    if len(rows) <= size:
        return rows
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:size].sort().values
    return rows[drawn.to(rows.device)]


def initial(work: Work, seed: int) -> dict[str, Tensor]:
    """Parameters as `torch.nn.Linear` draws them: uniform within 1 / sqrt(inputs) (LeCun et al. 1998)."""
    outputs = work.head.outputs(work.targets.task, work.targets.labels)
    draws, drawn = torch.Generator().manual_seed(seed), {}
    for name, shape in work.head.shapes(work.table.dims, outputs).items():
        if name.endswith("weight"):
            bound = shape[1] ** -0.5  # and the layer's bias, which comes next, has the same
        drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=draws).to(work.device)
    return drawn


def logits_of(
    head: HeadSpec, parameters: Mapping[str, Tensor], rows: Tensor, gather: Callable[[Tensor], Batch]
) -> Tensor:
    """(m, outputs) logits of one model in evaluation mode. gather: (1, B) rows -> their batch, as the weights are."""
    stacked = {name: value.unsqueeze(0) for name, value in parameters.items()}
    with torch.inference_mode():
        parts = torch.split(rows, CHUNK)
        return torch.cat([forward(head, stacked, gather(part[None]), unchanged)[0].float() for part in parts])
