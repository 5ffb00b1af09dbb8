"""One line of an audit."""

from collections.abc import Sequence
from dataclasses import dataclass

OVERLAP, LOOK_UPS, LABELS, COLLECTION = SECTIONS = ("overlap", "look-ups", "labels", "collection")
OK, NOTE, FAIL = "ok", "note", "fail"
SKIP = "skip"  # not measured, and `why` says what is missing: silence would look like a pass
EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    """What was measured, the figure, whether it holds, why it matters and what to do."""

    section: str  # of `SECTIONS`
    name: str  # short, unique within an audit
    measured: str  # in words, with counts and the parts compared
    value: float | None  # a share (overlap), AUROC (look-ups), count (collection); None if not measured
    figure: str  # the value as a reader sees it
    status: str
    why: str = ""
    remedy: str = ""
    examples: Sequence[str] = ()


def skipped(section: str, name: str, why: str, remedy: str = "") -> Finding:
    """A line that says what was not measured, and why."""
    return Finding(section, name, f"{name}: not measured", None, "-", SKIP, why, remedy)
