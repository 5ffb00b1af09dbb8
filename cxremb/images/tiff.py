"""TIFF as 8-bit grey and upright: what its tags say of its samples (TIFF 6.0). docs/pixels.md has each tag."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size, luma, stretch, to_grey, wide_luma
from cxremb.images.jpeg import check_jpeg
from cxremb.images.orientation import TURNED, upright
from cxremb.images.pillow import REPLACE, decode_by_pillow
from cxremb.images.tiff_samples import COMPRESSIONS, UNPREDICTED, SampleLayout, Samples, read_samples

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, of either byte order
KINDS = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}  # types of whole numbers and bytes
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_SIZES = 266, 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLORS = 284, 317, 320
JPEG_TABLES, JPEG = 347, 7
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES, FORMAT = 322, 323, 324, 325, 339
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3
PILLOWS = (5, 6)  # CMYK and YCbCr
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
CHANGE = "save it again as an 8-bit or 16-bit grey TIFF or PNG"


@dataclass(frozen=True)
class Directory:
    """The whole-number tags of the first picture, and how many pictures follow it."""

    tags: dict[int, tuple[int, ...]]
    order: str  # of bytes, as struct has it
    frames: int

    def one(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return (self.tags.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored. Raises `ImageError` if one is missing."""
        width, height = self.one(WIDTH, 0), self.one(HEIGHT, 0)
        if not width or not height:
            raise ImageError("not a readable image (a TIFF without size)", REPLACE)
        return width, height


def decode_tiff(content: bytes) -> Grey:
    """The film. Raises `ImageError` for several pictures, for damage that shows, and for samples that are not read."""
    directory = read_directory(content)
    width, height = directory.size
    check_size(width * height)
    if directory.frames > 1:
        raise ImageError(f"{directory.frames} frames: a film has one", "save the frame you mean as a file", "content")
    compression = directory.one(COMPRESSION, 1)
    photometric = directory.one(PHOTOMETRIC, RGB if directory.one(SAMPLES, 1) > 2 else BLACK_IS_ZERO)
    if compression == JPEG:
        check_strips(content, directory)
    if photometric in PILLOWS or (compression not in COMPRESSIONS and photometric <= PALETTE):
        return decode_by_pillow(content)  # turns it as well
    if photometric > PALETTE:
        raise ImageError(f"a TIFF of photometric interpretation {photometric}: not read", CHANGE)
    samples = read_samples(content, layout_of(directory))
    return upright(grey_of(samples, photometric, directory), directory.one(ORIENTATION, 1))


def check_strips(content: bytes, directory: Directory) -> None:
    """Raises `ImageError` for damage in a JPEG that is a strip or tile, over which libtiff reads."""
    tables = bytes(directory.tags.get(JPEG_TABLES, ()))[:-2]  # without their end marker
    places = directory.tags.get(TILES, directory.tags.get(STRIPS, ()))
    sizes = directory.tags.get(TILE_SIZES, directory.tags.get(STRIP_SIZES, ()))
    for place, size in zip(places, sizes, strict=False):
        strip = content[place : place + size]
        check_jpeg(tables + strip[2:] if tables else strip)


def tiff_size(content: bytes) -> tuple[int, int]:
    """(width, height) as it is to be looked at."""
    directory = read_directory(content)
    width, height = directory.size
    return (height, width) if directory.one(ORIENTATION, 1) in TURNED else (width, height)


def read_directory(content: bytes) -> Directory:
    """The first picture's tags. Raises `struct.error` if they lie behind the end of the file."""
    order, big = "<" if content[:2] == b"II" else ">", b"+" in content[2:4]
    offset, count, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    (place,) = struct.unpack_from(order + offset, content, 8 if big else 4)
    first: dict[int, tuple[int, ...]] = {}
    places: list[int] = []
    while place and place not in places:
        places.append(place)
        (entries,) = struct.unpack_from(order + count, content, place)
        at = place + struct.calcsize(count)
        for _ in range(entries if len(places) == 1 else 0):
            tag, kind, number = struct.unpack_from(f"{order}HH{offset}", content, at)
            if kind in KINDS:
                form = f"{order}{number}{KINDS[kind]}"
                start = at + 4 + inline
                if struct.calcsize(form) > inline:
                    (start,) = struct.unpack_from(order + offset, content, start)
                first[tag] = struct.unpack_from(form, content, start)
            at += 4 + 2 * inline
        (place,) = struct.unpack_from(
            order + offset, content, place + struct.calcsize(count) + entries * (4 + 2 * inline)
        )
    return Directory(first, order, len(places))


def layout_of(directory: Directory) -> SampleLayout:
    """How the samples lie. Raises `ImageError` for samples of several sizes or kinds."""
    width, height = directory.size
    tiled = TILES in directory.tags
    channels, compression = directory.one(SAMPLES, 1), directory.one(COMPRESSION, 1)
    bits, kinds = set(directory.tags.get(BITS, (1,))), set(directory.tags.get(FORMAT, (UNSIGNED,)))
    kind = {4: UNSIGNED}.get(min(kinds), min(kinds))
    if len(bits) > 1 or len(kinds) > 1 or kind not in (UNSIGNED, SIGNED, FLOAT):
        raise ImageError(f"a TIFF of samples of {sorted(bits)} bits, sample format {sorted(kinds)}: not read", CHANGE)
    return SampleLayout(
        width=width,
        height=height,
        channels=channels,
        bits=bits.pop(),
        kind="uif"[kind - 1],
        order=directory.order,
        compression=compression,
        predictor=1 if compression in UNPREDICTED else directory.one(PREDICTOR, 1),
        reversed_bits=directory.one(FILL_ORDER, 1) == 2,
        planes=channels if directory.one(PLANAR, 1) == 2 else 1,
        block_width=directory.one(TILE_WIDTH, width) if tiled else width,
        block_height=directory.one(TILE_HEIGHT, height) if tiled else min(directory.one(ROWS, height), height),
        offsets=directory.tags.get(TILES if tiled else STRIPS, ()),
        sizes=directory.tags.get(TILE_SIZES if tiled else STRIP_SIZES, ()),
    )


def grey_of(samples: Samples, photometric: int, directory: Directory) -> Grey:
    """(height, width): 8 bits and fewer over the whole range of their depth, anything else stretched."""
    values, bits = samples
    plain = values.dtype.kind == "u" and bits <= 8
    white = 2.0**bits - 1
    if photometric == PALETTE:
        return palette_grey(values[:, :, 0], directory)
    if photometric == RGB and values.shape[2] < 3:
        raise ImageError(f"a TIFF of RGB with {values.shape[2]} samples a pixel: not read", CHANGE)
    if photometric == RGB:
        if plain and bits == 8:
            return luma(values[:, :, :3].astype(np.uint8))
        wide = wide_luma(values)
        return to_grey(wide / white) if plain else stretch(wide)
    grey = values[:, :, 0]
    shown = grey if plain and bits == 8 else to_grey(grey / white) if plain else stretch(grey)
    return 255 - shown if photometric == WHITE_IS_ZERO else shown


def palette_grey(places: NDArray[Any], directory: Directory) -> Grey:
    """The luma of the colours that the samples stand for: 16 bits each, or 8 as some programs write them."""
    colours = np.array(directory.tags.get(COLORS, ()), np.float64).reshape(3, -1)
    if not colours.size:
        raise ImageError("a TIFF with a palette and no colours: not read", REPLACE)
    table = wide_luma(colours.T[None])[0] / (65535 if colours.max() > 255 else 255)
    return to_grey(table[places])
