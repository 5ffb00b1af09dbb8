"""PNG, JPEG and whatever else Pillow reads, as 8-bit grey."""

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image as PilImage
from pywuffs import ImageDecoderType, PixelFormat
from pywuffs.aux import ImageDecoder, ImageDecoderConfig

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, stretch

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
PLAIN_PNG = {(8, 0), (8, 2)}  # bit depth and colour type: 8-bit grey and RGB
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")


def decode_picture(content: bytes, least: int | None) -> Grey:
    """The picture in `content`. least: a JPEG may be decoded smaller, with no axis below it; None: at full size.

    The common kinds have a decoder of their own, faster than Pillow, which reads the same pixels.
    """
    if content.startswith(PNG_MAGIC) and is_plain(content):
        return decode_png(content)
    if content.startswith(JPEG_MAGIC):
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        check_size(height * width)
        if colours in {"Gray", "YCbCr"}:
            smallest = {"min_height": least, "min_width": least, "min_factor": 1} if least else {}
            grey: Grey = simplejpeg.decode_jpeg(content, "GRAY", **smallest)[:, :, 0]
            return grey
    return decode_other(content)


def is_plain(content: bytes) -> bool:
    """Whether the header of a PNG says 8-bit grey or RGB, without a transparent colour."""
    return (content[24], content[25]) in PLAIN_PNG and b"tRNS" not in content[: content.find(b"IDAT")]


def decode_png(content: bytes) -> Grey:
    """A plain PNG; of a coloured one its luma."""
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    check_size(width * height)
    config = ImageDecoderConfig()
    config.enabled_decoders = [ImageDecoderType.PNG]
    config.pixel_format = PixelFormat.Y
    decoded = ImageDecoder(config).decode(content)
    if decoded.error_message:
        raise ImageError(f"not a readable image ({decoded.error_message})", "replace or remove the file")
    return np.asarray(decoded.pixbuf)[:, :, 0]


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
