"""Checks that need no split: films that cannot be read or look wrong, and labels that contradict each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.facts import Header
from cxremb.audit.people import one_person_each
from cxremb.audit.pixels import PixelFacts
from cxremb.audit.subject import COLLECTION, FAIL, NOTE, OK, AuditSubject, Finding, encoded, labels_of, skipped
from cxremb.features import FRONTAL
from cxremb.splits import normalised, report_texts
from cxremb.types import EXAMPLES

# Thresholds, and the share of 5,856 + 243 + 4,708 + 12 real films (Kermany, Hannover, PneumoniaMNIST, IU) beyond them:
BLANK = 3.0  # grey levels of spread: none; the least is 6.3
WHITE, BLACK = 0.05, 0.40  # share of pixels: none; the most are 0.032 and 0.304
FRAME = 0.02  # of the side, along two edges: 0.8%, all of them with such a band


@dataclass(frozen=True)
class PixelCheck:
    """One thing that the pixels of a film may show."""

    name: str
    means: str
    why: str
    remedy: str


PIXEL_CHECKS = {
    "blank": PixelCheck(
        "blank films",
        f"films of nearly one grey (spread below {BLANK:g} of 255)",
        "A blank film carries no signal; its label teaches noise.",
        "remove them, and add the data set again",
    ),
    "clipped": PixelCheck(
        "clipped films",
        f"films with {WHITE:.0%} of their pixels white or {BLACK:.0%} black",
        "What was clipped cannot be brought back, and lungs or bones may be in it.",
        "export them again with a wider window, or look at the examples and leave them out",
    ),
    "inverted": PixelCheck(
        "inverted films",
        "films whose lungs and corners are brighter than spine and trunk",
        "Black for white: to an encoder this is another kind of picture, and often another hospital.",
        "look at the examples (1 real film in 10,000 is a false alarm) and invert them",
    ),
    "framed": PixelCheck(
        "burnt-in borders",
        f"films with a constant band of {FRAME:.0%} of the side along two edges or more",
        "A border tells the machine or the ward, and shrinks what is inside it.",
        "crop the borders, or check that they are no commoner with one label",
    ),
}


def check_collection(
    subject: AuditSubject, pixels: PixelFacts | str, headers: Mapping[str, Header] | str
) -> list[Finding]:
    """One finding for each check. pixels, headers: or the reason why there are none."""
    return [
        unreadable(subject, pixels),
        copies_that_disagree(subject),
        reports_that_disagree(subject),
        without_frontal(subject),
        one_person_each(subject),
        monochrome1(headers),
        *pixel_findings(subject, pixels),
    ]


def counted(check: str, measured: str, found: list[str], *, status: str, advice: tuple[str, str]) -> Finding:
    """A finding that counts things which should not be there; `status` if there are any."""
    n = len(found)
    advice = advice if n else ("", "")
    return Finding(COLLECTION, check, measured, float(n), f"{n:,}", status if n else OK, *advice, found[:EXAMPLES])


def unreadable(subject: AuditSubject, pixels: PixelFacts | str) -> Finding:
    """Files that give no film."""
    images = subject.dataset.images
    here = images.num_rows - images["path"].null_count
    if isinstance(pixels, str):
        lost = images.filter(pc.and_(pc.is_valid(images["path"]), pc.is_null(images["width"])))
        measured, found = (
            f"films here without a readable header: {lost.num_rows:,} of {here:,}",
            lost["image_id"].to_pylist(),
        )
    else:
        found = [*pixels.unreadable.values()]
        measured = f"films here that cannot be read: {len(found):,} of {here:,}"
    return counted(
        "unreadable files",
        f"{measured} ({images.num_rows:,} listed)",
        found,
        status=FAIL,
        advice=("They drop out of every run.", "restore or remove them, then add the data set again"),
    )


def copies_that_disagree(subject: AuditSubject) -> Finding:
    """Equal bytes, different labels."""
    name = "copies with other labels"
    images = subject.dataset.images.filter(pc.is_valid(subject.dataset.images["sha256"]))
    if not images.num_rows:
        return skipped(COLLECTION, name, "no film is on this machine")
    y = labels_of(subject.labels, images["study_id"])
    found = contradictions(images["sha256"], y, images["image_id"].to_pylist())
    return counted(
        name,
        f"films with equal bytes and different labels: {len(found):,} groups",
        found,
        status=FAIL,
        advice=("The same pixels cannot be both: one of the labels is wrong.", "look at them and mend or remove one"),
    )


def reports_that_disagree(subject: AuditSubject) -> Finding:
    """Equal words, different labels."""
    name = "reports with other labels"
    texts = {
        study: text for study, words in report_texts(subject.dataset.reports).items() if (text := normalised(words))
    }
    if not texts:
        return skipped(COLLECTION, name, "no report text")
    studies = list(texts)
    y = labels_of(subject.labels, pa.array(studies, pa.string()))
    found = contradictions(pa.array(texts.values(), pa.string()), y, studies)
    return counted(
        name,
        f"reports with equal words and different labels: {len(found):,} groups",
        found,
        status=NOTE,
        advice=(
            "Labels are coded from reports: equal words should give equal labels.",
            "read the examples and mend them",
        ),
    )


def contradictions(column: pa.ChunkedArray, y: NDArray[np.float64], names: list[str]) -> list[str]:
    """The members of each group of equal values in which some label is both 0 and 1."""
    values, codes = encoded(column)
    low, high = (np.full((len(values), y.shape[1]), start) for start in (np.inf, -np.inf))
    np.fmin.at(low, codes, y)  # fmin and fmax pass over NaN, which is a missing label
    np.fmax.at(high, codes, y)
    bad = np.flatnonzero((low < high).any(axis=1) & (low < np.inf).any(axis=1))
    members: dict[int, list[str]] = {code: [] for code in bad.tolist()}
    for name, code in zip(names, codes.tolist(), strict=True):
        if code in members:
            members[code].append(name)
    return [" = ".join(group) for group in members.values()]


def without_frontal(subject: AuditSubject) -> Finding:
    """Studies of which every view is known and none is frontal."""
    images = subject.dataset.images
    name = "no frontal view"
    if images["view"].null_count == images.num_rows:
        return skipped(COLLECTION, name, "no view is known")
    views: dict[str, list[str | None]] = {}
    for study, view in zip(images["study_id"].to_pylist(), images["view"].to_pylist(), strict=True):
        views.setdefault(study, []).append(view)
    found = [
        study for study, its in views.items() if all(view and not view.lower().startswith(FRONTAL) for view in its)
    ]
    return counted(
        name,
        f"studies with films and no frontal one: {len(found):,} of {len(views):,}",
        found,
        status=NOTE,
        advice=("Most findings are read on the frontal film.", "leave them out of image arms, or report per view"),
    )


def monochrome1(headers: Mapping[str, Header] | str) -> Finding:
    """DICOM files that store white as black."""
    if isinstance(headers, str):
        return skipped(COLLECTION, "MONOCHROME1", headers)
    found = [image for image, header in headers.items() if header.get("PhotometricInterpretation") == "MONOCHROME1"]
    return counted(
        "MONOCHROME1",
        f"DICOM films that store white as black: {len(found):,} of {len(headers):,}",
        found,
        status=NOTE,
        advice=(
            "cxremb turns them round; tools that do not will see negatives.",
            "nothing here; check other pipelines",
        ),
    )


def pixel_findings(subject: AuditSubject, pixels: PixelFacts | str) -> list[Finding]:
    """What the pixels show, film by film."""
    if isinstance(pixels, str):
        return [skipped(COLLECTION, check.name, pixels) for check in PIXEL_CHECKS.values()]
    facts = {name: pixels.table[name].to_numpy() for name in pixels.table.schema.names[2:]}
    suspicious = {
        "blank": facts["spread"] < BLANK,
        "clipped": (facts["white"] > WHITE) | (facts["black"] > BLACK),
        "inverted": (facts["spine"] < 0) & (facts["trunk"] < 0),
        "framed": facts["frame"] >= FRAME,
    }
    images = subject.dataset.images
    findings = []
    for name, check in PIXEL_CHECKS.items():
        digests = pixels.table["sha256"].filter(
            pa.array(suspicious[name] & ((facts["spread"] >= BLANK) | (name == "blank")))
        )
        found = images.filter(pc.is_in(images["sha256"], value_set=digests.combine_chunks()))["image_id"].to_pylist()
        found = [*pixels.blank, *found] if name == "blank" else found
        measured = f"{check.means}: {len(found):,} of {len(pixels.table):,}"
        findings.append(counted(check.name, measured, found, status=NOTE, advice=(check.why, check.remedy)))
    return findings
