"""Every check on one split and label set, and the table that keeps what it found."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from cxremb.audit.collection import check_collection
from cxremb.audit.facts import read_headers
from cxremb.audit.labels import check_labels
from cxremb.audit.lookups import check_lookups
from cxremb.audit.overlap import check_overlap
from cxremb.audit.pixels import PixelFacts, read_pixels
from cxremb.audit.subject import FAIL, Finding, open_subject
from cxremb.audit.words import check_words, read_synonyms
from cxremb.labels import read_labels
from cxremb.splits import DEFAULT, choose_split
from cxremb.store.dataset import Dataset
from cxremb.store.files import OTHER_ROOT, refuse_unwritable, replace_table
from cxremb.store.layout import AUDIT
from cxremb.types import Progress, unwatched

NO_PIXELS = "left out with --no-pixels"


@dataclass(frozen=True)
class Audit:
    """What was found, in the order of the checks; `path` is the stored table."""

    dataset: str
    split: str  # name@key
    leaky: bool
    label_set: str
    created: datetime
    path: Path
    findings: Sequence[Finding]

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == FAIL]


def audit(
    dataset: Dataset,
    label_set: str | None = None,
    split: str = DEFAULT.name,
    *,
    pixels: bool = True,
    synonyms: Path | None = None,
    progress: Progress = unwatched,
) -> Audit:
    """Overlap between parts, look-ups, labels and films, measured on any split, a leaky one too, and stored.

    label_set: the data set's own, if None. pixels: decode films (once; what they show is kept under `cache/`).
    synonyms: a file of other words for labels, beside those of `audit/synonyms.txt`.
    Raises as `choose_split` and `read_labels`, and `StoreError` where nothing can be written.
    """
    refuse_unwritable(dataset.paths.audits / "findings.parquet", instead=OTHER_ROOT)  # before films are decoded
    labels = read_labels(dataset, label_set)
    chosen = choose_split(dataset, labels.label_set, split, allow_leaky=True)
    subject = open_subject(dataset, chosen, labels)
    headers = read_headers(dataset.images, progress)
    films: PixelFacts | str = read_pixels(dataset, progress) if pixels else NO_PIXELS
    findings = [
        *check_overlap(subject, films),
        *check_lookups(subject, headers),
        *check_words(subject, read_synonyms(synonyms)),
        *check_labels(subject),
        *check_collection(subject, films, headers),
    ]
    created = datetime.now(UTC).replace(microsecond=0)
    record = json.dumps([chosen.key, labels.label_set, labels.version, pixels])
    path = dataset.paths.audits / f"{created:%Y%m%dT%H%M%S}-{hashlib.sha256(record.encode()).hexdigest()[:8]}.parquet"
    result = Audit(dataset.name, chosen.title, chosen.leaky, labels.label_set, created, path, findings)
    replace_table(path, as_table(result))
    return result


def as_table(result: Audit) -> pa.Table:
    """One row for each finding; columns `AUDIT`."""
    about = {"created": result.created, "split": result.split, "label_set": result.label_set}
    rows = [{**about, **asdict(finding), "examples": list(finding.examples)} for finding in result.findings]
    return pa.Table.from_pylist([{name: row[name] for name in AUDIT.names} for row in rows], schema=AUDIT)
