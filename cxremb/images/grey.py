"""Numbers to 8-bit grey, and the largest picture that is taken for a film."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import ImageError

Grey = NDArray[np.uint8]


class Decoded(NamedTuple):
    """What a decoder makes of a file."""

    pixels: Grey  # (height, width)
    notes: tuple[str, ...] = ()  # what was done about a header that contradicts its pixels


CLIP = (0.5, 99.5)  # percentiles: a burnt-in marker is brighter than any tissue, a collimator edge darker
LUMA = np.array([19595, 38470, 7471], np.uint32) * 0x101  # of red, green, blue in 16 bits (ITU-R 601), as wuffs has it
PIXELS = 2**19  # counted at once
ROWS = 256  # of a film at once, where numbers are wider than it: bounds memory
MAX_PIXELS = 200_000_000  # a 14k x 14k film; anything above is a decompression bomb or not a radiograph


def stretch(values: NDArray[Any], picture: NDArray[Any] | None = None) -> Grey:
    """Values to 0..255, linear between two of their percentiles, or their range where those are equal.

    picture: the values that count for it, if not all do. Integers of 16 bits at most have few levels: each is computed
    once and looked up, which is the same and several times as fast.
    """
    counted = values if picture is None else picture
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and (ends := ends_of_levels(counted)):
        return looked_up(values, *ends)
    values = values.astype(np.float32, copy=False)
    if not all(np.isfinite(values[start : start + ROWS]).all() for start in range(0, len(values), ROWS)):
        raise ImageError("holds values that are no numbers", "write it again without NaN or infinity", "content")
    counted = counted.astype(np.float32, copy=False)
    low, high = (float(value) for value in np.percentile(counted, CLIP))
    if not high > low:
        low, high = float(counted.min()), float(counted.max())
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):  # in double precision: all of it at once would be eight times the film
        rows = slice(start, start + ROWS)
        grey[rows] = between(values[rows], low, high)
    return grey


def between(values: NDArray[Any], low: float, high: float) -> Grey:
    """Values to 0..255, linear from `low` to `high`."""
    return to_grey((values.astype(np.float64) - low) / ((high - low) or 1.0))


def ends_of_levels(values: NDArray[Any]) -> tuple[float, float] | None:
    """What integers are stretched between, counted level by level; None where a percentile lies between two levels."""
    if not values.size:
        return None
    flat, least, greatest = values.reshape(-1), int(values.min()), int(values.max())
    counts = np.zeros(greatest - least + 1, np.int64)
    for start in range(0, len(flat), PIXELS):
        counts += np.bincount(flat[start : start + PIXELS].astype(np.intp) - least, minlength=len(counts))
    places = np.array(CLIP) / 100 * (len(flat) - 1)  # among the sorted values, between two of them
    beside = np.floor(places - 1e-6), np.ceil(places + 1e-6)  # a place that is a whole number, but for rounding, is one
    below, above = (np.searchsorted(np.cumsum(counts), place, "right") for place in beside)
    if (below != above).any():
        return None
    low, high = (float(least + level) for level in below)
    return (low, high) if high > low else (float(least), float(greatest))


def looked_up(values: NDArray[Any], low: float, high: float) -> Grey:
    """As `between`, of integers of 16 bits at most."""
    least = int(values.min())
    table = between(np.arange(least, int(values.max()) + 1), low, high)
    grey = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):
        rows = slice(start, start + ROWS)
        np.take(table, values[rows].astype(np.intp) - least, out=grey[rows])
    return grey


def to_grey(scaled: NDArray[np.float64]) -> Grey:
    """Values of 0 to 1 to 0..255, rounded to the nearest; what lies outside is clipped."""
    grey: Grey = (np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return grey


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


def wide_luma(colour: NDArray[Any]) -> NDArray[np.float64]:
    """As `luma`, of more than 8 bits: in the scale of its samples, not rounded."""
    red, green, blue = (colour[:, :, channel].astype(np.float64) for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return 0.299 * red + 0.587 * green + 0.114 * blue


def check_size(pixels: int) -> None:
    """Raises `ImageError` for a picture too large to be a film."""
    if pixels > MAX_PIXELS:
        raise ImageError(f"{pixels:,} pixels, the limit is {MAX_PIXELS:,}", "this is not a radiograph: remove it")
