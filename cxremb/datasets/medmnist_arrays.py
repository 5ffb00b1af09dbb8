"""The arrays of a MedMNIST .npz, read image by image, and unpacked into PNG files that the decoder can open."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cxremb.errors import DataError
from cxremb.store.expected import read_object
from cxremb.store.files import sha256_of, unwritable
from cxremb.types import PARTS, Progress

MARKER = "unpacked.json"
DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what reading such a file raises
FAST = 1  # of 9: five times as fast as the usual 6, an eighth larger
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayHeader:
    """What a .npy says before its values."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class Arrays:
    """One .npz. `shape` is of an image: (height, width) or (height, width, 3); labels are (n, columns) per part.

    `one_hot`: the labels were written as Keras does it, exactly one 1 in every row; here they are a column of classes,
    and this is how many there are.
    """

    file: Path
    shape: tuple[int, ...]
    counts: dict[str, int]
    labels: dict[str, NDArray[np.int64]]
    one_hot: int = 0

    def as_classes(self) -> "Arrays":
        """With one column of classes in place of one-hot rows; as it is if some row has not exactly one 1."""
        values = np.concatenate([self.labels[part] for part in PARTS])
        if values.shape[1] < 2 or not len(values) or not (((values == 1).sum(1) == 1) & (values.sum(1) == 1)).all():
            return self
        if values.min() < 0 or values.max() > 1:
            return self
        classes = {part: its.argmax(axis=1)[:, None] for part, its in self.labels.items()}
        return replace(self, labels=classes, one_hot=values.shape[1])


def open_arrays(file: Path) -> Arrays:
    """Labels, shapes and counts; the images stay in the file.

    Raises `DataError` unless it is an .npz with images of two dimensions and labels for train, val and test.
    """
    hint = "give the .npz of a two-dimensional MedMNIST set, such as pneumoniamnist.npz"
    try:
        with zipfile.ZipFile(file) as packed:
            there = {name.removesuffix(".npy") for name in packed.namelist()}
            lacking = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
            lacking = [name for name in lacking if name not in there]
            if lacking:
                raise DataError(f"{file}: has no {', '.join(lacking)}; it has {', '.join(sorted(there))}", hint)
            headers = {part: read_header(packed, f"{part}_images") for part in PARTS}
        with np.load(file) as arrays:
            labels = {part: np.asarray(arrays[f"{part}_labels"]) for part in PARTS}
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file", hint) from error
    except (OSError, *DAMAGED) as error:
        raise DataError(f"{file}: not a readable .npz ({error})", hint) from error
    return Arrays(
        file=file,
        shape=check_images(file, headers),
        counts={part: headers[part].shape[0] for part in PARTS},
        labels={part: check_labels(file, part, labels[part], n=headers[part].shape[0]) for part in PARTS},
    )


def read_header(packed: zipfile.ZipFile, name: str) -> ArrayHeader:
    """The header of an array of the .npz."""
    with packed.open(f"{name}.npy") as stream:
        return ArrayHeader(*READ_HEADER[np.lib.format.read_magic(stream)](stream))


def check_images(file: Path, headers: dict[str, ArrayHeader]) -> tuple[int, ...]:
    """The shape of one image. Raises `DataError` unless all are 8 bit, of two dimensions, and of one shape."""
    shapes = {header.shape[1:] for header in headers.values()}
    shape = shapes.pop()
    if len(shape) == 3 and 1 in (shape[2], shape[0]):  # grey, with its one channel last or first
        shape = shape[:2] if shape[2] == 1 else shape[1:]
    if len(shape) == 3 and shape[2] != 3:
        raise DataError(
            f"{file}: its images are volumes of {' x '.join(map(str, shape))}, or have their channels first",
            hint="cxremb reads films: give one of the two-dimensional sets",
        )
    if shapes or len(shape) not in {2, 3} or any(header.dtype != np.uint8 for header in headers.values()):
        found = ", ".join(f"{part} {header.shape} {header.dtype}" for part, header in headers.items())
        raise DataError(
            f"{file}: {found}", hint="images are 8 bit and (n, height, width) or (n, height, width, 1 or 3)"
        )
    return shape


def check_labels(file: Path, part: str, labels: NDArray[np.generic], *, n: int) -> NDArray[np.int64]:
    """The labels as (n, columns). Raises `DataError` unless there is a row of whole numbers for each of n images."""
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)  # Keras writes whole numbers as floats
    if labels.ndim != 2 or len(labels) != n or labels.shape[1] == 0 or labels.dtype.kind not in "iub":
        raise DataError(
            f"{file}: {part}_labels is {labels.shape} {labels.dtype} for {n} images",
            hint="labels are whole numbers, one row an image",
        )
    return labels.astype(np.int64)


def unpack(arrays: Arrays, folder: Path, progress: Progress) -> str:
    """Every image as `folder`/<part>/<index>.png, there whole or not at all; the SHA-256 of the .npz, which marks them.

    What is there already is kept if it came from the same .npz. Raises `DataError` if `folder` holds anything else,
    `StoreError` if it cannot be written.
    """
    sha256 = sha256_of(arrays.file)
    if is_unpacked(arrays, folder, sha256):
        return sha256
    draft, old = (folder.parent / f".{uuid4().hex}" for _ in range(2))
    try:
        if folder.exists() and not (folder / MARKER).is_file() and any(folder.iterdir()):
            raise DataError(f"{folder}: holds other files", hint="unpack into a folder of its own")
        for part in PARTS:
            (draft / part).mkdir(parents=True)
            images = progress(read_images(arrays, part), arrays.counts[part], f"unpacking {part}")
            for index, pixels in enumerate(images):
                PilImage.fromarray(pixels).save(draft / part / f"{index:06d}.png", compress_level=FAST)
        (draft / MARKER).write_text(json.dumps({"sha256": sha256}), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        rmtree(draft, ignore_errors=True)
        rmtree(old, ignore_errors=True)
    return sha256


def is_unpacked(arrays: Arrays, folder: Path, sha256: str) -> bool:
    """Whether `folder` holds every image of this .npz, by its marker and by counting; the catalog hashes each file."""
    try:
        marked = read_object((folder / MARKER).read_text(encoding="utf-8"))["sha256"]
        counts = {part: len(list((folder / part).glob("*.png"))) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(marked == sha256 and counts == arrays.counts)


def read_images(arrays: Arrays, part: str) -> Iterator[NDArray[np.uint8]]:
    """The images of a part, one at a time: the largest set has 4 GB in one array. Raises `DataError` if damaged."""
    size = int(np.prod(arrays.shape))
    with zipfile.ZipFile(arrays.file) as packed, packed.open(f"{part}_images.npy") as stream:
        header = ArrayHeader(*READ_HEADER[np.lib.format.read_magic(stream)](stream))
        if header.fortran:  # the values of one image lie far apart
            yield from np.load(arrays.file)[f"{part}_images"].reshape(-1, *arrays.shape)
            return
        try:
            for _ in range(arrays.counts[part]):
                yield np.frombuffer(stream.read(size), dtype=np.uint8).reshape(arrays.shape)
        except DAMAGED as error:
            raise DataError(
                f"{arrays.file}: {part}_images is damaged ({error})", hint="fetch the file again"
            ) from error
