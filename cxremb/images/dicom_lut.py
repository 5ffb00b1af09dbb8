"""What a DICOM header says of grey: padding, modality LUT (PS3.3 C.11.1), VOI LUT and window (C.11.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxremb.images.grey import Grey, stretch, to_grey

if TYPE_CHECKING:
    from pydicom import Dataset

Pixels = NDArray[Any]
ONE_GREY = "its window or VOI LUT leaves one grey, or two side by side: stretched between percentiles instead"
NO_WIDTH = "its window has no width: stretched between percentiles instead"
STRANGE = "its VOILUTFunction is none of the standard's: taken as LINEAR"
NARROW = "its VOI LUT has another depth than its descriptor says: the largest entry is white"
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class LookupTable:
    """entries[0] stands for the value `first` and all below it, the last entry for all above (C.11.1.1)."""

    first: int
    entries: Pixels
    bits: int  # of an entry, as the descriptor says

    def look_up(self, values: Pixels) -> Pixels:
        """The entry of each value."""
        places = np.rint(values).astype(np.int64) - self.first
        found: Pixels = self.entries[np.clip(places, 0, len(self.entries) - 1)]
        return found


def padding_mask(stored: Pixels, tags: "Dataset") -> NDArray[np.bool_] | None:
    """Where there is no picture (PixelPaddingValue, to its range limit); None if nowhere, or everywhere."""
    value, limit = number(tags, "PixelPaddingValue"), number(tags, "PixelPaddingRangeLimit")
    if value is None or stored.dtype.kind not in "ui":
        return None
    size, signed = 8 * stored.dtype.itemsize, stored.dtype.kind == "i"
    ends = [as_sign(int(end), size, signed=signed) for end in (value, value if limit is None else limit)]
    mask: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return mask if mask.any() and not mask.all() else None


def as_sign(value: int, bits: int, *, signed: bool) -> int:
    """The number that the same bits are, signed or not."""
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def modality_values(stored: Pixels, tags: "Dataset") -> Pixels:
    """Through the modality LUT, else slope and intercept, each with its default where it is missing or empty."""
    if table := first_table(tags.get("ModalityLUTSequence"), stored, tags):
        return table.look_up(stored)
    place = grouped(tags, "PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
    slope, intercept = slope or 1.0, intercept or 0.0  # a slope of 0 would leave one grey: it says nothing
    return stored if (slope, intercept) == (1.0, 0.0) else stored.astype(np.float64) * slope + intercept


def windowed(values: Pixels, tags: "Dataset", padding: NDArray[np.bool_] | None) -> tuple[Grey, list[str]]:
    """(grey by the first VOI LUT, else the first window, else between percentiles; what was odd about these)."""
    notes: list[str] = []
    picture = values if padding is None else values[~padding]
    grey = by_table(values, tags, notes)
    if grey is None:
        grey = by_window(values, tags, notes)
    if grey is not None:
        shown = grey if padding is None else grey[~padding]
        if int(shown.max()) - int(shown.min()) > 1:
            return grey, notes
        if picture.min() < picture.max():
            notes.append(ONE_GREY)
    return stretch(values, None if padding is None else picture), notes


def by_table(values: Pixels, tags: "Dataset", notes: list[str]) -> Grey | None:
    """Values through the first VOI LUT, whose depth says what white is (C.11.2.1.1); None without one."""
    place = grouped(tags, "FrameVOILUTSequence", ("VOILUTSequence",))
    table = first_table(place.get("VOILUTSequence"), values, tags)
    if table is None:
        return None
    white = white_of(table.entries, table.bits)
    if white != 2.0**table.bits - 1:
        notes.append(NARROW)
    return to_grey(table.look_up(values) / white)


def by_window(values: Pixels, tags: "Dataset", notes: list[str]) -> Grey | None:
    """Values through the first window by its function; None without one."""
    place = grouped(tags, "FrameVOILUTSequence", ("WindowCenter", "WindowWidth"))
    center, width = number(place, "WindowCenter"), number(place, "WindowWidth")
    if center is None or width is None:
        return None
    function = str(place.get("VOILUTFunction") or FUNCTIONS[0]).strip().upper()
    if function not in FUNCTIONS:
        notes.append(STRANGE)
    if width <= 0 or (width < 1 and function not in FUNCTIONS[1:]):
        notes.append(NO_WIDTH)
        return None
    return to_grey(apply_window(values.astype(np.float64), center, width, function=function))


def apply_window(values: NDArray[np.float64], center: float, width: float, *, function: str) -> NDArray[np.float64]:
    """0 to 1 for black to white, below and above outside of it (C.11.2.1.2.1, C.11.2.1.3)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def first_table(sequence: Any, values: Pixels, tags: "Dataset") -> LookupTable | None:
    """The first table of a sequence, for these values; None if there is none, or nothing in it."""
    item = sequence[0] if sequence else {}
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        return None
    count, first, bits = (int(part) for part in descriptor)
    entries = table_entries(data, count % 2**16 or 2**16, little=tags.file_meta.TransferSyntaxUID.is_little_endian)
    if not len(entries):
        return None
    return LookupTable(first_value(first, len(entries), values), entries, bits)


def table_entries(data: Any, count: int, *, little: bool) -> Pixels:
    """At most `count` entries of LUTData, however it is written: a byte or two for each, or a list of numbers."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, np.int64))[:count] % 2**16
    if len(data) < 2 * count and len(data) - count in (0, 1):  # padded to an even length
        return np.frombuffer(data, np.uint8)[:count]
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")[:count]


def first_value(first: int, count: int, values: Pixels) -> int:
    """The value that the first entry stands for: US and SS are mistaken for each other, so the one where values are."""
    readings = (first, first % 2**16, first % 2**16 - 2**16)
    low, high = values.min(), values.max()
    return next((reading for reading in readings if low < reading + count and high >= reading), first)


def white_of(entries: Pixels, bits: int) -> float:
    """The value that is white: of the depth that is said, or the largest entry if the entries are of another depth.

    Agfa writes the size of an entry for its depth: 16 where no entry is above 4095.
    """
    largest = int(entries.max())
    return 2.0**bits - 1 if largest.bit_length() == bits else float(largest or 1)


def grouped(tags: "Dataset", sequence: str, names: Sequence[str]) -> "Dataset":
    """Where the tags are: in the functional groups of the frame, in the shared ones (C.7.6.16), or the data set."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in list(tags.get(groups) or [])[:1]:
            for item in list(group.get(sequence) or [])[:1]:
                if any(name in item and item[name].value not in (None, "") for name in names):
                    found: Dataset = item
                    return found
    return tags


def number(tags: "Dataset", name: str) -> float | None:
    """The first number of a tag; None where it is missing, empty or no finite number."""
    try:
        value = tags.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[0] if len(value) else None
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
