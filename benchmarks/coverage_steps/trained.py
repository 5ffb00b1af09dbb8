"""Recipes that are trained: is a difference found where two are equally good, and where one is better.

A data set is n patients with two sets of columns. Both tell the class equally well ("equal"), or B is A and as many
columns more, which tell as much again ("B adds signal") or nothing ("B adds noise"). Each is learnt by logistic
regression on five folds of 70 : 10 : 20, and the truth is the mean AUROC of all models so trained, known exactly.
"luck" moves the AUROC of every model by chance, as another start would. What judges the difference: DeLong's test of
the fitted models within folds, the corrected t over folds (Nadeau & Bengio 2003), and the package's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri, stdtrit

from coverage_steps.simulated import Reals, predictions
from cxremb.ablation.recipes import factor_between, standing
from cxremb.evaluation.simultaneous import contrasts, patient_factor

APART, PREVALENCE = 1.5, 0.4
SIGNAL = 8  # columns that tell the class
EQUAL, ADDS_SIGNAL, ADDS_NOISE = "equal", "B adds signal", "B adds noise"
FITTED, FOLDS, RECIPES = "fitted models", "t over folds", "recipes"
WAYS = (FITTED, FOLDS, RECIPES)
BINS, K = 10, 5
TEST, TRAIN = 2 / BINS, 7 / BINS


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    patients: int
    columns: int
    kind: str = EQUAL
    repeats: int = 1
    luck: float = 0.0  # standard deviation of the AUROC of one model, from start to start


CELLS = (
    *(Cell(n, columns) for n in (60, 200, 600) for columns in (16, 64, 256)),
    *(Cell(200, 64, repeats=repeats) for repeats in (3, 5)),
    Cell(200, 64, luck=0.1),
    *(Cell(n, 64, ADDS_NOISE) for n in (200, 600)),
    *(Cell(200, 64, ADDS_SIGNAL, repeats) for repeats in (1, 3)),
    Cell(600, 64, ADDS_SIGNAL),
)


def run(quick: bool) -> dict[str, Any]:
    """What is written under "trained"; ten minutes. quick: a few data sets of a few cells."""
    data_sets = 20 if quick else 300
    cells = [one for one in CELLS if one.patients < 600][:2] if quick else CELLS
    return {"data_sets": data_sets, "cells": [measured(one, data_sets) for one in cells]}


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md."""
    lines = ["| patients | columns | A and B | repeats | p < .05 | interval covers | reach |", "| --- " * 7 + "|"]
    for row in result["cells"]:
        kind = row["kind"] + (f", luck {row['luck']}" if row["luck"] else "")
        rates = [
            " / ".join(f"{row['ways'][way][name]:{form}}" for way in WAYS)
            for name, form in (("rejects", ".1%"), ("covers", ".1%"), ("reach", ".3f"))
        ]
        lines.append(f"| {row['patients']} | {row['columns']} | {kind} | {row['repeats']} | {' | '.join(rates)} |")
    return lines


def measured(cell: Cell, data_sets: int) -> dict[str, Any]:
    """How often each way rejects and covers, and how far its intervals reach to each side."""
    found = [judged(cell, np.random.default_rng([cell.patients, cell.columns, seed])) for seed in range(data_sets)]
    truth = 0.0 if cell.kind == EQUAL else float(np.mean([true for true, _ in found]))
    ways = {}
    for way in WAYS:
        values, reaches = np.array([spans[way] for _, spans in found]).T
        ways[way] = {
            "rejects": float((np.abs(values) > reaches).mean()),
            "covers": float((np.abs(values - truth) <= reaches).mean()),
            "reach": round(float(reaches.mean()), 4),
        }
    own = {name: getattr(cell, name) for name in ("patients", "columns", "kind", "repeats", "luck")}
    return {**own, "truth": round(truth, 4), "ways": ways}


def judged(cell: Cell, rng: np.random.Generator) -> tuple[float, dict[str, tuple[float, float]]]:
    """(the true difference of what was trained, way -> (A minus B, how far its interval reaches))."""
    y, sides = simulated(cell, rng)
    trained, tested = folds(y, cell.repeats, rng)
    rows = [np.concatenate([np.flatnonzero(one) for one in tested]), np.repeat(np.arange(len(tested)), tested.sum(1))]
    arms, true = [], []
    for columns, means in sides:
        weights = fitted(columns, y, trained.T.astype(np.float64))
        true.append(ndtr(means @ weights / np.sqrt(2 * (weights**2).sum(axis=0))).mean())
        scores = (columns @ weights)[rows[0], rows[1]]
        test = predictions(y[rows[0]], np.clip(expit(scores), 1e-12, 1 - 1e-12), rows[0], rows[1] % K)
        factor = patient_factor(1.0, TRAIN, len(tested))
        arms.append(standing(replace(test, repeat=rows[1] // K), factor=factor))
    a, b = arms
    moved = cell.luck * rng.standard_normal(len(a.models))
    a = replace(a, auroc=a.auroc + float(moved.mean()), models=a.models + moved)
    value, gaps, influence = a.auroc - b.auroc, a.models - b.models, a.influence - b.influence
    (own,) = contrasts(np.array([value]), influence[None], np.array([factor_between(a, b)]))
    over_folds = np.sqrt((1 / len(gaps) + TEST / TRAIN) * gaps.var(ddof=1)) * stdtrit(len(gaps) - 1, 0.975)
    return float(true[0] - true[1]), {
        FITTED: (value, float(ndtri(0.975) * np.sqrt((influence**2).sum()))),
        FOLDS: (float(gaps.mean()), float(over_folds)),
        RECIPES: (value, (own.high - own.low) / 2 if own.low is not None and own.high is not None else 0.0),
    }


def simulated(cell: Cell, rng: np.random.Generator) -> tuple[Reals, list[tuple[Reals, Reals]]]:
    """(classes, for A and B the (n, d) columns and how far each has the classes apart)."""
    n, d = cell.patients, cell.columns
    y = (rng.random(n) < PREVALENCE).astype(np.float64)
    means = np.zeros(d)
    means[:SIGNAL] = APART / SIGNAL**0.5
    others = 0 * means if cell.kind == ADDS_NOISE else means
    first, second = ((y - 0.5)[:, None] * apart + rng.standard_normal((n, d)) for apart in (means, others))
    if cell.kind == EQUAL:
        return y, [(first, means), (second, others)]
    return y, [(first, means), (np.hstack([first, second]), np.concatenate([means, others]))]


def folds(y: Reals, repeats: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """((models, n) who is trained on, (models, n) who is tested), of bins with equal shares of the classes."""
    pairs = list(bins_of(y, repeats, rng))
    return np.array([train for train, _ in pairs]), np.array([test for _, test in pairs])


def bins_of(y: Reals, repeats: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(train, test) of each model."""
    for _ in range(repeats):
        order = np.lexsort((rng.random(len(y)), y))
        bins = np.empty(len(y), dtype=np.int64)
        bins[order] = np.arange(len(y)) % BINS
        for k in range(K):
            test = bins // 2 == k
            yield ~test & (bins != (2 * k + 2) % BINS), test


def fitted(columns: Reals, y: Reals, trained: Reals, steps: int = 30) -> Reals:
    """(d, models) the weights of logistic regressions with a penalty of half their square, all models at once.

    trained: (n, models) 0 or 1. Nesterov steps, scaled by a bound of all Hessians (Boehning & Lindsay 1988).
    """
    n, d = columns.shape
    basis, directions = columns, None
    if d > n:  # the same regression in the n directions that the rows span
        left, sizes, directions = np.linalg.svd(columns, full_matrices=False)
        basis = left * sizes
    basis = np.column_stack([basis, np.ones(n)]).astype(np.float32)  # twice as fast, and as good for ranks
    penalty = np.append(np.ones(basis.shape[1] - 1), 1e-3).astype(np.float32)[:, None]
    step = np.linalg.inv(basis.T @ basis / 4 + np.diag(penalty[:, 0]))
    weights = ahead = np.zeros((basis.shape[1], trained.shape[1]), dtype=np.float32)
    trained, y = trained.astype(np.float32), y.astype(np.float32)
    pace = 1.0
    for _ in range(steps):
        slope = basis.T @ (trained * (expit(basis @ ahead) - y[:, None])) + penalty * ahead
        following = ahead - step @ slope
        if ((ahead - following) * (following - weights)).sum() > 0:
            pace = 1.0
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead, weights, pace = following + (pace - 1) / faster * (following - weights), following, faster
    return np.asarray(weights[:-1] if directions is None else directions.T @ weights[:-1], dtype=np.float64)
