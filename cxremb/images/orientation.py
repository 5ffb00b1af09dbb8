"""EXIF orientation: where the picture's first row and column are, alike in JPEG, PNG, WebP and TIFF."""

from collections.abc import Iterator

import numpy as np
from PIL import Image as PilImage

from cxremb.images import jpeg, png
from cxremb.images.grey import Grey

TAG = 0x112
TURNED = (5, 6, 7, 8)  # rows are columns
WEBP_EXIF = b"EXIF"


def upright(pixels: Grey, orientation: int) -> Grey:
    """The pixels as they are to be looked at (EXIF 2.3, tag 274): of 6 the left column is the first row, and so on."""
    if orientation in TURNED:
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def orientation_of(content: bytes) -> int:
    """1 to 8; 1 where a picture does not say, or what it says cannot be read."""
    if content.startswith(png.MAGIC):
        blocks: Iterator[bytes] = (content[start:end] for kind, start, end in png.chunks(content) if kind == b"eXIf")
    elif jpeg.is_jpeg(content):
        blocks = jpeg_blocks(content.lstrip(jpeg.STRAY))
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        blocks = webp_blocks(content)
    else:
        return 1  # of a TIFF it is one of its own tags
    return next((found for block in blocks if (found := read_orientation(block))), 1)


def read_orientation(block: bytes) -> int | None:
    """What a block of EXIF says; None where it says nothing that is."""
    exif = PilImage.Exif()
    try:
        exif.load(block)
        value = exif.get(TAG)
    except Exception:  # metadata: damage to it is none to the picture
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def jpeg_blocks(content: bytes) -> Iterator[bytes]:
    """The blocks of EXIF before the first scan."""
    for segment in jpeg.segments(content, scans=False):
        data = content[segment.start : segment.end]
        if segment.marker == 0xE1 and data.startswith(b"Exif\0\0"):
            yield data


def webp_blocks(content: bytes) -> Iterator[bytes]:
    """The blocks of EXIF of a WebP, which are chunks of an even size."""
    start = 12
    while start + 8 <= len(content):
        kind, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if kind == WEBP_EXIF:
            yield content[start + 8 : start + 8 + size]
        start += 8 + size + size % 2
