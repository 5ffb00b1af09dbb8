"""The loss of each task, and the figures of an epoch. A missing label counts nowhere."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cxremb.errors import TrainError
from cxremb.training.data import BINARY, MULTICLASS, MULTILABEL, Epoch, Member, called
from cxremb.training.inputs import RowTensors


def labelled(targets: RowTensors, member: Member, part: str) -> Tensor:
    """A member's rows of one part that have a label: of `train`, or the watched ones.

    Raises `TrainError` if there are none, or if training has one class only.
    """
    rows = member.train if part == "train" else member.watched
    chosen = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64)).to(targets.known.device)
    chosen = chosen[targets.known[chosen].any(dim=1)]
    of = called(member)
    if not len(chosen):
        raise TrainError(
            f"{of}a part of the split holds no row with a label ({part})",
            hint="add studies, or choose another fold with --fold",
        )
    if part == "train" and bool(((class_counts(targets, chosen) > 0).sum(dim=1) < 2).all()):
        raise TrainError(
            f"{of}all {len(chosen)} training rows are of one class: nothing to tell apart",
            hint="embed more of the data set, or name another label set with --label-set",
        )
    return chosen


def class_counts(targets: RowTensors, rows: Tensor) -> Tensor:
    """(cells, levels) how many of `rows` have each value."""
    classes, known = targets.classes[rows], targets.known[rows]
    return torch.stack([((classes == level) & known).sum(dim=0) for level in range(targets.levels)], dim=1)


def balanced(targets: RowTensors, rows: Tensor) -> Tensor:
    """(n, cells) what each label weighs where every class is to weigh the same in the loss of `rows`.

    n / (classes * its rows) (King & Zeng 2001); 0 for what is missing, and for a class that is in none of `rows`.
    """
    weights = balanced_weights(targets, rows)  # (cells, levels)
    return weights[torch.arange(len(weights), device=weights.device), targets.classes] * targets.known


def balanced_weights(targets: RowTensors, rows: Tensor) -> Tensor:
    """(cells, levels) of each class, by how often `rows` have it."""
    counts = class_counts(targets, rows).float()
    classes = (counts > 0).sum(dim=1, keepdim=True)
    return torch.where(counts > 0, counts.sum(dim=1, keepdim=True) / (classes * counts.clamp(min=1)), 0.0)


def cell_losses(logits: Tensor, classes: Tensor, task: str) -> Tensor:
    """(m, cells) negative log likelihoods of (m, outputs) logits. classes: (m, cells), as of `RowTensors`."""
    if task == MULTILABEL or logits.shape[1] == 1:  # one output: logistic regression of a binary task
        return binary_cross_entropy_with_logits(logits, classes.to(logits.dtype), reduction="none")
    return cross_entropy(logits, classes[:, 0], reduction="none").unsqueeze(1)


def summed_loss(logits: Tensor, classes: Tensor, task: str, *, weights: Tensor) -> Tensor:
    """The weighted losses of K members, summed: its gradient for a member is that of this member alone.

    logits: (K, B, outputs). classes: (K, B, cells). weights: (K, B, cells), 0 where a cell counts nowhere.
    """
    cells = cell_losses(logits.flatten(0, 1), classes.flatten(0, 1), task).view_as(weights)
    return (cells * weights).sum()


def part_sums(logits: Tensor, targets: RowTensors, rows: Tensor) -> Tensor:
    """What the figures of one part follow from, on the device of the logits: one copy fetches that of many parts.

    Float64: loss, accuracy, then true positives, calls, positives and rows of each class. A cell is called as its
    likeliest class; a tie of two is called 1.
    """
    known, classes = targets.known[rows], targets.classes[rows]
    cells = known.sum()
    losses = cell_losses(logits, classes, targets.task)
    called = calls(logits, targets)
    right = ((called == classes) & known).sum() / cells.double()
    judged = range(targets.levels) if targets.task == MULTICLASS else [1]
    counts = [
        torch.stack([(mask & known).sum(dim=0) for mask in (says & true, says, true, known)])
        for says, true in ((called == level, classes == level) for level in judged)
    ]
    loss = (losses * known).sum() / cells
    return torch.cat([loss.double().view(1), right.view(1), torch.cat(counts, dim=1).flatten().double()])


def figures(sums: NDArray[np.float64], *, epoch: int, phase: str) -> Epoch:
    """The figures of one part. sums: as `part_sums`."""
    tp, positive, true, rows = sums[2:].reshape(4, -1)
    judged = (true > 0) & (true < rows) if len(true) > 1 else np.ones(1, dtype=bool)
    pairs = (tp, positive), (tp, true), (2 * tp, positive + true)
    ratios = (macro(part[judged], whole[judged]) for part, whole in pairs)
    return Epoch(epoch, phase, float(sums[0]), float(sums[1]), *ratios)


def calls(logits: Tensor, targets: RowTensors) -> Tensor:
    """(m, cells) the class that each cell is called."""
    if targets.task == MULTILABEL or logits.shape[1] == 1:
        return (logits >= 0).long()
    if targets.task == BINARY:
        return (logits[:, 1:] >= logits[:, :1]).long()
    return logits.argmax(dim=1, keepdim=True)


def macro(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> float | None:
    """The mean of the quotients; None where one is undefined, for leaving that one out would flatter.

    As `evaluation.multi.averaged`: a class that is never called has no precision, and then there is no mean of it.
    """
    return float((parts / wholes).mean()) if len(wholes) and (wholes > 0).all() else None
