"""One frame of a DICOM file as 8-bit grey: dark air, white bone (PS3.3 C.7.6.3, C.11.1, C.11.2)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.grey import Decoded, Grey, check_size, stretch, to_grey

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC = b"DICM"
INSTALL = 'pip install "cxremb[dicom]"'


def is_dicom(content: bytes) -> bool:
    """Whether the bytes start as a DICOM file does (PS3.10: 128 bytes of preamble, then DICM)."""
    return content[128:132] == MAGIC


def dicom_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header."""
    import pydicom

    tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(tags.Columns), int(tags.Rows)


def decode_dicom(content: bytes) -> Decoded:
    """The film in `content`. Raises `ImageError` for several frames, or a compression without its codec."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut
    except ImportError as error:
        raise ImageError("DICOM files need pydicom", INSTALL) from error
    tags = pydicom.dcmread(io.BytesIO(content))
    if int(tags.get("NumberOfFrames", 1) or 1) > 1:
        raise ImageError(f"{tags.NumberOfFrames} frames: a film has one", "export the frame you mean", "content")
    check_size(int(tags.Rows) * int(tags.Columns))
    stored = pixel_values(tags)
    if stored.ndim == 3:  # a screenshot or a scan, in colour: nothing that a window is made for
        return Decoded(np.asarray(PilImage.fromarray(stored).convert("L")))
    grey = windowed(np.asarray(apply_modality_lut(stored, tags)), tags)
    return Decoded(255 - grey if tags.PhotometricInterpretation == "MONOCHROME1" else grey)


def pixel_values(tags: "Dataset") -> NDArray[Any]:
    """The stored values, decompressed; colour as RGB."""
    try:
        values: NDArray[Any] = tags.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        if "missing dependencies" in str(error) or "plugin" in str(error):
            syntax = tags.file_meta.TransferSyntaxUID.name
            raise ImageError(f"no codec for {syntax}", INSTALL) from error
        raise
    return values


def windowed(values: NDArray[Any], tags: "Dataset") -> Grey:
    """Values through the VOI LUT, else the first window, else between their percentiles."""
    if tags.get("VOILUTSequence"):
        return apply_voi(values, tags)
    center, width = first(tags.get("WindowCenter")), first(tags.get("WindowWidth"))
    if center is not None and width is not None:
        return apply_window(values, float(center), float(width))
    return stretch(values)


def apply_voi(values: NDArray[Any], tags: "Dataset") -> Grey:
    """Values through the first VOI LUT, whose own bit depth says what white is (PS3.3 C.11.2.1.1)."""
    from pydicom.pixels import apply_voi as look_up

    bits = int(tags.VOILUTSequence[0].LUTDescriptor[2])
    return to_grey(np.asarray(look_up(values, tags, index=0)).astype(np.float64) / (2**bits - 1))


def apply_window(values: NDArray[Any], center: float, width: float) -> Grey:
    """Values through the linear window function (PS3.3 C.11.2.1.2.1)."""
    return to_grey((values.astype(np.float64) - (center - 0.5)) / max(width - 1.0, 1.0) + 0.5)


def first(value: Any) -> Any:
    """The first of several windows, the one a viewer shows; None where the tag is missing or empty."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    return None if value == "" else value
