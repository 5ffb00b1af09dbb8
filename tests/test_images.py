"""Decoding, pixel by pixel, against an independent reading."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from cxremb.errors import ImageError
from cxremb.images import decode_bytes, decode_file, image_size, squash

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
    monkeypatch.setattr("cxremb.images.MAX_PIXELS", 255)
    with pytest.raises(ImageError, match="256 pixels, the limit is 255"):
        decode_bytes(encoded(PilImage.fromarray(RAMP)), "x.png")


def test_the_digest_is_of_the_file_and_the_size_of_its_header(tmp_path: Path) -> None:
    for name, content in (("a.png", encoded(PilImage.new("L", (30, 20)))), ("b.dcm", dicom(np.zeros((20, 30))))):
        (tmp_path / name).write_bytes(content)
        assert image_size(tmp_path / name) == (30, 20)
    (tmp_path / "c.png").write_bytes(encoded(PilImage.fromarray(RAMP)))
    film = decode_file(tmp_path / "c.png")
    assert film.sha256 == hashlib.sha256((tmp_path / "c.png").read_bytes()).hexdigest()
    with pytest.raises(ImageError, match="cannot be read"):
        decode_file(tmp_path / "nowhere.png")


def test_squash_is_pillows_bicubic_on_both_axes() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    expected = np.asarray(PilImage.fromarray(grey).resize((32, 32), PilImage.Resampling.BICUBIC))
    np.testing.assert_array_equal(squash(grey, 32), expected)


def test_real_films(real_data: Path) -> None:
    paths = sorted((real_data / "iu_xray").rglob("*.png"))
    assert len(paths) == 12
    for path in paths:
        expected = np.asarray(PilImage.open(path).convert("L"))
        np.testing.assert_array_equal(decode_file(path).pixels, expected)
