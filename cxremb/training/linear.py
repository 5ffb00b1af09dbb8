"""Logistic regression: a convex problem with one answer, so it is solved, by scikit-learn, and not trained by steps.

Columns are standardised as for every head. The strength of the L2 penalty is chosen on the watched rows by log loss.
"""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from cxremb.errors import TrainError
from cxremb.training.data import Epoch, Member, called
from cxremb.training.heads import HeadSpec
from cxremb.training.inputs import RowTensors, gather, measure_scaling, taught
from cxremb.training.losses import figures, labelled, part_sums
from cxremb.training.modules import logits_of
from cxremb.training.options import Options

# Inverse strength of the penalty, as scikit-learn's C: from next to nothing learnt to next to no penalty.
PATH = tuple(10.0**power for power in range(-4, 5))
UNCHOSEN = 1.0  # scikit-learn's default, for a recipe that chooses nothing
STEPS = 1000  # of L-BFGS at most. Near the best penalty it ends much sooner; the weakest ones, which on separable rows
# have no finite answer, end early from where the last one stood: their loss is far above the best and only watched.

Solution = tuple[dict[str, NDArray[Any]], int, list[Epoch]]


def fit_linear(table: RowTensors, member: Member, options: Options) -> Solution:
    """(weights, epoch, history): an epoch is a step of the path, from the strongest penalty on; the best is kept.

    Where nothing may be chosen (`Options.chooses_epoch`), the path is `UNCHOSEN` alone. A label that the training rows
    show one side of gets its share as a constant. Raises `TrainError` for rows that nothing can be learnt from.
    """
    table = taught(table, member)
    train = labelled(table, member, "train")
    watched = labelled(table, member, member.watched_name)
    scaling = measure_scaling(table, train, standardise=options.standardise)
    head = HeadSpec(tuple(table.blocks), "linear")
    read = partial(gather, table, scalings=[scaling])
    X = read(train.unsqueeze(0)).values[0].cpu().numpy()  # as the saved model will see them
    history: list[Epoch] = []
    kept: dict[str, Tensor] = {}
    lowest, chosen = np.inf, 0
    for step, (weight, bias) in enumerate(solve_path(table, X, train, options=options), start=1):
        parameters = {
            name: torch.from_numpy(value.astype(np.float32)).to(train.device)
            for name, value in (("weight", weight), ("bias", bias))
        }
        for phase, rows in (("train", train), (member.watched_name, watched)):
            logits = logits_of(head, parameters, rows, gather=read)
            sums = part_sums(logits, table, rows).cpu().numpy()
            history.append(figures(sums, epoch=step, phase=phase))
        if history[-1].loss < lowest:
            kept, lowest, chosen = parameters, history[-1].loss, step
    if not kept:
        raise TrainError(f"{called(member)}the loss is no number", hint="check the vectors: `cxremb store check`")
    return {name: value.cpu().numpy() for name, value in {**scaling, **kept}.items()}, chosen, history


def solve_path(
    table: RowTensors, X: NDArray[np.float32], rows: Tensor, *, options: Options
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Weights (outputs, dim) and biases (outputs,) at each strength, each solved from where the last one ended.

    X: (m, dim) the standardised inputs of `rows` (m,), which are the training rows.
    """
    classes, known = table.classes[rows].cpu().numpy(), table.known[rows].cpu().numpy()
    cells = [
        Regression(X[known[:, cell]], classes[known[:, cell], cell], table.levels, balanced=options.class_weights)
        for cell in range(classes.shape[1])
    ]
    for strength in PATH if options.chooses_epoch else (UNCHOSEN,):
        weights, biases = zip(*(cell.solve(strength) for cell in cells), strict=True)
        yield np.concatenate(weights), np.concatenate(biases)


class Regression:
    """One logistic regression along the path: of a yes or no with one output, or of more classes with one for each."""

    def __init__(self, X: NDArray[np.float32], classes: NDArray[np.int64], levels: int, *, balanced: bool) -> None:
        self.X, self.classes, self.levels = X, classes, levels
        self.model = LogisticRegression(warm_start=True, max_iter=STEPS, class_weight="balanced" if balanced else None)

    def solve(self, strength: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(outputs, dim) weights and (outputs,) biases."""
        if len(np.unique(self.classes)) < 2:
            return self.constant()
        with warnings.catch_warnings(), threadpool_limits(1):  # a second thread waits for the first, as in `loop.train`
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(C=strength).fit(self.X, self.classes)
        weight, bias = self.model.coef_, self.model.intercept_
        if self.levels == 2:
            return weight, bias
        if len(bias) == 1:  # two classes of several were seen
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        whole = np.zeros((self.levels, self.X.shape[1])), np.full(self.levels, self.unseen())
        whole[0][self.model.classes_], whole[1][self.model.classes_] = weight, bias
        return whole

    def constant(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The log odds of the share, half a row added to either side; a label that nobody has or lacks stays finite."""
        positive = int((self.classes == 1).sum())
        odds = np.log((positive + 0.5) / (len(self.classes) - positive + 0.5))
        return np.zeros((1, self.X.shape[1])), np.array([odds])

    def unseen(self) -> float:
        """The logit of a class of which no training row is: that of half a row, beside others around 0."""
        return -float(np.log(2 * len(self.classes) + 2))
