"""PNG as 8-bit grey. Every critical chunk's checksum is looked at first, since decoders differ in what they check."""

import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from zlib import crc32

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, luma, stretch, wide_luma
from cxremb.images.pillow import REPLACE, decode_by_pillow

MAGIC = b"\x89PNG\r\n\x1a\n"
PLAIN = {(8, 0), (8, 2)}  # bit depth and colour type: 8-bit grey and RGB
CRITICAL = (b"IHDR", b"PLTE", b"IDAT")  # chunks that make the picture; IEND is put behind them
HARMLESS = (  # of all others a wrong checksum is damage: a flipped bit may be in the name of a chunk, too
    *(b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tRNS"),
    *(b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"oFFs", b"pCAL", b"sCAL"),
)
END = b"\0\0\0\0IEND\xaeB`\x82"


def decode_png(content: bytes) -> Grey:
    """The film in a PNG. Raises `ImageError` for a wrong checksum of its picture, or if it ends within it.

    Chunks that are no part of the picture (colour profile, text, alpha) are left out: damage there is no failure.
    """
    view, kinds = memoryview(content), set()
    parts: list[bytes | memoryview] = [MAGIC]
    for kind, start, end in chunks(content):
        kinds.add(kind)
        if kind not in HARMLESS:
            check_chunk(view, kind, start, end=end)
        if kind in CRITICAL:
            parts.append(view[start - 8 : end + 4])
    picture = b"".join((*parts, END))
    width, height = png_size(picture)
    check_size(width * height)
    if (picture[24], picture[25]) in PLAIN and b"tRNS" not in kinds:
        return plain_decoder()(picture)
    if picture[24] == 16:
        return decode_wide(picture)
    return decode_by_pillow(picture)


def decode_wide(content: bytes) -> Grey:
    """A PNG of 16 bits a channel: its grey, or the luma of its colours, stretched; alpha does not count."""
    try:
        import cv2
    except ImportError as error:
        if content[25] == 0:
            return decode_by_pillow(content)  # of colours Pillow takes the high bytes
        raise ImageError("PNG of 16-bit colours needs OpenCV", "pip install opencv-python-headless") from error
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return decode_by_pillow(content)  # says what is wrong
    return stretch(pixels if pixels.ndim == 2 else wide_luma(pixels[:, :, 2::-1]))


def png_size(content: bytes) -> tuple[int, int]:
    """(width, height) as it is stored. Raises `ImageError` without a header."""
    if content[12:16] != b"IHDR" or len(content) < 24:
        raise ImageError("not a readable image (a PNG without header)", REPLACE)
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start and end of its data) of each chunk before IEND; the last may end after the file does."""
    start = len(MAGIC) + 8
    while start <= len(content):
        kind, end = content[start - 4 : start], start + int.from_bytes(content[start - 8 : start - 4], "big")
        if kind == b"IEND":
            return
        yield kind, start, end
        start = end + 12


def check_chunk(view: memoryview, kind: bytes, start: int, *, end: int) -> None:
    """Raises `ImageError` if a chunk ends after the file, or its checksum is not the one that it says."""
    if end + 4 > len(view):
        raise ImageError(f"not a readable image (the file ends within {kind.decode()})", REPLACE)
    if crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
        raise ImageError(f"not a readable image (wrong checksum in {kind.decode()})", REPLACE)


@cache
def plain_decoder() -> Callable[[bytes], Grey]:
    """The fastest decoder of plain PNGs that is installed; all of them give the same pixels."""
    for module, decode in (("pywuffs", plain_by_wuffs), ("cv2", plain_by_opencv)):
        try:
            importlib.import_module(module)
        except ImportError:
            continue
        return decode
    return plain_by_pillow


def load_codecs() -> None:
    """Import what threads would import when they decode, OpenCV above all.

    While it loads, it has its own folder first in `sys.path`, and a process that is started then would inherit that.
    """
    plain_decoder()
    with suppress(ImportError):
        importlib.import_module("cv2")


def plain_by_wuffs(content: bytes) -> Grey:
    """A plain PNG; of a coloured one its luma."""
    from pywuffs import ImageDecoderQuirks, ImageDecoderType, PixelFormat
    from pywuffs.aux import ImageDecoder, ImageDecoderConfig

    config = ImageDecoderConfig()
    config.enabled_decoders = [ImageDecoderType.PNG]
    config.pixel_format = PixelFormat.Y
    config.quirks = {ImageDecoderQuirks.IGNORE_CHECKSUM: 0}  # zlib's own: it is ignored unless one says so
    decoded = ImageDecoder(config).decode(content)
    if decoded.error_message:
        raise ImageError(f"not a readable image ({decoded.error_message})", REPLACE)
    return np.asarray(decoded.pixbuf)[:, :, 0]


def plain_by_opencv(content: bytes) -> Grey:
    """As `plain_by_wuffs`."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:  # it does not say why; Pillow does
        return plain_by_pillow(content)
    found: Grey = np.asarray(pixels, np.uint8)
    return found if found.ndim == 2 else luma(found[:, :, ::-1])


def plain_by_pillow(content: bytes) -> Grey:
    """As `plain_by_wuffs`."""
    with PilImage.open(io.BytesIO(content), formats=["PNG"]) as picture:
        pixels = np.asarray(picture)
    return pixels if pixels.ndim == 2 else luma(pixels)
