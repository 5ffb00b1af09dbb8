"""A chest without findings, from the front and from the side: what the findings are drawn on.

No measurement is taken from a patient: shapes and numbers are drawn by eye.
"""

import math
from dataclasses import dataclass

import numpy as np

from cxremb.datasets.phantoms.canvas import Canvas, Points, Stroke, arc

RIGHT, LEFT = -1, 1  # the patient's sides, as signs of x on a frontal film
RIBS = 10  # pairs that show above the diaphragm
VERTEBRAE = 13


@dataclass(frozen=True)
class Body:
    """One patient's chest. Lengths in half film widths; counts of 0 are the healthy middle."""

    width: float  # of the thorax, from the middle to the inside of the ribs
    heart: float  # cardiothoracic ratio: widest heart over widest thorax
    fat: float  # thickness of the chest wall
    air: float = 0.0  # how far the lungs are blown up: -1 poor inspiration, 1 hyperinflated
    flat: float = 0.0  # how far the domes of the diaphragm are flattened, 0 to 1
    raised: tuple[float, float] = (0.0, 0.0)  # right and left dome, upwards
    bend: float = 0.0  # of the spine to a side
    stoop: float = 0.0  # of the spine to the back
    aorta: float = 0.0  # widening and tortuosity
    wear: float = 0.0  # degeneration of the spine
    markings: float = 1.0  # how plainly vessels and interstitium show

    @property
    def base(self) -> float:
        """The height at which the domes stand."""
        return 0.30 + 0.10 * self.air

    def spine(self, y: float) -> float:
        """Where the middle of the spine is at height `y` of a frontal film."""
        return self.bend * math.sin(2.6 * y + 0.6)


def draw_frontal(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    """Add a chest seen from the front."""
    w, rim = body.width, body.width + 0.06 + body.fat
    trunk = [(-0.2, -1.3), (-0.24, -0.86), (-0.6, -0.74), (-1.05, -0.62), (-1.1, -0.2), (-rim, -0.05), (-rim, 1.3)]
    canvas.soft += 0.42 * canvas.area([trunk + [(-x, y) for x, y in reversed(trunk)]], 0.03)
    canvas.soft += (0.22 + 0.8 * body.fat) * canvas.area([box(0.0, rim * 0.86, -0.55, bottom=1.4)], 0.16)
    belly = [(-w, body.base + 0.2), (-0.4 * w, body.base), (0.4 * w, body.base + 0.05), (w, body.base + 0.24)]
    canvas.soft += 0.22 * canvas.area([[*belly, (w, 1.5), (-w, 1.5)]], 0.07)
    heart = canvas.area([frontal_heart(body)], 0.02)
    canvas.lungs = canvas.area([frontal_lung(body, RIGHT), frontal_lung(body, LEFT)], 0.018) * (1 - 0.75 * heart)
    canvas.soft += 0.04 * heart - (0.50 + 0.05 * body.air) * canvas.lungs
    middle = [(body.spine(y), y) for y in (-0.95, -0.5, 0.0, 0.5, 1.1)]
    canvas.soft += 0.13 * canvas.area(
        [[(x - 0.13, y) for x, y in middle] + [(x + 0.13, y) for x, y in reversed(middle)]], 0.03
    )
    knob = 0.13 + 0.06 * body.aorta
    arch = [(0.02, -0.46), (knob + 0.02, -0.40), (knob + 0.04, -0.27), (0.12, -0.12), (0.1, 0.3), (0.0, 0.2)]
    canvas.soft += 0.14 * canvas.area([arch], 0.03)
    for sign in (RIGHT, LEFT):
        canvas.soft += 0.10 * body.markings * canvas.blob((sign * 0.22, -0.05 - 0.03 * sign), (0.06, 0.1))
    canvas.soft -= 0.12 * canvas.area([box(0.0, 0.045, -1.3, bottom=-0.28)], 0.03)  # the trachea
    canvas.soft -= 0.16 * canvas.blob(
        (0.45, body.base + 0.32 + rng.normal(0, 0.05)), (0.12, 0.05)
    )  # gas in the stomach
    branches = [vessel for sign in (RIGHT, LEFT) for vessel in vessels(body, (sign * 0.2, -0.04), sign, rng=rng)]
    canvas.strokes([*branches, *frontal_bones(body)])


def box(x: float, half_width: float, top: float, *, bottom: float) -> Points:
    """The corners of a rectangle around `x`."""
    return [(x - half_width, top), (x + half_width, top), (x + half_width, bottom), (x - half_width, bottom)]


def frontal_lung(body: Body, sign: int) -> Points:
    """The outline of the right or the left lung."""
    w, base = body.width, body.base - body.raised[0 if sign == RIGHT else 1] + (0.05 if sign == LEFT else 0.0)
    angle = base + 0.26 - 0.12 * body.flat  # the costophrenic angle is the lowest point of a lung
    inner = [(0.12, 0.30), (0.10, 0.0), (0.12, -0.45)]
    outer = [(0.26, -0.74), (0.5 * w + 0.1, -0.68), (0.86 * w, -0.3), (0.98 * w, 0.1), (w, angle)]
    dome = [(0.8 * w, base + 0.06), (0.5 * w, base + 0.04 * body.flat), (0.2, base + 0.06)]
    return [(sign * x, y) for x, y in [*inner, *outer, *dome]]


def frontal_heart(body: Body) -> Points:
    """The outline of the heart: two thirds of its width lie on the patient's left."""
    size, base = 2 * body.heart * body.width, body.base
    left, right, top = 0.64 * size, -0.36 * size, base - 0.28 - 0.3 * size
    return [
        (0.06, top), (0.55 * left, top + 0.16), (0.9 * left, base - 0.12), (left, base + 0.08),
        (0.7 * left, base + 0.2), (0.0, base + 0.2), (0.8 * right, base + 0.1), (right, base - 0.12),
        (0.6 * right, top + 0.12),
    ]  # fmt: skip


def frontal_bones(body: Body) -> list[Stroke]:
    """Ribs, clavicles, shoulder blades and the plates of the vertebrae."""
    strokes: list[Stroke] = []
    for number in range(RIBS):
        y = -0.66 + 0.118 * number
        reach = body.width * math.sqrt(max(0.2, 1 - ((y - 0.35) / 1.12) ** 2))
        for sign in (RIGHT, LEFT):
            start = (body.spine(y) + sign * 0.12, y)
            end = (sign * reach, y + 0.17)
            strokes.append((arc(start, (sign * 0.75 * reach, y - 0.12), end), 0.045, 0.05))
            if number < 6:  # the front ends fade into cartilage before the breastbone
                strokes.append((arc(end, (sign * 0.9 * reach, y + 0.38), (sign * 0.42, y + 0.42)), 0.05, 0.03))
    for sign in (RIGHT, LEFT):
        strokes.append((arc((sign * 0.08, -0.60), (sign * 0.4, -0.64), (sign * 0.85, -0.80)), 0.055, 0.09))
        strokes.append((arc((sign * 0.74, -0.70), (sign * 0.66, -0.4), (sign * 0.84, -0.08)), 0.03, 0.05))
    for number in range(VERTEBRAE):
        y = -0.9 + 0.15 * number
        x, lip = body.spine(y), 0.11 + 0.03 * body.wear
        strokes.append(([(x - lip, y), (x + lip, y)], 0.02 + 0.012 * body.wear, 0.05 + 0.04 * body.wear))
    return strokes


def vessels(body: Body, hilum: tuple[float, float], sign: int, *, rng: np.random.Generator) -> list[Stroke]:
    """Branches from the hilum outwards (`sign` 0: all around it), thinner and fainter with distance."""
    strokes: list[Stroke] = []
    spread = 1.25 if sign else np.pi
    for angle in rng.uniform(-spread, spread, 11 if sign else 16):
        direction = np.array([np.cos(angle) * (sign or 1), np.sin(angle)])
        length = rng.uniform(0.2, 0.5)
        start, bow, end = (
            np.array(hilum) + direction * length * part + rng.normal(0, 0.04, 2) for part in (0.1, 0.6, 1)
        )
        curve = arc((start[0], start[1]), (bow[0], bow[1]), (end[0], end[1]))
        strokes += [(curve, 0.012, 0.035 * body.markings), (curve[:5], 0.02, 0.05 * body.markings)]
    return strokes


def draw_lateral(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    """Add a chest seen from the patient's left, facing the left edge of the film."""
    f, b = 0.55 + 0.10 * body.air + 0.5 * body.fat, 0.62 + 0.08 * body.stoop
    trunk = [
        (-0.2, -1.3), (-0.24, -0.95), (-f - 0.02, -0.5), (-f - 0.14, 0.0), (-f - 0.16, 0.5), (-f - 0.2, 1.4),
        (b + 0.1, 1.4), (b + 0.14, 0.5), (b + 0.18, -0.2), (b - 0.02, -0.8), (0.22, -1.3),
    ]  # fmt: skip
    canvas.soft += 0.5 * canvas.area([trunk], 0.03)
    canvas.soft += 0.2 * canvas.area(
        [[(-0.55, body.base), (0.0, body.base), (0.6, 0.66), (0.7, 1.5), (-0.7, 1.5)]], 0.06
    )
    arm = [(-1.2, -1.0), (-0.2, -0.72), (0.35, -0.62), (0.5, -0.9), (0.2, -1.4), (-1.2, -1.4)]
    canvas.soft += 0.3 * canvas.area([arm], 0.06)
    dome = body.base - 0.5 * sum(body.raised) + 0.04
    lung = [
        (0.06, -0.72), (-0.3, -0.45), (-f + 0.04, 0.0), (-f + 0.02, dome + 0.06), (-0.3, dome), (0.1, dome + 0.04),
        (0.4, dome + 0.24 - 0.1 * body.flat), (b - 0.04, dome + 0.36 - 0.1 * body.flat), (b - 0.02, 0.1), (b, -0.3),
        (b - 0.16, -0.66),
    ]  # fmt: skip
    deep = 1.3 * body.heart * body.width
    heart = [
        (-0.1, dome - 0.3 - 0.4 * deep), (-0.18 + 0.45 * deep, dome - 0.2), (-0.16 + 0.4 * deep, dome + 0.06),
        (-0.3, dome + 0.12), (-f, dome + 0.08), (-f + 0.02, dome - 0.2), (-0.34, dome - 0.2 - 0.35 * deep),
    ]  # fmt: skip
    canvas.lungs = canvas.area([lung], 0.018) * (1 - 0.55 * canvas.area([heart], 0.03))
    canvas.soft -= (0.42 + 0.05 * body.air) * canvas.lungs
    canvas.soft += 0.12 * body.markings * canvas.blob((0.03, -0.1), (0.08, 0.1))
    canvas.soft -= 0.1 * canvas.area([[(0.02, -1.0), (0.1, -1.0), (0.08, -0.2), (0.0, -0.2)]], 0.03)  # the trachea
    knob = 0.12 + 0.05 * body.aorta
    arch = [*arc((-0.12, -0.1), (-0.1, -0.55), (0.2, -0.42)), *arc((0.2, -0.42), (0.36, -0.3), (0.34, 0.5))]
    canvas.strokes([(arch, knob, 0.05)], 0.03)
    canvas.strokes([*vessels(body, (0.03, -0.08), 0, rng=rng), *lateral_bones(body, f, b)])


def lateral_bones(body: Body, front: float, back: float) -> list[Stroke]:
    """Breastbone, ribs and vertebrae with their plates."""
    strokes: list[Stroke] = [([(-0.36, -0.5), (-front + 0.02, -0.1), (-front, 0.25)], 0.035, 0.12)]
    for number in range(RIBS):
        y = -0.62 + 0.12 * number
        reach = -front + 0.15 * abs(number - 6) / 6
        strokes.append((arc((back - 0.02, y), (0.2, y + 0.02), (reach, y + 0.42)), 0.035, 0.03))
    for number in range(VERTEBRAE):
        y = -0.8 + 0.145 * number
        x = back - 0.2 + (0.10 + 0.12 * body.stoop) * math.cos(1.7 * y) - 0.06
        gap = 0.02 + 0.012 * body.wear
        strokes.append(([(x, y), (x, y + 0.10)], 0.15, 0.07))
        for plate in (y - gap, y + 0.10 + gap):
            lip = 0.08 + 0.025 * body.wear
            strokes.append(([(x - lip, plate), (x + lip, plate)], 0.016 + 0.01 * body.wear, 0.11 + 0.05 * body.wear))
    return strokes
