"""The head that fine-tuning starts from: logistic regression on the vectors of the encoder as it is."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.training.data import Place
from cxremb.training.fit import member, rows_of
from cxremb.training.heads import find_head
from cxremb.training.parts import parts_of_plan
from cxremb.training.plan import Plan


def solved_head(
    vectors: Features, split: StoredSplit, fold: int, *, class_weights: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(outputs, dim) weights and (outputs,) biases of the linear head of one fold, as solved on raw vectors.

    Its penalty is chosen on val, and its standardisation taken into its weights. A head that starts from nothing
    learns at the encoder's low rate, so slowly that the encoder is bent to it instead: with weights and bias near zero
    a film can only be called negative by a vector near zero (measured: all-zero ones). From a solved head the vectors
    need not be distorted: Kumar et al. 2022 (arXiv:2202.10054), "LP-FT". vectors: the image block. Raises `TrainError`
    as `training.parts.parts_of_plan`.
    """
    from cxremb.training.loop import fit_members

    plan, head = Plan("linear-image", folds=(fold,)), find_head("linear-image")
    parts = parts_of_plan(vectors, split, plan, blocks=head.blocks)[0, fold]
    options = replace(plan.options, class_weights=class_weights)
    one = member(parts, Place(0, fold, 0))
    [solved] = fit_members(rows_of(vectors, head.blocks), [one], head, options=options)
    weight = solved.weights["weight"] / solved.weights["scale"]
    bias = solved.weights["bias"] - weight @ solved.weights["mean"]
    return weight.astype(np.float32), bias.astype(np.float32)
