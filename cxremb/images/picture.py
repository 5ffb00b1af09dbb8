"""PNG, JPEG and whatever else Pillow reads, as 8-bit grey: the common kinds have a decoder of their own."""

import io

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images import png
from cxremb.images.grey import Grey, check_size
from cxremb.images.pillow import decode_by_pillow

JPEG_MAGIC = b"\xff\xd8\xff"


def decode_picture(content: bytes, least: int | None) -> Grey:
    """The picture in `content`. least: a JPEG may be decoded smaller, with no axis below it; None: at full size."""
    if content.startswith(png.MAGIC):
        return png.decode_png(content)
    if content.startswith(JPEG_MAGIC):
        return decode_jpeg(content, least)
    return decode_by_pillow(content)


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
        return decode_by_pillow(content)
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    check_size(height * width)
    if colours not in {"Gray", "YCbCr"}:
        return decode_by_pillow(content)
    smallest = {"min_height": least, "min_width": least, "min_factor": 1} if least else {}
    grey: Grey = simplejpeg.decode_jpeg(content, "GRAY", **smallest)[:, :, 0]
    return grey
