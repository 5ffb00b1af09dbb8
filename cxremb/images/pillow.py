"""Whatever Pillow reads, as 8-bit grey: BMP, GIF, WebP and the rarer kinds of PNG, JPEG and TIFF."""

import io
import warnings

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, stretch

REPLACE = "replace or remove the file"
# What films come as, whatever their names say. Pillow knows many more: EPS would be handed to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")


def decode_by_pillow(content: bytes) -> Grey:
    """The film. Raises `ImageError` for several frames, of which Pillow would give the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PilImage.DecompressionBombWarning)
        with PilImage.open(io.BytesIO(content), formats=FORMATS) as picture:
            check_size(picture.width * picture.height)
            if (frames := getattr(picture, "n_frames", 1)) > 1:
                raise ImageError(f"{frames} frames: a film has one", "save the frame you mean as a file", "content")
            if picture.mode in WIDE_MODES:  # convert("L") would clip everything above 255 to white
                return stretch(np.asarray(picture))
            if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA").convert("RGB").convert("L"))  # whatever the alpha says
            return np.asarray(picture.convert("L"))
