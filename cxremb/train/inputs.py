"""Rows as tensors, checked, and their standardisation: the part of a head that is measured, not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.errors import TrainError
from cxremb.train.data import Rows
from cxremb.train.heads import HeadSpec
from cxremb.train.modules import Batch

# Standard deviations. A unit of the encoder that is silent on nearly every training row has next to no spread, and one
# other row that wakes it would stand hundreds of deviations out and decide the loss of its whole fold.
LIMIT = 10.0

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Table:
    """The blocks that a head reads."""

    blocks: Mapping[str, Tensor]  # modality -> (n, dim), or (n, views, dim); float32
    present: Mapping[str, Tensor]  # modality -> (n,), or (n, views): 1.0, or 0.0 where nothing is there
    complete: bool  # nothing is missing anywhere: no mask is needed

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> width."""
        return {name: block.shape[-1] for name, block in self.blocks.items()}


@dataclass(frozen=True)
class Scaling:
    """Per block, what is subtracted and what it is divided by: (dim,) each, or (K, dim) of K members."""

    mean: Mapping[str, Tensor]
    scale: Mapping[str, Tensor]
    limit: float  # deviations at which values stop; infinite where inputs go in as they are

    def saved(self) -> dict[str, NDArray[Any]]:
        """`mean`, `scale` (blocks side by side) and `limit`, as they lie beside the parameters of one member."""
        sides = {"mean": self.mean, "scale": self.scale}
        told = {name: torch.cat(list(side.values())).cpu().numpy() for name, side in sides.items()}
        return told | {"limit": np.array(self.limit, dtype=np.float32)}


def table_of(rows: Rows, head: HeadSpec, device: str) -> Table:
    """The blocks of `head`. Raises `TrainError` if one is not there, is no number, or is a bag that it cannot read."""
    for name in head.blocks:
        if name not in rows.blocks:
            raise TrainError(f"the rows have no {name} block", hint=f"choose a head of {', '.join(rows.blocks)}")
        refuse_block(name, rows.blocks[name], rows.present[name], head)
    present = {name: torch.from_numpy(rows.present[name].astype(np.float32)).to(device) for name in head.blocks}
    complete = all(bool(there.all()) for there in present.values())
    blocks = {
        name: torch.from_numpy(np.require(rows.blocks[name], np.float32, ("C", "W"))).to(device)  # copied if read-only
        for name in head.blocks
    }
    return Table(blocks, present, complete)


def refuse_block(name: str, block: NDArray[np.float32], present: NDArray[np.bool_], head: HeadSpec) -> None:
    """Raises `TrainError` unless the block is finite, in step with its mask, and of a shape that the head reads."""
    bag = head.kind == "attention" and name == head.blocks[0]
    if block.ndim != (3 if bag else 2) or present.shape != block.shape[:-1]:
        raise TrainError(
            f"{name} has shape {block.shape} and its mask {present.shape}",
            hint="a row of a head of kind attention is a study with (views, dim); of the others a vector",
        )
    if not np.isfinite(block).all():
        bad = int((~np.isfinite(block)).reshape(len(block), -1).any(axis=1).sum())
        raise TrainError(f"{bad} of {len(block)} rows hold a value that is no number", hint="run `cxremb embed` again")


def measure_scaling(table: Table, rows: Tensor, standardise: bool) -> Scaling:
    """Mean and scale over what is present in `rows`: training rows only. A constant column keeps scale 1.

    Raises `TrainError` if a modality is present in none of them.
    """
    mean, scale = {}, {}
    for name, block in table.blocks.items():
        there = table.present[name][rows] > 0
        if not there.any():
            raise TrainError(f"no training row has {name}", hint=f"embed more, or choose a head that reads no {name}")
        values = block[rows] if there.all() and block.dim() == 2 else block[rows][there]  # (m, dim)
        mean[name], scale[name] = column_moments(values) if standardise else unscaled(values)
    return Scaling(mean, scale, LIMIT if standardise else np.inf)


def column_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation or 1 where it is 0) of each column, summed in double precision."""
    mean = values.mean(dim=0, dtype=torch.float64)
    spread = (values - mean.float()).square_().mean(dim=0, dtype=torch.float64)
    off = (mean.float() - mean).square()  # the mean was rounded before it was subtracted
    constant = (values == values[0]).all(dim=0)
    return mean.float(), torch.where(constant, 1.0, (spread - off).clamp(min=0).sqrt()).float()


def unscaled(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and scale 1."""
    return torch.zeros_like(values[0]), torch.ones_like(values[0])


def saved_scaling(weights: Weights, dims: Mapping[str, int], device: str) -> Scaling:
    """Read back. Raises `TrainError` if the weights are of inputs of another width."""
    widths = list(dims.values())
    if weights["mean"].shape != (sum(widths),):
        raise TrainError(
            f"the head takes {weights['mean'].shape[0]} inputs, these rows have {sum(widths)}",
            hint="give it vectors of the encoders it was trained on",
        )
    sides = [torch.split(torch.tensor(weights[name], device=device), widths) for name in ("mean", "scale")]
    mean, scale = (dict(zip(dims, side, strict=True)) for side in sides)
    return Scaling(mean, scale, float(weights["limit"]))


def stacked_scaling(scalings: Sequence[Scaling]) -> Scaling:
    """That of K members at once."""
    mean, scale = (
        {name: torch.stack([getattr(one, side)[name] for one in scalings]) for name in scalings[0].mean}
        for side in ("mean", "scale")
    )
    return Scaling(mean, scale, scalings[0].limit)


def gather(table: Table, rows: Tensor, scaling: Scaling, lost: Mapping[str, Tensor] | None = None) -> Batch:
    """The standardised batch of `rows` (K, B), for K stacked scalings.

    lost: modality -> (K, B), 1.0 where modality dropout takes the block away. What is missing becomes zeros, which is
    the mean of the training rows.
    """
    blocks, present = {}, {}
    for name, block in table.blocks.items():
        x, there = block[rows], table.present[name][rows]
        if scaling.limit < np.inf:  # in place: each copy of a batch is megabytes
            wide = (len(x), *(1,) * (x.dim() - 2), -1)  # (K, 1, dim), or (K, 1, 1, dim) for views
            mean, scale = (side[name].view(wide) for side in (scaling.mean, scaling.scale))
            x.sub_(mean).div_(scale).clamp_(-scaling.limit, scaling.limit)
        if lost is not None:
            there = there * (1 - lost[name]).reshape(*rows.shape, *(1,) * (there.dim() - 2))
        if lost is not None or not table.complete:
            x.mul_(there.unsqueeze(-1))
        blocks[name], present[name] = x, there
    return Batch(blocks, present)
