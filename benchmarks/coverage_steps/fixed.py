"""Fixed models, other patients: whether intervals over patients hold the truth, and how often A against A rejects.

A data set is 60 to 600 patients, of whom a fifth or 64% are positive, with one film each that one model judges, or one
to four that five models judge, a fifth of the patients each. All films of a patient share a label and most of what a
model gets right or wrong about them (correlation 0.7); the five models are as good as each other and differ in their
level, by -1 to +1 logits. The truth is the AUROC of each model, and its accuracy and recall over all five. An interval
covers if it holds the truth; a comparison of two models of equal quality, which err alike (correlation 0.5), rejects if
its p is below 0.05. What is not printed, for fewer than ten patients of a class, is not counted. Beside it stands how
it was until now: the rows of all folds ranked as one, with percentiles of a bootstrap over patients.
"""

from collections import defaultdict
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_steps.simulated import Reals, predictions, sigmoid
from cxremb.evaluation.bootstrap import Resampling, differences, intervals, resampled

SIZES, PREVALENCES, AREAS = (60, 120, 600), (0.2, 0.64), (0.7, 0.85, 0.98)
DESIGNS = {"one film, one model": (1, 1), "one to four films, five folds": (4, 5)}  # most films, folds
SHARED = 0.7  # of the variance of a score: what its patient's films have in common
ALIKE = 0.5  # of the variance of a score: what two models have in common
FIGURES = ("auroc", "accuracy", "recall")
Numbers = NDArray[np.integer[Any]]


def run(quick: bool) -> dict[str, Any]:
    """What is written under "fixed"; ten minutes of one core."""
    data_sets, before = (6, 2) if quick else (500, 150)
    cells = [
        {"design": design, "area": area, "patients": patients, "prevalence": prevalence}
        | measured(patients, prevalence, area, design=DESIGNS[design], data_sets=data_sets, before=before)
        for design, area, patients, prevalence in product(DESIGNS, AREAS, SIZES, PREVALENCES)
    ]
    return {"data_sets": data_sets, "data_sets_before": before, "cells": cells}


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md: means over sizes and prevalences, beside them least and most."""
    names = ("AUROC before", "AUROC", "accuracy", "recall", "AUROC before", "AUROC", "accuracy", "bias before", "bias")
    keys = ("before auroc", "auroc", "accuracy", "recall", "before auroc p", "auroc p", "accuracy p")
    lines = [f"| films and models | AUROC | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for design, area in product(DESIGNS, AREAS):
        own = [cell for cell in result["cells"] if (cell["design"], cell["area"]) == (design, area)]
        shares = [spread([cell[key] for cell in own if cell[key] is not None]) for key in keys]
        bias = [
            f"{np.mean([cell[key] for cell in own if cell[key] is not None] or [0.0]):+.3f}"
            for key in ("before bias", "bias")
        ]
        lines.append(f"| {design} | {area:g} | {' | '.join([*shares, *bias])} |")
    return lines


def spread(shares: list[float]) -> str:
    """95% (93-97): the mean, and the least and most; a dash where nothing was printed."""
    return "-" if not shares else f"{np.mean(shares):.1%} ({100 * min(shares):.0f}-{100 * max(shares):.0f})"


def simulated(
    rng: np.random.Generator, patients: int, prevalence: float, *, area: float, design: tuple[int, int]
) -> tuple[Reals, Numbers, Numbers, list[Reals]]:
    """(labels, patients, folds, probabilities of one set of models and of another that is just as good)."""
    films, folds = design
    who = np.repeat(np.arange(patients), rng.integers(1, films + 1, patients))
    positive = rng.random(patients) < prevalence
    fold = np.empty(patients, dtype=np.int64)
    fold[np.lexsort((rng.random(patients), positive))] = np.arange(patients) % folds  # as splits do it
    level = np.linspace(-1, 1, folds)[fold][who] if folds > 1 else 0.0
    common = noise(rng, who, patients)
    y, apart = positive[who].astype(np.float64), NormalDist().inv_cdf(area) * 2**0.5
    scores = [
        apart * (y - 0.5) + ALIKE**0.5 * common + (1 - ALIKE) ** 0.5 * noise(rng, who, patients) + level
        for _ in range(2)
    ]
    return y, who, fold[who], [sigmoid(score) for score in scores]


def noise(rng: np.random.Generator, who: Numbers, patients: int) -> Reals:
    """(n,) standard normal, films of one patient alike."""
    shared, own = rng.standard_normal(patients)[who], rng.standard_normal(len(who))
    return np.asarray(SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * own, dtype=np.float64)


def truth(prevalence: float, area: float, folds: int) -> dict[str, float]:
    """Figure -> what other patients would give."""
    half, normal = NormalDist().inv_cdf(area) / 2**0.5, NormalDist().cdf
    levels = np.linspace(-1, 1, folds) if folds > 1 else np.zeros(1)
    recall, specificity = (float(np.mean([normal(half + side * one) for one in levels])) for side in (1, -1))
    return {
        "auroc": area,
        "recall": recall,
        "accuracy": prevalence * recall + (1 - prevalence) * specificity,
    }


def measured(
    patients: int, prevalence: float, area: float, *, design: tuple[int, int], data_sets: int, before: int
) -> dict[str, float | None]:
    """Figure -> share of the data sets whose interval covers; with " p", that rejects; what is printed; the bias."""
    true = truth(prevalence, area, design[1])
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(data_sets):
        rng = np.random.default_rng([seed, patients, int(100 * prevalence), int(100 * area), *design])
        y, who, fold, probs = simulated(rng, patients, prevalence, area=area, design=design)
        a, b = (predictions(y, prob, who, fold) for prob in probs)
        spans, gaps = a.interval(FIGURES), a.difference(b, FIGURES)
        found["printed"].append(spans["auroc"].low is not None)
        if a.no_interval():
            continue
        found["bias"].append(spans["auroc"].value - area)
        for figure in FIGURES:
            if spans[figure].low is not None:
                found[figure].append(spans[figure].low <= true[figure] <= spans[figure].high)
            if gaps[figure].p is not None:
                found[f"{figure} p"].append(gaps[figure].p < 0.05)
        if seed < before:
            as_before(y, who, probs, area, found=found)
    keys = ("printed", "bias", "before bias", "before auroc", "before auroc p")
    names = (*keys, *FIGURES, *(f"{figure} p" for figure in FIGURES))
    return {name: round(float(np.mean(found[name])), 4) if found[name] else None for name in names}


def as_before(y: Reals, who: Numbers, probs: list[Reals], area: float, *, found: dict[str, list[float]]) -> None:
    """The AUROC of all rows as one and percentiles over resampled patients."""
    clusters = np.unique(who, return_inverse=True)[1].astype(np.intp)
    sides = [
        resampled("auroc", y, prob, called=prob >= 0.5, clusters=clusters, c=int(clusters.max()) + 1) for prob in probs
    ]
    (span,) = intervals(sides[:1], clusters, Resampling(200))
    (gap,) = differences([(sides[0], sides[1])], clusters, Resampling(200))
    found["before bias"].append((span.value or 0.0) - area)
    found["before auroc"].append(span.low is not None and span.high is not None and span.low <= area <= span.high)
    found["before auroc p"].append(gap.p is not None and gap.p < 0.05)
