"""Figures as SVG text: no library, no script, colours from the page's style so that they follow light and dark."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

Point = tuple[float, float]

DASHES = ("none", "7 3", "2 3", "9 3 2 3")  # with the colour, so that arms are told apart in grey print as well
COLOURS = 6  # as many as the style has: --line0 to --line5
GREY_LINE = 5  # which of them is grey
GREY = f"line{GREY_LINE}"


@dataclass(frozen=True)
class Bar:
    """One row of a forest plot: an estimate with its interval, None where there is none."""

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Chart:
    """Where data coordinates lie on the drawing, in pixels. `x` and `y` are (low, high) of the data."""

    width: int
    height: int
    x: Point
    y: Point
    left: int = 48
    right: int = 12
    top: int = 12
    bottom: int = 40

    def at(self, point: Point) -> Point:
        """A data point in pixels; y grows upward in the data and downward on the drawing."""
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        inner = self.width - self.left - self.right, self.height - self.top - self.bottom
        return self.left + across * inner[0], self.height - self.bottom - up * inner[1]


def roc_curves(curves: Mapping[str, Sequence[Point]]) -> str:
    """ROC curves by name, each a path of (1 - specificity, sensitivity), over the diagonal of a guess."""
    frame = Chart(410, 390, (0, 1), (0, 1))
    ticks = [0, 0.25, 0.5, 0.75, 1]
    marks = [
        *axes(frame, ticks, ticks, x_name="1 − specificity", y_name="sensitivity"),
        path([(0, 0), (1, 1)], frame, "chance"),
    ]
    for index, (name, points) in enumerate(curves.items()):
        marks.append(path(points, frame, f"line line{index % COLOURS}", dash=DASHES[index % len(DASHES)]))
        marks += key_entry(frame, index, len(curves), name=name)
    return svg(
        frame,
        "ROC curves",
        f"Sensitivity against 1 − specificity for {', '.join(curves)}; diagonal: chance.",
        marks=marks,
    )


def forest(bars: Sequence[Bar], measure: str, chance: float) -> str:
    """Estimates with their intervals, one row each, and a line at `chance`."""
    known = [value for bar in bars for value in (bar.low, bar.value, bar.high) if value is not None]
    low, high = min([chance, *known]), max([chance, *known])
    pad = max(0.05 * (high - low), 0.01)
    left = max(72, *(16 + 8 * len(bar.name) for bar in bars)) if bars else 72  # room for the longest name
    frame = Chart(460, 64 + 34 * len(bars), (low - pad, high + pad), (0, max(len(bars), 1)), left=left, right=150)
    marks = axes(frame, round_ticks(*frame.x), [], x_name=measure, y_name="")
    marks.append(path([(chance, 0), (chance, frame.y[1])], frame, "chance"))
    for index, bar in enumerate(bars):
        marks += forest_row(frame, bar, len(bars) - index - 0.5, colour=f"line{index % COLOURS}")
    figures = "; ".join(f"{bar.name} {estimate(bar)}" for bar in bars)
    return svg(
        frame, f"{measure} per arm with 95% intervals", f"{figures}. The dashed line is chance, {chance}.", marks=marks
    )


def forest_row(frame: Chart, bar: Bar, height: float, *, colour: str) -> Iterator[str]:
    """One estimate at `height` of the plot: name, interval, point, figures. colour: a class of drawings.css."""
    _, y = frame.at((frame.x[0], height))
    yield label(frame.left - 8, y + 4, bar.name, anchor="end")
    yield label(frame.width - frame.right + 8, y + 4, estimate(bar))
    if bar.low is not None and bar.high is not None:
        yield path([(bar.low, height), (bar.high, height)], frame, f"line {colour}")
    if bar.value is not None:
        x, _ = frame.at((bar.value, height))
        yield f'<rect class="dot {colour}" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>'


def picture(title: str, subtitle: str, arms: Sequence[Bar], *, controls: Sequence[Bar]) -> str:
    """An ablation as an SVG file of its own: the AUROC of each arm with its interval, controls below them in grey.

    Its background and colours follow the reader's scheme, light or dark; it needs no page around it.
    """
    rows = [*arms, *controls]
    low = math.floor(10 * min([0.4, *(bar.low for bar in rows if bar.low is not None)])) / 10
    left = 24 + 8 * max([len(bar.name) for bar in rows], default=0)
    frame = Chart(720, 110 + 27 * len(rows), (low, 1), (0, max(len(rows), 1)), left=left, right=170, top=64)
    marks = [f'<rect class="paper" width="{frame.width}" height="{frame.height}"/>']
    marks += [f'<g class="title">{label(16, 26, title)}</g>', label(16, 46, subtitle)]
    marks += axes(frame, round_ticks(low, 1), [], x_name="AUROC, with 95% intervals; dashed: chance", y_name="")
    marks.append(path([(0.5, 0), (0.5, frame.y[1])], frame, "chance"))
    for index, bar in enumerate(rows):
        control = index >= len(arms)
        row = "".join(
            forest_row(frame, bar, len(rows) - index - 0.5, colour=GREY if control else f"line{index % GREY_LINE}")
        )
        marks.append(f'<g class="quiet">{row}</g>' if control else row)
    figures = "; ".join(f"{bar.name} {estimate(bar)}" for bar in rows)
    style = Path(__file__).with_name("drawings.css").read_text(encoding="utf-8")
    return svg(frame, title, f"{subtitle}. {figures}.", marks=[f"<style>{style}</style>", *marks])


def loss_curves(arm: str, curves: Mapping[str, Sequence[Point]], top: float) -> str:
    """Loss per epoch on the rows of each named part. `top`: the end of the axis, so that several figures compare."""
    last = max([x for points in curves.values() for x, _ in points], default=1)
    frame = Chart(285, 230, (0, max(last, 1)), (0, top or 1))
    marks = axes(frame, round_ticks(*frame.x), round_ticks(*frame.y), x_name="epoch", y_name="loss")
    for index, (name, points) in enumerate(curves.items()):
        marks.append(path(points, frame, f"line line{index}", dash=DASHES[index]))
        if len(points) == 1:
            x, y = frame.at(points[0])
            marks.append(f'<circle class="dot line{index}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        marks += key_entry(frame, index, len(curves), name=name, high=True)
    changes = [f"{name} {points[0][1]:.3f} to {points[-1][1]:.3f}" for name, points in curves.items() if points]
    return svg(
        frame, f"Loss of the {arm} arm", f"Mean over folds by epoch: {', '.join(changes) or 'none'}.", marks=marks
    )


def key_entry(frame: Chart, index: int, of: int, *, name: str, high: bool = False) -> Iterator[str]:
    """One line of the key, bottom right where ROC curves leave room, or top right."""
    x = frame.width - frame.right - 112
    y = frame.top + 14 + 18 * index if high else frame.height - frame.bottom - 12 - 18 * (of - 1 - index)
    dash = DASHES[index % len(DASHES)]
    yield f'<path class="line line{index % COLOURS}" stroke-dasharray="{dash}" d="M{x} {y}h26"/>'
    yield label(x + 34, y + 4, name)


def axes(frame: Chart, across: Sequence[float], up: Sequence[float], *, x_name: str, y_name: str) -> list[str]:
    """Grid lines with their numbers, and the names of both axes."""
    marks = []
    for value in across:
        x, y = frame.at((value, frame.y[0]))
        marks += [
            f'<path class="grid" d="M{x:.1f} {y:.1f}V{frame.top}"/>',
            label(x, y + 16, f"{value:g}", anchor="middle"),
        ]
    for value in up:
        x, y = frame.at((frame.x[0], value))
        marks += [
            f'<path class="grid" d="M{x:.1f} {y:.1f}H{frame.width - frame.right}"/>',
            label(x - 6, y + 4, f"{value:g}", anchor="end"),
        ]
    marks.append(label((frame.left + frame.width - frame.right) / 2, frame.height - 6, x_name, anchor="middle"))
    middle = (frame.top + frame.height - frame.bottom) / 2
    return [*marks, f'<g transform="rotate(-90 12 {middle})">{label(12, middle, y_name, anchor="middle")}</g>']


def round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from `low` to `high`."""
    steps = (digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5))
    step = next((step for step in steps if (high - low) / step <= 6), high - low)
    first = -int(-low // step) if low % step else int(low // step)
    return [round(n * step, 9) for n in range(first, int(high / step + 1e-9) + 1)]


def path(points: Sequence[Point], frame: Chart, kind: str, *, dash: str = "") -> str:
    """A line through data points."""
    if not points:
        return ""
    joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(frame.at, points))
    return f'<path class="{kind}" d="M{joined}"' + (f' stroke-dasharray="{dash}"/>' if dash else "/>")


def label(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    """A piece of text, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def estimate(bar: Bar) -> str:
    """`0.812 (0.790 to 0.833)`, or what is missing."""
    if bar.value is None:
        return "undefined"
    text = f"{bar.value:.3f}" + ("" if bar.low is None else f" ({bar.low:.3f} to {bar.high:.3f})")
    return text.replace("-", "\N{MINUS SIGN}")


def svg(frame: Chart, title: str, description: str, *, marks: Sequence[str]) -> str:
    """The drawing, with a title and a description for those who hear it."""
    head = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    size = f'viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" height="{frame.height}"'
    spoken = escape(f"{title}. {description}", quote=True)
    return (
        f'<svg role="img" aria-label="{spoken}" {size} xmlns="http://www.w3.org/2000/svg">{head}{"".join(marks)}</svg>'
    )
