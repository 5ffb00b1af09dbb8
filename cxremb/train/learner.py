"""One member while it is trained: its rows, its weights, and everything that is random about it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.train.data import Member
from cxremb.train.heads import HeadSpec
from cxremb.train.inputs import Scaling, Table, gather, measure_scaling, stacked_scaling
from cxremb.train.losses import Epoch, Targets, balanced_weights, labelled
from cxremb.train.modules import forward, unchanged
from cxremb.train.options import Options
from cxremb.train.update import Moments

CHUNK = 1024  # rows per forward pass when only predicting: they stay in a CPU's caches; changes no value


@dataclass(frozen=True)
class Work:
    """What the members of a training share."""

    table: Table
    targets: Targets
    head: HeadSpec
    options: Options
    device: str

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Float32, or bfloat16 products where the options say so."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.options.precision == "bf16")


@dataclass
class Learner:
    """One member while it is trained. Everything random about it comes from its own generators."""

    member: Member
    train: Tensor  # rows with a label
    watched: Tensor
    scaling: Scaling
    class_weights: Tensor  # (cells, levels)
    parameters: dict[str, Tensor]
    moments: Moments
    order: torch.Generator  # of the rows, on the CPU: the same order on every device
    draws: torch.Generator  # of dropout, on the device
    rate: float
    kept: dict[str, Tensor] = field(default_factory=dict)
    lowest: float = float("inf")
    chosen: int = 0  # the epoch of the lowest loss
    slowed: int = 0  # the last epoch in which the rate was lowered
    stopped: bool = False
    history: list[Epoch] = field(default_factory=list)

    def saved(self) -> dict[str, NDArray[Any]]:
        """The weights that are to be kept, as arrays."""
        return self.scaling.saved() | {name: value.detach().cpu().numpy().copy() for name, value in self.kept.items()}


def new_learner(work: Work, member: Member) -> Learner:
    """An untrained member, the same for the same seed. Raises `TrainError` for rows that nothing can be learnt from."""
    train = labelled(work.targets, member.train, "train", member)
    watched = labelled(work.targets, member.watched, member.watched_name, member)
    targets, head = work.targets, work.head
    even = torch.ones(targets.classes.shape[1], targets.levels, device=work.device)
    parameters = initial(head, work.table.dims, head.outputs(targets.task, targets.labels), member.seed, work.device)
    learner = Learner(
        member=member,
        train=train,
        watched=watched,
        scaling=measure_scaling(work.table, train, work.options.standardise),
        class_weights=balanced_weights(targets, train) if work.options.class_weights else even,
        parameters=parameters,
        moments=Moments(list(parameters.values())),
        order=torch.Generator().manual_seed(member.seed),
        draws=torch.Generator(work.device).manual_seed(member.seed),
        rate=work.options.learning_rate,
    )
    learner.kept = learner.parameters
    return learner


def initial(head: HeadSpec, dims: Mapping[str, int], outputs: int, seed: int, device: str) -> dict[str, Tensor]:
    """Parameters as `torch.nn.Linear` draws them: uniform within 1 / sqrt(inputs) (LeCun et al. 1998)."""
    draws, drawn = torch.Generator().manual_seed(seed), {}
    for name, shape in head.shapes(dims, outputs).items():
        if name.endswith("weight"):
            bound = shape[1] ** -0.5  # and the layer's bias, which comes next, has the same
        drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=draws).to(device).requires_grad_()
    return drawn


def logits_of(table: Table, head: HeadSpec, scaling: Scaling, parameters: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """(m, outputs) logits of one model in evaluation mode."""
    stacked, one = {name: value.unsqueeze(0) for name, value in parameters.items()}, stacked_scaling([scaling])
    with torch.inference_mode():
        parts = [
            forward(head, stacked, gather(table, part.unsqueeze(0), one), unchanged)[0].float()
            for part in torch.split(rows, CHUNK)
        ]
        return torch.cat(parts)
