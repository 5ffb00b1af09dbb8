"""What a page is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxremb.reporting.canvas import Drawing
from cxremb.table import Table


@dataclass(frozen=True)
class PatientCase:
    """One row of the data with what it is made of. `film` is a JPEG as a data URI."""

    title: str
    film: str | None
    texts: Sequence[tuple[str, str]]  # section, text
    said: str  # what is true, and what each arm says


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it, in this order."""

    title: str
    intro: str = ""
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    lines: Sequence[str] = ()
    commands: Sequence[str] = ()
    cases: Sequence[PatientCase] = ()
