"""How far the probabilities of a run are from what happens, with intervals over patients."""

from dataclasses import dataclass, replace
from math import exp

import numpy as np

from cxremb.evaluation.agreement import (
    calibration_slope,
    ece_by_chance,
    folds_in_the_large,
    in_the_large,
    log_observed_expected,
    mean_interval,
)
from cxremb.evaluation.bootstrap import Interval
from cxremb.predictions.judged import Predictions


@dataclass(frozen=True)
class Agreement:
    """One label's calibration: what is asked of it, as Van Calster et al. 2019 order it, and what chance would show."""

    ece_by_chance: float  # the mean ECE of right probabilities, and its 95th percentile
    ece_by_chance_95: float
    slope: Interval  # below 1: overconfident
    in_the_large: Interval  # the intercept with the slope held at 1, in log odds; below 0: too high
    folds_in_the_large: tuple[float, float] | None  # the least and the greatest of a fold; they cancel in the above
    observed_expected: Interval  # positives over the sum of their probabilities
    loss: Interval
    brier: Interval


def agreement_of(test: Predictions) -> Agreement:
    """That of the rows of one label; figures are means over repeats and seeds.

    There are no intervals where `test.no_interval()` says why.
    """
    names = np.unique(test.patients)
    parts = [(pool.y[:, 0], pool.prob[:, 0], np.searchsorted(names, pool.patients), pool.fold) for pool in test.pools]
    c, reason = len(names), test.no_interval()
    by_chance = np.mean([ece_by_chance(prob, fold) for _, prob, _, fold in parts], axis=0)
    slopes = mean_interval([calibration_slope(y, prob, who, c=c, folds=fold) for y, prob, who, fold in parts])
    large = mean_interval([in_the_large(y, prob, who, c=c) for y, prob, who, _ in parts])
    ratio = mean_interval([log_observed_expected(y, prob, who, c=c) for y, prob, who, _ in parts], scale=exp)
    spans = [span for y, prob, _, fold in parts if (span := folds_in_the_large(y, prob, fold))]
    folds = (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None
    slopes, large, ratio = (bare(one, reason) for one in (slopes, large, ratio))
    mean = test.interval(("loss", "brier"))
    return Agreement(float(by_chance[0]), float(by_chance[1]), slopes, large, folds, ratio, mean["loss"], mean["brier"])


def bare(figure: Interval, reason: str | None) -> Interval:
    """The figure, without its interval where there is a reason."""
    return figure if reason is None else replace(figure, low=None, high=None, reason=reason)
