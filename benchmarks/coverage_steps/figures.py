"""The figures beside AUROC, accuracy and recall: whether their intervals hold the truth, and gaps between two groups.

Data sets are those of `fixed`. Intervals are those that `evaluate` makes: Wilson's of shares, a logit one of average
precision, percentiles of resampled patients for the others. The truth of what is counted follows from the recall and
specificity that infinitely many patients would give; average precision and specificity at a sensitivity are those of
two normal distributions, within each model. Of these two a comparison of two models that are equally good should
reject in 5%, as in `fixed`. A gap is that of a random half of the patients to the others: it is 0, and its p should
be below 0.05 once in twenty times.
"""

from collections import defaultdict
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np

from coverage_steps.fixed import AREAS, DESIGNS, PREVALENCES, SIZES, simulated, spread, truth
from coverage_steps.simulated import predictions
from cxremb.evaluation.ranking import FLOOR
from cxremb.predictions.gaps import gaps_of

FIGURES = (
    *("specificity", "precision", "f1", "balanced_accuracy", "mcc"),
    *("average_precision", "specificity_at_sensitivity_95"),
)
COMPARED = ("average_precision", "specificity_at_sensitivity_95")
GAPS = ("auroc", "accuracy", "recall")
SHORT = {
    "balanced_accuracy": "balanced",
    "average_precision": "AP",
    "specificity_at_sensitivity_95": "sp@.95",
    "average_precision p": "AP, p",
    "specificity_at_sensitivity_95 p": "sp@.95, p",
    **{f"{figure} gap": f"gap of {figure}" for figure in GAPS},
}
NORMAL = NormalDist()
GRID = 200_001  # thresholds over which the precision is summed


def run(quick: bool) -> dict[str, Any]:
    """What is written under "figures"; twenty minutes of one core."""
    data_sets = 4 if quick else 300
    cells = [
        {"design": design, "area": area, "patients": patients, "prevalence": prevalence}
        | measured(patients, prevalence, area, design=DESIGNS[design], data_sets=data_sets)
        for design, area, patients, prevalence in product(DESIGNS, AREAS, SIZES, PREVALENCES)
    ]
    return {"data_sets": data_sets, "cells": cells}


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md: means over sizes and prevalences, beside them least and most."""
    keys = (*FIGURES, *(f"{figure} p" for figure in COMPARED), *(f"{figure} gap" for figure in GAPS))
    names = [SHORT.get(key, key.replace("_", " ")) for key in keys]
    lines = [f"| films and models | AUROC | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for design, area in product(DESIGNS, AREAS):
        own = [cell for cell in result["cells"] if (cell["design"], cell["area"]) == (design, area)]
        shares = [spread([cell[key] for cell in own if cell[key] is not None]) for key in keys]
        lines.append(f"| {design} | {area:g} | {' | '.join(shares)} |")
    return lines


def true_figures(prevalence: float, area: float, folds: int) -> dict[str, float]:
    """Figure -> what infinitely many patients would give."""
    found = truth(prevalence, area, folds)
    recall = found["recall"]
    specificity = (found["accuracy"] - prevalence * recall) / (1 - prevalence)
    tp, fn = prevalence * recall, prevalence * (1 - recall)
    tn, fp = (1 - prevalence) * specificity, (1 - prevalence) * (1 - specificity)
    apart = NORMAL.inv_cdf(area) * 2**0.5
    return {
        "specificity": specificity,
        "precision": tp / (tp + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5,
        "average_precision": true_average_precision(prevalence, apart),
        "specificity_at_sensitivity_95": NORMAL.cdf(apart - NORMAL.inv_cdf(FLOOR)),
    }


def true_average_precision(prevalence: float, apart: float) -> float:
    """The precision at each threshold, weighted by the recall that it adds."""
    recall = (np.arange(GRID) + 0.5) / GRID
    threshold = np.array([apart - NORMAL.inv_cdf(float(one)) for one in recall])
    false_alarms = np.array([NORMAL.cdf(-float(one)) for one in threshold])
    return float(np.mean(prevalence * recall / (prevalence * recall + (1 - prevalence) * false_alarms)))


def measured(
    patients: int, prevalence: float, area: float, *, design: tuple[int, int], data_sets: int
) -> dict[str, float | None]:
    """Figure -> share of the data sets whose interval covers; with " gap", in which two like groups differ."""
    true = true_figures(prevalence, area, design[1])
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(data_sets):
        rng = np.random.default_rng([seed, patients, int(100 * prevalence), int(100 * area), *design])
        y, who, fold, probs = simulated(rng, patients, prevalence, area=area, design=design)
        rows, others = (predictions(y, prob, who, fold) for prob in probs)
        for figure, span in rows.interval(FIGURES).items():
            if span.low is not None and span.high is not None:
                found[figure].append(span.low <= true[figure] <= span.high)
                found[f"{figure} bias"].append((span.value or 0.0) - true[figure])
        for figure, difference in rows.difference(others, COMPARED).items():
            if difference.p is not None:
                found[f"{figure} p"].append(difference.p < 0.05)
        half = (rng.random(patients) < 0.5)[who]
        for figure, gap in gaps_of([(rows.take(half), rows.take(~half))], GAPS)[0].items():
            if gap.p is not None:
                found[f"{figure} gap"].append(gap.p < 0.05)
    biases, tests = (f"{figure} bias" for figure in FIGURES), (f"{figure} p" for figure in COMPARED)
    names = (*FIGURES, *biases, *tests, *(f"{figure} gap" for figure in GAPS))
    return {name: round(float(np.mean(found[name])), 4) if found[name] else None for name in names}
