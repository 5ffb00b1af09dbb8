"""Figures with their intervals, a row each: arms and controls, differences, groups of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxremb.reporting.canvas import GREY, INK, LINES, MARKERS, SOFT, Drawing
from cxremb.reporting.subject import ReportSubject
from cxremb.table import UNDEFINED, span

ROW, ROOM = 0.27, 0.75  # inches: a row, and the axis with its name
NARROWEST = 0.02  # of an axis: a narrower one would make noise look like news
CHANCE = 0.5


@dataclass(frozen=True)
class Bar:
    """One row of a forest plot: an estimate with its interval, None where there is none."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    colour: str = INK
    marker: str = "s"
    sign: str = ""  # "+": a difference, written with its sign


def arms_drawing(subject: ReportSubject) -> Drawing:
    """The AUROC of each arm on an axis that is as wide as they need, and below it that of each control."""
    return stacked_forests(*bars_of(subject), marks=subject.marks)


def bars_of(subject: ReportSubject) -> tuple[list[Bar], list[Bar]]:
    """The rows of the arms, and those of the controls that were made."""
    places = {arm.row.arm: arm.place for arm in subject.shown}
    arms = [bar_of(row.title, row.auroc, places.get(row.arm)) for row in subject.result.rows]
    return arms, [bar_of(one.name, one.row.auroc, None) for one in subject.result.controls if one.row]


def stacked_forests(
    arms: Sequence[Bar], controls: Sequence[Bar], title: str = "AUROC of arms and controls", *, marks: tuple[str, ...]
) -> Drawing:
    """Arms above on an axis of their own, controls below."""
    heights = [len(arms) * ROW + ROOM, *([len(controls) * ROW + ROOM] if controls else [])]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        forest(axes[0], arms, "AUROC of arms, zoomed; brackets: 95%")
        if controls:
            forest(axes[1], controls, "AUROC of controls, which must not win; dashed: chance", chance=CHANCE)

    caption = (
        "AUROC on test rows with 95% intervals. The axis of the arms is zoomed to them, that of the controls is not."
    )
    spoken = "; ".join(f"{bar.name} {estimate(bar)}" for bar in [*arms, *controls])
    return Drawing("arms", title, caption, spoken, sum(heights) + 0.2 * bool(marks), paint, marks)


def differences_drawing(subject: ReportSubject) -> Drawing | None:
    """The difference of each arm to the reference, with its interval; None where there is none."""
    result = subject.result
    places = {arm.row.arm: arm.place for arm in subject.shown}
    gaps = [bar_of(row.title, row.difference, places.get(row.arm)) for row in result.rows if row.difference]
    bars = [replace(bar, sign="+") for bar in gaps]
    if not bars:
        return None

    def paint(figure: Figure) -> None:
        forest(figure.subplots(), bars, f"AUROC minus that of {result.reference}", chance=0.0)

    return Drawing(
        "differences",
        f"Differences to {result.reference}",
        f"AUROC of each arm minus that of {result.reference} on the same rows, as in the table. Dashed: no difference.",
        "; ".join(f"{bar.name} {estimate(bar)}" for bar in bars),
        len(bars) * ROW + ROOM + 0.2,
        paint,
        subject.marks,
    )


def bar_of(name: str, figure: object, place: int | None) -> Bar:
    """A row of a figure with `value`, `low` and `high`; grey without a place."""
    value, low, high = (getattr(figure, field) for field in ("value", "low", "high"))
    colour, marker = (GREY, "o") if place is None else (LINES[place % len(LINES)], MARKERS[place % len(MARKERS)])
    return Bar(name, value, low, high, colour, marker)


def forest(axes: Axes, bars: Sequence[Bar], name: str, *, chance: float | None = None) -> None:
    """Estimates with their intervals from the top down, their figures at the right, on an axis that they fill."""
    known = [end for bar in bars for end in (bar.low, bar.value, bar.high) if end is not None]
    known += [] if chance is None else [chance]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = max(0.06 * (high - low), (NARROWEST - (high - low)) / 2, 0.002)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(name)
    axes.locator_params(axis="x", nbins=5)
    if chance is not None:
        axes.axvline(chance, color=SOFT, linestyle=(0, (4, 3)), linewidth=1)
    for place, bar in enumerate(bars):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color=bar.colour, linewidth=2, solid_capstyle="butt")
            axes.plot([bar.low, bar.high], [place, place], "|", color=bar.colour, markersize=6)
        if bar.value is not None:
            axes.plot([bar.value], [place], bar.marker, color=bar.colour, markersize=5)
        text = estimate(bar)
        axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=INK)


def estimate(bar: Bar) -> str:
    """`.812 [.790, .833]`, a difference with its sign, or that it is undefined."""
    return span(bar.value, bar.low, bar.high, sign=bar.sign, nothing=UNDEFINED).replace("-", "\N{MINUS SIGN}")
