"""The findings that are marks on a film rather than a change of the body: one function for each kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxremb.datasets.phantoms.anatomy import Body
from cxremb.datasets.phantoms.canvas import Canvas, Density, Stroke, arc, enlarge
from cxremb.datasets.phantoms.findings import DrawnFinding

Place = tuple[float, float]


@dataclass(frozen=True)
class Site:
    """Where marks go: the canvas, the body on it, whether it is seen from the front, and the dice."""

    canvas: Canvas
    body: Body
    frontal: bool
    rng: np.random.Generator

    def place(self, side: int, level: float | None, *, near: float = 0.35, far: float = 0.85) -> Place:
        """A place in the lung of `side`: `near` and `far` from the middle as shares of the lung's width."""
        low = self.body.base - 0.05
        height = (
            float(self.rng.uniform(-0.5, low))
            if level is None
            else min(level + float(self.rng.normal(0, 0.05)), low + 0.1)
        )
        across = float(self.rng.uniform(near, far)) * self.body.width
        if self.frontal:
            narrowing = 1.0 if height > -0.3 else 0.7  # towards the apex
            return side * across * narrowing, height
        back = (
            0.1 + 0.5 * height if level is None or level > 0.18 else -0.1
        )  # lower lobes lie behind, the others in front
        return back + float(self.rng.normal(0, 0.1)), height

    def add(self, shape: Density, density: float) -> None:
        """Add `shape` where there is lung."""
        self.canvas.soft += density * shape * self.canvas.lungs


def draw_opacity(site: Site, finding: DrawnFinding) -> None:
    """Patches of blobs that run together."""
    for side in finding.sides:
        x, y = site.place(side, finding.level)
        for dx, dy in site.rng.normal(0, 0.07, (4, 2)):
            radii = site.rng.uniform(0.04, 0.10, 2)
            site.add(site.canvas.blob((x + dx, y + dy), (radii[0], radii[1])), 0.11 * finding.strength)


def draw_haze(site: Site, finding: DrawnFinding) -> None:
    """A net of fine shadows over both lungs, denser towards the base."""
    coarse = site.rng.standard_normal((site.canvas.side // 8,) * 2, dtype=np.float32)
    net = np.maximum(np.float32(0.7) + np.float32(0.5) * enlarge(coarse, site.canvas.side // 2), 0)
    site.add(net * np.linspace(0.3, 1.2, len(net), dtype=np.float32)[:, None], 0.10 * finding.strength)


def draw_bands(site: Site, finding: DrawnFinding) -> None:
    """Thin plates, nearly level."""
    strokes: list[Stroke] = []
    for side in finding.sides:
        for _ in range(2):
            x, y = site.place(side, 0.25 if finding.level is None else finding.level)
            length, rise = site.rng.uniform(0.08, 0.16), site.rng.normal(0, 0.05)
            strokes.append(([(x - length, y - rise), (x + length, y + rise)], 0.02, 0.10 * finding.strength))
    site.canvas.strokes(strokes, 0.010)


def draw_fluid(site: Site, finding: DrawnFinding) -> None:
    """Fluid that fills the lung from its lowest point up to a meniscus, higher at the chest wall."""
    w, top = site.body.width, site.body.base + 0.16 - 0.17 * finding.strength
    wall = [(w + 0.05, top - 0.15), (0.75 * w, top + 0.02), (0.2, top + 0.08), (0.2, 0.9), (w + 0.05, 0.9)]
    back = [(0.75, top), (0.45, top + 0.12), (0.0, top + 0.2), (0.0, 1.0), (0.75, 1.0)]  # both sides lie in one shadow
    outlines = [[(side * x, y) for x, y in wall] for side in finding.sides] if site.frontal else [back]
    site.add(site.canvas.area(outlines, 0.03), min(0.5, 0.45 * math.sqrt(finding.strength)))


def draw_nodule(site: Site, finding: DrawnFinding) -> None:
    """One round shadow a side."""
    for side in finding.sides:
        (x, y), radius = site.place(side, finding.level), float(site.rng.uniform(0.02, 0.04))
        site.add(site.canvas.blob((x, y), (radius, radius)), 0.28 * finding.strength)


def draw_calcium(site: Site, finding: DrawnFinding) -> None:
    """A few small dense dots."""
    strokes: list[Stroke] = []
    for side in finding.sides:
        x, y = site.place(side, finding.level, near=0.2)
        for dx, dy in site.rng.normal(0, 0.04, (site.rng.integers(1, 4), 2)):
            strokes.append(([(x + dx - 0.008, y + dy), (x + dx + 0.008, y + dy)], 0.022, 0.20 * finding.strength))
    site.canvas.strokes(strokes, 0.006)


def draw_catheter(site: Site, finding: DrawnFinding) -> None:
    """A thin line from the shoulder into the large vein above the heart."""
    side = finding.sides[0]
    tip = (-0.07, -0.02) if site.frontal else (-0.05, 0.0)
    start = (side * 0.5, -0.62) if site.frontal else (-0.2, -0.75)
    path = [*arc(start, (side * 0.2 if site.frontal else 0.0, -0.75), (-0.07, -0.42)), tip]
    site.canvas.strokes([(path, 0.014, 0.20 * finding.strength)], 0.006)


def draw_generator(site: Site, finding: DrawnFinding) -> None:
    """A pulse generator under the collar bone, with a lead to the heart."""
    x, y = (finding.sides[-1] * 0.52, -0.48) if site.frontal else (-0.42, -0.45)
    lead = [*arc((x, y), (0.1, -0.75), (-0.06, -0.3)), *arc((-0.06, -0.2), (-0.08, 0.35), (0.2, 0.28))]
    case = [(x, y - 0.05), (x, y + 0.05)]
    site.canvas.strokes([(lead, 0.014, 0.25 * finding.strength), (case, 0.14, 0.40 * finding.strength)], 0.006)


def draw_clips(site: Site, finding: DrawnFinding) -> None:
    """Wires or clips near the middle."""
    x0 = 0.0 if site.frontal else -0.45
    places = [(x0 + float(site.rng.normal(0, 0.04)), y) for y in np.linspace(-0.3, 0.35, 5).tolist()]
    strokes = [([(x - 0.025, y - 0.01), (x + 0.025, y + 0.01)], 0.014, 0.30 * finding.strength) for x, y in places]
    site.canvas.strokes(strokes, 0.006)


def draw_fracture(site: Site, finding: DrawnFinding) -> None:
    """Callus at the side of a rib."""
    side, y = finding.sides[0], float(site.rng.uniform(-0.3, 0.3))
    x = side * site.body.width * 0.9 if site.frontal else 0.3
    site.canvas.strokes([([(x - 0.03, y), (x + 0.03, y + 0.03)], 0.06, 0.10 * finding.strength)], 0.012)


def draw_pneumothorax(site: Site, finding: DrawnFinding) -> None:
    """Air without markings above and beside the lung."""
    x = finding.sides[0] * 0.62 * site.body.width if site.frontal else 0.1
    site.add(site.canvas.blob((x, -0.55), (0.12, 0.14)), -0.14 * finding.strength)


def draw_hernia(site: Site, finding: DrawnFinding) -> None:
    """A round shadow behind the heart."""
    x = 0.06 if site.frontal else 0.2
    site.canvas.soft += 0.16 * finding.strength * site.canvas.blob((x, site.body.base), (0.09, 0.08))


def draw_cap(site: Site, finding: DrawnFinding) -> None:
    """Thickened pleura over the apex."""
    for side in finding.sides:
        x = side * 0.38 if site.frontal else 0.1
        site.add(site.canvas.blob((x, -0.70), (0.12, 0.05)), 0.2 * finding.strength)


MARKS: dict[str, Callable[[Site, DrawnFinding], None]] = {
    "opacity": draw_opacity, "haze": draw_haze, "bands": draw_bands, "fluid": draw_fluid, "nodule": draw_nodule,
    "calcium": draw_calcium, "catheter": draw_catheter, "generator": draw_generator, "clips": draw_clips,
    "fracture": draw_fracture, "pneumothorax": draw_pneumothorax, "hernia": draw_hernia, "cap": draw_cap,
}  # fmt: skip


def draw_mark(site: Site, finding: DrawnFinding) -> None:
    """Draw the finding if it is a mark, nothing if it changed the body."""
    if finding.kind in MARKS:
        MARKS[finding.kind](site, finding)
