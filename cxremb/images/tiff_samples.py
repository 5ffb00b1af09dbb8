"""The samples of a TIFF out of its strips or tiles, of any depth, for compressions that know nothing of samples."""

import io
import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.pillow import REPLACE

NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 1, 5, 8, 32773, 32946, 34925, 50000
UNPREDICTED = (NONE, PACKBITS)  # a predictor beside them says nothing
BY_LIBTIFF = (LZW, ZSTD)
COMPRESSIONS = (NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD)
FLOATING, DIFFERENCES = 3, 2  # predictors
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
Raw = NDArray[np.uint8]
Samples = tuple[NDArray[Any], int]  # (height, width, channels), and the bits of a sample


@dataclass(frozen=True)
class SampleLayout:
    """How the samples lie: blocks of `block_height` lines, which are strips, or tiles if narrower than the picture."""

    width: int
    height: int
    channels: int
    bits: int
    kind: str  # u, i or f, as numpy has it
    order: str
    compression: int
    predictor: int
    reversed_bits: bool
    planes: int  # 1, or one for each channel
    block_width: int
    block_height: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def across(self) -> int:
        return -(-self.width // self.block_width)

    @property
    def down(self) -> int:
        return -(-self.height // self.block_height)

    @property
    def in_block(self) -> int:
        """Channels that lie side by side."""
        return self.channels // self.planes

    @property
    def line_bytes(self) -> int:
        """Of one line of a block."""
        return -(-self.block_width * self.in_block * self.bits // 8)


def read_samples(content: bytes, layout: SampleLayout) -> Samples:
    """Every sample. Raises `ImageError` if some are missing, or of a kind that is not read."""
    blocks = layout.across * layout.down
    if layout.block_width < 1 or layout.block_height < 1 or len(layout.offsets) < blocks * layout.planes:
        raise ImageError("not a readable image (a TIFF that lacks strips or tiles)", REPLACE)
    planes = []
    for plane in range(layout.planes):
        of_plane = slice(plane * blocks, (plane + 1) * blocks)
        offsets, sizes = layout.offsets[of_plane], layout.sizes[of_plane]
        read = lines_by_libtiff if layout.compression in BY_LIBTIFF else lines_of_blocks
        planes.append(samples_of(read(content, layout, offsets, sizes=sizes), layout))
    values = np.concatenate(planes, axis=3) if len(planes) > 1 else planes[0]
    flat = values.reshape(layout.height, layout.across * layout.block_width, layout.channels)
    return flat[:, : layout.width], layout.bits


def lines_of_blocks(content: bytes, layout: SampleLayout, offsets: tuple[int, ...], *, sizes: tuple[int, ...]) -> Raw:
    """(height, across, line_bytes): the bytes of each line of each block of a plane."""
    lines = np.empty((layout.height, layout.across, layout.line_bytes), np.uint8)
    whole = layout.block_height * layout.line_bytes
    for index, offset in enumerate(offsets):
        top, column = index // layout.across * layout.block_height, index % layout.across
        rows = min(layout.block_height, layout.height - top)
        size = sizes[index] if index < len(sizes) else rows * layout.line_bytes
        block = content[offset : offset + size]
        if layout.reversed_bits:
            block = block.translate(REVERSED)
        block = decompress(block, layout.compression, whole)
        if len(block) < rows * layout.line_bytes or offset + size > len(content):
            raise ImageError("not a readable image (a TIFF whose strips or tiles end early)", REPLACE)
        taken = np.frombuffer(block, np.uint8, rows * layout.line_bytes)
        lines[top : top + rows, column] = taken.reshape(rows, layout.line_bytes)
    return lines


def decompress(block: bytes, compression: int, most: int) -> bytes:
    """The bytes of a block, `most` and whatever is behind them. Raises what its library raises for a wrong checksum."""
    if compression in (DEFLATE, OLD_DEFLATE):
        stream = zlib.decompressobj()
        found = stream.decompress(block, most + 1)
        stream.decompress(stream.unconsumed_tail, most + 1)  # to the end, where the checksum is
        if not stream.eof:
            raise ImageError("not a readable image (a TIFF whose strips or tiles end early, or late)", REPLACE)
        return found
    if compression == LZMA:
        return lzma.LZMADecompressor().decompress(block, most + 1)
    return unpack_bits(block) if compression == PACKBITS else block


def unpack_bits(block: bytes) -> bytes:
    """PackBits (TIFF 6.0, section 9): a count and as many bytes, or a count and one byte to repeat."""
    parts, place = [], 0
    while place < len(block) - 1:
        count = block[place]
        if count < 128:
            parts.append(block[place + 1 : place + 2 + count])
            place += 2 + count
        else:
            parts.append(block[place + 1 : place + 2] * (257 - count) if count > 128 else b"")
            place += 2 if count > 128 else 1
    return b"".join(parts)


def lines_by_libtiff(content: bytes, layout: SampleLayout, offsets: tuple[int, ...], *, sizes: tuple[int, ...]) -> Raw:
    """As `lines_of_blocks`, through the libtiff of Pillow: the bytes as if each were a pixel of an 8-bit grey TIFF."""
    wide = layout.across * layout.line_bytes
    tiled = layout.across > 1 or layout.block_width != layout.width
    shape = ((322, layout.line_bytes), (323, layout.block_height)) if tiled else ((278, layout.block_height),)
    places = tuple(offset + 8 for offset in offsets)
    tags: dict[int, tuple[int, ...]] = {
        256: (wide,),
        257: (layout.height,),
        258: (8,),
        259: (layout.compression,),
        262: (1,),
        277: (1,),
        266: (2 if layout.reversed_bits else 1,),
        **{tag: (value,) for tag, value in shape},
        **({324: places, 325: sizes} if tiled else {273: places, 279: sizes}),
    }
    with PilImage.open(io.BytesIO(grey_tiff(content, tags)), formats=["TIFF"]) as picture:
        return np.asarray(picture).reshape(layout.height, layout.across, layout.line_bytes)


def grey_tiff(content: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A TIFF with these tags, of whole numbers of 32 bits, that has `content` behind its 8 bytes of header."""
    start = 8 + len(content) + len(content) % 2
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = [], b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        value = packed if len(packed) == 4 else struct.pack("<I", behind + len(values))
        values += b"" if len(packed) == 4 else packed
        entries.append(struct.pack("<HHI", tag, 4, len(numbers)) + value)
    head = struct.pack("<2sHI", b"II", 42, start) + content + b"\0" * (len(content) % 2)
    return b"".join((head, struct.pack("<H", len(tags)), *entries, b"\0" * 4, values))


def samples_of(lines: Raw, layout: SampleLayout) -> NDArray[Any]:
    """(height, across, block_width, channels in a block) out of the bytes of the lines, predictor undone."""
    shape = (*lines.shape[:2], layout.block_width, layout.in_block)
    size = layout.bits // 8
    floats = layout.kind == "f"
    if (
        layout.bits % 8
        or size not in (1, 2, 4, 8)
        or (floats and size == 1)
        or (layout.predictor == FLOATING and not floats)
    ):
        return unpacked(lines, layout, shape)
    if layout.predictor == FLOATING:
        deltas = lines.reshape(*lines.shape[:2], -1, layout.in_block)
        planes = np.cumsum(deltas, axis=2, dtype=np.uint8).reshape(*lines.shape[:2], size, -1)
        together = np.ascontiguousarray(np.moveaxis(planes, 2, 3))
        return together.view(f">{layout.kind}{size}").reshape(shape)
    if layout.predictor == DIFFERENCES:  # of the bits, whatever they stand for
        deltas = lines.view(f"{layout.order}u{size}").reshape(shape)
        return np.cumsum(deltas, axis=2, dtype=f"u{size}").view(f"{layout.kind}{size}")
    return lines.view(f"{layout.order}{layout.kind}{size}").reshape(shape)


def unpacked(lines: Raw, layout: SampleLayout, shape: tuple[int, ...]) -> NDArray[Any]:
    """Samples of 1 to 15 bits, which lie one behind the other whatever the order of bytes."""
    if layout.kind == "f" or layout.bits > 15 or layout.predictor != 1:
        what = f"{layout.bits} bits, sample format {'uif'.index(layout.kind) + 1}, predictor {layout.predictor}"
        raise ImageError(
            f"a TIFF of samples of {what}: not read", "save it again as an 8-bit or 16-bit grey TIFF or PNG"
        )
    count = layout.block_width * layout.in_block * layout.bits
    each = np.unpackbits(lines, axis=2)[:, :, :count].reshape(*lines.shape[:2], -1, layout.bits)
    values = (each @ (1 << np.arange(layout.bits - 1, -1, -1))).astype(np.uint16).reshape(shape)
    if layout.kind == "u":
        return values
    signed = values.astype(np.int32)
    return np.where(signed >= 1 << (layout.bits - 1), signed - (1 << layout.bits), signed)
