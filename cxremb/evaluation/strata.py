"""The same figures per group of rows, and the group that fares worst."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals, Rows, checked_probabilities, cluster_numbers, missing_names
from cxremb.evaluation.bootstrap import USUAL, Interval, Plan, cluster_intervals
from cxremb.evaluation.metrics import THRESHOLD

MISSING = "(missing)"
MOST = 50  # groups: a column with more is a number or an id, not a grouping
LESS_IS_BETTER = ("loss", "brier")
NO_ORDER = ("prevalence",)


@dataclass(frozen=True)
class Stratum:
    """One group: how much of it there is, and its figures."""

    name: str
    rows: int
    positives: int
    clusters: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Strata:
    """The groups, largest first, and the one with the worst figure among those that bear an interval.

    Being the worst of several is partly chance: its interval is not corrected for having been picked.
    """

    groups: list[Stratum]
    by: str
    worst: Stratum | None
    reason: str | None = None  # why none is the worst


def strata(  # noqa: PLR0913 - the arrays, and how to judge them
    y_true: ArrayLike,
    y_prob: ArrayLike,
    column: ArrayLike,
    clusters: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    threshold: float = THRESHOLD,
    plan: Plan | None = None,
) -> Strata:
    """The figures and intervals of each value of a column. Arguments and errors as `cluster_intervals`.

    column: (n,) such as the view, a finding, or whether a section is missing; None and NaN make a group of their own.
    metrics: the first decides which group is worst. A figure that a group is too small for has a reason instead of an
    interval. Raises `DataError` for more than 50 groups.
    """
    plan = plan or Plan()
    by = metrics[0] if metrics else ""
    if not by or by in NO_ORDER:
        raise DataError(f"no group is worst by {by or 'nothing'}", hint="name auroc, accuracy or f1 first")
    y, prob = checked_probabilities(y_true, y_prob)
    numbers = cluster_numbers(clusters, len(y))
    names = group_names(column, len(y))
    groups = []
    for name in sorted(set(names.tolist())):
        rows = np.flatnonzero(names == name)
        groups.append(stratum(name, (y[rows], prob[rows], numbers[rows]), metrics, threshold, plan))
    groups.sort(key=lambda group: -group.rows)
    judged = [group for group in groups if group.metrics[by].low is not None]
    if len(judged) < 2:
        return Strata(groups, by, None, f"{len(judged)} of {len(groups)} groups bear an interval")
    sign = -1 if by in LESS_IS_BETTER else 1
    return Strata(groups, by, min(judged, key=lambda group: sign * (group.metrics[by].value or 0.0)))


def stratum(
    name: str, arrays: tuple[Reals, Reals, Rows], metrics: Sequence[str], threshold: float, plan: Plan
) -> Stratum:
    """One group with its figures."""
    y, _, clusters = arrays
    how = {"resamples": plan.resamples, "level": plan.level, "seed": plan.seed}
    found = cluster_intervals(*arrays, metrics=metrics, threshold=threshold, **how)  # type: ignore[arg-type]
    return Stratum(name, len(y), int(y.sum()), len(np.unique(clusters)), found)


def group_names(column: ArrayLike, n: int) -> NDArray[np.str_]:
    """(n,) the name of each row's group. Raises `DataError` for another length or too many groups."""
    values = np.asarray(column)
    if values.shape != (n,):
        raise DataError(f"{n} rows, but the column has shape {values.shape}", hint="give one value a row")
    missing = missing_names(values)
    names = np.array([MISSING if gone else str(value) for value, gone in zip(values.tolist(), missing, strict=True)])
    if (count := len(np.unique(names))) > MOST:
        raise DataError(f"{count} groups, more than {MOST}", hint="group the column into ranges first")
    return names
