"""A file into a film: which decoder its first bytes ask for, and one kind of error for all of them."""

import hashlib
from pathlib import Path

from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from cxremb.errors import ImageError
from cxremb.images.array import array_size, decode_array, is_array
from cxremb.images.dicom import decode_dicom, dicom_size, is_dicom
from cxremb.images.grey import Grey
from cxremb.images.picture import decode_picture

# Part of every image store's key: change what a pixel becomes and these words must change with it.
RECIPE = {
    "grey": "8 bit as stored; colour by ITU-R 601 luma; alpha dropped",
    "wide": "16 bit, float and windowless DICOM: linear from percentile 0.5 to 99.5",
    "dicom": "modality LUT, VOI LUT or window, MONOCHROME1 inverted",
}
HEAD = 132  # bytes that tell the formats apart


def decode_file(path: Path, least: int | None = None) -> tuple[Grey, str]:
    """(the film in `path`, uint8 of shape (height, width); the SHA-256 of the file). least: as `Frame.least`.

    Raises `ImageError`, naming the file and the stage: read, decode or content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror})", "restore the file, then embed again", "read"
        ) from error
    pixels = decode_bytes(content, str(path), least)
    return pixels, hashlib.sha256(content).hexdigest()


def decode_bytes(content: bytes, name: str, least: int | None = None) -> Grey:
    """The film in `content`, uint8 (height, width). `name` is used in errors."""
    if not content:
        raise ImageError(
            f"{name}: the file is empty", "fetch it again, or remove it and add the data set again", "read"
        )
    try:
        pixels = decode(content, least)
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


def decode(content: bytes, least: int | None) -> Grey:
    """What the decoder for these bytes makes of them."""
    if is_dicom(content):
        return decode_dicom(content)
    if is_array(content):
        return decode_array(content)
    return decode_picture(content, least)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header alone. Raises `ImageError` if there is none."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if is_dicom(head):
            return dicom_size(path)
        if is_array(head):
            return array_size(path)
        with PilImage.open(path) as picture:
            return picture.size
    except Exception as error:  # as in `decode_bytes`: the caller counts the file, embedding records it
        raise ImageError(f"{path}: no readable image header", "replace or remove the file") from error
