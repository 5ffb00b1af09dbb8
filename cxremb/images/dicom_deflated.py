"""Deflated DICOM files (PS3.5 A.5), which are inflated whole before their header can be read: how large they get."""

import zlib
from typing import IO

from cxremb.errors import ImageError
from cxremb.images.grey import MAX_PIXELS

UID = b"1.2.840.10008.1.2.1.99"
META = 1 << 16  # bytes in which the group of meta information ends
MOST_BYTES = 2 * MAX_PIXELS + (1 << 24)  # of the largest film in 16 bits, and what is said of it
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")  # with four bytes of length
CHUNK = 1 << 20


def check_deflated(file: IO[bytes]) -> None:
    """Raises `ImageError` if a file is deflated and inflates to more than a film. The file stands where it stood."""
    place = file.tell()
    head = file.read(META)
    if UID in head:
        file.seek(place + end_of_meta(head))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        size, rest = 0, file.read(CHUNK)
        while rest and not inflate.eof:
            size += len(inflate.decompress(rest, CHUNK))
            if size > MOST_BYTES:
                raise ImageError(f"inflates to more than {MOST_BYTES:,} bytes", "this is not a radiograph: remove it")
            rest = inflate.unconsumed_tail or file.read(CHUNK)
    file.seek(place)


def end_of_meta(head: bytes) -> int:
    """Where the group of meta information ends, element by element."""
    at = 132 if head[128:132] == b"DICM" else 0
    while head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        long = head[at + 4 : at + 6] in LONG
        size = int.from_bytes(head[at + 8 : at + 12] if long else head[at + 6 : at + 8], "little")
        at += size + (12 if long else 8)
    return at
