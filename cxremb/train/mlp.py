"""The module behind every head: a two-layer perceptron that carries its own input standardisation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxremb.train.heads import HeadSpec

# Standard deviations. A unit of the encoder that is silent on nearly every training row has next to no spread, and one
# other row that wakes it would stand hundreds of deviations out and decide the loss of its whole fold.
LIMIT = 10.0


class Perceptron(nn.Module):
    """(n, dim) -> (n, outputs) logits. The buffers `mean`, `scale` and `limit` are saved, never trained."""

    mean: Tensor
    scale: Tensor
    limit: Tensor

    def __init__(self, spec: HeadSpec, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("limit", torch.tensor(torch.inf))
        self.layers = nn.Sequential(
            nn.Linear(dim, spec.hidden), nn.ReLU(), nn.Dropout(spec.dropout), nn.Linear(spec.hidden, spec.outputs)
        )

    def forward(self, X: Tensor) -> Tensor:
        """Logits for raw, not yet standardised, vectors."""
        inputs = torch.clamp((X - self.mean) / self.scale, -self.limit, self.limit)
        logits: Tensor = self.layers(inputs)
        return logits

    def standardise(self, X: NDArray[np.float32]) -> None:
        """Measure mean and scale on `X`: pass training rows only. A constant column keeps scale 1."""
        spread = X.std(axis=0, dtype=np.float64)
        self.mean.copy_(torch.from_numpy(X.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
        self.limit.fill_(LIMIT)


def new_perceptron(spec: HeadSpec, dim: int, seed: int) -> Perceptron:
    """An untrained head, the same for the same seed; torch's own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Perceptron(spec, dim)


def restored_perceptron(spec: HeadSpec, weights: Mapping[str, NDArray[Any]]) -> Perceptron:
    """The trained head that `weights` (parameter name -> array) were saved from, ready to predict."""
    model = Perceptron(spec, weights["mean"].shape[0])
    model.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    return model.eval()
