"""A head that learns shuffled labels must tell nothing, and a leak must be found: how many fits does that take.

A data set is 300 patients, one row each, whose vectors tell the classes well or badly. A linear head learns labels that
are drawn anew among the training rows of five folds; where there is a leak, some keep their own. The control is above
chance if its interval lies above .5; the interval covers if it holds the mean figure of all data sets.

Five draws that all folds share are 25 fits; one draw for each model are 10 fits with two models a fold, 5 with one.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_steps.simulated import Reals, predictions, sigmoid
from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.significance import over_draws
from cxremb.predictions import Predictions, joined
from cxremb.training.plan import LABELS
from cxremb.training.scores import draws_of

ROWS, FOLDS, DIM, PREVALENCE = 300, 5, 20, 0.4
WAYS = {"5 draws, 25 fits": (5, True), "10 draws, 10 fits": (2, False), "5 draws, 5 fits": (1, False)}
APARTS = (1.0, 3.0)  # standard deviations between the classes, along one of the dimensions
LEAKS = (0.0, 0.15)  # the share of training rows that keep their labels
Z = 1.959964


def run(quick: bool) -> dict[str, Any]:
    """What is written under "shuffled_labels"; minutes. quick: a tenth of the data sets."""
    data_sets = 40 if quick else 400
    found: dict[str, Any] = {"data_sets": data_sets, "rows": ROWS, "dimensions": DIM}
    for apart in APARTS:
        for leak in LEAKS:
            spans = [measured(seed, apart, leak) for seed in range(data_sets)]
            for way in WAYS:
                own = np.array([[one[way].low, one[way].value, one[way].high] for one in spans], dtype=np.float64)
                truth = own[:, 1].mean() if leak else 0.5
                found.setdefault("ways", []).append(
                    {"apart": apart, "leak": leak, "way": way, "mean": round(float(own[:, 1].mean()), 4)}
                    | {"covers": float(((own[:, 0] <= truth) & (truth <= own[:, 2])).mean())}
                    | {"above_chance": float((own[:, 0] > 0.5).mean())}
                    | {"reach": round(float((own[:, 2] - own[:, 0]).mean() / 2), 4)}
                )
    return found


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/controls.md."""
    lines = ["| classes apart | labels that leak | draws | mean AUROC | covers | above chance | reach |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for one in result["ways"]:
        shares = f"{one['covers']:.1%} | {one['above_chance']:.1%}"
        start = f"{one['apart']:.0f} sd | {one['leak']:.0%} | {one['way']} | {one['mean']:.3f}"
        lines += [f"| {start} | {shares} | {one['reach']:.3f} |"]
    return lines


def measured(seed: int, apart: float, leak: float) -> dict[str, Interval]:
    """Way -> the AUROC of the control with its interval, on one data set."""
    rng = np.random.default_rng(seed)
    y = (rng.random(ROWS) < PREVALENCE).astype(np.float64)
    X = rng.standard_normal((ROWS, DIM))
    X[:, 0] += apart * y
    X = np.column_stack([X, np.ones(ROWS)])
    folds = rng.permutation(ROWS) % FOLDS
    found = {}
    for way, (times, shared) in WAYS.items():
        test = joined(
            [one for seed in range(times) for one in models(rng, X, y, folds, seed=seed, leak=leak, shared=shared)]
        )
        area = test.area()
        reach = Z * area.variance**0.5
        patients = Interval(area.area, area.area - reach, area.area + reach)
        draws = [pool.area().area for pool in test.pools] if shared else draws_of(test, LABELS)
        found[way] = over_draws(patients, draws, alone=not shared)
    return found


def models(
    rng: np.random.Generator, X: Reals, y: Reals, folds: NDArray[np.int64], *, seed: int, leak: float, shared: bool
) -> list[Predictions]:
    """The test rows of each fold, by a model that learnt shuffled labels. shared: all folds have one draw."""
    drawn = y.copy()
    if shared:
        for fold in range(FOLDS):
            drawn = shuffled(rng, drawn, np.flatnonzero(folds == fold), leak)
    found = []
    for fold in range(FOLDS):
        train, rows = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        learnt = (drawn if shared else shuffled(rng, y, train, leak))[train]
        weights = np.linalg.solve(X[train].T @ X[train] + np.eye(X.shape[1]), X[train].T @ (2 * learnt - 1))
        one = predictions(y[rows], sigmoid(X[rows] @ weights), rows, np.full(len(rows), fold))
        found.append(replace(one, items=rows, studies=rows, seed=np.full(len(rows), seed)))
    return found


def shuffled(rng: np.random.Generator, y: Reals, rows: NDArray[np.int64], leak: float) -> Reals:
    """Labels of which those of some rows are drawn anew among them, but for the share that leaks."""
    drawn = y.copy()
    moved = rows[rng.random(len(rows)) >= leak]
    drawn[moved] = y[rng.permutation(moved)]
    return drawn
