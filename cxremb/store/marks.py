"""What stands in a report for words that were removed to protect the patient, and texts without it.

How often a mark occurs tells a label apart, so it is a choice of the experiment what an encoder reads of it. The
choice is part of the recipe, under `MARKS`; a recipe without it has texts as they are written.
"""

import re
from collections.abc import Mapping
from typing import Any

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
