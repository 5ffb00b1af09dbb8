"""One film: the patient, the findings, the posture, and what the scanner makes of them."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxremb.datasets.phantoms.anatomy import LEFT, Body, draw_frontal, draw_lateral
from cxremb.datasets.phantoms.canvas import Canvas, Density, Pose, Stroke, enlarge
from cxremb.datasets.phantoms.findings import DrawnFinding, read_finding, reshape
from cxremb.datasets.phantoms.marks import Site, draw_mark
from cxremb.errors import DataError
from cxremb.types import Study

VERSION = 2  # of the simulator: raise it when a film comes out differently, and old films are drawn anew
VIEWS = {"Frontal": draw_frontal, "Lateral": draw_lateral}


def stable_hash(*key: object) -> int:
    """64 bits that depend on the key's parts alone, unlike `hash`."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest(), "big")


def dice(*key: object) -> np.random.Generator:
    """A generator that is the same for the same key, in every process and on every machine."""
    return np.random.default_rng(stable_hash(*key))


def check_view(view: str) -> None:
    """Raises `DataError` for a view that cannot be drawn."""
    if view not in VIEWS:
        raise DataError(f"no phantom can be drawn of the view {view!r}", hint=f"use one of {', '.join(VIEWS)}")


def draw_film(study: Study, view: str, seed: int = 0, *, side: int = 256) -> NDArray[np.uint8]:
    """The simulated film of `study`, (side, side), 0 air to 255 bone; the same for the same seed, study and view.

    view: Frontal or Lateral. Raises `DataError` for any other.
    """
    return (expose(study, view, seed, side=side) * 255 + 0.5).astype(np.uint8)


def expose(study: Study, view: str, seed: int = 0, *, side: int = 256, take: int = 0) -> Density:
    """What `draw_film` rounds to 8 bits: (side, side), from exactly 0 to exactly 1.

    take: 0 for the first film of this view; for a further one the same patient stands there anew.
    """
    check_view(view)
    person, film = dice(seed, study.study_id), dice(seed, study.study_id, view, take)
    terms = sorted(set(study.terms.get("mesh", ())))
    read = {term: read_finding(term, dice(seed, study.study_id, term)) for term in terms}
    findings = {term: finding for term, finding in read.items() if finding is not None}
    body = body_of(person, list(findings.values()))
    canvas = Canvas(side, pose_of(film))
    VIEWS[view](canvas, body, film)
    for term, finding in findings.items():  # dice of their own: one finding more changes nothing else on the film
        draw_mark(Site(canvas, body, view == "Frontal", dice(seed, study.study_id, view, term)), finding)
    leave_things(canvas, view, film)
    return develop(canvas, film)


def body_of(rng: np.random.Generator, findings: Sequence[DrawnFinding]) -> Body:
    """A patient's chest, reshaped by the findings that change it. The healthy spread overlaps with mild findings."""
    body = Body(
        width=float(rng.normal(0.70, 0.035)),
        heart=float(rng.normal(0.46, 0.03)),
        fat=float(rng.gamma(2.0, 0.035)),
        air=float(rng.normal(0.0, 0.4)),
        flat=float(rng.uniform(0.0, 0.4)),
        raised=(float(rng.normal(0.02, 0.03)), float(rng.normal(0.0, 0.03))),
        bend=float(rng.normal(0.0, 0.025)),
        stoop=float(rng.normal(0.0, 0.35)),
        aorta=float(rng.normal(0.0, 0.35)),
        wear=float(rng.gamma(1.0, 0.25)),
        markings=float(rng.uniform(0.6, 1.5)),
    )
    for finding in findings:
        body = reshape(body, finding)
    return body


def pose_of(rng: np.random.Generator) -> Pose:
    """How this film was positioned."""
    dx, dy = rng.normal(0.0, 0.025, 2)
    return Pose(float(rng.normal(0.0, 1.5)), float(rng.normal(0.98, 0.025)), (float(dx), float(dy)))


def leave_things(canvas: Canvas, view: str, rng: np.random.Generator) -> None:
    """What lies on any film, normal or not: a side marker, at times a button or a lead outside the patient."""
    x, y = (0.85 * LEFT if view == "Frontal" else 0.85), -0.88
    strokes: list[Stroke] = [([(x, y - 0.05), (x, y + 0.04), (x + 0.05, y + 0.04)], 0.018, 0.5)]
    if rng.random() < 0.08:
        ax, ay, bx, by = rng.uniform(-0.5, 0.5, 4).tolist()
        strokes += [([(ax, ay), (bx, by)], 0.012, 0.12), ([(ax - 0.01, ay), (ax + 0.01, ay)], 0.03, 0.25)]
    canvas.strokes(strokes, 0.006)


def develop(canvas: Canvas, rng: np.random.Generator) -> Density:
    """Density to the brightness of a film, 0 to 1: mottle, saturation, collimation, the tone curve of the day."""
    side = canvas.side
    coarse, fine = (rng.standard_normal((n, n), dtype=np.float32) for n in (8, side // 2))
    canvas.soft += np.float32(0.02) * enlarge(coarse, side // 2) + np.float32(rng.uniform(0.005, 0.015)) * fine
    light = 1 - np.exp(np.float32(-rng.uniform(1.2, 2.0)) * np.maximum(canvas.density(), 0))
    for axis in range(2):
        edge = max(0, round(float(rng.normal(-0.01, 0.02)) * side))
        if edge:
            np.moveaxis(light, axis, 0)[:edge] = 0
    low, high = np.percentile(light[::4, ::4], (0.5, 99.7))
    light = np.clip((light - low) / (high - low), 0, 1, dtype=np.float32)
    light[-1, 0], light[0, 0] = 0.0, 1.0  # the ends of the scale are always there: full-range readers change nothing
    tone: Density = np.power(light, np.float32(math.exp(rng.normal(0.0, 0.14))), dtype=np.float32)
    return tone
