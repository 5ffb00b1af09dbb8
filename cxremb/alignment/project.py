"""Two linear maps into one space, learned so that a film lies nearer to its own report than to any other.

The loss is that of CLIP (Radford et al. 2021): both ways, temperature learned. Reports that say the same are all right
answers, with equal shares (as in UniCL, Yang et al. 2022): half of a collection may say "no acute disease", and calling
those wrong would push like apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor
from torch.nn.functional import normalize

from cxremb.errors import TrainError
from cxremb.store.stored_rows import Places
from cxremb.training.inputs import LIMIT, column_moments
from cxremb.types import Progress, unwatched

START, HOTTEST = log(1 / 0.07), log(100)  # of the logarithm of the scale: where CLIP starts, and where it stops it
ROWS_AT_ONCE = 16_384  # projected together: 80 MB of 1,280 columns

Reals = NDArray[np.float32]


@dataclass(frozen=True)
class AlignOptions:
    """How to learn."""

    dim: int = 128
    epochs: int = 100
    batch: int = 512  # the least that is compared at once, where there are as many pairs
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    patience: int = 10  # epochs without a better val loss
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.dim < 2 or self.epochs < 1:
            raise TrainError(f"{self.dim} dimensions, {self.epochs} epochs", hint="ask for --dim 128 --epochs 100")


@dataclass(frozen=True)
class PairVectors:
    """n pairs as the stores have them. texts: equal numbers are equal texts."""

    image: Reals  # (n, image dim)
    text: Reals  # (n, text dim)
    texts: Places  # (n,)


@dataclass(frozen=True)
class Projection:
    """Standardise as on the training rows, stop at `LIMIT` deviations, multiply, and scale to length 1."""

    mean: Reals  # (d,)
    scale: Reals  # (d,)
    weight: Reals  # (d, dim)

    def __call__(self, vectors: NDArray[Any]) -> Reals:
        """(n, dim) unit vectors. vectors: (n, d), as the store has them. A zero row stays zero."""
        found = np.empty((len(vectors), self.weight.shape[1]), dtype=np.float32)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            x = (vectors[block].astype(np.float32) - self.mean) / self.scale
            projected = x.clip(-LIMIT, LIMIT) @ self.weight
            length = np.linalg.norm(projected, axis=1, keepdims=True)
            found[block] = projected / np.where(length > 0, length, 1)
        return found

    def to_bytes(self) -> bytes:
        """The tensors mean, scale, weight and limit, as safetensors: equal projections have equal bytes."""
        tensors = {
            "mean": self.mean,
            "scale": self.scale,
            "weight": self.weight,
            "limit": np.array([LIMIT], np.float32),
        }
        content: bytes = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        return content


@dataclass(frozen=True)
class AlignEpoch:
    """The loss at the end of an epoch; val is None where the split has no val part."""

    number: int
    train: float  # mean over its batches, while they were learned from
    val: float | None


@dataclass(frozen=True)
class Alignment:
    """The projections of the epoch that was kept."""

    image: Projection
    text: Projection
    temperature: float
    epoch: int
    history: tuple[AlignEpoch, ...]


def fit(
    vectors: PairVectors,
    train: Places,
    val: Places,
    *,
    options: AlignOptions | None = None,
    progress: Progress = unwatched,
) -> Alignment:
    """The projections with the least loss on `val`; those of the last epoch if `val` is empty.

    train, val: row numbers. The same seed gives the same projections. Raises `TrainError` if the loss diverges.
    """
    options = options or AlignOptions()
    chance = torch.Generator().manual_seed(options.seed)
    scaling = {side: column_moments(torch.from_numpy(getattr(vectors, side)[train])) for side in ("image", "text")}
    learned, watched = (standardised(vectors, rows, scaling) for rows in (train, val))
    weights = initial(scaling, options.dim, chance)
    groups: list[dict[str, Any]] = [
        {"params": [weights["image"], weights["text"]], "weight_decay": options.weight_decay},
        {"params": [weights["log_scale"]], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=options.learning_rate)
    history: list[AlignEpoch] = []
    best, kept = np.inf, (0, weights)
    for number in progress(range(1, options.epochs + 1), options.epochs, "align"):
        loss = one_epoch(learned, weights, optimiser, options=options, chance=chance)
        judged = mean_loss(watched, weights, options) if len(val) else None
        history.append(AlignEpoch(number, loss, judged))
        if not isfinite(loss + (judged or 0)):
            raise TrainError(f"the loss of epoch {number} is no number", hint="check the stores: `cxremb store check`")
        if judged is None or judged < best:
            best = best if judged is None else judged
            kept = number, {name: value.detach().clone() for name, value in weights.items()}
        elif number - kept[0] >= options.patience:
            break
    epoch, final = kept
    image, text = (
        Projection(mean.numpy(), scale.numpy(), final[side].detach().numpy()) for side, (mean, scale) in scaling.items()
    )
    return Alignment(image, text, float(torch.exp(-final["log_scale"])), epoch, tuple(history))


@dataclass(frozen=True)
class PairBatch:
    """Standardised pairs."""

    image: Tensor  # (n, image dim)
    text: Tensor  # (n, text dim)
    texts: Tensor  # (n,)

    def take(self, rows: Tensor) -> "PairBatch":
        """Some of them."""
        return PairBatch(self.image[rows], self.text[rows], self.texts[rows])


def standardised(vectors: PairVectors, rows: Places, scaling: Mapping[str, tuple[Tensor, Tensor]]) -> PairBatch:
    """The rows, standardised."""
    image, text = (
        torch.from_numpy(getattr(vectors, side)[rows]).sub_(mean).div_(scale).clamp_(-LIMIT, LIMIT)
        for side, (mean, scale) in scaling.items()
    )
    return PairBatch(image, text, torch.from_numpy(vectors.texts[rows]))


def initial(scaling: Mapping[str, tuple[Tensor, Tensor]], dim: int, chance: torch.Generator) -> dict[str, Tensor]:
    """The parameters to begin with: outputs of variance 1, from inputs of variance 1."""
    weights = {
        side: torch.randn(len(mean), dim, generator=chance) / len(mean) ** 0.5 for side, (mean, _) in scaling.items()
    }
    return {name: value.requires_grad_() for name, value in (weights | {"log_scale": torch.tensor(START)}).items()}


def one_epoch(
    pairs: PairBatch,
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    options: AlignOptions,
    chance: torch.Generator,
) -> float:
    """The mean loss of one pass. Batches are of equal size: none is so small that it compares with nobody."""
    n = len(pairs.texts)
    total = 0.0
    for rows in torch.randperm(n, generator=chance).tensor_split(max(1, n // options.batch)):
        loss = contrastive(pairs.take(rows), weights)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            weights["log_scale"].clamp_(max=HOTTEST)
        total += float(loss.detach()) * len(rows)
    return total / n


@torch.no_grad()
def mean_loss(pairs: PairBatch, weights: Mapping[str, Tensor], options: AlignOptions) -> float:
    """The loss over batches that are the same in every epoch; rows spread over them, as films of a patient are near."""
    n = len(pairs.texts)
    batches = max(1, n // options.batch)
    parts = [torch.arange(start, n, batches) for start in range(batches)]
    return sum(float(contrastive(pairs.take(rows), weights)) * len(rows) for rows in parts) / n


def contrastive(pairs: PairBatch, weights: Mapping[str, Tensor]) -> Tensor:
    """The mean cross entropy of finding the text of each film and the film of each text; equal texts share it."""
    image, text = (normalize(getattr(pairs, side) @ weights[side]) for side in ("image", "text"))
    logits = image @ text.T * weights["log_scale"].exp()
    same = (pairs.texts[:, None] == pairs.texts).float()
    shares = same / same.sum(dim=1, keepdim=True)  # symmetric, and so are the shares of columns
    rows, columns = (-(shares * side.log_softmax(dim=1)).sum() for side in (logits, logits.T))
    return (rows + columns) / (2 * len(logits))
