"""Figures of what the models say of test rows: ROC, precision and recall, confusion, reliability, scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cxremb.errors import DataError
from cxremb.evaluation.arrays import MULTICLASS, MULTILABEL
from cxremb.evaluation.metrics import called_positive
from cxremb.predictions import Predictions
from cxremb.reporting import curves
from cxremb.reporting.canvas import INK, LINES, PAPER, SOFT, STYLES, Drawing
from cxremb.reporting.subject import ReportSubject, ShownArm

WITHIN = (
    "Each fold's model ranks its own test rows alone; the line is the mean of these curves{weighted}. Band: pointwise "
    f"95%, {curves.RESAMPLES} resamples of patients: these fitted models, other patients."
)
PANEL = 1.75  # inches: the height of one of several panels
MEAN = {
    MULTICLASS: " The mean over the classes, each against the others.",
    MULTILABEL: " The mean over the labels.",
}
MOST_CLASSES = 8  # of a matrix that can be read
Counts = NDArray[np.int64]
MOST_MODELS = 10  # whose lines are drawn


def roc_drawing(subject: ReportSubject) -> Drawing | None:
    """ROC curves with bands; None where no arm has both answers."""
    found = [(arm, curve) for arm in subject.shown if (curve := curves.roc(arm.test)) is not None]

    def finish(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlabel="1 \N{MINUS SIGN} specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right")

    weighted = ", weighted by pairs, so the area below it is the AUROC within folds"
    return curves_drawing(subject, found, ("roc", "ROC curves", "Dashed: chance."), weighted=weighted, finish=finish)


def precision_recall_drawing(subject: ReportSubject) -> Drawing | None:
    """Precision against recall with bands; None where no arm has both answers."""
    found = [(arm, curve) for arm in subject.shown if (curve := curves.precision_recall(arm.test)) is not None]
    prevalence = subject.result.prevalence

    def finish(axes: Axes) -> None:
        if prevalence is not None:
            axes.axhline(prevalence, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(loc="lower left")

    words = ("precision-recall", "Precision and recall", "Dashed: the prevalence, which is chance.")
    return curves_drawing(subject, found, words, weighted=", weighted by positives", finish=finish)


def curves_drawing(
    subject: ReportSubject,
    found: Sequence[tuple[ShownArm, curves.Curve]],
    words: tuple[str, str, str],
    *,
    weighted: str,
    finish: Callable[[Axes], None],
) -> Drawing | None:
    """Lines over `curves.GRID` with their bands. words: name, title, what the dashed line is."""
    if not found:
        return None
    name, title, dashed = words

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for arm, curve in found:
            colour, style = LINES[arm.place % len(LINES)], STYLES[arm.place % len(STYLES)]
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curves.GRID, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(curves.GRID, curve.value, color=colour, linestyle=style, label=arm.title)
        finish(axes)

    reasons = dict.fromkeys(curve.reason for _, curve in found if curve.reason)
    several = MEAN.get(found[0][0].test.task, "")
    missing = "".join(f" No band: {reason}." for reason in reasons)
    spoken = f"{title} of {', '.join(arm.title for arm, _ in found)}."
    caption = f"{title} on test rows. {WITHIN.format(weighted=weighted)}{several}{missing} {dashed}{subject.which}"
    return Drawing(name, title, caption, spoken, 4.2, paint, subject.marks)


def confusion_drawing(subject: ReportSubject) -> Drawing | None:
    """What each arm calls the test rows, at 0.5 and at thresholds chosen on validation rows; None of several labels."""
    arms = subject.shown
    if len(arms[0].test.labels) > 1:
        return classes_drawing(subject) if arms[0].test.task == MULTICLASS else None
    columns: dict[str, Sequence[Counts | None]] = {"at 0.5": [matrix(replace(arm.test, threshold=0.5)) for arm in arms]}
    chosen = [at_youden(arm) for arm in arms]
    if any(one is not None for one in chosen):
        columns["at the chosen threshold"] = chosen
    label = arms[0].test.labels[0]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(arms), len(columns), squeeze=False)
        for row in range(len(arms)):
            for column, (where, matrices) in enumerate(columns.items()):
                found = matrices[row]
                if found is None:
                    axes[row, column].set_axis_off()
                    continue
                draw_matrix(axes[row, column], found, [f"not {label}", label], first=column == 0)
                axes[row, column].set_xlabel(f"called, {where}")
            axes[row, 0].set_title(arms[row].title, loc="left")

    spoken = "; ".join(
        f"{arm.title} {where}: TP {found[1, 1]:,}, FN {found[1, 0]:,}, FP {found[0, 1]:,}, TN {found[0, 0]:,}"
        for where, matrices in columns.items()
        for arm, found in zip(arms, matrices, strict=True)
        if found is not None
    )
    caption = "Test rows by what they are and what they are called. Left: positive from a probability of 0.5 on."
    if len(columns) > 1:
        caption += (
            " Right: from each fold's own threshold on, the one with the best sensitivity + specificity on its "
            "validation rows (Youden 1950)."
        )
    return Drawing(
        "confusion",
        "Confusion matrices",
        caption + often(subject) + subject.which,
        spoken,
        len(arms) * PANEL + 0.2,
        paint,
        subject.marks,
    )


def classes_drawing(subject: ReportSubject) -> Drawing | None:
    """Of classes that exclude each other: the likeliest against the true one."""
    arms, labels = subject.shown, subject.shown[0].test.labels
    if len(labels) > MOST_CLASSES:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(arms), 1, squeeze=False)[:, 0]
        for at, arm in zip(axes, arms, strict=True):
            found = np.zeros((len(labels), len(labels)), dtype=np.int64)
            np.add.at(found, (arm.test.y.argmax(1), arm.test.prob.argmax(1)), 1)
            draw_matrix(at, found, list(labels), first=True)
            at.set_title(f"{arm.title}, the likeliest class")

    height = len(arms) * (0.8 + 0.3 * len(labels))
    spoken = f"Of {', '.join(arm.title for arm in arms)}: true class against the likeliest."
    caption = "Test rows by class and by the class that the model finds likeliest." + often(subject) + subject.which
    return Drawing("confusion", "Confusion matrices", caption, spoken, height, paint, subject.marks)


def matrix(test: Predictions) -> Counts:
    """(2, 2) rows by what is true (0, 1) and what is called (0, 1); several repeats and seeds are all counted."""
    found = np.zeros((2, 2), dtype=np.int64)
    called = called_positive(test.prob[:, 0], test.threshold)
    np.add.at(found, (test.y[:, 0].astype(int), np.asarray(called).astype(int)), 1)
    return found


def at_youden(arm: ShownArm) -> Counts | None:
    """As `matrix`, at each fold's own threshold; None where none can be chosen."""
    val = arm.run.predictions("val")
    try:
        return matrix(arm.test.at_thresholds(val.by_study() if arm.test.unit != val.unit else val))
    except DataError:  # no validation rows, or one class among them
        return None


def draw_matrix(axes: Axes, found: Counts, names: Sequence[str], *, first: bool) -> None:
    """Counts, and the share of each row of the matrix, shaded by it."""
    shares = found / np.maximum(1, found.sum(1, keepdims=True))
    k = len(names)
    for row in range(k):
        for column in range(k):
            box = (column - 0.5, row - 0.5)
            depth = 0.08 + 0.47 * float(shares[row, column])
            axes.add_patch(Rectangle(box, 1, 1, facecolor=LINES[0], alpha=depth, edgecolor=PAPER, linewidth=1))
            text = f"{found[row, column]:,}\n{shares[row, column]:.1%}" if k < 5 else f"{found[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=INK)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), xticks=range(k), yticks=range(k), xlabel="called")
    axes.set_xticklabels(names, rotation=0 if k < 5 else 45)
    axes.set_yticklabels(names if first else [""] * k)
    axes.set_ylabel("is" if first else "")
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def often(subject: ReportSubject) -> str:
    """That a row counts more than once, where several models judge it."""
    times = max(len(arm.test.items) // len(set(arm.test.items.tolist())) for arm in subject.shown)
    return f" Each row counts {times} times, once for each repeat and seed." if times > 1 else ""
