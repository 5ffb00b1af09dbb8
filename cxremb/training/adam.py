"""Weights that are being trained: those of K models in one tensor each."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = 0.9, 0.999  # and EPSILON: as Kingma & Ba 2015 and torch have them
EPSILON = 1e-8


class Adam:
    """Weights that are being trained, of K members in one tensor each, and the moments of their gradients.

    torch's functional optimiser, because merely making an object of `torch.optim` imports torch's compiler: seconds, of
    a training that takes seconds. All updates are per element, so one call over K members is K optimisers. All of it
    stays where it is: a tensor of megabytes that is made anew at every step costs more than what fills it.
    """

    def __init__(
        self, members: Sequence[Mapping[str, Tensor]], dtype: torch.dtype, *, rate: float, weight_decay: float
    ) -> None:
        self.weights = {name: torch.stack([one[name] for one in members]) for name in members[0]}  # float32
        self.first, self.second, self.gradients = (
            {name: torch.zeros_like(value) for name, value in self.weights.items()} for _ in range(3)
        )
        self.steps = {name: torch.zeros(len(value), device=value.device) for name, value in self.weights.items()}
        self.rounded = {name: value.to(dtype) for name, value in self.weights.items()}  # themselves, in float32
        self.rate, self.weight_decay = rate, weight_decay

    def of(self, number: int) -> dict[str, Tensor]:
        """The weights of one member: parts of the whole."""
        return {name: value[number] for name, value in self.weights.items()}

    def narrow(self, numbers: Sequence[int]) -> None:
        """Only these members go on."""
        for whole in (self.weights, self.first, self.second, self.gradients, self.steps):
            whole.update({name: value[list(numbers)] for name, value in whole.items()})
        self.rounded = {name: value.to(self.rounded[name].dtype) for name, value in self.weights.items()}

    def step(self, members: int, loss: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        """Move the weights of the first members against the gradient of their loss, and round them.

        loss: of the rounded weights of these members, by name.
        """
        leaves = {name: value[:members].detach().requires_grad_() for name, value in self.rounded.items()}
        for name, found in zip(leaves, torch.autograd.grad(loss(leaves), list(leaves.values())), strict=True):
            self.gradients[name][:members] = found
        weights, gradients, first, second, steps = (
            [value[number] for number in range(members) for value in whole.values()]
            for whole in (self.weights, self.gradients, self.first, self.second, self.steps)
        )
        with torch.no_grad():
            adam(
                weights, gradients, first, second, [], steps, fused=True, lr=self.rate, weight_decay=self.weight_decay,
                beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON, amsgrad=False, maximize=False,
            )  # fmt: skip
        for name, rounded in self.rounded.items():
            rounded.copy_(self.weights[name])
