"""The charts of the reference systems: five figures by epoch, and the arms side by side; and the learning curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from cxremb.evaluation.arrays import BINARY, MULTICLASS, MULTILABEL, Reals
from cxremb.reporting.canvas import GREY, INK, LINES, MARKERS, STYLES, Drawing
from cxremb.reporting.subject import ReportSubject, ShownArm, marks_of
from cxremb.table import UNDEFINED, bare, short

FIGURES = ("loss", "accuracy", "precision", "recall", "f1")
COMPARED = ("accuracy", "precision", "recall", "f1", "auroc")
NAMES = {"f1": "F1", "auroc": "AUROC"}
PHASES = {"train": "train", "val": "validation", "test": "test"}  # test where a split has no validation part
CALLED = {  # task -> what is called
    BINARY: "rows called positive from a probability of .5 on",
    MULTICLASS: "a row called its likeliest class; means over the classes, but accuracy, which is of the rows",
    MULTILABEL: "each label called from a probability of .5 on; means over the labels",
}
FILE = str.maketrans(dict.fromkeys("[]=,.+| /:", "-"))


@dataclass(frozen=True)
class EpochFigures:
    """One figure of one phase by epoch: the mean over the models that reached it, the least and the greatest."""

    epochs: tuple[int, ...]
    mean: Reals
    low: Reals
    high: Reals


def by_epoch(history: pa.Table, phase: str, name: str) -> EpochFigures:
    """history: columns `layout.HISTORY`. Epochs that not all models reached, or where one lacks the figure, are left
    out: the mean of fewer would jump.
    """
    values: dict[int, list[float | None]] = {}
    columns = (history[column].to_pylist() for column in ("epoch", "phase", name))
    for epoch, where, value in zip(*columns, strict=True):
        if where == phase:
            values.setdefault(epoch, []).append(value)
    models = max(map(len, values.values()), default=0)
    kept = {epoch: own for epoch, own in sorted(values.items()) if len(own) == models and None not in own}
    table = np.array([*kept.values()], dtype=np.float64).reshape(len(kept), max(1, models))
    return EpochFigures(tuple(kept), table.mean(1), table.min(1), table.max(1))


def epochs_drawing(arm: ShownArm, *, simulated: bool) -> Drawing | None:
    """Loss, accuracy, precision, recall and F1 by epoch in training and validation; None of what is not trained."""
    history = arm.run.history
    phases = [phase for phase in PHASES if phase in set(history["phase"].to_pylist())]
    if not phases:
        return None
    found = {(phase, name): by_epoch(history, phase, name) for phase in phases for name in FIGURES}
    kept = sorted(set(arm.run.record.epochs))

    def paint(figure: Figure) -> None:
        axes = figure.subplots(2, 3, sharex=True).ravel()
        for name, at in zip(FIGURES, axes, strict=False):
            for place, phase in enumerate(phases):
                one = found[phase, name]
                colour, marker = LINES[place], "o" if len(one.epochs) == 1 else ""
                at.fill_between(one.epochs, one.low, one.high, color=colour, alpha=0.15, linewidth=0)
                at.plot(one.epochs, one.mean, color=colour, linestyle=STYLES[place], marker=marker, label=PHASES[phase])
            at.set_title(NAMES.get(name, name))
            at.locator_params(nbins=4)
        for at in axes[3:5]:
            at.set_xlabel("epoch")
        axes[2].tick_params(labelbottom=True)
        axes[2].set_xlabel("epoch")
        axes[5].set_axis_off()
        axes[5].legend(*axes[0].get_legend_handles_labels(), loc="center", title=arm.title)

    last = "; ".join(
        f"{PHASES[phase]} {NAMES.get(name, name)} {bare(one.mean[0])} to {bare(one.mean[-1])}"
        for (phase, name), one in found.items()
        if one.epochs
    )
    span = f"{kept[0]} to {kept[-1]}" if len(kept) > 1 else "".join(map(str, kept))
    caption = (
        f"{arm.title}, by epoch: line, the mean over {len(arm.run.record.members)} models; band, the least and the "
        f"greatest of them. It ends where the first model stopped, or where one has no such figure. Kept: epoch {span}."
    )
    name = f"epochs-{arm.run.arm.translate(FILE).strip('-')}"
    marks = marks_of([arm.run], simulated=simulated)
    return Drawing(name, f"Training of {arm.title}", caption, f"Means by epoch: {last}.", 3.1, paint, marks)


def comparison_drawing(subject: ReportSubject) -> Drawing:
    """Accuracy, precision, recall, F1 and AUROC of the arms side by side, as stored with their runs."""
    arms = subject.shown
    values = {arm.place: [arm.run.metric(name) for name in COMPARED] for arm in arms}
    width = 0.8 / len(arms)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for arm in arms:
            at = np.arange(len(COMPARED)) - 0.4 + width * (arm.place + 0.5)
            found = values[arm.place]
            heights = [value or 0.0 for value, _, _ in found]
            colour = LINES[arm.place % len(LINES)]
            axes.bar(at, heights, width * 0.92, color=colour, alpha=0.35, edgecolor=colour, label=arm.title)
            for x, (value, low, high) in zip(at.tolist(), found, strict=True):
                if value is not None and low is not None and high is not None:
                    axes.plot([x, x], [low, high], color=INK, linewidth=1.2)
                if value is not None and len(arms) < 4:
                    axes.text(x, 0.02, bare(value), rotation=90, ha="center", va="bottom", fontsize=8)
        axes.set(xticks=range(len(COMPARED)), ylim=(0, 1.0))
        axes.set_xticklabels([NAMES.get(name, name) for name in COMPARED])
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=min(3, len(arms)))

    spoken = "; ".join(
        f"{arm.title} "
        + ", ".join(
            f"{NAMES.get(name, name)} {short(value, UNDEFINED)}"
            for name, (value, _, _) in zip(COMPARED, values[arm.place], strict=True)
        )
        for arm in arms
    )
    called = CALLED[subject.result.task]
    caption = (
        f"Figures of each run on all its test rows, as stored with it (`metrics`), {called}. Lines: their stored 95% "
        f"intervals. Arms may have other rows than the table.{subject.which}"
    )
    return Drawing("comparison", "Arms side by side", caption, spoken, 3.2, paint, subject.marks)


# Axis of arms -> where a run keeps it, the axis of the figure, and what the caption says.
CURVES = {
    "train-fraction": (
        "train_fraction",
        "share of the training patients",
        "how many of the training patients were trained on",
    ),
    "shots": ("shots", "training rows of each class", "how many rows of each class were trained on"),
}


def learning_drawing(subject: ReportSubject, axis: str = "train-fraction") -> Drawing | None:
    """AUROC by the share of the training patients, or by `shots`; None where no two arms differ in that alone."""
    measured, what, by = CURVES[axis]
    lines: dict[str, list[tuple[float, int]]] = {}
    for place, row in enumerate(subject.result.rows):
        record = subject.runs[row.arm].record
        if (value := getattr(record, measured)) is not None:
            lines.setdefault(without_axis(record.arm, axis), []).append((float(value), place))
    lines = {name: sorted(points) for name, points in lines.items() if len({share for share, _ in points}) > 1}
    if not lines:
        return None
    rows = subject.result.rows

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (name, points) in enumerate(lines.items()):
            colour = LINES[number] if number < len(LINES) else GREY
            values = [rows[place].auroc.value for _, place in points]
            axes.plot(
                [share for share, _ in points],
                [np.nan if value is None else value for value in values],
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                label=name,
            )
            for share, place in points:
                interval = rows[place].auroc
                if interval.low is not None and interval.high is not None:
                    axes.plot([share, share], [interval.low, interval.high], color=colour, linewidth=1.2)
        axes.set(xlabel=what, ylabel="AUROC", xscale="log")
        ticks = sorted({share for points in lines.values() for share, _ in points})
        axes.set_xticks(ticks, [f"{share:g}" for share in ticks])
        axes.minorticks_off()
        axes.legend(loc="lower right")

    spoken = "; ".join(
        f"{name}: " + ", ".join(f"{share:g} {short(rows[place].auroc.value, UNDEFINED)}" for share, place in points)
        for name, points in lines.items()
    )
    caption = f"AUROC on the same test rows by {by}, with 95% intervals."
    name = "learning-curve" if axis == "train-fraction" else f"learning-curve-{axis}"
    return Drawing(name, "Learning curve", caption, spoken, 3.0, paint, subject.marks)


def without_axis(arm: str, axis: str) -> str:
    """The arm's name without one of its changes."""
    base, _, body = arm.partition("[")
    kept: Sequence[str] = [part for part in body.rstrip("]").split(",") if part and not part.startswith(f"{axis}=")]
    return f"{base}[{','.join(kept)}]" if kept else base
