"""From indexing terms to what shows on a simulated film: changes of the body, and marks on the canvas.

A term such as "Opacity/lung/base/left" names a finding, and in any order its place, side and severity. What shows is
kept weak on purpose: about a third of the findings are next to invisible, as on real films, and other terms
("Arthritis", "No Indexing", ...) draw nothing at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxremb.datasets.anatomy import LEFT, RIGHT, Body, Canvas, Density, Stroke, arc, enlarge

Place = tuple[float, float]

# (first part of the term, a word it must also hold or "", what is drawn); the first line that fits counts
KINDS = (
    ("Cardiomegaly", "", "heart"), ("Cardiac Shadow", "enlarged", "heart"), ("Heart Failure", "", "heart"),
    ("Pericardial Effusion", "", "heart"), ("Lung", "hyperdistention", "air"), ("Emphysema", "", "air"),
    ("Pulmonary Emphysema", "", "air"), ("Pulmonary Disease, Chronic Obstructive", "", "air"),
    ("Lung, Hyperlucent", "", "air"), ("Lung", "hypoinflation", "shallow"), ("Diaphragm", "elevated", "raised"),
    ("Diaphragmatic Eventration", "", "raised"), ("Diaphragm", "flattened", "flat"), ("Scoliosis", "", "bend"),
    ("Kyphosis", "", "stoop"), ("Aorta", "", "aorta"), ("Aorta, Thoracic", "", "aorta"), ("Aortic Aneurysm", "", "aorta"),
    ("Mediastinum", "", "aorta"), ("Thoracic Vertebrae", "", "wear"), ("Spine", "", "wear"), ("Osteophyte", "", "wear"),
    ("Spondylosis", "", "wear"), ("Hyperostosis, Diffuse Idiopathic Skeletal", "", "wear"),
    ("Markings", "", "markings"), ("Pulmonary Congestion", "", "markings"), ("Pulmonary Edema", "", "haze"),
    ("Pulmonary Fibrosis", "", "haze"), ("Lung Diseases, Interstitial", "", "haze"), ("Opacity", "diffuse", "haze"),
    ("Opacity", "interstitial", "haze"), ("Opacity", "streaky", "bands"), ("Opacity", "", "opacity"),
    ("Airspace Disease", "", "opacity"), ("Infiltrate", "", "opacity"), ("Pneumonia", "", "opacity"),
    ("Consolidation", "", "opacity"), ("Pulmonary Atelectasis", "", "bands"), ("Atelectasis", "", "bands"),
    ("Cicatrix", "", "bands"), ("Pleural Effusion", "", "fluid"), ("Costophrenic Angle", "blunted", "fluid"),
    ("Nodule", "", "nodule"), ("Mass", "", "nodule"), ("Density", "", "nodule"), ("Granuloma", "", "nodule"),
    ("Calcified Granuloma", "", "calcium"), ("Calcinosis", "", "calcium"), ("Granulomatous Disease", "", "calcium"),
    ("Catheters, Indwelling", "", "catheter"), ("Tube, Inserted", "", "catheter"),
    ("Implanted Medical Device", "", "generator"), ("Medical Device", "", "generator"),
    ("Surgical Instruments", "", "clips"), ("Sutures", "", "clips"), ("Stents", "", "clips"),
    ("Foreign Bodies", "", "clips"), ("Spinal Fusion", "", "clips"), ("Fractures, Bone", "", "fracture"),
    ("Pneumothorax", "", "pneumothorax"), ("Hernia, Hiatal", "", "hernia"), ("Thickening", "", "cap"),
)  # fmt: skip
SEVERITY = {"borderline": 0.4, "minimal": 0.4, "mild": 0.6, "small": 0.6, "moderate": 1.2, "severe": 2.0, "large": 2.0}
LEVELS = {"apex": -0.55, "upper lobe": -0.35, "hilum": -0.06, "middle lobe": 0.12, "lingula": 0.15, "lower lobe": 0.2, "base": 0.3}
SHOWN = 0.65  # share of findings that can be seen; calibrated with SHARE_LEFT on a frozen ImageNet encoder
SHARE_LEFT = 0.12  # of its strength, for a finding that cannot
PLAIN = 1.5  # severe and large findings always show


@dataclass(frozen=True)
class Finding:
    """One finding to draw: `level` is a height on the film or None for anywhere, `strength` 1 for an average one."""

    kind: str
    sides: tuple[int, ...]
    level: float | None
    strength: float


def read_finding(term: str, rng: np.random.Generator) -> Finding | None:
    """The finding that an indexing term stands for, None if the term draws nothing."""
    stem, *rest = (part.strip() for part in term.split("/"))
    words = set(rest)
    kind = next((drawn for first, word, drawn in KINDS if first == stem and (not word or word in words)), None)
    if kind is None:
        return None
    severity = next((value for word, value in SEVERITY.items() if word in words), 1.0)
    shown = rng.random() < SHOWN or severity > PLAIN
    strength = severity * float(rng.uniform(0.6, 1.3)) * (1.0 if shown else SHARE_LEFT)
    level = next((height for word, height in LEVELS.items() if word in words), None)
    return Finding(kind, sides_of(words, (RIGHT, LEFT)[rng.integers(2)]), level, strength)


def sides_of(words: set[str], otherwise: int) -> tuple[int, ...]:
    """The sides that the words of a term name."""
    if words & {"bilateral", "diffuse", "scattered"} or {"left", "right"} <= words:
        return (RIGHT, LEFT)
    if words & {"left", "lingula"}:
        return (LEFT,)
    return (RIGHT,) if words & {"right", "middle lobe"} else (otherwise,)


def reshape(body: Body, finding: Finding) -> Body:
    """The body as the finding changes it; the same body if the finding is a mark."""
    s = finding.strength
    if finding.kind == "raised":
        right, left = body.raised
        return replace(body, raised=(right + 0.12 * s * (RIGHT in finding.sides), left + 0.12 * s * (LEFT in finding.sides)))
    changes = {
        "heart": {"heart": body.heart + 0.07 * s},
        "air": {"air": body.air + 0.8 * s, "flat": body.flat + 0.4 * s},
        "shallow": {"air": body.air - 0.8 * s},
        "flat": {"flat": body.flat + 0.6 * s},
        "bend": {"bend": body.bend + 0.08 * s * finding.sides[0]},
        "stoop": {"stoop": body.stoop + 0.7 * s},
        "aorta": {"aorta": body.aorta + 0.8 * s},
        "wear": {"wear": body.wear + 0.8 * s},
        "markings": {"markings": body.markings + 0.7 * s},
    }
    return replace(body, **changes.get(finding.kind, {}))


@dataclass(frozen=True)
class Site:
    """Where marks go: the canvas, the body on it, whether it is seen from the front, and the dice."""

    canvas: Canvas
    body: Body
    frontal: bool
    rng: np.random.Generator

    def place(self, side: int, level: float | None, near: float = 0.35, far: float = 0.85) -> Place:
        """A place in the lung of `side`: `near` and `far` from the middle as shares of the lung's width."""
        low = self.body.base - 0.05
        height = float(self.rng.uniform(-0.5, low)) if level is None else min(level + float(self.rng.normal(0, 0.05)), low + 0.1)
        across = float(self.rng.uniform(near, far)) * self.body.width
        if self.frontal:
            narrowing = 1.0 if height > -0.3 else 0.7  # towards the apex
            return side * across * narrowing, height
        back = 0.1 + 0.5 * height if level is None or level > 0.18 else -0.1  # lower lobes lie behind, the others in front
        return back + float(self.rng.normal(0, 0.1)), height

    def add(self, shape: Density, density: float) -> None:
        """Add `shape` where there is lung."""
        self.canvas.soft += density * shape * self.canvas.lungs


def draw_opacity(site: Site, finding: Finding) -> None:
    """Patches of blobs that run together."""
    for side in finding.sides:
        x, y = site.place(side, finding.level)
        for dx, dy in site.rng.normal(0, 0.07, (4, 2)):
            radii = site.rng.uniform(0.04, 0.10, 2)
            site.add(site.canvas.blob((x + dx, y + dy), (radii[0], radii[1])), 0.11 * finding.strength)


def draw_haze(site: Site, finding: Finding) -> None:
    """A net of fine shadows over both lungs, denser towards the base."""
    coarse = site.rng.standard_normal((site.canvas.side // 8,) * 2, dtype=np.float32)
    net = np.maximum(enlarge(coarse, site.canvas.side // 2), -0.5) + 0.5
    site.add(net * np.linspace(0.3, 1.2, len(net), dtype=np.float32)[:, None], 0.10 * finding.strength)


def draw_bands(site: Site, finding: Finding) -> None:
    """Thin plates, nearly level."""
    strokes: list[Stroke] = []
    for side in finding.sides:
        for _ in range(2):
            x, y = site.place(side, 0.25 if finding.level is None else finding.level)
            length, rise = site.rng.uniform(0.08, 0.16), site.rng.normal(0, 0.05)
            strokes.append(([(x - length, y - rise), (x + length, y + rise)], 0.02, 0.10 * finding.strength))
    site.canvas.strokes(strokes, 0.010)


def draw_fluid(site: Site, finding: Finding) -> None:
    """Fluid that fills the lung from its lowest point up to a meniscus, higher at the chest wall."""
    w, base = site.body.width, site.body.base
    top = base + 0.16 - 0.17 * finding.strength
    for side in finding.sides:
        wall = side * (w + 0.05)
        frontal = [(wall, top - 0.15), (side * 0.75 * w, top + 0.02), (side * 0.2, top + 0.08), (side * 0.2, 0.9), (wall, 0.9)]
        lateral = [(0.75, top), (0.45, top + 0.12), (0.0, top + 0.2), (0.0, 1.0), (0.75, 1.0)]
        site.add(site.canvas.area([frontal if site.frontal else lateral], 0.03), min(0.5, 0.45 * finding.strength**0.5))


def draw_nodule(site: Site, finding: Finding) -> None:
    """One round shadow a side."""
    for side in finding.sides:
        (x, y), radius = site.place(side, finding.level), float(site.rng.uniform(0.02, 0.04))
        site.add(site.canvas.blob((x, y), (radius, radius)), 0.28 * finding.strength)


def draw_calcium(site: Site, finding: Finding) -> None:
    """A few small dense dots."""
    strokes: list[Stroke] = []
    for side in finding.sides:
        x, y = site.place(side, finding.level, 0.2)
        for dx, dy in site.rng.normal(0, 0.04, (site.rng.integers(1, 4), 2)):
            strokes.append(([(x + dx - 0.008, y + dy), (x + dx + 0.008, y + dy)], 0.022, 0.20 * finding.strength))
    site.canvas.strokes(strokes, 0.006)


def draw_catheter(site: Site, finding: Finding) -> None:
    """A thin line from the shoulder into the large vein above the heart."""
    side = finding.sides[0]
    tip = (-0.07, -0.02) if site.frontal else (-0.05, 0.0)
    start = (side * 0.5, -0.62) if site.frontal else (-0.2, -0.75)
    path = [*arc(start, (side * 0.2 if site.frontal else 0.0, -0.75), (-0.07, -0.42)), tip]
    site.canvas.strokes([(path, 0.014, 0.20 * finding.strength)], 0.006)


def draw_generator(site: Site, finding: Finding) -> None:
    """A pulse generator under the collar bone, with a lead to the heart."""
    x, y = (finding.sides[-1] * 0.52, -0.48) if site.frontal else (-0.42, -0.45)
    lead = [*arc((x, y), (0.1, -0.75), (-0.06, -0.3)), *arc((-0.06, -0.2), (-0.08, 0.35), (0.2, 0.28))]
    case = [(x, y - 0.05), (x, y + 0.05)]
    site.canvas.strokes([(lead, 0.014, 0.25 * finding.strength), (case, 0.14, 0.40 * finding.strength)], 0.006)


def draw_clips(site: Site, finding: Finding) -> None:
    """Wires or clips near the middle."""
    x0 = 0.0 if site.frontal else -0.45
    places = [(x0 + float(site.rng.normal(0, 0.04)), y) for y in np.linspace(-0.3, 0.35, 5).tolist()]
    strokes = [([(x - 0.025, y - 0.01), (x + 0.025, y + 0.01)], 0.014, 0.30 * finding.strength) for x, y in places]
    site.canvas.strokes(strokes, 0.006)


def draw_fracture(site: Site, finding: Finding) -> None:
    """Callus at the side of a rib."""
    side, y = finding.sides[0], float(site.rng.uniform(-0.3, 0.3))
    x = side * site.body.width * 0.9 if site.frontal else 0.3
    site.canvas.strokes([([(x - 0.03, y), (x + 0.03, y + 0.03)], 0.06, 0.10 * finding.strength)], 0.012)


def draw_pneumothorax(site: Site, finding: Finding) -> None:
    """Air without markings above and beside the lung."""
    x = finding.sides[0] * 0.62 * site.body.width if site.frontal else 0.1
    site.add(site.canvas.blob((x, -0.55), (0.12, 0.14)), -0.14 * finding.strength)


def draw_hernia(site: Site, finding: Finding) -> None:
    """A round shadow behind the heart."""
    x = 0.06 if site.frontal else 0.2
    site.canvas.soft += 0.12 * finding.strength * site.canvas.blob((x, site.body.base), (0.09, 0.08))


def draw_cap(site: Site, finding: Finding) -> None:
    """Thickened pleura over the apex."""
    for side in finding.sides:
        x = side * 0.38 if site.frontal else 0.1
        site.add(site.canvas.blob((x, -0.70), (0.12, 0.05)), 0.2 * finding.strength)


MARKS: dict[str, Callable[[Site, Finding], None]] = {
    "opacity": draw_opacity, "haze": draw_haze, "bands": draw_bands, "fluid": draw_fluid, "nodule": draw_nodule,
    "calcium": draw_calcium, "catheter": draw_catheter, "generator": draw_generator, "clips": draw_clips,
    "fracture": draw_fracture, "pneumothorax": draw_pneumothorax, "hernia": draw_hernia, "cap": draw_cap,
}  # fmt: skip


def draw_marks(site: Site, findings: Sequence[Finding]) -> None:
    """Draw the findings that are marks, in order."""
    for finding in findings:
        if finding.kind in MARKS:
            MARKS[finding.kind](site, finding)
