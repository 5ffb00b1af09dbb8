"""The one rule for ids: how they are written, which of them may be one, and what a spreadsheet did to them.

Every id that is read, compared, grouped or joined goes through `clean_id`. It takes away only what never tells two ids
apart: blanks around it, characters that nobody sees, the .0 of a column with gaps. `7` and `007` stay two ids, since
either may be right; where both are there, `spellings` finds them, and the reader of a table refuses.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

from cxremb.types import EXAMPLES, Note

UNSEEN = dict.fromkeys(  # no width, a change of direction, or an order to a terminal; tab and line feed are blanks
    [
        *(number for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\t\n\r"),
        *(0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFFF9, 0xFFFC)),
    ]
)
AS_TEXT = re.compile(r"=\"(.*)\"|'(.*[^'])")  # ="007" and '007: how a spreadsheet is told to leave an id alone
WHOLE = re.compile(r"([+-]?\d+)(?:\.0{1,2}|\.0{4,}|,0{1,2})")  # .000 may be thousands: it stays, and is reported
SCIENTIFIC = re.compile(r"(\d)(?:[.,](\d+))?E(\+?)(\d+)", re.IGNORECASE)
THOUSANDS = re.compile(r"\d{1,3}([,.'’ \u00a0\u202f])\d{3}(?:\1\d{3})*")
ROUNDED = re.compile(r"[1-9]\d{14}0+")  # a spreadsheet keeps 15 digits
TOO_NARROW = re.compile(r"#{2,}")
MONTH = (
    r"(?:jan|feb|mar|mär|mrz|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez|"
    r"janv|févr|fév|avr|juin|juil|août|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott)"
)
DATE = re.compile(
    rf"\d{{1,2}}[-. ]{{1,2}}{MONTH}\.?(?:[-. ]\d{{2,4}})?|{MONTH}\.?[-. ]\d{{2,4}}"
    r"|\d{1,2}([./])\d{1,2}\1(?:\d{2}){1,2}|\d{4}([-/])\d{1,2}\2\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.0+)?)?)?",
    re.IGNORECASE,
)
NOBODY = re.compile(
    r"unk(nown)?|anon\w*|unbekannt|inconnu|desconocido|none|null|nan|n/?a|-+|\?+|x{3,}|-1", re.IGNORECASE
)
AS_POWER, ROUNDED_OFF, HIDDEN = "written as 1.23E+10", "rounded to 15 digits", "of a column too narrow to show them"
EXPORT = "export the table again with this column as text"


def clean_id(cell: str) -> str:
    """The id in a cell, as it is kept, compared, grouped and joined everywhere.

    Without blanks around it and characters that nobody sees, letters composed (NFC), a whole number without its .0.
    """
    text = unicodedata.normalize("NFC", cell.translate(UNSEEN)).strip()
    if marked := AS_TEXT.fullmatch(text):
        text = (marked[1] if marked[1] is not None else marked[2]).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def printable(name: str) -> str:
    """An id out of a file name, without the characters that nobody sees."""
    return name.translate(UNSEEN)


def find_id(cell: str, known: Mapping[str, object] | Collection[str]) -> str:
    """The one of `known` that a cell of another table means: the id itself first, for a store whose ids are older than
    this rule; else what `clean_id` makes of it, whether known or not.
    """
    return cell if cell in known else clean_id(cell)


def number_of(name: str) -> str:
    """The number that a spreadsheet takes an id for, in plain digits; "" if it is none."""
    if name.isascii() and name.isdigit():
        return name.lstrip("0") or "0"
    if found := SCIENTIFIC.fullmatch(name):
        if int(found[4]) > 40:  # no id has so many digits; 1E999999999 must not be written out
            return ""
        value = Decimal(f"{found[1]}.{found[2] or 0}E{found[4]}")
        return str(int(value)) if value == value.to_integral_value() else ""
    if found := THOUSANDS.fullmatch(name):
        return name.replace(found[1], "").lstrip("0") or "0"
    whole = re.fullmatch(r"(\d+)[.,]0+", name)
    return (whole[1].lstrip("0") or "0") if whole else ""


def likeness(name: str) -> str:
    """Equal for ids that differ in what people and programs change: case, blanks, leading zeros, a number's form."""
    return number_of(name) or re.sub(r"(?<!\d)0+(?=\d)", "", "".join(name.casefold().split()))


def spellings(names: Iterable[str], *, numbers: bool = False) -> list[list[str]]:
    """The ids that may be one and are written in several ways, together. numbers: only those that are numbers."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        key = number_of(name) if numbers else likeness(name)
        if key:
            found[key].append(name)
    return [its for its in found.values() if len(its) > 1]


def rounded(name: str) -> bool:
    """Whether 1.23E+10 has fewer digits than the number that it stands for, so that others may have become it too."""
    found = SCIENTIFIC.fullmatch(name)
    return found is not None and int(found[4]) > len(found[2] or "")


def changed(names: Collection[str]) -> dict[str, list[str]]:
    """What a spreadsheet or a data frame seems to have done, in words -> the ids that it did it to.

    A form that may be an id of its own (`1e5`, `12.345`) counts only among ids that are all numbers.
    """
    numeric = all(number_of(name) or TOO_NARROW.fullmatch(name) for name in names)
    long = [name for name in names if name.isdigit() and len(name) > 15]
    found = {
        AS_POWER: [name for name in names if (it := SCIENTIFIC.fullmatch(name)) and (numeric or it[3] or it[2])],
        "with marks for thousands": [
            name for name in names if (it := THOUSANDS.fullmatch(name)) and (numeric or it[1] != ".")
        ],
        "that look like a date": [name for name in names if DATE.fullmatch(name)],
        ROUNDED_OFF: long if len(long) > 1 and all(ROUNDED.fullmatch(name) for name in long) else [],
        HIDDEN: [name for name in names if TOO_NARROW.fullmatch(name)],
    }
    return {what: its for what, its in found.items() if its}


def id_notes(what: str, names: Collection[str]) -> list[Note]:
    """What there is to say of ids as they stand. what: whose they are, in the singular, such as `patient`."""
    notes = [
        Note(f"{what} ids {how}", len(its), its[:EXAMPLES], f"a spreadsheet seems to have changed them: {EXPORT}")
        for how, its in changed(names).items()
    ]
    if several := spellings(names):
        pairs = [" = ".join(its) for its in several]
        hint = f"each spelling counts as a {what} of its own, which may be a leak: write each in one way, or say so"
        notes.append(Note(f"{what} ids that may be one, written in several ways", len(several), pairs[:EXAMPLES], hint))
    if nobody := [name for name in names if NOBODY.fullmatch(name)] if what == "patient" else []:
        hint = "all that carry one of them count as one patient; leave the cell blank where nobody knows the patient"
        notes.append(Note("patient ids that are a word for nobody", len(nobody), nobody[:EXAMPLES], hint))
    return notes


def merged_by_rounding(rows: Mapping[str, int]) -> list[str]:
    """The ids that lost digits and stand in several rows: of one, or of several that have become one. rows: id -> how
    many it has.
    """
    found = changed(rows.keys())
    doubtful = [*found.get(ROUNDED_OFF, ()), *found.get(HIDDEN, ()), *filter(rounded, found.get(AS_POWER, ()))]
    return [name for name in doubtful if rows[name] > 1]
