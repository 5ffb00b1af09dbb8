"""The texts of a report by name, and what becomes of the marks that stand for removed words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from cxremb.store.layout import BEFORE_READING, JOINED, LABEL_SOURCE, PRE_READ, ROLES

REPORT = "+".join(JOINED)  # what the reference systems read
PLACES = tuple(ROLES)


def place(section: str) -> tuple[int, str]:
    """Sorts sections as a report is written: those of `ROLES` in that order, then a collection's own by name."""
    return (PLACES.index(section) if section in PLACES else len(PLACES)), section


def text_parts(roles: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Name of each text -> the sections it joins, for a study or a data set with sections of these roles.

    Each section is a text; `findings+impression` joins whichever of the two there is; `pre-read` joins what was
    written before the film was read. A text without a section to join is not there.
    """
    ordered = sorted(roles, key=place)
    parts: dict[str, tuple[str, ...]] = {section: (section,) for section in ordered}
    parts[REPORT] = tuple(section for section in JOINED if section in roles)
    parts[PRE_READ] = tuple(section for section in ordered if roles[section] == BEFORE_READING)
    return {name: sections for name, sections in parts.items() if sections}


def report_texts(reports: pa.Table) -> Iterator[tuple[str, str, str]]:
    """(study_id, name, text) of every text of every study; the sections of a text are joined by a space.

    The view `meta.texts` of `store.views` says the same in SQL.
    """
    studies: dict[str, dict[str, tuple[str, str]]] = {}
    columns = (reports[name].to_pylist() for name in ("study_id", "section", "role", "text"))
    for study_id, section, role, text in zip(*columns, strict=True):
        if text:
            studies.setdefault(study_id, {})[section] = role, text
    for study_id, study in studies.items():
        for name, sections in text_parts({section: role for section, (role, _) in study.items()}).items():
            yield study_id, name, " ".join(study[section][1] for section in sections)


def section_roles(reports: pa.Table) -> dict[str, str]:
    """Section -> role. If rows disagree it is a source of labels: the careful way round."""
    roles: dict[str, str] = {}
    for row in reports.group_by(["section", "role"]).aggregate([]).to_pylist():
        roles[row["section"]] = row["role"] if roles.get(row["section"], row["role"]) == row["role"] else LABEL_SOURCE
    return roles


def text_role(reports: pa.Table, name: str) -> str:
    """`BEFORE_READING` if every section of that text was written before the film was read, else `LABEL_SOURCE`."""
    roles = ROLES | section_roles(reports)
    sections = text_parts(roles).get(name, (name,))
    return BEFORE_READING if all(roles.get(section) == BEFORE_READING for section in sections) else LABEL_SOURCE


MARKS = "xxxx"  # the flag, the axis of an arm, the key in a recipe's input
KEEP, DROP, MASK = "keep", "drop", "mask"
WAYS = (KEEP, DROP, MASK)
RULES = 1  # in the recipe of edited texts: raise it when a text would come out otherwise
MASK_TOKEN = "[MASK]"

# `XXXX` of IU X-ray, which also stands inside words (`XXXX-year-old`, `53XXXX`), and `___` of MIMIC-CXR
MARK = re.compile(r"X{4,}|_{3,}")

STOPS = ".?!;:,"  # where several of them come to stand together the first of this order stays
HANGING = rf"[-/]*(?:{MARK.pattern})(?:'[a-z]*)?[-/]*"  # with what is nothing without it: `x-XXXX`, `XXXX's`
BRACKETED = rf"\(\s*{HANGING}(?:\s*{HANGING})*\s*\)"
PIECE = rf"(?:{BRACKETED}|{HANGING})"
GAP = re.compile(rf"[\s{STOPS}]*{PIECE}(?:[\s{STOPS}]*{PIECE})*[\s{STOPS}]*")


def edited(text: str, way: str, token: str = MASK_TOKEN) -> str:
    """The text as an encoder reads it: as written, its marks dropped, or each replaced by `token`.

    Where marks are dropped the gap is closed: one space, and of the punctuation around it the strongest. A text
    without a mark is never touched; one that has no word beside its marks is empty.
    """
    if way == KEEP or not MARK.search(text):
        return text
    if way == MASK:
        return MARK.sub(lambda _: token, text)
    rest = GAP.sub(closed, text)
    return rest if re.search(r"[^\W_]", rest) else ""


def closed(gap: re.Match[str]) -> str:
    """What stays of a run of marks with the white space and punctuation around it."""
    before, after = gap.string[: gap.start()], gap.string[gap.end() :]
    stop = min(filter(STOPS.__contains__, gap.group()), key=STOPS.index, default="")
    if not before or before.endswith("("):
        return ""  # nothing stands there that could end
    if after and not after.startswith(")"):
        return f"{stop} "
    return stop if stop in ".?!" else ""


def way_of(recipe_input: Mapping[str, Any]) -> str:
    """What was done with the marks of the texts that were encoded by this recipe."""
    return str(recipe_input[MARKS]["way"]) if MARKS in recipe_input else KEEP


def as_written(recipe_input: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe for texts as they are written."""
    return {name: value for name, value in recipe_input.items() if name != MARKS}
