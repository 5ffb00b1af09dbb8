"""What the parts of a fold have in common: patients, reports, films. The worst fold is reported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxremb.audit.pixels import PixelFacts
from cxremb.audit.similar import Centred, Pairs, centred, cosine_pairs, text_pairs
from cxremb.audit.subject import (
    FAIL,
    NOTE,
    OK,
    OVERLAP,
    PART_CODES,
    TEST,
    TRAIN,
    VAL,
    AuditSubject,
    Finding,
    Fold,
    Items,
    Numbers,
    encoded,
    positions,
    skipped,
)
from cxremb.embedding.choose import usual_stores
from cxremb.encoders.weights import suggested
from cxremb.splits import cohort_of, normalised, report_texts
from cxremb.store.reader import Store, list_stores
from cxremb.types import EXAMPLES

# Two words of twenty-one, or four of forty-five, differ. On IU X-ray such pairs are one template with other slots.
ALIKE = 0.8
# Bits of 256. Of 5,856 real paediatric films none of another patient came nearer than 36 (62 true copies: 0), while
# re-encoded, resized, brighter and 1% cropped copies stayed within 30.
HAMMING = 32
# Cosine after the mean vector is taken off. With EfficientNet-Lite1, of 1,500 real films none of another patient came
# above 0.79; resized copies stay above 0.88. A half-resolution JPEG at quality 50 may fall below: the hash finds it.
CLOSE = 0.9
QUERIES = 20_000  # films judged at most: 20,000 against 400,000 vectors take minutes on two cores, all would take hours
TOLERATED = 0.001  # of look-alikes: among 400,000 films a few strangers may look the same to a hash

WHY = {
    "patients": "A model can recognise the patient instead of the disease: figures say nothing about new patients.",
    "copied reports": "One examination filed under several patients: its label is remembered, not read.",
    "identical reports": "Stock phrases: a new patient's report may be one too, but a model may know them by heart.",
    "near-identical reports": "A template with one slot filled otherwise: a text model may recall, not read.",
    "identical images": "The very film was trained on: its label is remembered, not read.",
    "near-identical images": "The same film, re-encoded or resized, was trained on: its label is remembered, not read.",
    "embedding neighbours": "To this encoder both films are nearly one point: a head gives them one answer.",
}
REMEDY = {
    "patients": "use a split that keeps patients whole: leave --split out, or `cxremb data split NAME --group patient`",
    "copied reports": "group by report too: leave --split out, or `cxremb data split NAME --group patient,report`",
    "identical reports": "nothing to split by; quote the figure on the other rows, which `train` and `ablate` give too",
    "near-identical reports": "read the examples; report text arms beside a split without these studies",
    "identical images": "remove one copy, or give both the same patient id and split again",
    "near-identical images": "look at the examples; give copies the same patient id and split again",
    "embedding neighbours": "look at the examples: copies get the same patient id; if they only look alike, leave them",
}
REPORT_CHECKS = {
    "copied reports": "whose report is a copy of one in train",
    "identical reports": "whose report is in train word for word",
    "near-identical reports": "whose report is nearly one of train",
}


@dataclass(frozen=True)
class Content:
    """What n items hold, as numbers from 0 to count - 1; -1 where an item holds nothing."""

    codes: Numbers
    count: int
    pairs: Pairs | None = None  # contents that are alike; None: only the same content counts
    judged: NDArray[np.bool_] | None = None  # (n,) the items that were looked at, if not all


@dataclass(frozen=True)
class PartOverlap:
    """The rows of one part of one fold that hold what train holds, among so many that were looked at."""

    fold: Fold
    part: int
    rows: Numbers
    looked_at: int

    @property
    def share(self) -> float:
        return len(self.rows) / self.looked_at if self.looked_at else 0.0


def check_overlap(subject: AuditSubject, pixels: PixelFacts | str) -> list[Finding]:
    """Seven findings, one for each kind of overlap. pixels: or the reason why there are none."""
    rows, films = subject.rows, subject.films
    patients = Content(rows.patients, int(rows.patients.max(initial=-1)) + 1)
    return [
        overlap_finding("patients", "whose patient is in train", rows, content=patients),
        *check_reports(subject),
        identical_images(subject),
        near_images(films, subject, pixels),
        embedding_neighbours(subject),
    ]


def check_reports(subject: AuditSubject) -> list[Finding]:
    """Copies, the same and nearly the same words: findings and impression, or whatever else labels are coded from.

    A copy is what the default split keeps in one part, so that split has none.
    """
    texts = {study: normalised(text) for study, text in report_texts(subject.dataset.reports).items()}
    studies = subject.rows.study_ids.to_pylist()
    words = [texts.get(study) or None for study in studies]
    if not any(words):
        return [skipped(OVERLAP, name, "no report text") for name in REPORT_CHECKS]
    cohort = cohort_of(subject.dataset, subject.labels)
    copied = dict(zip(cohort.study_ids, cohort.copies, strict=True))
    own = [word and (copied.get(study) or f"of {study} alone") for word, study in zip(words, studies, strict=True)]
    same, copies = coded(words), coded(own)
    distinct = sorted({text for text in words if text})
    alike = replace(same, pairs=text_pairs(distinct, ALIKE))
    return [
        overlap_finding(name, shared, subject.rows, content=content)
        for (name, shared), content in zip(REPORT_CHECKS.items(), (copies, same, alike), strict=True)
    ]


def coded(texts: Sequence[str | None]) -> Content:
    """Equal texts, numbered in their order."""
    number = {text: row for row, text in enumerate(sorted({text for text in texts if text}))}
    return Content(np.array([number[text] if text else -1 for text in texts], dtype=np.int64), len(number))


def identical_images(subject: AuditSubject) -> Finding:
    """The same bytes."""
    digests, codes = encoded(subject.images["sha256"])
    if not len(digests):
        return skipped(OVERLAP, "identical images", "no film of this split is on this machine")
    return overlap_finding(
        "identical images", "that are in train byte for byte", subject.films, content=Content(codes, len(digests))
    )


SIMULATED = "these films are simulated"
WHY_SIMULATED = "Phantoms are drawn from one anatomy and resemble one another more than people do: no copies are meant."


def near_images(films: Items, subject: AuditSubject, pixels: PixelFacts | str) -> Finding:
    """Films whose perceptual hashes nearly agree, though their bytes differ."""
    name = "near-identical images"
    if isinstance(pixels, str):
        return skipped(OVERLAP, name, pixels)
    codes = positions(subject.images["sha256"], pixels.sha256)
    signs = 1 - 2 * np.unpackbits(pixels.hashes, axis=1).astype(np.float32)  # their cosine is 1 - 2 bits / 256
    found = overlap_finding(
        name,
        "of which train has a near copy",
        films,
        content=alike_films(films, codes, signs, least=1 - 2 * HAMMING / signs.shape[1]),
    )
    if found.status != FAIL or not subject.dataset.simulated:
        return found
    return replace(found, status=NOTE, measured=f"{found.measured}; {SIMULATED}", why=WHY_SIMULATED, remedy="")


def embedding_neighbours(subject: AuditSubject) -> Finding:
    """Films that the image store that is usually read can hardly tell apart, though their bytes differ."""
    name = "embedding neighbours"
    projections = (store for store in list_stores(subject.dataset) if store.modality == "image" and store.projected)
    store = next(iter([*usual_stores(subject.dataset, "image"), *projections]), None)
    if store is None:
        return skipped(OVERLAP, name, "no image store", remedy=f"`cxremb embed --model {suggested('image')}`")
    codes, vectors = film_vectors(subject, store)
    if not len(vectors):
        return skipped(OVERLAP, name, f"{store.name} holds no film of this split")
    return overlap_finding(
        name,
        f"with a train film at cosine {CLOSE} ({store.encoder})",
        subject.films,
        content=alike_films(subject.films, codes, vectors, least=CLOSE),
    )


def film_vectors(subject: AuditSubject, store: Store) -> tuple[Numbers, Centred]:
    """(the content of each film or -1, one vector for each content less their mean)."""
    matrix = store.load()
    place = positions(subject.films.ids, matrix.ids)
    contents = encoded(subject.images["sha256"])[1]
    held = np.flatnonzero((place >= 0) & (contents >= 0))
    _, first, number = np.unique(contents[held], return_index=True, return_inverse=True)
    codes = np.full(len(place), -1, dtype=np.int64)
    codes[held] = number
    return codes, centred(matrix, place[held[first]])


def alike_films(films: Items, codes: Numbers, vectors: NDArray[np.float32] | Centred, *, least: float) -> Content:
    """The contents of films whose vectors have a cosine of `least`. Of very many films a sample is looked at."""
    outside = np.any([fold.parts >= VAL for fold in films.folds], axis=0) & (codes >= 0)
    looked_at = np.flatnonzero(outside)
    if len(looked_at) > QUERIES:
        looked_at = np.sort(np.random.default_rng(0).choice(looked_at, QUERIES, replace=False))
    judged = np.zeros(len(codes), dtype=bool)
    judged[looked_at] = True
    pairs = cosine_pairs(vectors, least, np.unique(codes[looked_at]))
    return Content(codes, len(vectors), pairs, judged)


def overlap_finding(name: str, shared: str, items: Items, *, content: Content) -> Finding:
    """The finding: the worst fold of test and of val; the figure is that of the worse part."""
    worst = [max(found, key=lambda it: it.share) for part in (TEST, VAL) if (found := overlaps(items, content, part))]
    if not worst:
        return skipped(OVERLAP, name, "the split has no test and no val part with any of these")
    counts = ", ".join(
        f"{PART_CODES[it.part]} {len(it.rows):,} of {it.looked_at:,}{where(it) if len(items.folds) > 1 else ''}"
        for it in worst
    )
    most = max(worst, key=lambda it: it.share)
    status = overlap_status(name, most.share)
    return Finding(
        OVERLAP,
        name,
        f"{items.what} {shared}: {counts}{f' (worst of {n} folds)' if (n := len(items.folds)) > 1 else ''}",
        most.share,
        f"{most.share:.1%}",
        status,
        "" if status == OK else WHY[name],
        "" if status == OK else REMEDY[name],
        examples_of(items, content, most),
    )


def overlap_status(name: str, share: float) -> str:
    """What is the same is a leak, what only looks so may be chance: see docs/audit.md."""
    if share == 0:
        return OK
    if name in ("identical reports", "near-identical reports", "embedding neighbours"):
        return NOTE
    return NOTE if name == "near-identical images" and share <= TOLERATED else FAIL


def where(it: PartOverlap) -> str:
    """Which fold is the worst, if any is bad."""
    repeat = f"repeat {it.fold.repeat}, " if it.fold.repeat else ""
    return f" in {repeat}fold {it.fold.fold}" if len(it.rows) else ""


def overlaps(items: Items, content: Content, part: int) -> list[PartOverlap]:
    """For every fold that has the part: its items that hold what train holds, or what is like it."""
    found = []
    for fold in items.folds:
        mask = (fold.parts == part) & (content.codes >= 0)
        if content.judged is not None:
            mask &= content.judged
        rows = np.flatnonzero(mask)
        if len(rows):
            found.append(PartOverlap(fold, part, rows[shared_contents(fold, content)[content.codes[rows]]], len(rows)))
    return found


def shared_contents(fold: Fold, content: Content) -> NDArray[np.bool_]:
    """(count,) whether each content is in train, or is like one that is."""
    train = np.zeros(content.count, dtype=bool)
    train[content.codes[(fold.parts == TRAIN) & (content.codes >= 0)]] = True
    if content.pairs is None:
        return train
    a, b = content.pairs.T
    like = np.zeros_like(train)
    like[a[train[b]]] = True
    like[b[train[a]]] = True
    return like


def examples_of(items: Items, content: Content, overlap: PartOverlap) -> Sequence[str]:
    """The first items, each with one of train that holds the same: `7 ~ 12`."""
    train = overlap.fold.of(TRAIN)
    examples = []
    for row in overlap.rows[:EXAMPLES].tolist():
        code = content.codes[row]
        codes = np.array([code])
        if content.pairs is not None:
            codes = content.pairs[(content.pairs == code).any(axis=1)].ravel()
            codes = codes[codes != code]
        other = train[np.isin(content.codes[train], codes)][0]
        examples.append(f"{items.ids[row]} ~ {items.ids[other]}")
    return examples
