"""One step of the optimiser for some members at once.

torch's functional optimisers, because merely making an object of `torch.optim` imports torch's compiler: seconds, of a
training that takes seconds. All updates are per element, so one call over K members is K optimisers.
"""

from collections.abc import Sequence
from math import cos, pi
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from cxremb.train.options import Options

BETAS = 0.9, 0.999  # and EPSILON: as Kingma & Ba 2015 and torch have them
EPSILON = 1e-8


class Moments:
    """What an optimiser remembers of one member's parameters."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.first = [torch.zeros_like(one, requires_grad=False) for one in parameters]
        self.second = [torch.zeros_like(one, requires_grad=False) for one in parameters]
        self.steps = [torch.zeros((), device=one.device) for one in parameters]


def update(options: Options, rate: float, parameters: Sequence[Sequence[Tensor]], moments: Sequence[Moments]) -> None:
    """Move the parameters of each member against their gradients, in place."""
    flat = [one for some in parameters for one in some]
    gradients: list[Any] = [one.grad for one in flat]
    first: list[Any] = [one for some in moments for one in some.first]
    with torch.no_grad():
        if options.optimiser == "sgd":
            sgd(
                flat,
                gradients,
                first,
                fused=True,
                lr=rate,
                weight_decay=options.weight_decay,
                momentum=options.momentum,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        step = adamw if options.optimiser == "adamw" else adam
        step(
            flat,
            gradients,
            first,
            [one for some in moments for one in some.second],
            [],
            [one for some in moments for one in some.steps],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=options.weight_decay,
            eps=EPSILON,
            maximize=False,
        )


def scheduled(options: Options, rate: float, epoch: int) -> float:
    """The learning rate of an epoch, from 1 on. Cosine: from the full rate to 0 (Loshchilov & Hutter 2017)."""
    if options.schedule != "cosine":
        return rate
    return rate * (1 + cos(pi * (epoch - 1) / max(options.epochs - 1, 1))) / 2
