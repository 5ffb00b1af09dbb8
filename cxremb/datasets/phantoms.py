"""Simulated chest films ("phantoms"): no patient was ever in front of them, and no clinical conclusion may be drawn.

Why: the IU X-ray images may not be shipped and no data host can be relied on, so demonstrations and tests draw a film for
each study and view instead, from the study's indexing terms (`study.terms["mesh"]`).

What is drawn: a thorax whose habitus, heart size, inspiration, age and exposure vary from patient to patient, so that
classes overlap (`cxremb.datasets.anatomy`); on it what the terms name (`cxremb.datasets.findings`, whose table `KINDS` says
which term draws what): heart and aorta, inflation and diaphragm, the spine, opacities, bands, effusions, nodules, calcium,
oedema, catheters, pulse generators, clips, fractures, and so on, at the side, height and strength the term gives. Then what the
scanner adds: posture, collimation, marker, tone curve, mottle, now and then a button or a lead outside the patient.

How hard: about a third of the findings are drawn next to invisibly and some terms draw nothing. Strengths were set so that a
logistic regression on a frozen ImageNet encoder (EfficientNet-Lite1) tells normal from abnormal studies of the IU X-ray
reports with an AUROC of about 0.75, as has been reported for the real films. Any other figure is not calibrated at all.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL.PngImagePlugin import PngInfo

from cxremb.datasets.anatomy import LEFT, Body, Canvas, Density, Pose, draw_frontal, draw_lateral, enlarge
from cxremb.datasets.findings import Finding, Site, draw_marks, read_finding, reshape
from cxremb.errors import DataError
from cxremb.types import Image, Progress, Study, unwatched

VERSION = 1  # of the simulator: raise it when a film comes out differently, and old films are drawn anew
VIEWS = {"Frontal": draw_frontal, "Lateral": draw_lateral}
DICOM_SHARE = 50  # one film in so many is written as DICOM, so that this way in is used too
CHUNK = 32  # films a worker draws at a time: half a second
NOTICE = "simulated film, not a patient (cxremb phantom)"
RECORD = "phantoms.json"


def dice(*key: object) -> np.random.Generator:
    """A generator that is the same for the same key, in every process and on every machine."""
    return np.random.default_rng(stable_hash(*key))


def stable_hash(*key: object) -> int:
    """64 bits of a digest of the key's parts."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest(), "big")


def draw_film(study: Study, view: str, seed: int = 0, side: int = 256) -> NDArray[np.uint8]:
    """The simulated film of `study`, (side, side), 0 air to 255 bone; the same for the same seed, study and view.

    view: Frontal or Lateral. Raises `DataError` for any other.
    """
    return (expose(study, view, seed, side) * 255 + 0.5).astype(np.uint8)


def expose(study: Study, view: str, seed: int = 0, side: int = 256) -> Density:
    """What `draw_film` rounds to 8 bits: (side, side), from exactly 0 to exactly 1."""
    if view not in VIEWS:
        raise DataError(f"no phantom can be drawn of the view {view!r}", hint=f"use one of {', '.join(VIEWS)}")
    person, film = dice(seed, study.study_id), dice(seed, study.study_id, view)
    terms = sorted(set(study.terms.get("mesh", ())))
    found = [(term, read_finding(term, dice(seed, study.study_id, term))) for term in terms]
    findings = [(term, finding) for term, finding in found if finding is not None]
    body = body_of(person, [finding for _, finding in findings])
    canvas = Canvas(side, pose_of(film))
    VIEWS[view](canvas, body, film)
    for term, finding in findings:
        draw_marks(Site(canvas, body, view == "Frontal", dice(seed, study.study_id, view, term)), [finding])
    leave_things(canvas, view, film)
    return develop(canvas, film)


def body_of(rng: np.random.Generator, findings: Sequence[Finding]) -> Body:
    """A patient's chest, reshaped by the findings that change it. The healthy spread overlaps with mild findings."""
    body = Body(
        width=float(rng.normal(0.70, 0.035)),
        heart=float(rng.normal(0.46, 0.035)),
        fat=float(rng.gamma(2.0, 0.035)),
        air=float(rng.normal(0.0, 0.6)),
        flat=float(rng.uniform(0.0, 0.4)),
        raised=(float(rng.normal(0.02, 0.03)), float(rng.normal(0.0, 0.03))),
        bend=float(rng.normal(0.0, 0.025)),
        stoop=float(rng.normal(0.0, 0.35)),
        aorta=float(rng.normal(0.0, 0.45)),
        wear=float(rng.gamma(1.0, 0.35)),
        markings=float(rng.uniform(0.6, 1.5)),
    )
    for finding in findings:
        body = reshape(body, finding)
    return body


def pose_of(rng: np.random.Generator) -> Pose:
    """How this film was positioned."""
    dx, dy = rng.normal(0.0, 0.035, 2)
    return Pose(float(rng.normal(0.0, 2.0)), float(rng.normal(0.98, 0.04)), (float(dx), float(dy)))


def leave_things(canvas: Canvas, view: str, rng: np.random.Generator) -> None:
    """What lies on any film, normal or not: a side marker, at times a button or a lead outside the patient."""
    x, y = (0.85 * LEFT if view == "Frontal" else 0.85), -0.88
    strokes = [([(x, y - 0.05), (x, y + 0.04), (x + 0.05, y + 0.04)], 0.018, 0.5)]
    if rng.random() < 0.12:
        a, b = rng.uniform(-0.5, 0.5, (2, 2)).tolist()
        strokes += [([tuple(a), tuple(b)], 0.012, 0.12), ([(a[0] - 0.01, a[1]), (a[0] + 0.01, a[1])], 0.03, 0.25)]
    canvas.strokes(strokes, 0.006)


def develop(canvas: Canvas, rng: np.random.Generator) -> Density:
    """Density to the brightness of a film, 0 to 1: mottle, saturation, collimation, the tone curve of the day."""
    side = canvas.side
    coarse, fine = (rng.standard_normal((n, n), dtype=np.float32) for n in (8, side // 2))
    canvas.soft += np.float32(0.03) * enlarge(coarse, side // 2) + np.float32(rng.uniform(0.01, 0.03)) * fine
    light = 1 - np.exp(np.float32(-rng.uniform(1.2, 2.0)) * np.maximum(canvas.density(), 0))
    for axis in range(2):
        edge = max(0, round(float(rng.normal(-0.01, 0.02)) * side))
        if edge:
            np.moveaxis(light, axis, 0)[:edge] = 0
    low, high = np.percentile(light[::4, ::4], (0.5, 99.7))
    light = np.clip((light - low) / (high - low), 0, 1, dtype=np.float32)
    light[-1, 0], light[0, 0] = 0.0, 1.0  # the ends of the scale are always there: full-range readers change nothing
    return np.power(light, np.float32(math.exp(rng.normal(0.0, 0.2))), dtype=np.float32)
