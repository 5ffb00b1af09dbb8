"""Bytes to 8-bit grey: the only decoder. PNG, JPEG, TIFF and DICOM; every choice it makes is in `RECIPE`."""

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from cxremb.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset as DicomDataset

Grey = NDArray[np.uint8]

# Part of every image store's key: change what a pixel becomes and these words must change with it.
RECIPE = {
    "grey": "8 bit as stored; colour by ITU-R 601 luma; alpha dropped",
    "wide": "16 bit, float and windowless DICOM: linear from percentile 0.5 to 99.5",
    "dicom": "modality LUT, VOI LUT or window, MONOCHROME1 inverted",
}
CLIP = (0.5, 99.5)  # percentiles: a burnt-in marker is brighter than any tissue, a collimator edge darker
MAX_PIXELS = 200_000_000  # a 14k x 14k film; anything above is a decompression bomb or not a radiograph
DICOM_MAGIC = b"DICM"
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")


@dataclass(frozen=True)
class Film:
    """One decoded film: `pixels` is uint8 of shape (height, width); `sha256` is of the file's bytes."""

    pixels: Grey
    sha256: str


def decode_file(path: Path) -> Film:
    """The film in `path`. Raises `ImageError`, naming the file and the stage: read, decode or content."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror})", "restore the file, then embed again", "read"
        ) from error
    pixels = decode_bytes(content, str(path))
    return Film(pixels, hashlib.sha256(content).hexdigest())


def decode_bytes(content: bytes, name: str) -> Grey:
    """The film in `content`, uint8 (height, width). `name` is used in errors."""
    if not content:
        raise ImageError(
            f"{name}: the file is empty", "fetch it again, or remove it and add the data set again", "read"
        )
    try:
        pixels = decode_dicom(content) if is_dicom(content) else decode_picture(content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}", error.hint, error.stage) from error
    except Exception as error:  # decoders raise anything at all on damaged bytes; the caller records the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image format that is known here"
        raise ImageError(f"{name}: not a readable image ({reason})", "replace or remove the file") from error
    if pixels.min() == pixels.max():
        raise ImageError(f"{name}: every pixel is the same", "a blank film carries no signal: remove it", "content")
    return pixels


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header alone. Raises `ImageError` if there is none."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
            if is_dicom(head):
                import pydicom

                tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
                return int(tags.Columns), int(tags.Rows)
        with PilImage.open(path) as picture:
            return picture.size
    except Exception as error:  # as in `decode_bytes`: the caller counts the file, embedding records it
        raise ImageError(f"{path}: no readable image header", "replace or remove the file") from error


def is_dicom(content: bytes) -> bool:
    """Whether the bytes start as a DICOM file does (PS3.10: 128 bytes of preamble, then DICM)."""
    return content[128:132] == DICOM_MAGIC


def decode_picture(content: bytes) -> Grey:
    """What Pillow reads, as 8-bit grey."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PilImage.DecompressionBombWarning)
        with PilImage.open(io.BytesIO(content)) as picture:
            check_size(picture.width * picture.height)
            if picture.mode in WIDE_MODES:  # convert("L") would clip everything above 255 to white
                return stretch(np.asarray(picture).astype(np.float32))
            if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA").convert("RGB").convert("L"))  # whatever the alpha says
            return np.asarray(picture.convert("L"))


def decode_dicom(content: bytes) -> Grey:
    """The single frame of a DICOM file as 8-bit grey, dark air and white bone (PS3.3 C.7.6.3, C.11.1, C.11.2)."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut
    except ImportError as error:
        raise ImageError("DICOM files need pydicom", 'pip install "cxremb[dicom]"') from error
    tags = pydicom.dcmread(io.BytesIO(content))
    if int(tags.get("NumberOfFrames", 1) or 1) > 1:
        raise ImageError(f"{tags.NumberOfFrames} frames: a film has one", "export the frame you mean", "content")
    check_size(int(tags.Rows) * int(tags.Columns))
    values = np.asarray(apply_modality_lut(tags.pixel_array, tags))
    if tags.get("VOILUTSequence"):
        grey = apply_voi(values, tags)
    elif (center := first(tags.get("WindowCenter"))) is not None and (
        width := first(tags.get("WindowWidth"))
    ) is not None:
        grey = apply_window(values, float(center), float(width))
    else:
        grey = stretch(values.astype(np.float32))
    return 255 - grey if tags.PhotometricInterpretation == "MONOCHROME1" else grey


def apply_voi(values: NDArray[Any], tags: "DicomDataset") -> Grey:
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


def stretch(values: NDArray[np.float32]) -> Grey:
    """Values to 0..255, linear between two of their percentiles, or their range where those are equal."""
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


def squash(pixels: Grey, side: int) -> Grey:
    """(side, side): both axes resized with antialias (bicubic), so that no lung apex or base is cut off."""
    return np.asarray(PilImage.fromarray(pixels).resize((side, side), PilImage.Resampling.BICUBIC))
