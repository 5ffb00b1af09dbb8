"""How much each of the two blocks of a fusion counts: measured before it is trained, on the rows it is trained on."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from cxremb.training.data import MULTILABEL
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import RowTensors, Scaling, gather
from cxremb.training.options import Options

# What the standardised columns of the two blocks are multiplied by: both alike, one held back, one left out. Chosen on
# planted signals (benchmarks/small_fusion.py): steps of 0.1 beside these changed nothing, and choosing on the loss of
# the validation rows, which are few, was worse than choosing nothing.
SCALES = ((1.0, 1.0), (1.0, 0.3), (0.3, 1.0), (1.0, 0.0), (0.0, 1.0))
PENALTIES = tuple(10 ** (power / 2) for power in range(-4, 8))  # of ridge regression, in units of the mean eigenvalue
AS_GOOD = 1.005  # times the least error: less than that is chance, and both alike is what a fusion is for
MOST = 512  # patients that are measured on: the decomposition takes their number to the third, 0.1 s for each pair


def scales_blocks(head: HeadSpec, options: Options) -> bool:
    """Whether a head's blocks are scaled: those of a fusion, unless it is to score rows that lack one of them."""
    return options.scale_blocks and head.kind == "mlp" and len(head.blocks) == 2 and not head.modality_dropout


def block_scales(table: RowTensors, rows: Tensor, scaling: Scaling, *, seed: int) -> dict[str, float]:
    """Modality -> its scale: the first of `SCALES` whose ridge regression errs as little as any, leaving one out.

    rows: (m,) of training and validation; one of each patient is drawn, so that no film of a study, nor its text,
    answers for another one. A block of noise, of a thousand columns and a few hundred rows, makes a network learn
    the rows by heart; how well the blocks tell is known beforehand in closed form (Allen 1974, PRESS), from all rows
    and not from the few that choose the epoch.
    """
    here = rows[one_of_each(table.groups[rows.cpu().numpy()], seed).to(rows.device)]
    blocks = gather(table, here.unsqueeze(0), [scaling]).blocks
    products = {name: inner_products(block[0]) for name, block in blocks.items()}
    answers = centred_answers(table, here)
    first, second = products
    errors = [press(a * a * products[first] + b * b * products[second], answers) for a, b in SCALES]
    chosen = next(scale for scale, error in zip(SCALES, errors, strict=True) if error <= min(errors) * AS_GOOD)
    return dict(zip((first, second), chosen, strict=True))


def one_of_each(groups: NDArray[np.str_], seed: int) -> Tensor:
    """(at most `MOST`,) places in `groups` (m,), one of each group, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(groups))
    first = np.sort(np.unique(groups[order], return_index=True)[1])
    return torch.from_numpy(order[first[:MOST]])


def inner_products(X: Tensor) -> Tensor:
    """(m, m) of the centred rows of X (m, dim), their mean eigenvalue 1; float64, on the CPU."""
    X = X - X.mean(dim=0)
    found = (X @ X.T).double().cpu()
    return found / (found.diagonal().mean() + torch.finfo(torch.float32).tiny)


def centred_answers(table: RowTensors, rows: Tensor) -> Tensor:
    """(m, outputs) float64: the answer of each row as numbers whose mean is 0; what is missing is that mean."""
    classes, known = table.classes[rows].cpu(), table.known[rows].cpu().double()
    answers = classes.double() if table.task == MULTILABEL else one_hot(classes[:, 0], table.levels).double()
    mean = (answers * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    return (answers - mean) * known


def press(products: Tensor, answers: Tensor) -> float:
    """The least sum of squared leave-one-out errors among `PENALTIES` of ridge regression with a free intercept.

    products: (m, m) of centred rows. The error of a row that was left out follows from that of the fit: its residual
    over 1 - its leverage.
    """
    values, vectors = torch.linalg.eigh(products)
    turned, squares = vectors.T @ answers, vectors.square()
    values = values.clamp(min=0).unsqueeze(1)
    errors = []
    for penalty in PENALTIES:
        kept = values / (values + penalty)
        leverage = squares @ kept + 1 / len(answers)  # the intercept's own
        errors.append(((answers - vectors @ (kept * turned)) / (1 - leverage)).square().sum())
    return float(torch.stack(errors).min())


def column_scales(scales: Mapping[str, float], table: RowTensors) -> Tensor:
    """(dim,) what each column of the blocks side by side is multiplied by, 1 at most.

    Blocks of one scale weigh the same in sum, whatever their numbers of columns.
    """
    parts = [torch.full((dim,), scales[name] / dim**0.5) for name, dim in table.dims.items()]
    columns = torch.cat(parts)
    return (columns / columns.max()).to(table.known.device)
