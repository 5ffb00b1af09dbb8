"""Calibration: whether its intervals hold, what ECE right probabilities have, and when a temperature helps.

Right probabilities: a patient's label is drawn with the probability that the model gives. A temperature is fitted on n
rows and judged by the log loss of 4,000 others, of a model that is right and of two whose logits are 1.2 and 1.5 times
too far.
"""

from typing import Any

import numpy as np
from scipy.special import expit

from coverage_steps.simulated import predictions
from cxremb.errors import DataError
from cxremb.evaluation.calibrate import METHODS
from cxremb.evaluation.metrics import binary_metrics
from cxremb.predictions.agreed import agreement_of

DESIGNS = ((60, 1, 0.5), (120, 1, 0.3), (300, 1, 0.2), (300, 3, 0.4), (600, 3, 0.64))  # rows, films a patient, share
FIGURES = {"slope": 1.0, "in_the_large": 0.0, "observed_expected": 1.0}  # what each is of right probabilities
ROWS = (20, 40, 80, 200, 400)  # that a temperature is fitted on
TOO_FAR = (1.0, 1.2, 1.5)
OTHERS = 4000


def run(quick: bool) -> dict[str, Any]:
    """What is written under "calibration"; a minute. quick: a tenth of the data sets."""
    data_sets = 20 if quick else 400
    intervals = [covered(*design, data_sets) for design in DESIGNS]
    temperatures = [helped(n, factor, data_sets) for factor in TOO_FAR for n in ROWS]
    return {"data_sets": data_sets, "intervals": intervals, "temperatures": temperatures}


def covered(n: int, films: int, share: float, data_sets: int) -> dict[str, Any]:
    """How often each interval holds the truth, and the mean ECE, of right probabilities."""
    found: dict[str, list[float]] = {name: [] for name in (*FIGURES, "ece")}
    patients = np.repeat(np.arange(n // films), films)
    for seed in range(data_sets):
        rng = np.random.default_rng([n, films, seed])
        logit = 1.5 * rng.standard_normal(n // films) + np.log(share / (1 - share))
        y = (rng.random(n // films) < expit(logit)).astype(np.float64)[patients]
        test = predictions(y, expit(logit)[patients], patients, patients % 5)
        agreement = agreement_of(test)
        for name, truth in FIGURES.items():
            one = getattr(agreement, name)
            if one.low is not None and one.high is not None:
                found[name].append(one.low <= truth <= one.high)
        found["ece"].append(test.figures()["abnormal"]["ece_pooled"] or 0.0)
    about = {"n": n, "films": films, "share": share, "printed": len(found["slope"]) / data_sets}
    return {**about, **{name: float(np.mean(values)) for name, values in found.items()}}


def helped(n: int, factor: float, data_sets: int) -> dict[str, Any]:
    """How often a temperature lowers the log loss of other rows, of those data sets for which there is one."""
    found = []
    for seed in range(data_sets):
        rng = np.random.default_rng([n, round(10 * factor), seed])
        logit = 1.5 * rng.standard_normal(n + OTHERS)
        y = (rng.random(n + OTHERS) < expit(logit)).astype(np.float64)[:, None]
        model = factor * logit[:, None]
        try:
            fitted = METHODS["temperature"](y[:n], model[:n], "binary")
        except DataError:  # no temperature is best
            continue
        prob = fitted.apply(model[n:], "binary")[1]
        found.append(loss_of(y[n:], prob) < loss_of(y[n:], expit(model[n:])))
    return {"n": n, "too_far": factor, "fitted": len(found) / data_sets, "helped": float(np.mean(found))}


def loss_of(y: np.ndarray, prob: np.ndarray) -> float:
    """The log loss."""
    return binary_metrics(y[:, 0], prob[:, 0])["loss"] or 0.0


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the tables in docs/evaluation.md."""
    lines = [
        "| rows | films a patient | positive | slope | in the large | O/E | mean ECE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["intervals"]:
        shares = " | ".join(f"{row[name]:.1%}" for name in FIGURES)
        lines.append(f"| {row['n']} | {row['films']} | {row['share']} | {shares} | {row['ece']:.3f} |")
    lines += ["", "| rows that a temperature is fitted on | " + " | ".join(map(str, ROWS)) + " |"]
    lines.append("| --- |" + " --- |" * len(ROWS))
    for factor in TOO_FAR:
        shares = [f"{row['helped']:.0%}" for row in result["temperatures"] if row["too_far"] == factor]
        name = "right" if factor == 1 else f"logits {factor} times too far"
        lines.append(f"| it helps a model: {name} | " + " | ".join(shares) + " |")
    return lines
