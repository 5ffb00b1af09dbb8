"""From indexing terms to findings, and what findings change about the body; `marks` draws the others.

A term such as "Opacity/lung/base/left" names a finding, and in any order its place, side and severity. What shows is
kept weak on purpose: more than a quarter of the findings are next to invisible, as on real films, and other terms
("Arthritis", "No Indexing", ...) draw nothing at all.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxremb.datasets.phantoms.anatomy import LEFT, RIGHT, Body

# (first part of the term, a word it must also hold or "", what is drawn); the first line that fits counts
KINDS = (
    ("Cardiomegaly", "", "heart"), ("Cardiac Shadow", "enlarged", "heart"), ("Heart Failure", "", "heart"),
    ("Pericardial Effusion", "", "heart"), ("Lung", "hyperdistention", "air"), ("Emphysema", "", "air"),
    ("Pulmonary Emphysema", "", "air"), ("Pulmonary Disease, Chronic Obstructive", "", "air"),
    ("Lung, Hyperlucent", "", "air"), ("Lung", "hypoinflation", "shallow"), ("Diaphragm", "elevated", "raised"),
    ("Diaphragmatic Eventration", "", "raised"), ("Diaphragm", "flattened", "flat"), ("Scoliosis", "", "bend"),
    ("Kyphosis", "", "stoop"), ("Aorta", "", "aorta"), ("Aorta, Thoracic", "", "aorta"),
    ("Aortic Aneurysm", "", "aorta"), ("Mediastinum", "", "aorta"), ("Thoracic Vertebrae", "", "wear"),
    ("Spine", "", "wear"), ("Osteophyte", "", "wear"), ("Spondylosis", "", "wear"),
    ("Hyperostosis, Diffuse Idiopathic Skeletal", "", "wear"),
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
LEVELS = {
    "apex": -0.55,
    "upper lobe": -0.35,
    "hilum": -0.06,
    "middle lobe": 0.12,
    "lingula": 0.15,
    "lower lobe": 0.2,
    "base": 0.3,
}
SHOWN = 0.72  # share of findings that can be seen; calibrated with SHARE_LEFT on a frozen ImageNet encoder
SHARE_LEFT = 0.15  # of its strength, for a finding that cannot
PLAIN = 1.5  # severe and large findings always show


@dataclass(frozen=True)
class DrawnFinding:
    """One finding to draw: `level` is a height on the film or None for anywhere, `strength` 1 for an average one."""

    kind: str
    sides: tuple[int, ...]
    level: float | None
    strength: float


def read_finding(term: str, rng: np.random.Generator) -> DrawnFinding | None:
    """The finding that an indexing term stands for, None if the term draws nothing."""
    stem, *rest = (part.strip() for part in term.split("/"))
    words = set(rest)
    kind = next((drawn for first, word, drawn in KINDS if first == stem and (not word or word in words)), None)
    if kind is None:
        return None
    severity = next((value for word, value in SEVERITY.items() if word in words), 1.0)
    shown = rng.random() < SHOWN or severity > PLAIN
    strength = severity * float(rng.uniform(0.7, 1.4)) * (1.0 if shown else SHARE_LEFT)
    level = next((height for word, height in LEVELS.items() if word in words), None)
    return DrawnFinding(kind, sides_of(words, (RIGHT, LEFT)[rng.integers(2)]), level, strength)


def sides_of(words: set[str], otherwise: int) -> tuple[int, ...]:
    """The sides that the words of a term name."""
    if words & {"bilateral", "diffuse", "scattered"} or {"left", "right"} <= words:
        return (RIGHT, LEFT)
    if words & {"left", "lingula"}:
        return (LEFT,)
    return (RIGHT,) if words & {"right", "middle lobe"} else (otherwise,)


def reshape(body: Body, finding: DrawnFinding) -> Body:
    """The body as the finding changes it; the same body if the finding is a mark."""
    s = finding.strength
    if finding.kind == "raised":
        right, left = body.raised
        return replace(
            body, raised=(right + 0.12 * s * (RIGHT in finding.sides), left + 0.12 * s * (LEFT in finding.sides))
        )
    changes: dict[str, dict[str, Any]] = {
        "heart": {"heart": body.heart + 0.08 * s},
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
