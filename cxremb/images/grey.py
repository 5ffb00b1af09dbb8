"""Numbers to 8-bit grey, and the largest picture that is taken for a film."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import ImageError

Grey = NDArray[np.uint8]

CLIP = (0.5, 99.5)  # percentiles: a burnt-in marker is brighter than any tissue, a collimator edge darker
MAX_PIXELS = 200_000_000  # a 14k x 14k film; anything above is a decompression bomb or not a radiograph


def stretch(values: NDArray[Any]) -> Grey:
    """Values to 0..255, linear between two of their percentiles, or their range where those are equal."""
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("holds values that are no numbers", "write it again without NaN or infinity", "content")
    low, high = (float(value) for value in np.percentile(values, CLIP))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return to_grey((values.astype(np.float64) - low) / ((high - low) or 1.0))


def to_grey(scaled: NDArray[np.float64]) -> Grey:
    """Values of 0 to 1 to 0..255, rounded to the nearest; what lies outside is clipped."""
    grey: Grey = (np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return grey


def check_size(pixels: int) -> None:
    """Raises `ImageError` for a picture too large to be a film."""
    if pixels > MAX_PIXELS:
        raise ImageError(f"{pixels:,} pixels, the limit is {MAX_PIXELS:,}", "this is not a radiograph: remove it")
