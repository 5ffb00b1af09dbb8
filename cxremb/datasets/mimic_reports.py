"""The free-text reports of MIMIC-CXR: found in a folder or a .zip, and parted into sections at their headings.

What was written after the film was read must not end up in a section that counts as written before: a reading often
follows `INDICATION:` or `COMPARISON:` as a paragraph without a heading of its own. So such a section is the paragraph
at its heading and no more; what stands under no heading becomes the section `report`, a source of labels.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from cxremb.datasets.mimic_release import entries, patient_folder, patients
from cxremb.errors import DataError
from cxremb.store.layout import BEFORE_READING, ROLES

REPORT = "report"  # the section of text under no heading
HEADINGS = {
    "findings": ("findings", "finding"),
    "impression": ("impression", "impressions", "conclusion", "conclusions", "opinion"),
    "indication": (
        "indication",
        "indications",
        "clinical indication",
        "reason for exam",
        "reason for examination",
        "reason for study",
    ),
    "history": (
        "history",
        "clinical history",
        "clinical information",
        "clinical information/history",
        "patient history",
    ),
    "technique": ("technique", "techniques", "views"),
    "comparison": ("comparison", "comparisons", "reference exam"),
    "examination": ("examination", "exam", "type of examination", "study", "procedure"),
    "wet_read": ("wet read", "wetread", "preliminary report", "pfi", "provisional findings impression (pfi)"),
    "recommendations": ("recommendation(s)", "recommendations", "recommendation"),
    "notification": ("notification", "notifications"),
    "addendum": ("addendum", "addenda"),
}
NAMES = {name: section for section, names in HEADINGS.items() for name in names}
SPELLING = 0.87  # of difflib: "IMPRESSON" and "COMPARISION" pass; "MEDICATION" is no "INDICATION"

HEADING = re.compile(r"[ \t]*([A-Z][A-Za-z0-9 ,/()&#_.-]{1,70}?)[ \t]*:[ \t]*(.*)")
BOUNDARY = re.compile(r"[ \t_]*final (report|addendum)[ \t_]*:?[ \t]*", re.IGNORECASE)
WET_READ = re.compile(r"[ \t]*WET ?READ\b[ \t]*:?[ \t]*(.*)")  # who and when follow, with colons of their own
RULER = re.compile(r"[ \t]*[_=-]{10,}[ \t]*")  # three underscores are a de-identified word, and stay
VIEW = re.compile(r"\b(CHEST|PORTABLE|VIEWS?|RADIOGRAPHS?|FRONTAL|LATERAL|UPRIGHT|SUPINE|PA|AP|RIBS?)\b")
# A second heading on a line: `INDICATION: Cough. FINDINGS: Clear.`
WITHIN = re.compile(
    r"(?<=[a-z.;:?!)_])[ \t]+(?=(?:[A-Z]+ ){0,2}"
    r"(?:FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|INDICATIONS?|HISTORY|TECHNIQUE|COMPARISONS?|EXAMINATION)[ \t]*:)"
)


@dataclass
class Chunk:
    """The lines from one heading on, without it; `title` is a heading that names no section, and stays in the text."""

    section: str
    lines: list[str] = field(default_factory=list)
    title: str = ""


def parse_report(text: str) -> dict[str, str]:
    """Section -> text, in the order of the report; a section without text is absent.

    The lines of a paragraph are joined by a blank, paragraphs by a line break. `___` stays where it stood.
    """
    sections: dict[str, list[str]] = {}
    for chunk in chunks(text):
        for section, paragraph in sections_of(chunk):
            sections.setdefault(section, []).append(paragraph)
    return {section: "\n".join(paragraphs) for section, paragraphs in sections.items()}


def chunks(text: str) -> Iterator[Chunk]:
    """The report, cut at each heading and at the words FINAL REPORT."""
    current = Chunk(REPORT)
    for line in WITHIN.sub("\n", text).splitlines():
        following = heading(line, current.section)
        if following is not None:
            yield current
            current = following
        else:
            current.lines.append("" if RULER.fullmatch(line) else line)
    yield current


def sections_of(chunk: Chunk) -> Iterator[tuple[str, str]]:
    """(section, paragraph): all of a reading; of what was written before it, the paragraph at the heading alone."""
    body = paragraphs(chunk.lines)
    if chunk.title and body == [f"{chunk.title}:"]:  # "CHEST, PA AND LATERAL:" over nothing names the examination
        yield "examination" if chunk.section == "findings" else REPORT, chunk.title
        return
    own = len(body)
    if ROLES.get(chunk.section) == BEFORE_READING:
        own = int(any(line.strip() for line in chunk.lines[:2]))  # beside its heading, or on the line below it
    for number, paragraph in enumerate(body):
        yield chunk.section if number < own else REPORT, paragraph


def paragraphs(lines: Iterable[str]) -> list[str]:
    """The text between blank lines, each with its white space collapsed."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def heading(line: str, current: str) -> Chunk | None:
    """The chunk that begins on this line, or None if the line goes on with the section `current`."""
    if boundary := BOUNDARY.fullmatch(line):
        return Chunk(REPORT if boundary[1].lower() == "report" else "addendum")
    if stamped := WET_READ.match(line):
        return Chunk("wet_read", [stamped[1]])
    if line.isupper() and line.strip().lower() in NAMES:  # its colon was left out
        return Chunk(NAMES[line.strip().lower()], [""])
    if found := HEADING.match(line):
        section = section_of(found[1])
        return Chunk(section, [found[2]]) if section else unnamed(found[1], line, current)
    return None


def unnamed(title: str, line: str, current: str) -> Chunk | None:
    """The chunk under a heading that names no section, or None if it is part of the section `current`."""
    if title != title.upper() or (current != REPORT and ROLES.get(current) != BEFORE_READING):
        return None  # "HEART:" under FINDINGS belongs to the findings
    if VIEW.search(title):  # "PA AND LATERAL CHEST: The lungs are clear."
        return Chunk("findings", [line], title)
    return Chunk(REPORT, [line], title)


@lru_cache(maxsize=4096)
def section_of(title: str) -> str | None:
    """The section that a heading names, or None. Capitals may be misspelt or go on; other headings must be exact."""
    name = " ".join(title.lower().split())
    if name in NAMES or title != title.upper():
        return NAMES.get(name)
    for reading in ("impression", "findings"):  # first: "TECHNIQUE AND FINDINGS" holds a reading
        if reading in name:
            return reading
    if close := get_close_matches(name, NAMES, n=1, cutoff=SPELLING):
        return NAMES[close[0]]
    return NAMES.get(re.split(r"[ /(,]", name)[0])  # "COMPARISON STUDIES", "INDICATION FOR STUDY"


class Reports(Protocol):
    """Where the texts of reports lie."""

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there."""

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""


class ReportFolder:
    """Reports as files. `root` is the folder that holds p10, p11 ..."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there. Raises `DataError` if it cannot be read."""
        path = self.root / patient_folder(patient) / f"s{study}.txt"
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})", hint="mend its permissions") from error

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""
        for patient, folder in patients(self.root):
            for name, _ in entries(folder):
                if study := re.fullmatch(r"s(\d+)\.txt", name):
                    yield patient, int(study[1])


class ReportArchive:
    """Reports in the .zip as published, read in place."""

    NAME = re.compile(r"(?P<root>(?:.*/)?)p\d+/p(?P<patient>\d+)/s(?P<study>\d+)\.txt")

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)  # open as long as its reports are read
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{path}: a damaged or incomplete archive ({error})", hint="fetch it again") from error
        first = next((found for name in self.archive.namelist() if (found := self.NAME.fullmatch(name))), None)
        if first is None:
            raise DataError(f"{path}: no report in it", hint="give mimic-cxr-reports.zip of MIMIC-CXR")
        self.root = first["root"]

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there. Raises `DataError` if the archive is damaged at it."""
        name = f"{self.root}{patient_folder(patient)}/s{study}.txt"
        try:
            return self.archive.read(name)
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:  # RuntimeError: encrypted
            raise DataError(f"{self.path}: {name}: cannot be read ({error})", hint="fetch the archive again") from error

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""
        for name in self.archive.namelist():
            if name.startswith(self.root) and (found := self.NAME.fullmatch(name)):
                yield int(found["patient"]), int(found["study"])


def open_reports(path: Path) -> Reports:
    """The reports in a folder, or in a .zip of it. Raises `DataError` if there is none."""
    if path.is_file():
        return ReportArchive(path)
    for root in (path, path / "files", path / "mimic-cxr-reports" / "files"):
        if next(patients(root), None):
            return ReportFolder(root)
    raise DataError(
        f"{path}: no report in it (looked for p10/p10000032/s50414267.txt, also below files and mimic-cxr-reports)",
        hint="give mimic-cxr-reports.zip of MIMIC-CXR, or the folder it unpacks to",
    )
