"""PNG by depth and colour type, TIFF by tag, JPEG by its wrapping, which way is up: against arithmetic written here."""

import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images import Frame, decode_bytes, decode_file, image_size

Y, X = np.mgrid[0:40, 0:52]
RAMP = (0.1 + 0.8 * (X / 51) * (0.5 + 0.5 * np.exp(-((Y - 20) ** 2) / 90))).astype(np.float64)  # of 0 to 1
LUMA = np.array([0.299, 0.587, 0.114])


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values.astype(float), (0.5, 99.5))
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def same(content: bytes, expected: np.ndarray, off: float = 0.51) -> None:
    got = decode_bytes(content, "film").astype(float)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= off


# --- PNG ---


def png(samples: np.ndarray, depth: int, colour: int, *, extra: bytes = b"") -> bytes:
    """(height, width, channels) written by hand, packed where a sample is smaller than a byte."""
    height, width, channels = samples.shape
    lines = []
    for row in samples.reshape(height, width * channels):
        if depth == 16:
            lines.append(row.astype(">u2").tobytes())
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            lines.append(np.packbits(bits.ravel().astype(np.uint8)).tobytes())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_grey(depth: int, transparent: bool) -> None:
    values = np.round(RAMP * (2**depth - 1)).astype(np.int64)
    extra = chunk(b"tRNS", struct.pack(">H", values[3, 3])) if transparent else b""
    expected = stretched(values) if depth == 16 else values / (2**depth - 1) * 255
    same(png(values[..., None], depth, 0, extra=extra), expected)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("largest", [1.0, 1 / 16])  # 12 bits in 16: nearly black unless it is stretched
def test_png_colour_and_alpha(depth: int, colour: int, channels: int, largest: float) -> None:
    """Grey stored as colour is the picture that grey alone would be, whatever the alpha."""
    values = np.round(RAMP * largest * (2**depth - 1)).astype(np.int64)
    samples = np.repeat(values[..., None], channels, axis=2)
    if channels in (2, 4):
        samples[..., -1] = (np.arange(52) * 900) % 2**depth
    same(png(samples, depth, colour), stretched(values) if depth == 16 else values)
    grey_alone = decode_bytes(png(values[..., None], depth, 0), "x")
    np.testing.assert_array_equal(decode_bytes(png(samples, depth, colour), "x"), grey_alone)


def test_png_colours_by_luma() -> None:
    for depth in (8, 16):
        samples = np.round(np.stack([RAMP, RAMP[::-1], 1 - RAMP], 2) * (2**depth - 1)).astype(np.int64)
        luma = samples @ LUMA
        same(png(samples, depth, 2), stretched(luma) if depth == 16 else luma, 1)
        transparent = chunk(b"tRNS", struct.pack(">HHH", *samples[2, 2]))
        same(png(samples, depth, 2, extra=transparent), stretched(luma) if depth == 16 else luma, 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_palette(depth: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (2**depth, 3))
    places = np.round(RAMP * (2**depth - 1)).astype(np.int64)
    extra = chunk(b"PLTE", colours.astype(np.uint8).tobytes())
    for alpha in (b"", chunk(b"tRNS", bytes(range(2**depth)))):
        same(png(places[..., None], depth, 3, extra=extra + alpha), (colours @ LUMA)[places], 1)


# --- TIFF ---


def tiff(samples: np.ndarray, bits: int = 0, order: str = "<", **tags: Any) -> bytes:
    """(height, width, channels) in strips of 7 lines, written by hand. tags: by number, as `t262=0`; None: without it.

    planes: one after the other; deflate: each strip; predictor 2: differences along a line.
    """
    planes, deflate = tags.pop("planes", False), tags.pop("deflate", False)
    height, width, channels = samples.shape
    bits = bits or 8 * samples.dtype.itemsize
    blocks = []
    for plane in np.moveaxis(samples, 2, 0)[..., None] if planes else [samples]:
        for top in range(0, height, 7):
            lines = [
                packed(row, bits, order) for row in plane[top : top + 7].reshape(-1, plane.shape[1] * plane.shape[2])
            ]
            block = b"".join(lines)
            blocks.append(zlib.compress(block) if deflate else block)
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    every: dict[int, Any] = {
        256: width,
        257: height,
        258: (bits,) * channels,
        259: 8 if deflate else 1,
        262: 1 if channels < 3 else 2,
        277: channels,
        278: 7,
        284: 2 if planes else 1,
        339: (kind,) * channels,
        **{int(name[1:]): value for name, value in tags.items()},
    }
    starts = list(itertools.accumulate((len(block) for block in blocks), initial=8))
    every |= {273: tuple(starts[:-1]), 279: tuple(len(block) for block in blocks)}
    every = {tag: value for tag, value in every.items() if value is not None}
    at = starts[-1] + starts[-1] % 2
    behind, entries, values = at + 2 + 12 * len(every) + 4, b"", b""
    for tag, value in sorted(every.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        entries += data if len(data) == 4 else struct.pack(f"{order}I", behind + len(values))
        values += b"" if len(data) == 4 else data
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    body = b"".join(blocks) + b"\0" * (starts[-1] % 2)
    return head + body + struct.pack(f"{order}H", len(every)) + entries + b"\0" * 4 + values


def packed(row: np.ndarray, bits: int, order: str) -> bytes:
    if bits % 8 == 0:
        return row.astype(row.dtype.newbyteorder(order)).tobytes()
    each = (row.astype(np.int64)[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.ravel().astype(np.uint8)).tobytes()


KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def values_of(kind: str) -> np.ndarray:
    """Values over half of what the kind holds; of floats -3 to 5."""
    if kind[0] == "f":
        return (RAMP * 8 - 3).astype(kind)
    limits = np.iinfo(kind)
    return (RAMP * (limits.max // 2) + (limits.max // 4 if kind[0] == "u" else -(limits.max // 4))).astype(kind)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_tiff_of_every_sample_format(kind: str, order: str) -> None:
    values = values_of(kind)
    expected = values if kind == "u1" else stretched(values)
    off = 0.51 if values.dtype.itemsize < 4 else 0.6  # percentiles of single precision
    same(tiff(values[..., None], order=order), expected, off)
    same(tiff(values[..., None], order=order, t262=0), 255 - expected, off)  # MINISWHITE
    same(tiff(values[..., None], order=order, deflate=True), expected, off)
    with_alpha = np.stack([values, values[::-1]], axis=2)
    same(tiff(with_alpha, order=order, t338=2), expected, off)
    same(tiff(with_alpha, order=order, t338=2, planes=True), expected, off)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_packed_samples(bits: int, photometric: int, order: str) -> None:
    values = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
    expected = values / (2**bits - 1) * 255 if bits <= 8 else stretched(values)
    same(tiff(values[..., None], bits, order, t262=photometric), 255 - expected if photometric == 0 else expected)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_tiff_of_colours(kind: str, planes: bool) -> None:
    values = values_of(kind)
    samples = np.stack([values, values[::-1], values[:, ::-1]], axis=2)
    luma = samples.astype(np.float64) @ LUMA
    expected = luma if kind == "u1" else stretched(luma)
    same(tiff(samples, planes=planes), expected, 1)
    same(tiff(np.concatenate([samples, samples[..., :1]], axis=2), planes=planes, t338=2), expected, 1)
    same(
        tiff(np.repeat(values[..., None], 3, axis=2), planes=planes), values if kind == "u1" else stretched(values), 0.6
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("depth", [255, 65535])
def test_tiff_of_a_palette(bits: int, depth: int) -> None:
    colours = np.random.default_rng(1).integers(0, depth, (3, 2**bits))
    places = np.round(RAMP * (2**bits - 1)).astype(np.uint8)
    same(
        tiff(places[..., None], bits, t262=3, t320=tuple(colours.ravel().tolist())),
        (LUMA @ colours / depth * 255)[places],
        1,
    )


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_tiff_predictors(kind: str) -> None:
    values = values_of(kind)
    expected = values if kind == "u1" else stretched(values)
    bits = values.view(f"u{values.dtype.itemsize}")
    differences = np.diff(bits, axis=1, prepend=bits.dtype.type(0))
    same(tiff(differences.view(kind)[..., None], t317=2, deflate=True), expected, 0.6)
    if kind == "f4":
        planes = np.moveaxis(values.astype(">f4").view(np.uint8).reshape(40, 52, 4), 2, 1).reshape(40, 208)
        deltas = np.diff(planes, axis=1, prepend=np.uint8(0)).view("<f4").reshape(40, 52, 1)
        same(tiff(deltas, t317=3, deflate=True), expected, 0.6)


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"]
)
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_tiff_compressions(compression: str, kind: str) -> None:
    values = values_of(kind)
    buffer = io.BytesIO()
    PilImage.fromarray(values).save(buffer, "TIFF", compression=compression)
    same(buffer.getvalue(), values if kind == "u1" else stretched(values), 0.6)
    with pytest.raises(ImageError):
        decode_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2], "x")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"t262": 32803}, "photometric interpretation 32803: not read"),
        ({"t262": 8}, "photometric interpretation 8: not read"),
        ({"t339": 5}, r"sample format \[5\]: not read"),
        ({"t258": (8, 16)}, r"samples of \[8, 16\] bits"),
        ({"t256": None}, "a TIFF without size"),
        ({"t262": 3}, "a palette and no colours"),
        ({"t262": 2}, "RGB with 1 samples"),
        ({"t257": 400}, "lacks strips or tiles"),
        ({"t317": 3, "deflate": True}, "predictor 3: not read"),
    ],
)
def test_tiffs_that_are_not_read(tags: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_bytes(tiff(values_of("u1")[..., None], **tags), "film")
    assert caught.value.hint


def test_a_tiff_by_defaults() -> None:
    """Photometric interpretation, samples and their format may be missing; orientation of 0 is none."""
    values = values_of("u1")
    same(tiff(values[..., None], t262=None, t277=None, t339=None, t284=None, t278=7, t274=0), values)


# --- JPEG ---


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray((RAMP * 255).astype(np.uint8)).resize((160, 120)).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


SOS = b"\xff\xda"
WRAPPINGS = {
    "stray bytes between markers": lambda j: j.replace(SOS, b"\0\0\0" + SOS, 1),
    "stray bytes behind the first marker": lambda j: j[:2] + b"\x12\x34\0" + j[2:],
    "no end marker": lambda j: j[:-2],
    "line feed before it": lambda j: b"\r\n" + j,
    "first marker twice": lambda j: j[:2] + j,
    "a colour profile that is torn": lambda j: j[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\x05" + j[2:],
    "a torn APP14": lambda j: j[:2] + b"\xff\xee\0\x09Adobe\0\x64" + j[2:],
    "EXIF that is none": lambda j: j[:2] + b"\xff\xe1\0\x0cExif\0\0!!!!" + j[2:],
    "a segment longer than the file": lambda j: j[:2] + b"\xff\xed\xff\xf0" + j[2:],
    "bytes behind the end": lambda j: j + b"\0\0\0tail",
    "fill bytes": lambda j: j.replace(SOS, b"\xff\xff\xff" + SOS, 1),
}


@pytest.mark.parametrize("name", WRAPPINGS)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_good_but_for_its_wrapping(tmp_path: Path, name: str, progressive: bool) -> None:
    whole = jpeg(progressive=progressive)
    wrapped = WRAPPINGS[name](whole)
    np.testing.assert_array_equal(decode_bytes(wrapped, "x"), decode_bytes(whole, "x"))
    (tmp_path / "x.jpg").write_bytes(wrapped)
    assert image_size(tmp_path / "x.jpg") == (160, 120)


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_within_a_jpeg_is_refused(progressive: bool) -> None:
    whole, end = jpeg(progressive=progressive), b"\xff\xd9"
    data = whole.rindex(SOS) + 20 if progressive else whole.index(SOS) + 20
    other = jpeg(progressive=progressive, subsampling=0)[data + 300 :]
    for tenth in range(1, 10):
        at = data + (len(whole) - data) * tenth // 10
        for damaged in (whole[:at], whole[:at] + end, whole[: at - 30] + whole[at:], whole[:at] + b"\0" * 5 + end):
            with pytest.raises(ImageError):
                decode_bytes(damaged, "x")
    with pytest.raises(ImageError):
        decode_bytes(whole[: data + 40] + other[: len(other) // 2] + end, "x")


def test_a_progressive_jpeg_cut_behind_a_scan_is_refused() -> None:
    whole = jpeg(progressive=True)
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == SOS]
    assert len(starts) > 3
    for start in starts[1:]:
        cut = (
            whole[: whole.rindex(b"\xff\xc4", 0, start)]
            if whole[start - 200 : start].count(b"\xff\xc4")
            else whole[:start]
        )
        with pytest.raises(ImageError, match="lacks scans"):
            decode_bytes(cut + b"\xff\xd9", "x")


def test_a_jpeg_of_12_bits_says_what_to_do() -> None:
    whole = bytearray(jpeg())
    whole[whole.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="JPEG of 12 bits") as caught:
        decode_bytes(bytes(whole), "x")
    assert "16 bits" in caught.value.hint


# --- which way is up ---

CORNERS = {  # EXIF 2.3: where the first row and the first column of what is stored are to be seen
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: np.transpose,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("style", ["PNG", "PNG16", "JPEG", "WEBP", "TIFF", "TIFF16", "TIFFJPEG", "DEFLATE"])
def test_orientation_is_honoured_alike(tmp_path: Path, style: str, orientation: int) -> None:
    stored = (RAMP * 255).astype(np.uint8)
    exif = PilImage.Exif()
    exif[0x112] = orientation
    wide = style.endswith("16")
    picture = PilImage.fromarray(stored.astype(np.uint16) * 257 if wide else stored)
    options: dict[str, Any] = {"exif": exif}
    if style[:4] in ("TIFF", "DEFL"):
        options = {"tiffinfo": {274: orientation}}
        options |= {"TIFFJPEG": {"compression": "jpeg", "quality": 98}, "DEFLATE": {"compression": "tiff_lzw"}}.get(
            style, {}
        )
    options |= {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(style, {})
    path = tmp_path / "x"
    picture.save(
        path, {"PNG16": "PNG", "TIFF16": "TIFF", "TIFFJPEG": "TIFF", "DEFLATE": "TIFF"}.get(style, style), **options
    )
    expected = CORNERS[orientation](stretched(stored) if wide else stored).astype(float)
    got = decode_file(path).pixels
    assert got.shape == expected.shape
    assert image_size(path) == got.shape[::-1]
    assert np.abs(got - expected).max() <= (8 if "JPEG" in style else 1)
    assert decode_file(path, Frame(16)).pixels.shape == (16, 16)


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_is_none(tmp_path: Path, value: int) -> None:
    exif = PilImage.Exif()
    exif[0x112] = value
    stored = (RAMP * 255).astype(np.uint8)
    for style in ("PNG", "JPEG", "WEBP"):
        PilImage.fromarray(stored).save(tmp_path / "x", style, exif=exif)
        assert decode_file(tmp_path / "x").pixels.shape == stored.shape
        assert image_size(tmp_path / "x") == stored.shape[::-1]


def test_a_flipped_bit_in_the_orientation_of_a_png_is_damage() -> None:
    exif = PilImage.Exif()
    exif[0x112] = 6
    buffer = io.BytesIO()
    PilImage.fromarray((RAMP * 255).astype(np.uint8)).save(buffer, "PNG", exif=exif)
    content = bytearray(buffer.getvalue())
    content[content.index(b"eXIf") + 22] ^= 2
    with pytest.raises(ImageError, match="wrong checksum in eXIf"):
        decode_bytes(bytes(content), "x")


def test_no_flipped_bit_of_a_png_passes_with_other_pixels() -> None:
    """Every bit of the file: in names, sizes and checksums of chunks, the palette and the orientation, too."""
    exif = PilImage.Exif()
    exif[0x112] = 6
    colours = np.random.default_rng(0).integers(0, 256, (16, 3)).astype(np.uint8)
    extra = chunk(b"PLTE", colours.tobytes()) + chunk(b"tEXt", b"a\0b") + chunk(b"eXIf", exif.tobytes())
    content = png((RAMP[::4, ::4, None] * 15).astype(np.int64), 4, 3, extra=extra)
    whole, passed = decode_bytes(content, "x"), 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = decode_bytes(bytes(flipped), "x")
        except ImageError:
            continue
        np.testing.assert_array_equal(found, whole)
        passed += 1
    assert passed < 8 * 30  # the text, and the end marker
