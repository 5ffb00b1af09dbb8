"""NumPy files: one array of two axes, 8-bit as it is, anything else stretched."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, stretch

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
ONE = "save one array of shape (height, width) in each file"


def is_array(content: bytes) -> bool:
    """Whether the bytes start as a .npy or a .npz does."""
    return content.startswith((NPY_MAGIC, ZIP_MAGIC))


def decode_array(content: bytes) -> Grey:
    """The film in the bytes of a .npy, or of a .npz that holds one array. Nothing is ever unpickled."""
    values = read_array(io.BytesIO(content))
    check_size(values.size)
    return values.astype(np.uint8, copy=False) if values.dtype == np.uint8 else stretch(values)


def array_size(path: Path) -> tuple[int, int]:
    """(width, height) of the array in a file."""
    with path.open("rb") as file:
        height, width = read_array(io.BytesIO(file.read())).shape
    return width, height


def read_array(file: io.BytesIO) -> NDArray[np.generic]:
    """The only array there is. Raises `ImageError` unless it is one, of numbers, with two axes."""
    if zipfile.is_zipfile(file):
        with np.load(file, allow_pickle=False) as arrays:
            if len(arrays.files) != 1:
                raise ImageError(f"{len(arrays.files)} arrays: a film is one", ONE, "content")
            values: NDArray[np.generic] = arrays[arrays.files[0]]
    else:
        file.seek(0)
        values = np.load(file, allow_pickle=False)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise ImageError(f"an array of {values.dtype} and shape {values.shape}: no film", ONE, "content")
    return values
