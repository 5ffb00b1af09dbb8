"""NumPy files: one array of two axes, 8-bit as it is, anything else stretched."""

import io
import zipfile
from typing import IO

import numpy as np

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, stretch

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
HEADER_BYTES = 1 << 17  # more than any header has
ONE = "save one array of shape (height, width) in each file"


def is_array(content: bytes) -> bool:
    """Whether the bytes start as a .npy or a .npz does."""
    return content.startswith((NPY_MAGIC, ZIP_MAGIC))


def decode_array(content: bytes) -> Grey:
    """The film in the bytes of a .npy, or of a .npz that holds one array. Nothing is ever unpickled."""
    with open_array(io.BytesIO(content)) as file:
        height, width, wide = read_shape(file)  # before an archive is unpacked, which may be a bomb
    most = height * width * wide + HEADER_BYTES
    with open_array(io.BytesIO(content)) as file:
        raw = io.BytesIO(file.read(most + 1))  # to its end, where the checksum of an archive is looked at
    if raw.seek(0, io.SEEK_END) > most:
        raise ImageError(f"more in it than an array of {height} x {width}", ONE, "content")
    raw.seek(0)
    values = np.lib.format.read_array(raw, allow_pickle=False).reshape(height, width)
    return values.astype(np.uint8, copy=False) if values.dtype == np.uint8 else stretch(values)


def array_size(file: IO[bytes]) -> tuple[int, int]:
    """(width, height) of the array in a file, from its header."""
    height, width, _ = read_shape(open_array(file))
    return width, height


def open_array(file: IO[bytes]) -> IO[bytes]:
    """The .npy that a file is, or that is the only one in it."""
    if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
        file.seek(0)
        return file
    file.seek(0)
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    if len(names) != 1:
        raise ImageError(f"{len(names)} arrays: a film is one", ONE, "content")
    return archive.open(names[0])


def read_shape(file: IO[bytes]) -> tuple[int, int, int]:
    """(height, width, bytes of a number) by the header.

    Raises `ImageError` unless it is of numbers, with two axes, and not too large.
    """
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    axes = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
    if len(axes) != 2 or dtype.kind not in "buif":
        raise ImageError(f"an array of {dtype} and shape {shape}: no film", ONE, "content")
    if not min(axes):
        raise ImageError(f"an array of shape {shape}: no pixel in it", "remove the file", "content")
    check_size(axes[0] * axes[1])
    return *axes, dtype.itemsize
