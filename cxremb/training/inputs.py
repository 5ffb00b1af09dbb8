"""Rows as tensors, checked, and their standardisation: the part of a head that is measured, not trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.errors import TrainError
from cxremb.store.stored_rows import Block, StoredRows
from cxremb.training.data import BINARY, MULTICLASS, MULTILABEL, TASKS, Member, Rows
from cxremb.training.heads import HeadSpec
from cxremb.training.modules import Batch

# Standard deviations. A unit of the encoder that is silent on nearly every training row has next to no spread, and one
# other row that wakes it would stand hundreds of deviations out and decide the loss of its whole fold.
LIMIT = 10.0
CHUNK = 256  # rows that are looked at together: they stay in a CPU's caches, which makes it five times faster

# As a head's weights have them: `mean` and `scale` (dim,), of its blocks side by side; `limit` (): the deviations at
# which values stop, infinite where inputs go in as they are.
Scaling = Mapping[str, Tensor]


@dataclass(frozen=True)
class RowTensors:
    """Rows as tensors, all on one device: the blocks that a head reads, and what is to be predicted.

    Of a multilabel task each label is a yes or no of its own, a cell; else a row has one cell, which holds its class.
    """

    blocks: Mapping[str, Tensor]  # modality -> (n, dim) float32; of places what they point at, (m, dim), maybe float16
    places: Mapping[str, Tensor]  # of a bag (n, views) rows of its block; of a block that holds each vector once (n,)
    present: Mapping[str, Tensor]  # modality -> (n,), or (n, views): 1.0, or 0.0 where nothing is there
    complete: bool  # nothing is missing anywhere: no mask is needed
    task: str
    classes: Tensor  # (n, cells) int64: the class of the row, or 0 or 1 for each label
    known: Tensor  # (n, cells) bool
    labels: int  # k
    groups: NDArray[np.str_]  # (n,) patient of each row

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> width."""
        return {name: block.shape[-1] for name, block in self.blocks.items()}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of each block, that of one row: (dim,), or (views, dim)."""
        views = [self.places[name].shape[1:] if name in self.places else () for name in self.blocks]
        return [(*own, dim) for own, dim in zip(views, self.dims.values(), strict=True)]

    @property
    def widths(self) -> list[int]:
        """Of each block as it lies in a batch: the views of a bag one after the other."""
        return [prod(shape) for shape in self.shapes]

    @property
    def levels(self) -> int:
        """How many values a cell can have."""
        return self.labels if self.task == MULTICLASS else 2

    def batch(self, values: Tensor, rows: Tensor) -> Batch:
        """`values` (K, B, all widths) of `rows` (K, B), split into blocks."""
        parts = zip(self.blocks, self.shapes, torch.split(values, self.widths, dim=-1), strict=True)
        blocks = {name: part.view(*rows.shape, *shape) for name, shape, part in parts}
        return Batch(values, blocks, {name: self.present[name][rows].to(values.dtype) for name in self.blocks})


def tensors_of(rows: Rows, head: HeadSpec | None = None, device: str = "cpu") -> RowTensors:
    """The blocks of `head`, none if it is left out, and the labels.

    Raises `TrainError` if a block is not there, is no number, or is a bag that the head cannot read; for an unknown
    task, values of y that are neither 0, 1 nor NaN, or labels that do not fit the task.
    """
    blocks, places, present = {}, {}, {}
    for name in head.blocks if head else ():
        if name not in rows.blocks:
            raise TrainError(f"the rows have no {name} block", hint=f"choose a head of {', '.join(rows.blocks)}")
        bag = head is not None and head.kind == "attention" and name == head.blocks[0]
        check_block(name, rows, bag=bag)
        vectors, where = flat(rows.blocks[name])
        if where is not None:
            places[name] = torch.from_numpy(where).to(device)
        array = np.require(vectors, None, ("C", "W"))  # copied if read-only
        blocks[name] = torch.from_numpy(array).to(device)
        present[name] = torch.from_numpy(rows.present[name].astype(np.float32)).to(device)
    complete = all(bool(there.all()) for there in present.values())
    classes, known = (torch.from_numpy(cells).to(device) for cells in cells_of(rows.y, rows.task))
    return RowTensors(blocks, places, present, complete, rows.task, classes, known, rows.y.shape[1], rows.groups)


def taught(table: RowTensors, member: Member) -> RowTensors:
    """The rows with the labels that the member learns: its own, where it has some. Raises as `cells_of`."""
    if member.y is None:
        return table
    classes, known = (torch.from_numpy(cells).to(table.known.device) for cells in cells_of(member.y, table.task))
    return replace(table, classes=classes, known=known)


def flat(block: Block) -> tuple[NDArray[np.float16] | NDArray[np.float32], NDArray[np.int64] | None]:
    """(vectors (m, dim), which of them each row has: (n,), (n, views), or None where they are the rows)."""
    if isinstance(block, StoredRows):
        return block.vectors, block.places
    block = np.asarray(block, np.float32)
    if block.ndim == 2:
        return block, None
    n, views, dim = block.shape
    return block.reshape(-1, dim), np.arange(n * views).reshape(n, views)


def check_block(name: str, rows: Rows, *, bag: bool) -> None:
    """Raises `TrainError` unless the block is finite, in step with its mask, and a bag where the head reads one."""
    block, present = rows.blocks[name], rows.present[name]
    if block.ndim != (3 if bag else 2) or present.shape != block.shape[:-1]:
        raise TrainError(
            f"{name} has shape {block.shape} and its mask {present.shape}",
            hint="a row of a head of kind attention is a study with (views, dim); of the others a vector",
        )
    vectors, where = flat(block)
    places = np.arange(len(block)) if where is None else where
    bad = np.zeros(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), CHUNK):
        bad[start : start + CHUNK] = ~np.isfinite(vectors[start : start + CHUNK]).all(axis=1)
    if count := int(bad[places].reshape(len(block), -1).any(axis=1).sum()):
        raise TrainError(
            f"{count} of {len(block)} rows hold a value that is no number",
            hint="see which store: `cxremb store check`",
        )


def cells_of(y: NDArray[np.float64], task: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(classes, known), each (n, cells), as in `RowTensors`. Raises `TrainError` for labels that do not fit it."""
    if task not in TASKS:
        raise TrainError(f"no task called {task!r}", hint=f"it is one of {', '.join(TASKS)}")
    known: NDArray[np.bool_] = ~np.isnan(y)
    whole: NDArray[np.bool_] = np.all(known, axis=1, keepdims=True)
    if not np.isin(y[known], (0.0, 1.0)).all() or (task == BINARY and y.shape[1] != 1):
        raise TrainError(f"labels of shape {y.shape} do not fit a {task} task", hint="each value is 0, 1 or missing")
    if task == MULTICLASS and (y[whole[:, 0]].sum(axis=1) != 1).any():
        raise TrainError("a row is of no class or of several", hint="use a multilabel label set")
    filled = np.where(known, y, 0.0)
    classes = filled.argmax(axis=1, keepdims=True) if task == MULTICLASS else filled
    return classes.astype(np.int64), known if task == MULTILABEL else whole


def measure_scaling(table: RowTensors, rows: Tensor, *, standardise: bool) -> Scaling:
    """Mean and scale over what is present in `rows`: training rows only. A constant column keeps scale 1.

    Raises `TrainError` if a modality is present in none of them.
    """
    sides = []
    for name, block in table.blocks.items():
        there = table.present[name][rows] > 0  # (m,), or (m, views)
        if not there.any():
            raise TrainError(f"no training row has {name}", hint=f"embed more, or choose a head that reads no {name}")
        places = table.places[name][rows] if name in table.places else rows
        first = block[0].float()
        sides.append(
            column_moments(block, places[there]) if standardise else (torch.zeros_like(first), torch.ones_like(first))
        )
    mean, scale = (torch.cat(side) for side in zip(*sides, strict=True))
    return {"mean": mean, "scale": scale, "limit": torch.tensor(LIMIT if standardise else np.inf)}


def column_moments(values: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation or 1 where it is 0 to float32) of each column, summed in double precision.

    values: (n, dim), float16 or float32, some of which are copied at a time. rows: (m,) those that count; all if left
    out.
    """
    count = len(values) if rows is None else len(rows)
    parts = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    sums = torch.zeros(len(parts), values.shape[1], dtype=torch.float64, device=values.device)

    def summed(of: Callable[[Tensor], Tensor]) -> Tensor:
        """Into one tensor: a list of small ones among large ones that come and go would tear the memory apart."""
        for own, part in zip(sums, parts, strict=True):
            drawn = values[part] if rows is None else values[rows[part]]
            own.copy_(of(drawn.float()).sum(dim=0, dtype=torch.float64))
        return sums.sum(dim=0) / count

    mean = summed(lambda drawn: drawn)
    off = (mean.float() - mean).square()  # the mean was rounded before it was subtracted
    square = summed(lambda drawn: (drawn - mean.float()).square_())
    scale = (square - off).clamp(min=0).sqrt().float()
    return mean.float(), torch.where(scale > 0, scale, 1.0)


def saved_scaling(weights: Mapping[str, NDArray[Any]], table: RowTensors) -> Scaling:
    """Read back. Raises `TrainError` if the weights are of inputs of another width."""
    width = sum(table.dims.values())
    if weights["mean"].shape != (width,):
        raise TrainError(
            f"the head takes {weights['mean'].shape[0]} inputs, these rows have {width}",
            hint="give it vectors of the encoders it was trained on",
        )
    return {name: torch.tensor(weights[name]) for name in ("mean", "scale", "limit")}


def gather(
    table: RowTensors, rows: Tensor, scalings: Sequence[Scaling], *, dtype: torch.dtype = torch.float32
) -> Batch:
    """The standardised batch of `rows` (K, B), for K members; rounded to `dtype` at the very end.

    What is missing becomes zeros, which is the mean of the training rows. A CPU takes one member after the other: what
    it works on then stays in its caches.
    """
    members, size = rows.shape
    at_once = 1 if rows.device.type == "cpu" else members
    values = torch.empty(members, size, sum(table.widths), dtype=dtype, device=rows.device)
    batch = table.batch(values, rows)
    limit = float(scalings[0]["limit"])
    sides = (torch.stack([one[side] for one in scalings]) for side in ("mean", "scale"))
    means, scales = (torch.split(side, list(table.dims.values()), dim=1) for side in sides)
    for (name, block), shape, *moments in zip(table.blocks.items(), table.shapes, means, scales, strict=True):
        wide = (members, *(1,) * len(shape), -1)  # (K, 1, dim), or (K, 1, 1, dim) for views
        mean, scale = (side.reshape(wide) for side in moments)
        drawn = torch.empty(at_once * size * prod(shape[:-1]), shape[-1], dtype=block.dtype, device=rows.device)
        for first in range(0, members, at_once):
            here = slice(first, first + at_once)
            index = rows[here].flatten()
            index = table.places[name][index].flatten() if name in table.places else index
            torch.index_select(block, 0, index, out=drawn)
            x = drawn.float().view(at_once, size, *shape)
            if limit < np.inf:
                x.sub_(mean[here]).div_(scale[here]).clamp_(-limit, limit)
            if not table.complete:
                x.mul_(table.present[name][rows[here]].unsqueeze(-1))
            batch.blocks[name][here] = x
    return batch
