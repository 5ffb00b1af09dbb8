"""The figures of several labels: classes that exclude each other, or labels that do not."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Flags, Reals, checked_folds, checked_table
from cxremb.evaluation.metrics import POOLED, THRESHOLD, called_positive, figures, mean_or_none
from cxremb.evaluation.ranking import divided, within_folds
from cxremb.evaluation.reliability import ece, likely

Figures = dict[str, float | None]
OVER_ALL = ("macro", "micro")
LINE = ("calibration_slope", "calibration_intercept")
ONE_LABEL_ONLY = (*LINE, *(f"{name}{POOLED}" for name in LINE))  # a mean of slopes hides that they cancel


def multiclass_metrics(
    y_true: ArrayLike, y_prob: ArrayLike, names: Sequence[str], *, folds: ArrayLike | None = None
) -> dict[str, Figures]:
    """Class -> its figures against the rest, and "macro" -> those over all. The answer is the likeliest class.

    y_true: (n, k) one-hot. y_prob: (n, k) that add up to 1. names: of the k classes. folds: (n,), as of
    `binary_metrics`. Of macro, accuracy, loss (cross
    entropy), brier (summed over classes), mcc (Gorodkin 2004) and ece (of the answer's own probability) are of the
    rows as a whole; the others average the classes that occur and are not the only one, `averaged` of them, and are
    None where one of these has no figure. Raises `DataError` for anything else.
    """
    y, prob = checked_table(y_true, y_prob, one_hot=True)
    refuse_names(names, y.shape[1])
    called = likeliest(prob)
    own = checked_folds(folds, len(y))
    table = {name: figures(y[:, c], prob[:, c], called[:, c], folds=own) for c, name in enumerate(names)}
    macro = averaged(table, [names[column] for column in both_answers(y)])
    macro |= {"balanced_accuracy": macro["recall"], **of_whole_rows(y, prob, called, folds=own)}
    return {**table, "macro": without(macro, ("prevalence", "all_positive_f1"))}


def multilabel_metrics(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    names: Sequence[str],
    *,
    threshold: ArrayLike = THRESHOLD,
    folds: ArrayLike | None = None,
) -> dict[str, Figures]:
    """Label -> the figures of the rows that have it, "macro" -> their mean, "micro" -> those of all cells as one.

    y_true: (n, k) 0, 1 or NaN where missing. y_prob: (n, k). threshold: one, or (k,) each label's own. folds:
    (n,), as of `binary_metrics`. macro averages
    the labels with both answers, `averaged` of them; a figure that one of these lacks is None. Raises `DataError`
    for anything else.
    """
    y, prob = checked_table(y_true, y_prob, one_hot=False)
    refuse_names(names, y.shape[1])
    known, own = ~np.isnan(y), checked_folds(folds, len(y))
    called = label_calls(prob, threshold)
    table = {
        name: figures(y[rows, c], prob[rows, c], called[rows, c], folds=own if own is None else own[rows])
        for c, (name, rows) in enumerate(zip(names, known.T, strict=True))
    }
    cells = None if own is None else np.broadcast_to(own[:, None], y.shape)[known]
    micro = figures(y[known], prob[known], called[known], folds=cells)
    return {**table, "macro": averaged(table, [names[column] for column in both_answers(y)]), "micro": micro}


def medmnist_figures(y_true: ArrayLike, y_prob: ArrayLike, task: str) -> Figures:
    """AUC and ACC just as the `medmnist` package's own evaluator computes them (Yang et al. 2023).

    y_true, y_prob: (n, k), k = 1 for `binary`. task: binary, multiclass or multilabel. It differs from the figures
    above in two ways: a probability of exactly 0.5 is called negative, and all labels are averaged, so that AUC is
    None if one of them has a single answer. Raises `DataError` as they do.
    """
    y, prob = checked_table(y_true, y_prob, one_hot=task == "multiclass")
    if np.isnan(y).any():
        raise DataError("the official evaluation knows no missing labels", hint="use the multi-label figures")
    areas = np.array([within_folds("auroc", *column)(np.ones((1, len(y)))) for column in zip(y.T, prob.T, strict=True)])
    right = likeliest(prob)[y == 1] if task == "multiclass" else (prob > THRESHOLD) == (y == 1)
    return {
        "AUC": None if np.isnan(areas).any() else float(areas.mean()),
        "ACC": float(right.mean()) if len(y) else None,
    }


def likeliest(prob: Reals) -> Flags:
    """(n, k) True at the likeliest class, the first of equals."""
    return np.asarray(np.arange(prob.shape[1]) == prob.argmax(axis=1)[:, None], dtype=bool)


def likeliest_from(prob: Reals, column: int) -> Reals:
    """(n,) from which probability on a class is the likeliest: above those before it, and no less than those after."""
    before, after = prob[:, :column].max(axis=1, initial=0.0), prob[:, column + 1 :].max(axis=1, initial=0.0)
    return np.asarray(np.maximum(np.nextafter(before, np.inf) if column else before, after), dtype=np.float64)


def label_calls(prob: Reals, threshold: ArrayLike) -> Flags:
    """(n, k) True where the probability is its label's threshold or more."""
    limits = np.broadcast_to(threshold, prob.shape) if np.ndim(threshold) == 0 else np.asarray(threshold)[None]
    if limits.shape[1:] != prob.shape[1:]:
        raise DataError(f"{prob.shape[1]} labels, but {limits.shape[1:]} thresholds", hint="give one, or one a label")
    return called_positive(prob, np.broadcast_to(limits, prob.shape))


def of_whole_rows(y: Reals, prob: Reals, called: Flags, *, folds: NDArray[np.int64] | None) -> Figures:
    """The figures of multi-class rows that are not made of one class against the rest."""
    names = ("accuracy", "loss", "brier", "majority_accuracy", "ece", "ece_pooled", "mcc")
    if not len(y):
        return dict.fromkeys(names)
    right = called[y == 1]
    values = row_values(y, prob, called)
    found = [float(values[name].mean()) for name in ("accuracy", "loss", "brier")]
    gaps = [ece(right * 1.0, prob.max(1), folds=of) for of in (folds, None)]
    return dict(zip(names, [*found, float(y.mean(0).max()), *gaps, gorodkin(y, called)], strict=True))


def row_values(y: Reals, prob: Reals, called: Flags) -> Mapping[str, Reals]:
    """Figure -> (n,) what each row adds to its mean."""
    return {
        "accuracy": called[y == 1].astype(np.float64),
        "loss": -np.log(likely(prob[y == 1])),
        "brier": ((prob - y) ** 2).sum(axis=1),
    }


def gorodkin(y: Reals, called: Flags) -> float | None:
    """The correlation of answers and classes, several of them; None where either is constant."""
    answers, n = called.astype(np.float64), len(y)
    of_class, of_answer = y.sum(axis=0), answers.sum(axis=0)
    covariance = (y * answers).sum() * n - of_class @ of_answer
    spread = np.sqrt((n * n - of_class @ of_class) * (n * n - of_answer @ of_answer))
    quotient = divided(np.array([covariance]), np.array([spread]))
    return None if np.isnan(quotient[0]) else float(quotient[0])


def both_answers(y: Reals) -> list[int]:
    """The labels that have both answers: of the others nothing can be ranked. y: (n, k)."""
    columns: list[int] = np.flatnonzero((y == 1).any(axis=0) & (y == 0).any(axis=0)).tolist()
    return columns


def averaged(table: Mapping[str, Figures], judged: Sequence[str]) -> Figures:
    """Figure -> mean over the judged labels; None where one lacks it, for leaving that one out would flatter."""
    first = next(iter(table.values()))
    kept = without(first, ONE_LABEL_ONLY)
    means = {metric: mean_or_none([table[name][metric] for name in judged]) for metric in kept}
    return {**means, "averaged": float(len(judged))}


def without(values: Figures, names: Sequence[str]) -> Figures:
    """The figures that are not among the names."""
    return {metric: value for metric, value in values.items() if metric not in names}


def refuse_names(names: Sequence[str], k: int) -> None:
    """Raises `DataError` unless there is one name a label, all different and none of `OVER_ALL`."""
    if len(names) != k or len(set(names)) != k:
        raise DataError(f"{k} labels, but the names {', '.join(names)}", hint="give one name a label, all different")
    if taken := set(names) & set(OVER_ALL):
        raise DataError(f"a label is called {taken.pop()}, as the mean is", hint="rename the label")
