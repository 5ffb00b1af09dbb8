"""PNG, JPEG, TIFF and whatever else Pillow reads, as 8-bit grey and upright."""

import io

from PIL import Image as PilImage

from cxremb.images import jpeg, png, tiff
from cxremb.images.grey import Grey
from cxremb.images.orientation import TURNED, orientation_of, upright
from cxremb.images.pillow import FORMATS, decode_by_pillow


def decode_picture(content: bytes, least: int | None) -> Grey:
    """The picture in `content`. least: a JPEG may be decoded smaller, with no axis below it; None: at full size."""
    if content.startswith(png.MAGIC):
        stored = png.decode_png(content)
    elif jpeg.is_jpeg(content):
        stored = jpeg.decode_jpeg(content, least)
    elif content.startswith(tiff.MAGIC):
        return tiff.decode_tiff(content)
    else:
        stored = decode_by_pillow(content)
    return upright(stored, orientation_of(content))


def picture_size(content: bytes) -> tuple[int, int]:
    """(width, height) as it is to be looked at, from the header."""
    if content.startswith(png.MAGIC):
        width, height = png.png_size(content)
    elif jpeg.is_jpeg(content):
        width, height = jpeg.jpeg_size(content)
    elif content.startswith(tiff.MAGIC):
        return tiff.tiff_size(content)
    else:
        with PilImage.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
    return (height, width) if orientation_of(content) in TURNED else (width, height)
