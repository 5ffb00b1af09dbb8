"""Figures of the probabilities themselves, a panel for each arm: whether they hold, and how they lie."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxremb.reporting import curves
from cxremb.reporting.canvas import LINES, SOFT, Drawing
from cxremb.reporting.subject import ReportSubject, ShownArm
from cxremb.table import UNDEFINED, short

MOST_MODELS = 10  # whose lines are drawn


def panels(
    arms: Sequence[ShownArm], paint: Callable[[Axes, ShownArm], None], *, across: int = 2
) -> tuple[float, Callable[[Figure], None]]:
    """(height, how it is painted) of a figure with a panel for each arm."""
    across = min(across, len(arms))
    down = -(-len(arms) // across)

    def whole(figure: Figure) -> None:
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for place, at in enumerate(axes.ravel()):
            if place < len(arms):
                paint(at, arms[place])
                at.set_title(arms[place].title)
            else:
                at.set_axis_off()
        handles, names = axes[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=2)

    return down * (2.1 if across > 1 else 3.2) + 0.5, whole


def reliability_drawing(subject: ReportSubject) -> Drawing | None:
    """Share of positives against probability, per fold and over folds; None of several labels."""
    arms = subject.shown
    if len(arms[0].test.labels) > 1:
        return None
    found = {arm.place: curves.reliability(arm.test) for arm in arms}

    def one(axes: Axes, arm: ShownArm) -> None:
        colour = LINES[arm.place % len(LINES)]
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        for model in found[arm.place].models[:MOST_MODELS]:
            axes.plot(*zip(*model, strict=True), color=colour, linewidth=0.7, alpha=0.4)
        axes.plot(*zip(*found[arm.place].mean, strict=True), "o-", color=colour, markersize=3.5)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability", ylabel="share of positives")
        axes.label_outer()

    height, paint = panels(arms, one)
    gaps = "; ".join(f"{arm.title}: ECE {short(arm.row.ece, UNDEFINED)}" for arm in arms)
    caption = (
        "Share of positives against mean probability on test rows, in ten bins of equal mass of each fold's own rows: "
        f"thin, each fold; thick, their mean. Dashed: calibrated. {gaps}.{subject.which}"
    )
    return Drawing("reliability", "Reliability", caption, gaps, height, paint, subject.marks)


def scores_drawing(subject: ReportSubject) -> Drawing | None:
    """Histograms of the probabilities of positive and negative rows; None of several labels."""
    arms = subject.shown
    if len(arms[0].test.labels) > 1:
        return None
    label = arms[0].test.labels[0]
    edges = np.linspace(0, 1, curves.BINS + 1)
    tables = {arm.place: [curves.histogram(arm.test, answer) for answer in (0, 1)] for arm in arms}

    def one(axes: Axes, arm: ShownArm) -> None:
        for answer, (colour, style) in enumerate(((LINES[5], "-"), (LINES[1], "-"))):
            name = label if answer else f"not {label}"
            shares = tables[arm.place][answer]
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25, linewidth=0)
            axes.stairs(shares, edges, color=colour, linestyle=style, label=name, linewidth=1.3)
        for threshold in np.unique(arm.test.threshold)[:MOST_MODELS].tolist():
            axes.axvline(threshold, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set(xlim=(0, 1), xlabel="probability", ylabel="share of rows")
        axes.label_outer()

    height, paint = panels(arms, one)
    spoken = f"Histograms of the probabilities of {', '.join(arm.title for arm in arms)}."
    caption = (
        f"Probabilities of the test rows in {curves.BINS} bins, as a share of the rows of each answer. Dashed: the "
        f"threshold that the table calls rows at.{subject.which}"
    )
    return Drawing("scores", "Scores", caption, spoken, height, paint, subject.marks)
