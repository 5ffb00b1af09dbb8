"""A film to draw on, as X-ray density, and the shapes that can be added to it.

Coordinates: x runs from -1 (left edge of the film, the patient's right; on a lateral film the patient's front) to 1,
y from -1 (top) to 1. Density adds up along the beam: 0 is air outside the body, about 1 the middle of the abdomen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter

Density = NDArray[np.float32]
Points = Sequence[tuple[float, float]]
Stroke = tuple[Points, float, float]  # points, width, density


@dataclass(frozen=True)
class Pose:
    """How the patient stands to the film: degrees, and shifts in half film widths."""

    tilt: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def place(self, points: Points, side: int) -> list[tuple[float, float]]:
        """`points` as pixel positions on a film of `side` pixels."""
        cos, sin = math.cos(math.radians(self.tilt)) * self.zoom, math.sin(math.radians(self.tilt)) * self.zoom
        (dx, dy), half = self.shift, side / 2
        return [((x * cos - y * sin + dx + 1) * half, (x * sin + y * cos + dy + 1) * half) for x, y in points]


@dataclass
class Canvas:
    """A film that density is added to: `soft` tissue at half the film's resolution, `sharp` detail at all of it."""

    side: int
    pose: Pose
    soft: Density = field(init=False)
    sharp: Density = field(init=False)
    lungs: Density = field(init=False)  # 0 to 1 at half resolution: where there is air to be seen through

    def __post_init__(self) -> None:
        self.soft = np.zeros((self.side // 2, self.side // 2), np.float32)
        self.sharp = np.zeros((self.side, self.side), np.float32)
        self.lungs = np.zeros_like(self.soft)

    def area(self, outlines: Sequence[Points], blur: float) -> Density:
        """0 to 1 at half resolution: inside the closed curves through `outlines`; `blur` as a length."""
        side = self.side // 2
        picture = PilImage.new("L", (side, side))
        draw = ImageDraw.Draw(picture)
        for outline in outlines:
            draw.polygon(self.pose.place(smooth(outline), side), fill=255)
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(blur * side / 2)), np.float32) / np.float32(255)

    def strokes(self, strokes: Sequence[Stroke], blur: float = 0.008) -> None:
        """Add lines to the sharp part. Where they cross, the later one counts; no line is denser than 0.5."""
        picture = PilImage.new("L", (self.side, self.side))
        draw = ImageDraw.Draw(picture)
        for points, width, density in strokes:
            pixels = max(1, round(width * self.side / 2))
            draw.line(self.pose.place(points, self.side), fill=round(min(density, 0.5) * 510), width=pixels)
        blurred = picture.filter(ImageFilter.BoxBlur(blur * self.side / 2))
        self.sharp += np.asarray(blurred, np.float32) / np.float32(510)

    def blob(self, centre: tuple[float, float], radii: tuple[float, float]) -> Density:
        """A Gaussian of height 1 at half resolution; `radii` are one standard deviation across and down."""
        side = self.side // 2
        (x, y), grid = self.pose.place([centre], side)[0], np.arange(side, dtype=np.float32)
        across = np.exp(-0.5 * ((grid - x) / (radii[0] * side / 2)) ** 2)
        down = np.exp(-0.5 * ((grid - y) / (radii[1] * side / 2)) ** 2)
        return np.asarray(down[:, None] * across[None, :], np.float32)

    def density(self) -> Density:
        """Both parts together, (side, side)."""
        return enlarge(self.soft, self.side) + self.sharp


def enlarge(values: Density, side: int) -> Density:
    """`values` (n, n) interpolated to (side, side)."""
    picture = PilImage.fromarray(values)
    return np.asarray(picture.resize((side, side), PilImage.Resampling.BICUBIC), np.float32)


def catmull_rom(steps: int) -> NDArray[np.float64]:
    """(steps, 4) weights of the points before, at, after and after that, along one piece of the curve."""
    t = np.arange(steps)[:, None] / steps
    return 0.5 * np.hstack([t * (t * (2 - t) - 1), t * t * (3 * t - 5) + 2, t * (t * (4 - 3 * t) + 1), t * t * (t - 1)])


CURVE = catmull_rom(6)  # at 256 pixels the corners between six pieces cannot be seen


def smooth(outline: Points) -> list[tuple[float, float]]:
    """The closed Catmull-Rom curve through `outline`."""
    p = np.asarray(outline, np.float64)
    around = np.stack(
        [np.concatenate([p[-1:], p[:-1]]), p, np.concatenate([p[1:], p[:1]]), np.concatenate([p[2:], p[:2]])]
    )
    return [(x, y) for x, y in np.einsum("sk,kpc->psc", CURVE, around).reshape(-1, 2).tolist()]


def arc(start: tuple[float, float], through: tuple[float, float], end: tuple[float, float]) -> Points:
    """A quadratic curve that leaves `start` towards `through` and ends at `end`, eight points."""
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (i / 7 for i in range(8))]
    return [
        (a * start[0] + b * through[0] + c * end[0], a * start[1] + b * through[1] + c * end[1]) for a, b, c in weights
    ]
