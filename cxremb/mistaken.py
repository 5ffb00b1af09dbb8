"""What people have in place of a table, known by how it begins, and what to do about each."""

import re
from pathlib import Path

from cxremb.errors import DataError

SPREADSHEET, SAVE_SHEET = "a spreadsheet's own format", "save the sheet as CSV in UTF-8, and add that"
MISTAKEN = (
    (
        re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE),
        "a web page, and no table",
        "open it in a browser to see what it says: a server that wants to know who you are answers so",
    ),
    (
        re.compile(rb"version https://git-lfs"),
        "a pointer of Git LFS, and not the file that it stands for",
        "get the file itself: git lfs pull",
    ),
    (re.compile(rb"BZh[1-9]1AY&SY"), "compressed by bzip2", "unpack it first: bunzip2 {name}"),
    (re.compile(rb"\xfd7zXZ\0"), "compressed by xz", "unpack it first: unxz {name}"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "compressed by Zstandard", "unpack it first: unzstd {name}"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7-Zip archive", "unpack it first: 7z x {name}"),
    (re.compile(rb"\xd0\xcf\x11\xe0"), SPREADSHEET, SAVE_SHEET),
)


def refuse_mistaken(path: Path, head: bytes) -> None:
    """Raises `DataError` if a file that begins with `head` is known to be no table."""
    for begins, what, remedy in MISTAKEN:
        if begins.match(head):
            raise DataError(f"{path}: {what}", hint=remedy.format(name=path.name))
