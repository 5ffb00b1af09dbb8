"""A report of MIMIC-CXR, parted into sections at its headings, so that no reading counts as written before it.

Radiologists head a report as they please, and a reading often follows `INDICATION:` or `COMPARISON:` with no heading of
its own. So every rule here errs towards a source of labels:

- A heading that names films (`VIEWS OF THE CHEST:`, `STUDY, PORTABLE CHEST:`, `AP CHEST, 5:32 A.M.`) or results begins
  a reading, whatever its first word. Over nothing it is the examination.
- Within a reading, what was written before one begins only on a line of its own after a blank one; in mid-line only
  another reading may begin.
- A section from before the reading is the paragraph at its heading, up to the first sentence that reads a film
  (`READS`). What follows, and what stands under headings that nobody knows, is `report`: a source of labels.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache

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
ASKED_FOR = ("indication", "history")  # by whoever sent the patient
SPELLING = 0.87  # of difflib: "IMPRESSON" and "COMPARISION" pass; "MEDICATION" is no "INDICATION"

# A colon within a clock time (5:32) is no heading's.
HEADING = re.compile(r"[ \t]*([A-Z](?:[A-Za-z0-9 ,/()&#_.-]|(?<=\d):(?=\d\d)){1,80}?)[ \t]*:(?!(?<=\d:)\d\d)[ \t]*(.*)")
BOUNDARY = re.compile(r"[ \t_]*final (report|addendum)[ \t_]*:?[ \t]*", re.IGNORECASE)
WET_READ = re.compile(r"[ \t]*WET ?READ\b[ \t]*:?[ \t]*(.*)")  # who and when follow, with colons of their own
RULER = re.compile(r"[ \t]*[_=-]{10,}[ \t]*")  # three underscores are a de-identified word, and stay
VIEW = re.compile(
    r"\b(CHEST|THORAX|PORTABLE|VIEWS?|RADIOGRAPHS?|FILMS?|X-?RAYS?|FRONTAL|LATERAL|UPRIGHT|SUPINE|PA|AP|CXR|RIBS?)\b"
)
RESULTS = re.compile(
    r"\b(RESULTS?|INTERPRETATION|READING|REPORT|OBSERVATIONS?|ASSESSMENT|CONCLUSIONS?|OPINION|SUMMARY)\b"
)
QUESTION = re.compile(r"(CLINICAL |PATIENT )?(INDICATIONS?|REASON|HISTORY|INFORMATION)\b")  # of whoever asked for films
# A further heading on a line: `INDICATION: Cough. FINDINGS: Clear.`
READINGS = r"FINDINGS?|IMPRESSIONS?|CONCLUSIONS?"
WITHIN = r"(?<=[a-z.;:?!)_])[ \t]+(?=(?:[A-Z]+ ){{0,2}}(?:{})[ \t]*:)"
READING_WITHIN = re.compile(WITHIN.format(READINGS))
ANY_WITHIN = re.compile(WITHIN.format(f"{READINGS}|INDICATIONS?|HISTORY|TECHNIQUE|COMPARISONS?|EXAMINATION"))
ABOUT_FILMS = re.compile(  # in a later sentence of technique, comparison, examination; not so in `None. Hyperexpanded.`
    r"___|\d|\b(?:chest|thorax|radiographs?|views?|films?|x-?rays?|cxr|ct|mri?|pa|ap|frontal|lateral|portable|upright|supine|"
    r"semi|erect|decubitus|stud(?:y|ies)|exams?|examinations?|priors?|previous|none|images?|obtained|performed|acquired|"
    r"available|dated?|time|technique|single|two|multiple|contrast|same|patient)\b",
    re.IGNORECASE,
)
ASKS = re.compile(  # in a later sentence: `Evaluate for effusion.` is no reading, `Bilateral opacities.` may be
    r"\?|//|\b(?:eval\w*|assess\w*|rule out|r/o|concern\w*|question|please|history|h/o|s/p|status post|known|prior|"
    r"check|look for|interval|confirm)\b",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[.;?!])\s+")
# What only a reading says; where somebody asks for films, `rule out effusion` is no reading.
READS = re.compile(
    r"\bno (?:acute|evidence|focal|pleural|pneumothora|effusion|consolidat|significant|interval|definite|new|change|"
    r"free|other|large|pulmonary|radiographic)|\bwithout (?:evidence|focal|acute|change|effusion|pneumothora)|"
    r"\b(?:unchanged|unremarkable|improved|worsened|resolved|stable|persistent)\b|\bthere (?:is|are|has|have)\b|"
    r"\b(?:is|are|was|were|remains?) (?:\w+ )?(?:seen|noted|present|clear|normal|enlarged|intact|visuali[sz]ed|"
    r"demonstrated|identified|top.normal|within normal|low|increased|decreased|hyperinflated)|"
    r"\b(?:has|have) (?:been |not )?(?:increased|decreased|changed|removed|placed|progressed|cleared)|"
    r"\b(?:as compared|compared (?:to|with)|in comparison)\b|"
    r"\b(?:heart size|cardiac silhouette|cardiomediastinal|mediastinal contour|costophrenic|hemidiaphragm|"
    r"lung volumes?|lungs (?:are )?(?:well|clear|hyper)|clear lungs|normal (?:heart|chest|lungs)|"
    r"within normal limits|likely|probabl[ey]|consistent with|suggests?|suggestive|(?:may|could) represent)\b|"
    r"\binterval (?:removal|placement|improvement|increase|decrease|development|resolution|worsening)|"
    r"\b(?:lungs?|heart|bones|osseous structures|pleural spaces?|mediastinum)\s*:",
    re.IGNORECASE,
)
# And what has no place where films are named or compared.
NAMES_FINDINGS = re.compile(
    r"effusion|consolidat|opaci|pneumothora|atelecta|edema|cardiomegal|pneumonia|nodul|\bmass\b|congesti|fractur|"
    r"infiltrat|\bnormal|\bclear\b|\blungs?\b|\bheart\b|enlarge|\btip\b|\bhilar|\bmediastin|\bpleura|emphysem|"
    r"scarring|\bbas(?:e|al|ilar)\b|\btube\b|\bcatheter\b",
    re.IGNORECASE,
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
    """The report, parted at each heading and at the words FINAL REPORT."""
    current = Chunk(REPORT)
    for full in text.splitlines():
        rest: str | None = full
        while rest is not None:
            line, rest = first_of_line(rest, current)
            following = heading(line, current)
            if following is not None:
                yield current
                current = following
            else:
                current.lines.append("" if RULER.fullmatch(line) else line)
    yield current


def first_of_line(line: str, current: Chunk) -> tuple[str, str | None]:
    """The line up to a further heading on it, and the rest; within a reading only another reading's counts."""
    start = heading(line, current) or current
    within = ANY_WITHIN if is_before(start.section) else READING_WITHIN
    found = within.search(line)
    return (line[: found.start()], line[found.end() :]) if found else (line, None)


def is_before(section: str) -> bool:
    """Whether the section was written before the film was read."""
    return ROLES.get(section) == BEFORE_READING


def sections_of(chunk: Chunk) -> Iterator[tuple[str, str]]:
    """(section, paragraph): all of a reading; of what was written before it, the paragraph at the heading, as far as
    it reads no film.
    """
    body = paragraphs(chunk.lines)
    if chunk.title and body in ([f"{chunk.title}:"], [chunk.title]):  # "CHEST, PA AND LATERAL:" over nothing
        yield "examination" if chunk.section == "findings" else REPORT, chunk.title
        return
    if not is_before(chunk.section):
        yield from ((chunk.section, paragraph) for paragraph in body)
        return
    own = int(any(line.strip() for line in chunk.lines[:2]))  # beside its heading, or on the line below it
    for number, paragraph in enumerate(body):
        before, reading = before_and_reading(chunk.section, paragraph) if number < own else ("", paragraph)
        yield from ((section, words) for section, words in ((chunk.section, before), (REPORT, reading)) if words)


def before_and_reading(section: str, paragraph: str) -> tuple[str, str]:
    """The sentences up to the first that reads a film, and that one with all that follow."""
    sentences = SENTENCE.split(paragraph)
    for number, sentence in enumerate(sentences):
        asks = section in ASKED_FOR and (number == 0 or ASKS.search(sentence))
        strange = section not in ASKED_FOR and number > 0 and not ABOUT_FILMS.search(sentence)
        if strange or READS.search(sentence) or (not asks and NAMES_FINDINGS.search(sentence)):
            return " ".join(sentences[:number]), " ".join(sentences[number:])
    return paragraph, ""


def paragraphs(lines: Iterable[str]) -> list[str]:
    """The text between blank lines, each with its white space collapsed."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def heading(line: str, current: Chunk) -> Chunk | None:
    """The chunk that begins on this line, or None if the line goes on with the current one."""
    if boundary := BOUNDARY.fullmatch(line):
        return Chunk(REPORT if boundary[1].lower() == "report" else "addendum")
    if stamped := WET_READ.match(line):
        return Chunk("wet_read", [stamped[1]])
    bare = " ".join(line.split())
    if line.isupper() and bare.lower() in NAMES:  # its colon was left out
        return begun(Chunk(NAMES[bare.lower()], [""]), current)
    found = HEADING.match(line)
    if found is None:
        is_title = line.isupper() and VIEW.search(line) and may_begin(current)  # "AP CHEST, 5:32 A.M."
        return Chunk("findings", [line], bare) if is_title else None
    section = section_of(found[1])
    return begun(Chunk(section, [found[2]]), current) if section else unnamed(found[1], line, current)


def begun(following: Chunk, current: Chunk) -> Chunk | None:
    """The chunk that follows; None where it would take the rest of a reading with it."""
    within = not is_before(current.section) and current.section != REPORT
    running = within and any(line.strip() for line in current.lines) and current.lines[-1].strip()
    return None if running and is_before(following.section) else following


def may_begin(current: Chunk) -> bool:
    """Whether a heading that nobody knows may begin something: "HEART:" under FINDINGS belongs to the findings."""
    return current.section == REPORT or is_before(current.section)


def unnamed(title: str, line: str, current: Chunk) -> Chunk | None:
    """The chunk under a heading that names no section, or None if it is part of the current one."""
    if not may_begin(current) or (title != title.upper() and current.section == REPORT):
        return None
    name = " ".join(title.split())
    if VIEW.search(title.upper()):  # "PA AND LATERAL CHEST: The lungs are clear."
        return Chunk("findings", [line], name)
    return Chunk(REPORT, [line], name)


@lru_cache(maxsize=4096)
def section_of(title: str) -> str | None:
    """The section that a heading names, or None. Capitals may be misspelt or go on; other headings must be exact."""
    name = " ".join(title.lower().split())
    if name in NAMES or title != title.upper():
        return NAMES.get(name)
    for reading in ("impression", "findings"):  # first: "TECHNIQUE AND FINDINGS" holds a reading
        if reading in name:
            return reading
    if RESULTS.search(title):  # "PROCEDURE AND RESULTS"
        return "findings"
    if VIEW.search(title) and not QUESTION.match(title):  # "TECHNIQUE, PA AND LATERAL CHEST"
        return None
    if close := get_close_matches(name, NAMES, n=1, cutoff=SPELLING):
        return NAMES[close[0]]
    return NAMES.get(re.split(r"[ /(,]", name)[0])  # "COMPARISON STUDIES", "INDICATION FOR STUDY"
