"""The texts of a report by name: its sections, two of them joined, and what was known before the film was read."""

from collections.abc import Iterator, Mapping

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
