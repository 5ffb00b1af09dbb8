"""What stands in report texts beside their words: markup of the program they came from, letters that were misread.

An encoder reads all of it as words. Nothing is taken out here, since nobody can tell what else would go with it: what
is found is counted, and whoever made the export can leave it out.
"""

import re
from collections.abc import Iterable

from cxremb.types import Note, NoteCounter, notes_of

AS_CP1252 = r"\u0080-\u00bf\u0152-\u02dc\u2013-\u2122"  # what the later bytes of a letter in UTF-8 become
KINDS = {
    "RTF": r"\{\\rtf\d?",
    "HTML": r"</?(?:p|br|div|span|b|i|u|em|strong|li|ul|ol|h\d|html|body|table|tr|td|font)(?:\s[^<>]*)?/?>",
    "characters as HTML writes them (&lt;)": r"&(?:lt|gt|amp|nbsp|quot|apos|#\d{2,5}|#x[0-9a-f]{2,4}|[aou]uml|szlig);",
    "line ends as Excel writes them (_x000D_)": r"_x00[01][0-9A-F]_",
    "marks of HL7 (\\.br\\)": r"\\\.(?:br|sp|in|ti)[+-]?\d*\\|\\X[0-9A-F]{2,}\\",
    "letters that were read in another encoding (Ã¼, \ufffd)": rf"(?-i:\ufffd|(?:\u00c3|\u00e2\u20ac)[{AS_CP1252}])",
    "a PDF": r"\A%PDF-|\AJVBERi0",
}
PATTERNS = [re.compile(pattern, re.IGNORECASE) for pattern in KINDS.values()]
SUSPECT = re.compile(r"[<&\\\u00c3\u00e2\ufffd]|_x00|%PDF|JVBERi0")  # in no text without: most are told at once
HINT = "kept, and encoded as words: export the texts without it, and add the collection again"


class MarkupNotes:
    """Which texts have what beside their words."""

    def __init__(self) -> None:
        self.found = [NoteCounter(f"texts with {what} in them", HINT) for what in KINDS]

    def add(self, study: str, sections: Iterable[tuple[str, str]]) -> None:
        """The sections of one more study, (name, text)."""
        for section, text in sections:
            if SUSPECT.search(text):
                for found, pattern in zip(self.found, PATTERNS, strict=True):
                    if pattern.search(text):
                        found.add(f"{section} of {study}")

    def notes(self) -> list[Note]:
        """One for each kind that was found."""
        return notes_of(*self.found)
