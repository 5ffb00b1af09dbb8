"""Decoding, pixel by pixel, against an independent reading."""

import hashlib
import io
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from cxremb.errors import ImageError
from cxremb.images import Frame, decode_bytes, decode_file, image_size, resize
from cxremb.images import png as png_module
from cxremb.images.grey import ends_of_levels, stretch

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(picture: PilImage.Image, style: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, style)
    return buffer.getvalue()


def dicom(values: np.ndarray, photometric: str = "MONOCHROME2", **tags: object) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = values.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    if values.ndim == 3:
        file.NumberOfFrames = values.shape[0]
    file.PixelData = values.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_however_it_is_coded(mode: str) -> None:
    picture = PilImage.fromarray(RAMP).convert(mode)
    np.testing.assert_array_equal(decode_bytes(encoded(picture), "x.png"), RAMP)


def test_a_palette_is_looked_up() -> None:
    picture = PilImage.fromarray(RAMP, "L").convert("P")
    np.testing.assert_array_equal(decode_bytes(encoded(picture), "x.png"), RAMP)


def test_alpha_does_not_change_pixels() -> None:
    picture = PilImage.merge("LA", (PilImage.fromarray(RAMP), PilImage.fromarray(RAMP[::-1].copy())))
    np.testing.assert_array_equal(decode_bytes(encoded(picture), "x.png"), RAMP)


def test_colour_by_luma() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = colour.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(decode_bytes(encoded(PilImage.fromarray(colour)), "x.png") - expected).max() <= 1


def test_sixteen_bits_are_stretched_and_not_clipped_to_white() -> None:
    values = np.linspace(1000, 60000, 10000).astype(np.uint16).reshape(100, 100)
    grey = decode_bytes(encoded(PilImage.fromarray(values)), "x.png")
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    assert np.abs(grey - expected).max() <= 0.51


def test_jpeg_as_pillow_reads_it() -> None:
    content = encoded(PilImage.fromarray(np.kron(RAMP, np.ones((4, 4), np.uint8))), "JPEG")
    np.testing.assert_array_equal(decode_bytes(content, "x.jpg"), np.asarray(PilImage.open(io.BytesIO(content))))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_is_applied_by_the_formula_of_the_standard(photometric: str) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    center, width = 2000.0, 1000.0
    grey = decode_bytes(dicom(values, photometric, WindowCenter=center, WindowWidth=width), "x.dcm")
    expected = np.empty(values.shape)
    for index, x in np.ndenumerate(values.astype(float)):  # PS3.3 C.11.2.1.2.1, word for word
        if x <= center - 0.5 - (width - 1) / 2:
            expected[index] = 0
        elif x > center - 0.5 + (width - 1) / 2:
            expected[index] = 255
        else:
            expected[index] = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    assert np.abs(grey - expected).max() <= 0.51


def test_the_modality_lut_comes_before_the_window() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    plain = decode_bytes(dicom(values, WindowCenter=2000, WindowWidth=1000), "x")
    shifted = dicom(
        values, WindowCenter=2000 * 2 - 1024, WindowWidth=1000 * 2 - 1, RescaleSlope=2, RescaleIntercept=-1024
    )
    assert np.abs(decode_bytes(shifted, "x").astype(int) - plain).max() <= 1


def test_several_windows_mean_the_first() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    two = decode_bytes(dicom(values, WindowCenter=[2000, 300], WindowWidth=[1000, 50]), "x")
    np.testing.assert_array_equal(two, decode_bytes(dicom(values, WindowCenter=2000, WindowWidth=1000), "x"))


def test_a_voi_lut_is_looked_up() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.add_new("LUTData", "OW", np.arange(65535, -1, -257).astype("<u2").tobytes())
    grey = decode_bytes(dicom(values, VOILUTSequence=pydicom.Sequence([table])), "x")
    np.testing.assert_array_equal(grey, 255 - RAMP)


def test_without_a_window_percentiles_decide() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    low, high = np.percentile(values, (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    assert np.abs(decode_bytes(dicom(values), "x") - expected).max() <= 0.51


def test_several_frames_are_refused() -> None:
    with pytest.raises(ImageError, match=r"x\.dcm: 2 frames") as caught:
        decode_bytes(dicom(np.arange(512, dtype=np.uint16).reshape(2, 16, 16)), "x.dcm")
    assert caught.value.stage == "content"


@pytest.mark.parametrize(
    ("content", "words", "stage"),
    [
        (b"", "is empty", "read"),
        (b"no image at all", "not a readable image", "decode"),
        (encoded(PilImage.effect_noise((64, 64), 50))[:2000], "not a readable image", "decode"),
        (encoded(PilImage.new("L", (9, 9), 5)), "every pixel is the same", "content"),
        (dicom(RAMP.astype(np.uint16))[:-100], "not a readable image", "decode"),
    ],
)
def test_bad_bytes_are_named(content: bytes, words: str, stage: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_bytes(content, "film_7.png")
    assert "film_7.png" in str(caught.value)
    assert caught.value.stage == stage
    assert caught.value.hint


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxremb.images.grey.MAX_PIXELS", 255)
    with pytest.raises(ImageError, match="256 pixels, the limit is 255"):
        decode_bytes(encoded(PilImage.fromarray(RAMP)), "x.png")


def test_the_digest_is_of_the_file_and_the_size_of_its_header(tmp_path: Path) -> None:
    for name, content in (("a.png", encoded(PilImage.new("L", (30, 20)))), ("b.dcm", dicom(np.zeros((20, 30))))):
        (tmp_path / name).write_bytes(content)
        assert image_size(tmp_path / name) == (30, 20)
    (tmp_path / "c.png").write_bytes(encoded(PilImage.fromarray(RAMP)))
    assert decode_file(tmp_path / "c.png").sha256 == hashlib.sha256((tmp_path / "c.png").read_bytes()).hexdigest()
    with pytest.raises(ImageError, match="cannot be read"):
        decode_file(tmp_path / "nowhere.png")


@pytest.mark.parametrize(("mode", "bits"), [("1", 1), ("P", 8), ("I;16", 16)])
def test_a_png_of_another_kind_is_read_too(mode: str, bits: int) -> None:
    values = (np.indices((20, 30)).sum(0) % 2 * 255).astype(np.uint8)
    picture = PilImage.fromarray(values).convert(mode) if bits < 16 else PilImage.fromarray(values.astype(np.uint16))
    np.testing.assert_array_equal(decode_bytes(encoded(picture), "x.png"), values)


def test_a_transparent_colour_does_not_change_pixels() -> None:
    buffer = io.BytesIO()
    PilImage.fromarray(RAMP).save(buffer, "PNG", transparency=7)
    assert b"tRNS" in buffer.getvalue()
    np.testing.assert_array_equal(decode_bytes(buffer.getvalue(), "x.png"), RAMP)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_coloured_jpeg_is_its_luma(subsampling: int) -> None:
    coarse = PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((200, 160), PilImage.Resampling.BICUBIC).save(buffer, "JPEG", quality=95, subsampling=subsampling)
    picture = PilImage.open(io.BytesIO(buffer.getvalue()))
    picture.draft("YCbCr", None)
    np.testing.assert_array_equal(decode_bytes(buffer.getvalue(), "x.jpg"), np.asarray(picture)[:, :, 0])


def test_a_cmyk_jpeg_is_left_to_pillow() -> None:
    picture = PilImage.fromarray(np.kron(RAMP, np.ones((4, 4), np.uint8))).convert("CMYK")
    content = encoded(picture, "JPEG")
    expected = np.asarray(PilImage.open(io.BytesIO(content)).convert("L"))
    np.testing.assert_array_equal(decode_bytes(content, "x.jpg"), expected)


def test_a_scaled_jpeg_keeps_twice_the_side_and_looks_the_same() -> None:
    smooth = PilImage.fromarray(np.random.default_rng(1).integers(0, 256, (9, 9), dtype=np.uint8))
    content = encoded(smooth.resize((1600, 2000), PilImage.Resampling.BICUBIC), "JPEG")
    frame = Frame(224, scaled_jpeg=True)
    small = decode_bytes(content, "x.jpg", frame.least)
    assert small.shape == (500, 400) or min(small.shape) >= 448
    assert small.shape < (2000, 1600)
    full = resize(decode_bytes(content, "x.jpg"), Frame(224))
    assert np.abs(resize(small, frame).astype(int) - full).mean() < 1
    assert frame.recipe != Frame(224).recipe  # other pixels, so another key


def test_tiff_as_pillow_reads_it_and_one_frame_only() -> None:
    np.testing.assert_array_equal(decode_bytes(encoded(PilImage.fromarray(RAMP), "TIFF"), "x.tif"), RAMP)
    buffer = io.BytesIO()
    PilImage.fromarray(RAMP).save(buffer, "TIFF", save_all=True, append_images=[PilImage.fromarray(RAMP.T.copy())])
    with pytest.raises(ImageError, match="2 frames"):
        decode_bytes(buffer.getvalue(), "x.tif")


def saved(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def test_arrays(tmp_path: Path) -> None:
    for content in (npy(RAMP), npy(RAMP[:, :, None]), saved(film=RAMP)):
        np.testing.assert_array_equal(decode_bytes(content, "x.npy"), RAMP)
    wide = np.linspace(-3, 8, 12000).reshape(100, 120)
    low, high = np.percentile(wide, (0.5, 99.5))
    expected = np.clip((wide - low) / (high - low), 0, 1) * 255
    assert np.abs(decode_bytes(npy(wide), "x.npy") - expected).max() <= 0.51
    (tmp_path / "x.npy").write_bytes(npy(wide))
    assert image_size(tmp_path / "x.npy") == (120, 100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(a=RAMP, b=RAMP), "2 arrays: a film is one"),
        (npy(np.zeros((3, 4, 5))), "shape \\(3, 4, 5\\): no film"),
        (npy(np.array([["a", "b"]])), "no film"),
        (npy(np.array([[1.0, np.nan]])), "no numbers"),
        (npy(np.array([[{"code": 1}]], dtype=object)), "an array of object .* no film"),  # never unpickled
        (npy(np.zeros((0, 80), np.uint8)), "no pixel in it"),
        (npy(np.zeros((0, 0), np.uint8)), "no pixel in it"),
        (npy(np.zeros((80, 0))), "no pixel in it"),
        (npy(np.zeros((3, 4), complex)), "no film"),
        (npy(np.zeros((3, 4), [("a", "u1")])), "no film"),
        (npy(np.array([[1.0, np.inf]])), "no numbers"),
        (npy(RAMP).replace(b"(16, 16)", b"(1e9, 9)"), "not a readable image"),
        (npy(RAMP).replace(b"(16, 16), }  ", b"(99999,99999)}"), "pixels, the limit is"),
        (npy(RAMP)[:-10], "not a readable image"),
    ],
)
def test_bad_arrays_are_named(content: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        decode_bytes(content, "x.npz")


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "JPEGLSLossless", "RLELossless", "JPEGLosslessSV1"])
def test_compressed_dicom_is_the_same_film(syntax: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (40, 50)).astype(np.uint16)
    tags = pydicom.dcmread(io.BytesIO(dicom(values)))
    if syntax == "JPEGLosslessSV1":
        content = gdcm_lossless(dicom(values))
    else:
        tags.compress(getattr(pydicom.uid, syntax), generate_instance_uid=False)
        buffer = io.BytesIO()
        tags.save_as(buffer, enforce_file_format=True)
        content = buffer.getvalue()
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID == getattr(pydicom.uid, syntax)
    np.testing.assert_array_equal(decode_bytes(content, "x.dcm"), decode_bytes(dicom(values), "x.dcm"))


def gdcm_lossless(content: bytes) -> bytes:
    """The same file in JPEG lossless, which pydicom reads and does not write."""
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/a.dcm", f"{folder}/b.dcm"
        Path(source).write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(source)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(target)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(target).read_bytes()


def test_a_codec_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = pydicom.dcmread(io.BytesIO(dicom(np.kron(RAMP, np.ones((8, 8))))))
    tags.compress(pydicom.uid.JPEG2000Lossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    tags.save_as(buffer, enforce_file_format=True)
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(ImageError, match="no codec for JPEG 2000") as caught:
        decode_bytes(buffer.getvalue(), "x.dcm")
    assert "cxremb[dicom]" in caught.value.hint


def test_a_coloured_dicom_is_its_luma() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    tags = pydicom.dcmread(io.BytesIO(dicom(np.zeros((12, 10)))))
    tags.SamplesPerPixel, tags.PlanarConfiguration, tags.PhotometricInterpretation = 3, 0, "RGB"
    tags.BitsAllocated, tags.BitsStored, tags.HighBit = 8, 8, 7
    tags.PixelData = colour.tobytes()
    buffer = io.BytesIO()
    tags.save_as(buffer, enforce_file_format=True)
    expected = colour.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(decode_bytes(buffer.getvalue(), "x.dcm") - expected).max() <= 1


def test_squash_resizes_both_axes() -> None:
    """Small films equal Pillow's bicubic; large ones are shrunk by a box filter first and stay within a few greys."""
    grey = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    expected = np.asarray(PilImage.fromarray(grey).resize((32, 32), PilImage.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(grey, Frame(32)), expected)
    large = np.asarray(PilImage.fromarray(grey).resize((700, 900), PilImage.Resampling.BICUBIC))
    expected = np.asarray(PilImage.fromarray(large).resize((32, 32), PilImage.Resampling.BICUBIC))
    assert np.abs(resize(large, Frame(32)).astype(int) - expected).max() <= 4


def test_pad_keeps_all_and_crop_keeps_the_middle() -> None:
    wide = np.full((40, 80), 200, np.uint8)
    wide[:, :20] = wide[:, 60:] = 90  # what a crop to the middle cuts off
    padded = resize(wide, Frame(20, "pad"))
    np.testing.assert_array_equal(padded[:5], 0)
    np.testing.assert_array_equal(padded[15:], 0)
    assert (padded[7, [0, 10, 19]] == [90, 200, 90]).all()
    cropped = resize(wide, Frame(20, "crop"))
    np.testing.assert_array_equal(cropped, 200)
    np.testing.assert_array_equal(resize(wide.T.copy(), Frame(20, "crop")), cropped)
    np.testing.assert_array_equal(resize(wide.T.copy(), Frame(20, "pad")), padded.T)
    assert len({str(Frame(20, aspect).recipe) for aspect in ("squash", "pad", "crop")}) == 3


def test_real_films(real_data: Path) -> None:
    paths = sorted((real_data / "iu_xray").rglob("*.png"))
    assert len(paths) == 12
    for path in paths:
        expected = np.asarray(PilImage.open(path).convert("L"))
        np.testing.assert_array_equal(decode_file(path)[0], expected)


def png(pixels: np.ndarray, colour: int, *, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """A PNG written by hand: (height, width, channels) of uint8 or uint16. extra: chunks before the pixels."""
    height, width, _ = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [pixels]
    lines = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.fixture(params=["wuffs", "opencv", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each decoder of plain PNGs in turn, where it is installed."""
    pytest.importorskip({"wuffs": "pywuffs", "opencv": "cv2", "pillow": "PIL"}[request.param])
    decode = getattr(png_module, f"plain_by_{request.param}")
    monkeypatch.setattr(png_module, "plain_decoder", lambda: decode)
    return str(request.param)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", [0, 2])
def test_plain_pngs_have_the_same_pixels_by_every_decoder(decoder: str, colour: int, interlaced: bool) -> None:
    pixels = np.random.default_rng(colour).integers(0, 256, (47, 61, 1 + colour), dtype=np.uint8)
    weights = np.array([19595, 38470, 7471]) if colour else np.array([65536])
    luma = ((pixels.astype(np.int64) * 0x101) @ weights + 0x8000) >> 24
    np.testing.assert_array_equal(decode_bytes(png(pixels, colour, interlaced=interlaced), "x.png"), luma)
    if colour:
        grey = np.repeat(pixels[:, :, :1], 3, axis=2)
        np.testing.assert_array_equal(decode_bytes(png(grey, 2, interlaced=interlaced), "x.png"), pixels[:, :, 0])


@pytest.mark.parametrize(
    ("kind", "colour", "channels", "extra"),
    [
        (np.uint8, 4, 2, b""),
        (np.uint8, 6, 4, b""),
        (np.uint8, 0, 1, chunk(b"tRNS", b"\0\7")),
        (np.uint8, 2, 3, chunk(b"tRNS", b"\0\7\0\7\0\7")),
        (np.uint8, 3, 1, chunk(b"PLTE", bytes(range(256)) * 3) + chunk(b"tRNS", bytes(range(200)))),
    ],
)
def test_other_pngs_are_read_by_pillow_whatever_is_installed(
    decoder: str, kind: type, colour: int, channels: int, extra: bytes
) -> None:
    pixels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (29, 37, channels)).astype(kind)
    content = png(pixels, colour, extra=extra)
    with PilImage.open(io.BytesIO(content)) as opened:
        expected = np.asarray(opened.convert("RGBA").convert("RGB").convert("L"))
    np.testing.assert_array_equal(decode_bytes(content, "x.png"), expected)


def test_a_damaged_png_is_found_by_every_decoder(decoder: str) -> None:
    content = png(np.random.default_rng(2).integers(0, 256, (200, 200, 1), dtype=np.uint8), 0)
    flipped = bytearray(content)
    flipped[content.find(b"IDAT") + 5000] ^= 1  # one pixel: without the checksum a film like any other
    for bad, words in (
        (bytes(flipped), "wrong checksum in IDAT"),
        (content[: len(content) // 2], "not a readable image"),
        (content[:-16] + b"\0\0\0\0" + content[-12:], "wrong checksum in IDAT"),
        (content[:30], "ends within IHDR"),
        (content[:9], "a PNG without header"),
        (content.replace(content[33:], content[33:][:40]), "ends within IDAT"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            decode_bytes(bad, "x.png")
        assert caught.value.stage == "decode"
    np.testing.assert_array_equal(decode_bytes(content[:-12], "x.png"), decode_bytes(content, "x.png"))  # no IEND


def test_a_jpeg_has_the_same_pixels_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = np.kron(
        np.random.default_rng(3).integers(0, 256, (20, 25, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    contents = [encoded(PilImage.fromarray(colour), "JPEG"), encoded(PilImage.fromarray(colour[:, :, 0]), "JPEG")]
    expected = [decode_bytes(content, "x.jpg") for content in contents]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for content, pixels in zip(contents, expected, strict=True):
        np.testing.assert_array_equal(decode_bytes(content, "x.jpg"), pixels)
    with pytest.raises(ImageError, match="needs simplejpeg"):
        decode_bytes(contents[0], "x.jpg", 20)


def test_the_package_decodes_without_its_fast_decoders() -> None:
    """In a process of its own: nothing of them is imported before it is used."""
    content = png(np.random.default_rng(4).integers(0, 256, (9, 9, 1), dtype=np.uint8), 0)
    script = (
        "import sys\n"
        "for name in ('pywuffs', 'cv2', 'simplejpeg', 'pydicom', 'openvino'):\n"
        "    sys.modules[name] = None\n"
        "import importlib.util\n"
        "from cxremb.images import decode_bytes\n"
        "from cxremb.embedding import start\n"
        f"print(decode_bytes({content!r}, 'x.png').sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(decode_bytes(content, "x.png").sum()), done.stderr


def test_what_is_no_part_of_a_png_may_be_damaged(decoder: str) -> None:
    """GIMP once wrote a colour profile with a wrong checksum."""
    pixels = np.random.default_rng(5).integers(0, 256, (30, 40, 1), dtype=np.uint8)
    content = png(pixels, 0)
    for kind in (b"iCCP", b"tEXt", b"gAMA"):
        broken = chunk(kind, b"abc\0\0xyz")[:-1] + b"!"
        np.testing.assert_array_equal(decode_bytes(content[:33] + broken + content[33:], "x.png"), pixels[:, :, 0])


def test_the_checksum_within_a_png_counts_too(decoder: str) -> None:
    """Chunks written anew around a damaged stream of zlib: only zlib's own checksum is wrong."""
    pixels = np.random.default_rng(6).integers(0, 256, (30, 40), dtype=np.uint8)
    stream = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 0))
    stream[600] ^= 4
    header = struct.pack(">IIBBBBB", 40, 30, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", bytes(stream)), chunk(b"IEND", b"")]
    with pytest.raises(ImageError, match="not a readable image"):
        decode_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts), "x.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_integers_are_stretched_by_level_as_numbers_are_one_by_one(dtype):
    rng = np.random.default_rng(0)
    ends = np.iinfo(dtype)
    for size in ((1, 1), (2, 3), (40, 50), (700, 900)):
        for low, high in ((ends.min, ends.max), (5, 9), (7, 7)):
            values = rng.integers(low, high, size, dtype, endpoint=True)
            np.testing.assert_array_equal(stretch(values), stretch(values.astype(np.float32)))
            picture = values[rng.random(size) < 0.7]
            if picture.size:
                np.testing.assert_array_equal(
                    stretch(values, picture), stretch(values.astype(np.float32), picture * 1.0)
                )
    film = np.repeat(np.arange(200, dtype=np.uint8), 50).reshape(100, 100)  # a percentile between two levels
    film[0, :49] = 1
    np.testing.assert_array_equal(stretch(film.astype(dtype)), stretch(film.astype(dtype).astype(np.float32)))


def test_percentiles_counted_by_level_are_those_of_numpy():
    rng = np.random.default_rng(1)
    for n in (2, 3, 200, 201, 1000, 40_001):
        values = rng.integers(-90, 90, n).astype(np.int16)
        ends = ends_of_levels(values)
        if ends is not None and np.percentile(values, 0.5) < np.percentile(values, 99.5):
            assert ends == tuple(np.percentile(values, (0.5, 99.5)))
    assert ends_of_levels(np.arange(180, dtype=np.int16)) is None  # each between two levels
    assert ends_of_levels(rng.integers(-90, 90, 40_001).astype(np.int16)) is not None
