"""A sentence from the columns of a clinical table, without the parts that nobody measured."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cxremb.cells import plain
from cxremb.errors import DataError

FIELD = re.compile(r"\{([^{}]*)\}")
# Where a clause ends (comma, semicolon) or a sentence does; never inside a field, whose name may hold either.
BREAK = re.compile(r"([,;]\s+|[.!?](?:\s+|$))(?![^{]*\})")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)  # a reading outside what the device can measure


@dataclass(frozen=True)
class Clause:
    """`lead` is what stands between it and the clause before it in the sentence."""

    lead: str
    text: str

    @cached_property
    def fields(self) -> list[str]:
        return FIELD.findall(self.text)


@dataclass(frozen=True)
class Template:
    """Sentences of clauses, as `--text-template` gives them.

    A clause with a missing field is left out; so is a sentence that has fields and none of them; if no field at all
    has a value, there is no text. Whole numbers lose their .0; an infinite number counts as missing.
    """

    sentences: tuple[tuple[tuple[Clause, ...], str], ...]  # clauses, and what ends the sentence

    @cached_property
    def fields(self) -> list[str]:
        """The columns it names, each once."""
        return list(
            dict.fromkeys(name for clauses, _ in self.sentences for clause in clauses for name in clause.fields)
        )

    def render(self, cells: Mapping[str, str]) -> str:
        """The text for one row, or ""."""
        if not any(as_written(cells[name]) for name in self.fields):
            return ""
        return "".join(render_sentence(clauses, end, cells) for clauses, end in self.sentences).strip()


def parse_template(text: str) -> Template:
    """The template. Raises `DataError` if it has no field, or a brace that is not closed."""
    if not FIELD.search(text) or re.search(r"[{}]", FIELD.sub("", text)):
        raise DataError(
            f"--text-template {text!r}: no column in braces, or a brace without its partner",
            hint='write columns in braces: --text-template "{sex}, {age} years. CRP {crp_val}"',
        )
    words = [*BREAK.split(text), ""]  # clause, break, clause, break, ..., clause, ""
    sentences, clauses, lead = [], [], ""
    for clause, end in zip(words[::2], words[1::2], strict=True):
        if clause:
            clauses.append(Clause(lead, clause))
        lead = end
        if not end.startswith((",", ";")) and clauses:
            sentences.append((tuple(clauses), end))
            clauses = []
    return Template(tuple(sentences))


def render_sentence(clauses: tuple[Clause, ...], end: str, cells: Mapping[str, str]) -> str:
    """One sentence with its end, or "" if it has fields and no clause with one has all its values."""
    complete = [clause for clause in clauses if all(as_written(cells[name]) for name in clause.fields)]
    if any(clause.fields for clause in clauses) and not any(clause.fields for clause in complete):
        return ""
    words = [(clause.lead if place else "") + fill(clause, cells) for place, clause in enumerate(complete)]
    return "".join(words) + end


def fill(clause: Clause, cells: Mapping[str, str]) -> str:
    """The clause with its values."""
    return FIELD.sub(lambda field: as_written(cells[field[1]]), clause.text)


def as_written(cell: str) -> str:
    """A value as it is written into a sentence; "" if it is missing."""
    return "" if INFINITE.fullmatch(cell) else plain(cell)
