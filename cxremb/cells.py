"""What a cell of a table says, whatever file it stands in: text, or that nothing is there."""

import re
from typing import Any

# What a cell says when it says nothing. "None." stays, a radiologist wrote it; "none" may be a class.
MISSING = frozenset(("", "nan", "na", "n/a", "<na>", "nat", "null", "#nv", "#bezug"))
# What a spreadsheet leaves where a formula failed, in any language: #VALUE!, #WERT!, #¿NOMBRE?, #N/A, #N/D, Err:502,
# and #### where a column was too narrow.
SPREADSHEET_ERROR = re.compile(r"#[^\s#]{1,20}[!?]|#\w/\w|#GETTING_DATA|#+|Err:\d{3}", re.IGNORECASE)
LONGEST_MISSING = 23  # characters: reports are longer, and need not be looked at
Cells = dict[str, str]  # column -> what it says, stripped


def as_text(value: Any) -> str:
    """A Parquet value as a CSV would hold it; whole numbers without .0, a list with pipes between."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(map(as_text, value))
    return plain(str(value)) if isinstance(value, float) else str(value)


def plain(cell: str) -> str:
    """A whole number without its .0 (which is how a column with gaps is saved); anything else as it is."""
    found = re.fullmatch(r"(-?\d+)\.0+", cell) if cell.endswith("0") and "." in cell else None
    return found[1] if found else cell


def is_missing(cell: str) -> bool:
    """Whether a cell says that nothing is there: blank, a word for it, or the error of a spreadsheet."""
    if len(cell) > LONGEST_MISSING:
        return False
    return cell.lower() in MISSING or (cell[:1] in "#eE" and SPREADSHEET_ERROR.fullmatch(cell) is not None)
