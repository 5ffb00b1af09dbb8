"""What image encoders of every library share: uint8 films in, normalised where the network runs, pooled vectors out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb import images
from cxremb.encoders.base import Runtime, Vectors
from cxremb.encoders.forward import CPU_ROWS, Forward, choose_forward
from cxremb.store.manifest import Recipe

Pool = Callable[[torch.nn.Module, torch.Tensor], tuple[torch.Tensor, ...]]


class FilmNet(torch.nn.Module):
    """uint8 films (n, side, side) to vectors, a (n, dim) tensor for each pooling.

    A film's grey goes into every channel, normalised by the channel's own mean and std (of pixels in 0 to 1).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, pool: Pool, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.pool = pool
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Films to vectors."""
        return self.vectors(films.unsqueeze(1).float() / 255)

    def vectors(self, grey: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, 1, side, side) from 0 to 1 to vectors."""
        batch = ((grey - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.pool(self.network, batch)


class FilmEncoder:
    """A frozen image network; `build` makes it on the first call of `encode`."""

    def __init__(
        self, recipe: Recipe, frame: images.Frame, licence: str, runtime: Runtime, build: Callable[[], FilmNet]
    ) -> None:
        self.recipe = recipe
        self.frame = frame
        self.licence = licence
        self.runtime = runtime
        self.build = build
        self.notes: list[str] = []
        self.forward: Forward | None = None

    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """The vectors by pooling, (n, dim) each, for films of shape (n, side, side)."""
        if self.forward is None:
            rows = CPU_ROWS if self.runtime.device == "cpu" else 0
            self.forward = choose_forward(self.build(), self.runtime, [(films[:CPU_ROWS],)], self.notes, rows)
        return dict(zip(self.recipe.poolings, self.forward(films), strict=True))


def film_input(frame: images.Frame, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """What of a film's way into the network enters the key."""
    return {**frame.recipe, "mean": list(mean), "std": list(std), "decoder": images.RECIPE}


def pool_average(network: torch.nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the network itself pools, without its classifier."""
    return (network(batch),)
