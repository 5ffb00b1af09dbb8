"""A sensitivity of .95 that is aimed at: what other patients get, and whether the intervals beside it hold.

Five folds as `patient-5fold` makes them: two tenths of the patients are tested, one tenth validates. Scores are fixed,
but each fold's model adds a constant of its own to the logit (standard deviation 0.3). "Before" chooses on the tenth
the best specificity with a sensitivity of .95 or more, and holds that threshold in its intervals; "after" is
`cxremb.predictions.chosen`. What is delivered is known, since scores are drawn from normal distributions; an interval
covers if it holds the mean of what is delivered in data sets of this size. None is counted where none is printed.
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import logit, ndtr

from coverage_steps.simulated import Reals, predictions, sigmoid
from cxremb.errors import DataError
from cxremb.evaluation.bootstrap import Interval, Resampling
from cxremb.evaluation.decision import shares
from cxremb.predictions import Predictions
from cxremb.predictions.chosen import Chosen, at_chosen, at_given

SIZES, PREVALENCES, FILMS = (60, 120, 300, 600), (0.2, 0.64), (1, 3)
APART, SHARED, SHIFT, FLOOR = 1.47, 0.7, 0.3, 0.95  # an AUROC of .85
TENTHS = 10


def run(quick: bool) -> dict[str, Any]:
    """What is written under "aimed"; minutes."""
    data_sets, resamples = (8, 50) if quick else (120, 300)
    rows = [
        measured(data_sets, resamples, films=films, prevalence=prevalence, n=n)
        for films in FILMS
        for prevalence in PREVALENCES
        for n in SIZES
    ]
    return {
        "data_sets": data_sets,
        "resamples": resamples,
        "auroc": round(float(ndtr(APART / 2**0.5)), 3),
        "rows": rows,
    }


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md."""
    lines = [
        "| films a patient | prevalence | n | positive patients | sensitivity, before | after | its interval covers, "
        "before | after | specificity's covers, before | after |",
        "|" + " ---: |" * 10,
    ]
    for row in result["rows"]:
        about = f"| {row['films']} | {row['prevalence']} | {row['n']} | {row['positives']:.0f} |"
        lines.append(f"{about} {' | '.join(shown(row[name]) for name in NAMES)} |")
    return lines


NAMES = tuple(f"{what}, {way}" for what in ("delivered", "recall", "specificity") for way in ("before", "after"))


def shown(value: float | None) -> str:
    """Three digits of a share, or that there is none."""
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def measured(data_sets: int, resamples: int, *, films: int, prevalence: float, n: int) -> dict[str, Any]:
    """One line of the table."""
    delivered, spans = defaultdict(list), defaultdict(list)
    positives = []
    for seed in range(data_sets):
        rng = np.random.default_rng(seed)
        test, val, shifts = simulated(rng, films=films, prevalence=prevalence, n=n)
        try:
            found = {"before": held(test, val, seed, resamples), "after": chosen(test, val, seed, resamples)}
        except DataError:  # the validation rows of some fold have one class
            continue
        positives.append(np.mean([one.positives for one in found["after"][0].choices]))
        for way, (at, figures) in found.items():
            delivered[way].append(truth(np.array(at.thresholds), shifts))
            if test.no_interval() is None:
                spans[way].append(figures)
    row: dict[str, Any] = {"films": films, "prevalence": prevalence, "n": n, "data_sets": len(positives)}
    row["positives"] = float(np.mean(positives)) if positives else 0.0
    for way in ("before", "after"):
        mean = np.mean(delivered[way], axis=0) if delivered[way] else (None, None)
        row[f"delivered, {way}"] = None if mean[0] is None else float(mean[0])
        for name, value in zip(("recall", "specificity"), mean, strict=True):
            own: list[Interval] = [one[name] for one in spans[way]]
            covered = [one.low <= value <= one.high for one in own if one.low is not None and one.high is not None]
            row[f"{name}, {way}"] = float(np.mean(covered)) if len(covered) > data_sets // 2 else None
    return row


def simulated(
    rng: np.random.Generator, *, films: int, prevalence: float, n: int
) -> tuple[Predictions, Predictions, Reals]:
    """(test rows, validation rows, what the model of each fold adds to the logit)."""
    count = n // films
    patients = np.repeat(np.arange(count), films)
    positive = np.arange(count) < round(prevalence * count)
    tenth = np.empty(count, dtype=np.int64)
    for kind in (positive, ~positive):
        tenth[kind] = rng.permutation((np.arange(kind.sum()) + rng.integers(TENTHS)) % TENTHS)
    y, place = positive[patients].astype(np.float64), tenth[patients]
    own = np.sqrt(1 - SHARED * (films > 1)) * rng.standard_normal(len(y))
    score = APART * (y - 0.5) + own + np.sqrt(SHARED * (films > 1)) * rng.standard_normal(count)[patients]
    shifts = SHIFT * rng.standard_normal(TENTHS // 2)
    fold, later = place // 2, (place - 2) % TENTHS // 2
    test = predictions(y, sigmoid(score + shifts[fold]), patients, fold)
    val = predictions(y, sigmoid(score + shifts[later]), patients, later, "val").take(place % 2 == 0)
    return test, val, shifts


def truth(thresholds: Reals, shifts: Reals) -> tuple[float, float]:
    """(sensitivity, specificity) that the thresholds of the folds deliver to other patients."""
    at = logit(thresholds) - shifts
    return float(ndtr(APART / 2 - at).mean()), float(ndtr(at + APART / 2).mean())


def held(test: Predictions, val: Predictions, seed: int, resamples: int) -> tuple[Chosen, dict[str, Interval]]:
    """As it was: the best specificity at .95 or more on the fold's own rows, and percentiles with that threshold."""
    own = np.empty(len(test.items))
    for rows, on in test.with_own(val, "threshold"):
        y, prob = on.y[:, 0], on.prob[:, 0]
        reached = [at for at in np.unique(prob) if (prob[y == 1] >= at).mean() >= FLOOR]
        own[rows] = max(reached)
    at = at_given(replace(test, threshold=own), Resampling(resamples, seed=seed))
    tp, fp, fn, tn = at.redrawn.cells[1:, 0].T
    ends = {"recall": tp / (tp + fn), "specificity": tn / (tn + fp)}
    return at, {name: Interval(None, *np.nanquantile(drawn, [0.025, 0.975])) for name, drawn in ends.items()}


def chosen(test: Predictions, val: Predictions, seed: int, resamples: int) -> tuple[Chosen, dict[str, Interval]]:
    """As it is."""
    at = at_chosen(test, val, "sensitivity", floor=FLOOR, resampling=Resampling(resamples, seed=seed))
    return at, shares(at.redrawn, ("recall", "specificity"))
