"""PNG, JPEG and whatever else Pillow reads, as 8-bit grey."""

import importlib
import io
import warnings
from collections.abc import Callable
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, stretch

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
PLAIN_PNG = {(8, 0), (8, 2)}  # bit depth and colour type: 8-bit grey and RGB
CRITICAL = (b"IHDR", b"IDAT", b"IEND")  # chunks of a plain PNG whose checksum counts
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
LUMA = np.array([19595, 38470, 7471], np.uint32) * 0x101  # of red, green, blue in 16 bits (ITU-R 601), as wuffs has it
ROWS = 256  # of a coloured film weighted at once: bounds memory


def decode_picture(content: bytes, least: int | None) -> Grey:
    """The picture in `content`. least: a JPEG may be decoded smaller, with no axis below it; None: at full size.

    The common kinds have a decoder of their own, faster than Pillow.
    """
    if content.startswith(PNG_MAGIC) and is_plain(content):
        width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
        check_size(width * height)
        if is_whole(content):
            return png_decoder()(content)
    if content.startswith(JPEG_MAGIC):
        return decode_jpeg(content, least)
    return decode_other(content)


def is_plain(content: bytes) -> bool:
    """Whether the header of a PNG says 8-bit grey or RGB, without a transparent colour."""
    return (content[24], content[25]) in PLAIN_PNG and b"tRNS" not in content[: content.find(b"IDAT")]


def is_whole(content: bytes) -> bool:
    """Whether a PNG goes on to its end; if it does not, Pillow says what is missing. Raises for a wrong checksum.

    Decoders differ in what they check: wuffs and Pillow read a film whose bytes were changed without a word.
    """
    start, view = len(PNG_MAGIC), memoryview(content)
    while start + 12 <= len(content):
        size, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        end = start + 8 + size
        if end + 4 > len(content):
            return False
        if kind in CRITICAL and crc32(view[start + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ImageError(f"not a readable image (wrong checksum in {kind.decode()})", "replace or remove the file")
        if kind == b"IEND":
            return True
        start = end + 4
    return False


@cache
def png_decoder() -> Callable[[bytes], Grey]:
    """The fastest decoder of plain PNGs that is installed; all of them give the same pixels."""
    for module, decode in (("pywuffs", decode_by_wuffs), ("cv2", decode_by_opencv)):
        try:
            importlib.import_module(module)
        except ImportError:
            continue
        return decode
    return decode_by_pillow


def decode_by_wuffs(content: bytes) -> Grey:
    """A plain PNG; of a coloured one its luma."""
    from pywuffs import ImageDecoderType, PixelFormat
    from pywuffs.aux import ImageDecoder, ImageDecoderConfig

    config = ImageDecoderConfig()
    config.enabled_decoders = [ImageDecoderType.PNG]
    config.pixel_format = PixelFormat.Y
    decoded = ImageDecoder(config).decode(content)
    if decoded.error_message:
        raise ImageError(f"not a readable image ({decoded.error_message})", "replace or remove the file")
    return np.asarray(decoded.pixbuf)[:, :, 0]


def decode_by_opencv(content: bytes) -> Grey:
    """As `decode_by_wuffs`."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:  # it does not say why; Pillow does
        return decode_by_pillow(content)
    found: Grey = np.asarray(pixels, np.uint8)
    return found if found.ndim == 2 else luma(found[:, :, ::-1])


def decode_by_pillow(content: bytes) -> Grey:
    """As `decode_by_wuffs`."""
    with PilImage.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture)
    return pixels if pixels.ndim == 2 else luma(pixels)


def luma(colour: NDArray[np.uint8]) -> Grey:
    """The grey of red, green and blue, (height, width, 3)."""
    red, green, blue = (colour[:, :, channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    grey = np.empty(red.shape, np.uint8)
    for start in range(0, len(colour), ROWS):
        weighted = colour[start : start + ROWS].astype(np.uint32) @ LUMA
        grey[start : start + ROWS] = (weighted + 0x8000) >> 24
    return grey


def decode_jpeg(content: bytes, least: int | None) -> Grey:
    """A JPEG: where it has a luma, that as it is stored."""
    try:
        import simplejpeg
    except ImportError as error:
        if least:
            raise ImageError("--scaled-jpeg needs simplejpeg", "pip install simplejpeg") from error
        with PilImage.open(io.BytesIO(content)) as picture:
            check_size(picture.width * picture.height)
            if picture.mode in {"L", "RGB"} and picture.info.get("adobe_transform") != 0:
                picture.draft("L", picture.size)
                return np.asarray(picture.convert("L"))
        return decode_other(content)
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    check_size(height * width)
    if colours not in {"Gray", "YCbCr"}:
        return decode_other(content)
    smallest = {"min_height": least, "min_width": least, "min_factor": 1} if least else {}
    grey: Grey = simplejpeg.decode_jpeg(content, "GRAY", **smallest)[:, :, 0]
    return grey


def decode_other(content: bytes) -> Grey:
    """What Pillow reads. Raises `ImageError` for several frames, which it would answer with the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PilImage.DecompressionBombWarning)
        with PilImage.open(io.BytesIO(content)) as picture:
            check_size(picture.width * picture.height)
            if (frames := getattr(picture, "n_frames", 1)) > 1:
                raise ImageError(f"{frames} frames: a film has one", "save the frame you mean as a file", "content")
            if picture.mode in WIDE_MODES:  # convert("L") would clip everything above 255 to white
                return stretch(np.asarray(picture))
            if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA").convert("RGB").convert("L"))  # whatever the alpha says
            return np.asarray(picture.convert("L"))
