"""What is left of a figure elsewhere: of each concept and of their mean, with intervals over patients of both sides.

All of it is said of these fitted models, on other patients: those of the tested collection, and for the drop those of
the training collection too, who are drawn independently. Thresholds are chosen on validation rows of the training
collection, and are held in the intervals.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cxremb.errors import DataError
from cxremb.evaluation.agreement import (
    Influenced,
    calibration_slope,
    in_the_large,
    log_observed_expected,
    mean_interval,
)
from cxremb.evaluation.arrays import Reals, Rows
from cxremb.evaluation.bootstrap import Difference, Interval
from cxremb.evaluation.ranking import FLOOR
from cxremb.evaluation.threshold import SENSITIVITY
from cxremb.predictions import Predictions
from cxremb.predictions.pool import gap_of
from cxremb.transfer.models import as_pools, by_collection

MACRO = "macro"
AUROC, INSIDE, POOLED, DROP = "auroc", "inside", "inside_pooled", "drop"
OF_ALL = "inside_of_all"  # of all concepts that were learnt, also those that the tested collection lacks
ZERO_SHOT = "zero_shot"  # the AUROC of the same rows by prompts
CALIBRATION = ("slope", "in_the_large", "observed_expected")
CALLED = {"recall": "sensitivity", "specificity": "specificity"}
ALONE = ("ece", "brier")  # figures without an interval
AGAIN = "recalibrated_"

OfPool = Callable[..., Influenced | None]
CURVES: dict[str, tuple[OfPool, Callable[[float], float]]] = {
    "slope": (calibration_slope, float),
    "in_the_large": (in_the_large, float),
    "observed_expected": (log_observed_expected, lambda value: float(np.exp(value))),
}


@dataclass(frozen=True)
class ExternalFigure:
    """One figure of a concept, or of the mean of all (`macro`)."""

    concept: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None  # why there is no interval, or no value


@dataclass(frozen=True, eq=False)
class Sides:
    """What one team's models say of their own collections and of the other one, of the same concepts."""

    val: Predictions  # inside, one pool, a model is a fold
    inside: Predictions
    outside: Predictions  # a model is a pool
    cases: Predictions | None = None  # outside, of the patients that probabilities are fitted on again

    def of_label(self, label: str) -> "Sides":
        """Of one concept."""
        cases = None if self.cases is None else self.cases.of_label(label)
        return Sides(self.val.of_label(label), self.inside.of_label(label), self.outside.of_label(label), cases)


def all_figures(sides: Sides, *, sensitivity: float | None) -> list[ExternalFigure]:
    """Every figure: of each concept, and of several the mean of AUROC, inside and drop."""
    labels = sides.outside.labels
    found = ranking_figures(sides, MACRO) if len(labels) > 1 else []
    for label in labels:
        own = sides.of_label(label)
        found += [*ranking_figures(own, label), *counts(own.outside, label)]
        found += [*agreement_figures(own.outside, label), *threshold_figures(own, label, sensitivity)]
        if own.cases is not None:
            found += recalibrated(own.outside, own.cases, label, sensitivity=sensitivity)
    return found


def counts(test: Predictions, label: str) -> list[ExternalFigure]:
    """How many rows and patients are judged, and how many rows are positive."""
    one = test.pools[0]
    numbers = {
        "rows": len(one.items),
        "patients": len(np.unique(one.patients)),
        "positives": int((one.y == 1).sum()),
    }
    return [ExternalFigure(label, name, float(n)) for name, n in numbers.items()]


def ranking_figures(sides: Sides, label: str) -> list[ExternalFigure]:
    """AUROC there and inside, and inside minus there. Of several training collections inside is within each; `pooled`
    ranks their rows as one, in which it counts that a model tells them apart.
    """
    inside = by_collection(sides.inside)
    gap = drop_of(inside, sides.outside)
    found = {AUROC: sides.outside, INSIDE: inside}
    found |= {POOLED: sides.inside} if len(np.unique(inside.fold)) > len(np.unique(sides.inside.fold)) else {}
    spans = [of_interval(label, name, side.interval((AUROC,))[AUROC]) for name, side in found.items()]
    return [*spans, ExternalFigure(label, DROP, gap.value, gap.low, gap.high, gap.reason)]


def drop_of(inside: Predictions, outside: Predictions) -> Difference:
    """AUROC inside minus that of the other collection, the patients of either drawn independently."""
    names = np.unique(np.concatenate([inside.patients, outside.patients]))
    gap = gap_of(inside.arrays(names), outside.arrays(names), AUROC, level=0.95)
    reason = outside.no_interval() or inside.no_interval()
    return Difference(gap.value, None, None, None, reason=reason) if reason else gap


def agreement_figures(test: Predictions, label: str, before: str = "") -> list[ExternalFigure]:
    """Whether probabilities hold: slope, intercept in the large, O/E with intervals; ECE and Brier score."""
    names = np.unique(test.patients)
    parts: list[tuple[Reals, Reals, Rows]] = [
        (pool.y[:, 0], pool.prob[:, 0], np.searchsorted(names, pool.patients)) for pool in test.pools
    ]
    reason, found = test.no_interval(), []
    for name, (of_pool, scale) in CURVES.items():
        span = mean_interval([of_pool(y, prob, who, c=len(names)) for y, prob, who in parts], scale=scale)
        span = replace(span, low=None, high=None, reason=reason) if reason else span
        found.append(of_interval(label, before + name, span))
    figures = test.figures()[label]
    return [*found, *(ExternalFigure(label, before + name, figures[name]) for name in ALONE)]


def threshold_figures(sides: Sides, label: str, sensitivity: float | None) -> list[ExternalFigure]:
    """Sensitivity and specificity inside and there, at thresholds from the validation rows inside."""
    val = as_pools(sides.val)  # each model's threshold from its own rows alone, inside as elsewhere
    return [
        *at_thresholds(as_pools(sides.inside), val, label, aim=sensitivity, before="inside_"),
        *at_thresholds(sides.outside, val, label, aim=sensitivity),
    ]


def at_thresholds(
    test: Predictions, val: Predictions, label: str, *, aim: float | None, before: str = ""
) -> list[ExternalFigure]:
    """Sensitivity and specificity of rows at thresholds chosen on others, with intervals over the patients judged."""
    rule, floor = ("youden", FLOOR) if aim is None else (SENSITIVITY, aim)
    try:
        called = test.at_thresholds(val, rule, floor)
    except DataError as error:
        return [ExternalFigure(label, before + name, None, reason=str(error)) for name in CALLED.values()]
    if before == "inside_":  # its models are folds of one pool: each patient is judged once
        called = replace(called, fold=called.repeat, repeat=np.zeros_like(called.repeat))
    spans = called.interval(tuple(CALLED))
    return [of_interval(label, before + name, spans[metric]) for metric, name in CALLED.items()]


def recalibrated(
    test: Predictions, cases: Predictions, label: str, *, sensitivity: float | None
) -> list[ExternalFigure]:
    """The figures of probabilities that were fitted again on cases of the tested collection (Platt), and thresholds
    chosen on them. The rows judged are the same as before.
    """
    by = ExternalFigure(label, f"{AGAIN}on_patients", float(len(np.unique(cases.patients))))  # who have the label
    try:
        fitted, _ = test.calibrated(cases, "platt")
    except DataError as error:
        names = (*CALIBRATION, *ALONE, *CALLED.values())
        return [by, *(ExternalFigure(label, AGAIN + name, None, reason=str(error)) for name in names)]
    own = agreement_figures(fitted, label, AGAIN)
    return [by, *own, *at_thresholds(test, cases, label, aim=sensitivity, before=AGAIN)]


def of_interval(label: str, metric: str, span: Interval) -> ExternalFigure:
    """A figure with its interval."""
    return ExternalFigure(label, metric, span.value, span.low, span.high, span.reason)
