"""Rows as tensors, checked, and their standardisation: the part of a head that is measured, not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.errors import TrainError
from cxremb.training.data import Rows
from cxremb.training.heads import HeadSpec
from cxremb.training.modules import Batch

# Standard deviations. A unit of the encoder that is silent on nearly every training row has next to no spread, and one
# other row that wakes it would stand hundreds of deviations out and decide the loss of its whole fold.
LIMIT = 10.0
READY = 2**30  # bytes of standardised rows that the members of one stack may hold: 16 of IU X-ray's size, in float32

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

    @property
    def widths(self) -> list[int]:
        """Of each block as it lies in a batch: the views of a bag one after the other."""
        return [block[0].numel() for block in self.blocks.values()]

    def batch(self, values: Tensor, rows: Tensor) -> Batch:
        """`values` (K, B, all widths) of `rows` (K, B), cut into blocks."""
        parts = zip(self.blocks.items(), torch.split(values, self.widths, dim=-1), strict=True)
        blocks = {name: part.view(*rows.shape, *block.shape[1:]) for (name, block), part in parts}
        return Batch(values, blocks, {name: self.present[name][rows].to(values.dtype) for name in self.blocks})


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
    """(mean, standard deviation or 1 where it is 0 to float32) of each column, summed in double precision."""
    mean = values.mean(dim=0, dtype=torch.float64)
    spread = (values - mean.float()).square_().mean(dim=0, dtype=torch.float64)
    off = (mean.float() - mean).square()  # the mean was rounded before it was subtracted
    scale = (spread - off).clamp(min=0).sqrt().float()
    return mean.float(), torch.where(scale > 0, scale, 1.0)


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


def gather(table: Table, rows: Tensor, scaling: Scaling, dtype: torch.dtype = torch.float32) -> Batch:
    """The standardised batch of `rows` (K, B), for K stacked scalings; rounded to `dtype` at the very end.

    What is missing becomes zeros, which is the mean of the training rows. A CPU takes one member after the other: what
    it works on then stays in its caches.
    """
    members, size = rows.shape
    at_once = 1 if rows.device.type == "cpu" else members
    values = torch.empty(members, size, sum(table.widths), dtype=dtype, device=rows.device)
    batch = table.batch(values, rows)
    for name, block in table.blocks.items():
        wide = (members, *(1,) * (block.dim() - 1), -1)  # (K, 1, dim), or (K, 1, 1, dim) for views
        mean, scale = (side[name].view(wide) for side in (scaling.mean, scaling.scale))
        drawn = torch.empty(at_once * size, *block.shape[1:], device=rows.device)
        for first in range(0, members, at_once):
            here = slice(first, first + at_once)
            torch.index_select(block, 0, rows[here].flatten(), out=drawn)
            x = drawn.view(at_once, size, *block.shape[1:])
            if scaling.limit < np.inf:
                x.sub_(mean[here]).div_(scale[here]).clamp_(-scaling.limit, scaling.limit)
            if not table.complete:
                x.mul_(table.present[name][rows[here]].unsqueeze(-1))
            batch.blocks[name][here] = x
    return batch


class Inputs:
    """What K members read, each standardised by its own training rows: all rows at once if that fits, else by batch."""

    def __init__(self, table: Table, scalings: Sequence[Scaling], dtype: torch.dtype) -> None:
        self.table, self.scalings, self.dtype = table, scalings, dtype
        self.count = len(next(iter(table.present.values())))
        self.ready: Tensor | None = None
        if len(scalings) * self.count * sum(table.widths) * dtype.itemsize <= READY:
            every = torch.arange(self.count, device=next(iter(table.present.values())).device).unsqueeze(0)
            self.ready = torch.cat([self.gather([member], every).values[0] for member in range(len(scalings))])

    def gather(self, members: Sequence[int], rows: Tensor) -> Batch:
        """The batch of `rows` (K, B), of each of these members."""
        if self.ready is None:
            return gather(self.table, rows, stacked_scaling([self.scalings[member] for member in members]), self.dtype)
        starts = torch.tensor(members, device=rows.device).unsqueeze(1) * self.count
        values = self.ready.index_select(0, (rows + starts).flatten()).view(*rows.shape, -1)
        return self.table.batch(values, rows)
