"""A stacked head: a head for each block, and a logistic regression that weighs their logits, solved on validation rows.

Wolpert 1992. What is fitted is a few numbers, so that a block of noise costs little where rows are few.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.training.data import BINARY, MULTICLASS, Epoch, Member, Rows, Trained, Weights
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import RowTensors, gather, saved_scaling, taught, tensors_of
from cxremb.training.linear import UNCHOSEN, Regression
from cxremb.training.losses import figures, labelled, part_sums
from cxremb.training.modules import logits_of
from cxremb.training.options import Options

CHOOSING = 7  # one training patient in seven chooses the epochs of the heads below, as 10 of 80 do in `grouped-5fold`
PARTS = 5  # of the validation patients, for cross-fitting
LEAST = 1e-6  # spread of a voice that says the same of every row
Fit = Callable[[Rows, Sequence[Member], HeadSpec], list[Trained]]
Logits = NDArray[np.float64]
# What one regression reads of the voices' logits, (features, voices); which outputs it gives; and, (outputs, features),
# what stands for it where there is nothing to solve.
Problem = tuple[Logits, NDArray[np.int64], Logits]


def fit_stacked(rows: Rows, members: Sequence[Member], head: HeadSpec, *, options: Options, fit: Fit) -> list[Trained]:
    """Every member: its heads trained on its training rows, its stack solved on its watched rows, which are val.

    The epochs of the heads are chosen on a seventh of the training patients: a logit of rows that chose it would look
    surer than it is. The history has one epoch, the stack. `crossed` has what stacks say of the watched rows that were
    solved on the others of them, so that a temperature or a threshold may be chosen there too.
    Raises `TrainError` where there is no val, and as `fit`.
    """
    if any(member.watched_name == "test" for member in members):
        raise TrainError("a stacked head is fitted on val rows, and this fold has none", hint="use another split")
    below = [choosing(rows, member) for member in members] if options.chooses_epoch else list(members)
    heads = {block: replace(head, blocks=(block,), kind="mlp") for block in head.blocks}
    trained = {block: fit(rows, below, one) for block, one in heads.items()}
    tables = {block: tensors_of(rows, one) for block, one in heads.items()}
    found = []
    for number, member in enumerate(members):
        own = {block: trained[block][number] for block in heads}
        if failed := [one for one in own.values() if not one.epoch]:
            found.append(failed[0])
            continue
        logits = {block: said(tables[block], heads[block], one.weights) for block, one in own.items()}
        found.append(weighed(rows, member, logits, weights=joined(own)))
    return found


def choosing(rows: Rows, member: Member) -> Member:
    """The member with a seventh of its training patients to choose the epoch on, and the others to train on."""
    patients = np.unique(rows.groups[member.train])
    rng = np.random.default_rng(member.seed)
    drawn = rng.permutation(patients)[: ceil(len(patients) / CHOOSING)]
    chooses = np.isin(rows.groups[member.train], drawn)
    return replace(member, train=member.train[~chooses], watched=member.train[chooses])


def said(table: RowTensors, head: HeadSpec, weights: Weights) -> Logits:
    """(n, outputs) the logits of one head for all rows."""
    shapes = head.shapes(table.dims, head.outputs(table.task, table.labels))
    parameters = {name: torch.from_numpy(np.asarray(weights[name])).reshape(shape) for name, shape in shapes.items()}
    read = partial(gather, table, scalings=[saved_scaling(weights, table)])
    found = logits_of(head, parameters, torch.arange(len(table.known)), gather=read)
    return np.asarray(found.double().numpy())


def joined(trained: Mapping[str, Trained]) -> dict[str, NDArray[np.float32]]:
    """The weights of the heads below as those of one, less the stack."""
    scaling = {side: np.concatenate([one.weights[side] for one in trained.values()]) for side in ("mean", "scale")}
    scaling["limit"] = next(iter(trained.values())).weights["limit"]
    layers = {
        f"{block}.{name}": array
        for block, one in trained.items()
        for name, array in one.weights.items()
        if name not in scaling
    }
    return {**scaling, **layers}


def weighed(rows: Rows, member: Member, logits: Mapping[str, Logits], *, weights: Weights) -> Trained:
    """The member with its stack. logits: block -> (n, outputs)."""
    targets, voices = taught(tensors_of(rows), member), np.concatenate(list(logits.values()), axis=1)
    solve = partial(solved_stack, targets, voices, problems(rows.task, len(logits), voices.shape[1] // len(logits)))
    val = labelled(targets, member, member.watched_name).numpy()
    weight, bias = solve(rows=val)
    crossed = voices[member.watched] @ weight.T + bias
    parts = parts_of(rows.groups[member.watched], member.seed)
    for part in np.unique(parts) if len(np.unique(parts)) > 1 else ():
        without, constant = solve(rows=np.intersect1d(val, member.watched[parts != part]))
        crossed[parts == part] = voices[member.watched[parts == part]] @ without.T + constant
    found = {"train": (labelled(targets, member, "train").numpy(), voices @ weight.T + bias)}
    found[member.watched_name] = val, scattered(crossed, member.watched, len(voices))
    history = [figures_of(targets, own, said[own], phase=phase) for phase, (own, said) in found.items()]
    stack = {"stack.weight": weight.astype(np.float32), "stack.bias": bias.astype(np.float32)}
    return Trained({**weights, **stack}, 1, history, crossed=crossed)


def parts_of(patients: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """(m,) which of `PARTS` each row is in: all rows of a patient in one."""
    names, which = np.unique(patients, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % PARTS)[which]


def scattered(values: Logits, rows: NDArray[np.int64], n: int) -> Logits:
    """(n, outputs) the values at their rows; nothing reads the others."""
    whole = np.zeros((n, values.shape[1]))
    whole[rows] = values
    return whole


def figures_of(targets: RowTensors, rows: NDArray[np.int64], logits: Logits, *, phase: str) -> Epoch:
    """The figures of the rows of one phase. logits: (m, outputs) of these rows."""
    sums = part_sums(torch.from_numpy(logits).float(), targets, torch.from_numpy(rows))
    return figures(sums.numpy(), epoch=1, phase=phase)


def problems(task: str, blocks: int, outputs: int) -> list[Problem]:
    """The regressions that a stack is made of: one, or of a multilabel task one a label."""
    of_block: Logits = np.eye(blocks)
    alike: Logits = np.full((1, blocks), 1 / blocks)
    if task == BINARY:  # how far each voice's second logit is above its first
        return [(kron(of_block, np.array([[-1.0, 1.0]])), np.array([1]), alike)]
    if task == MULTICLASS:
        return [(np.eye(blocks * outputs), np.arange(outputs), np.tile(np.eye(outputs), blocks) / blocks)]
    return [(kron(of_block, np.eye(outputs)[[label]]), np.array([label]), alike) for label in range(outputs)]


def kron(a: Logits, b: Logits) -> Logits:
    """The Kronecker product, typed."""
    return np.asarray(np.kron(a, b), dtype=np.float64)


def solved_stack(
    targets: RowTensors, voices: Logits, wanted: Sequence[Problem], *, rows: NDArray[np.int64]
) -> tuple[Logits, Logits]:
    """(outputs, voices) weights and (outputs,) biases; where the rows have one answer, the voices' mean."""
    outputs = 1 + max(int(to.max()) for _, to, _ in wanted)
    weight, bias = np.zeros((outputs, voices.shape[1])), np.zeros(outputs)
    known, classes = targets.known.numpy(), targets.classes.numpy()
    for cell, (columns, to, alike) in enumerate(wanted):
        own = rows[known[rows, cell]]
        if len(np.unique(classes[own, cell])) < 2:
            weight[to] = alike @ columns
            continue
        read = voices[own] @ columns.T
        spread = np.maximum(read.std(axis=0), LEAST)
        model = Regression((read / spread).astype(np.float32), classes[own, cell], targets.levels, balanced=False)
        solved, bias[to] = model.solve(UNCHOSEN)
        weight[to] = (solved / spread) @ columns
    return weight, bias
