"""Intervals and paired differences of means of a figure: over labels (macro), or over repeats of cross-validation.

A resample draws patients once and takes their rows in every label or repeat, so what these share stays shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, Rows, checked_probabilities, checked_table, cluster_numbers
from cxremb.evaluation.bootstrap import (
    USUAL,
    Difference,
    Interval,
    Judged,
    Plan,
    Statistic,
    cluster_count,
    differences,
    intervals,
    judge,
    refuse_unknown,
    why_not,
)
from cxremb.evaluation.metrics import called_positive
from cxremb.evaluation.multi import likeliest, row_values
from cxremb.evaluation.ranking import divided

TASKS = ("multiclass", "multilabel")


@dataclass(frozen=True)
class Piece:
    """The rows of one label, or of one repeat. Arrays are checked ones, all (m,)."""

    name: str
    y: Reals
    prob: Reals
    called: Flags
    clusters: Rows


def macro_intervals(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    clusters: ArrayLike,
    *,
    task: str,
    metrics: Sequence[str] = USUAL,
    plan: Plan | None = None,
) -> dict[str, Interval]:
    """Metric -> the macro figure of `multiclass_metrics` or `multilabel_metrics`, and its interval.

    y_true, y_prob: (n, k) as there. clusters: (n,). A resample in which some label lacks the figure is left out. There
    is no interval if a label that is averaged has fewer than ten positives, negatives or clusters.
    """
    refuse_unknown(metrics)
    numbers = cluster_numbers(clusters, len(np.asarray(y_true)))
    pieces = label_pieces(y_true, y_prob, numbers, task)
    found = [macro(metric, pieces, (y_true, y_prob), numbers, task) for metric in metrics]
    return dict(zip(metrics, intervals(found, numbers, plan or Plan(), few(pieces)), strict=True))


def macro_difference(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    clusters: ArrayLike,
    *,
    task: str,
    metrics: Sequence[str] = USUAL,
    plan: Plan | None = None,
) -> dict[str, Difference]:
    """Metric -> macro figure of A minus that of B, on the same rows and resamples. Arguments as `macro_intervals`."""
    refuse_unknown(metrics)
    numbers = cluster_numbers(clusters, len(np.asarray(y_true)))
    both = [(prob, label_pieces(y_true, prob, numbers, task)) for prob in (prob_a, prob_b)]
    pairs = []
    for metric in metrics:
        a, b = (macro(metric, pieces, (y_true, prob), numbers, task) for prob, pieces in both)
        pairs.append((a, b))
    return dict(zip(metrics, differences(pairs, numbers, plan or Plan(), few(both[0][1])), strict=True))


def repeat_intervals(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    clusters: ArrayLike,
    repeats: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    plan: Plan | None = None,
) -> dict[str, Interval]:
    """Metric -> its mean over repeats of cross-validation, and an interval over patients. repeats: (n,) of each row.

    Scores of different repeats are of different models, so they are never ranked against each other. Repeats average
    out the luck of the training runs but add no patients: the interval does not shrink as they were more rows.
    """
    refuse_unknown(metrics)
    pieces, numbers = repeat_pieces(y_true, y_prob, clusters, repeats)
    judged = judged_pieces(pieces, cluster_count(numbers))
    found = [mean_of([partial(one.metric, metric) for one in judged]) for metric in metrics]
    return dict(zip(metrics, intervals(found, numbers, plan or Plan(), few(pieces)), strict=True))


def repeat_difference(  # noqa: PLR0913 - the arrays, and how to resample them
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    clusters: ArrayLike,
    repeats: ArrayLike,
    *,
    metrics: Sequence[str] = USUAL,
    plan: Plan | None = None,
) -> dict[str, Difference]:
    """Metric -> the mean over repeats of A minus B, on the same rows and resamples. Arguments as `repeat_intervals`."""
    refuse_unknown(metrics)
    pieces, numbers = repeat_pieces(y_true, prob_a, clusters, repeats)
    others, _ = repeat_pieces(y_true, prob_b, clusters, repeats)
    a, b = (judged_pieces(side, cluster_count(numbers)) for side in (pieces, others))
    pairs = [
        (mean_of([partial(one.metric, metric) for one in a]), mean_of([partial(one.metric, metric) for one in b]))
        for metric in metrics
    ]
    return dict(zip(metrics, differences(pairs, numbers, plan or Plan(), few(pieces)), strict=True))


def mean_of(statistics: Sequence[Statistic]) -> Statistic:
    """The mean of figures, NaN where one of them is."""

    def mean(counts: Reals) -> Reals:
        total = np.full(len(counts), 0.0 if statistics else np.nan)
        for statistic in statistics:
            total += statistic(counts)
        return total / max(1, len(statistics))

    return mean


def macro(
    metric: str, pieces: Sequence[Piece], tables: tuple[ArrayLike, ArrayLike], clusters: Rows, task: str
) -> Statistic:
    """A macro figure as a function of how often each cluster is taken."""
    c = cluster_count(clusters)
    if task == "multiclass" and metric in {"accuracy", "loss", "brier"}:
        y, prob = checked_table(*tables, one_hot=True)
        sums = np.zeros((c, 2))
        np.add.at(sums, clusters, np.column_stack([row_values(y, prob, likeliest(prob))[metric], np.ones(len(y))]))
        return lambda counts: divided(counts @ sums[:, 0], counts @ sums[:, 1])
    if task == "multiclass" and metric in {"mcc", "prevalence"}:
        raise DataError(f"no interval for {metric} of several classes", hint="ask for auroc, accuracy or f1")
    chosen = "recall" if task == "multiclass" and metric == "balanced_accuracy" else metric
    return mean_of([partial(one.metric, chosen) for one in judged_pieces(pieces, c)])


def judged_pieces(pieces: Sequence[Piece], c: int) -> list[Judged]:
    """Every piece ready to be resampled."""
    return [judge(piece.y, piece.prob, piece.called, piece.clusters, c) for piece in pieces]


def label_pieces(
    y_true: ArrayLike, y_prob: ArrayLike, clusters: Rows, task: str, labels: Sequence[str] = ()
) -> list[Piece]:
    """The labels that have both answers, each with the rows where it is known. labels: (k,) names, else numbers."""
    if task not in TASKS:
        raise DataError(f"no macro figure of the task {task}", hint=f"it is one of {', '.join(TASKS)}")
    y, prob = checked_table(y_true, y_prob, one_hot=task == "multiclass")
    called = likeliest(prob) if task == "multiclass" else called_positive(prob)
    pieces = []
    for column in range(y.shape[1]):
        if (y[:, column] == 1).any() and (y[:, column] == 0).any():
            rows = ~np.isnan(y[:, column])
            own = (y[rows, column], prob[rows, column], called[rows, column], clusters[rows])
            pieces.append(Piece(labels[column] if labels else f"label {column + 1}", *own))
    return pieces


def repeat_pieces(
    y_true: ArrayLike, y_prob: ArrayLike, clusters: ArrayLike, repeats: ArrayLike
) -> tuple[list[Piece], Rows]:
    """(the rows of each repeat, (n,) clusters)."""
    y, prob = checked_probabilities(y_true, y_prob)
    numbers, which = cluster_numbers(clusters, len(y)), cluster_numbers(repeats, len(y))
    called = called_positive(prob)
    pieces = [
        Piece(f"repeat {number}", y[rows], prob[rows], called[rows], numbers[rows])
        for number in range(cluster_count(which))
        for rows in [which == number]
    ]
    return pieces, numbers


def few(pieces: Sequence[Piece]) -> str | None:
    """Why these pieces bear no interval, or None."""
    if not pieces:
        return "no label has both answers"
    reasons = [f"{piece.name}: {reason}" for piece in pieces if (reason := why_not(piece.y, piece.clusters))]
    more = f" (and {len(reasons) - 1} others)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else None
