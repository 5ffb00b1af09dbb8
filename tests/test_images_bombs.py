"""Files that are small and would take all memory, or start another program: refused by their header."""

import io
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin

from cxremb.errors import ImageError
from cxremb.images import decode_bytes, dicom_deflated, image_size
from cxremb.images.grey import stretch, to_grey

LARGE = 50_000_000  # bytes that a bomb unpacks to
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n0 0 moveto\n%%EOF\n"


def peak(act: Callable[[], object]) -> int:
    """The most bytes that were held at once."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(act: Callable[[], object], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        act()


def zipped(array: np.ndarray, more: int = 0) -> bytes:
    """A .npz of one array, with so many bytes behind it."""
    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, array)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.npy", plain.getvalue() + bytes(more))
    return packed.getvalue()


def test_a_zipped_array_is_measured_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    film = np.arange(600, dtype=np.uint16).reshape(20, 30)
    plain = io.BytesIO()
    np.save(plain, film)
    wanted = decode_bytes(plain.getvalue(), "film.npy")
    np.testing.assert_array_equal(decode_bytes(zipped(film), "film.npz"), wanted)
    bomb = zipped(film, LARGE)
    assert peak(lambda: refused(lambda: decode_bytes(bomb, "film.npz"), "more in it than an array of 20 x 30")) < 2e6
    monkeypatch.setattr("cxremb.images.grey.MAX_PIXELS", 1000)
    bomb = zipped(np.zeros(LARGE, np.uint8).reshape(5000, -1))
    assert peak(lambda: refused(lambda: decode_bytes(bomb, "film.npz"), "50,000,000 pixels, the limit is 1,000")) < 2e6


def deflated(tmp_path: Path, side: int) -> Path:
    pydicom = pytest.importorskip("pydicom")
    tags = pydicom.Dataset()
    tags.file_meta = pydicom.dataset.FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    tags.file_meta.PrivateInformationCreatorUID = "1.2.3"
    tags.file_meta.PrivateInformation = b"12"  # OB: its length has four bytes
    tags.SOPClassUID = tags.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    tags.Rows = tags.Columns = side
    tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PixelRepresentation = 1, "MONOCHROME2", 0
    tags.BitsAllocated = tags.BitsStored = 8
    tags.HighBit = 7
    tags.PixelData = (np.arange(side * side) % 251).astype(np.uint8).tobytes() if side < 100 else bytes(side * side)
    path = tmp_path / f"{side}.dcm"
    tags.save_as(path, enforce_file_format=True)
    return path


def test_a_deflated_dicom_file_is_measured_before_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, bomb = deflated(tmp_path, 64), deflated(tmp_path, 7000)
    content = film.read_bytes()
    start = dicom_deflated.end_of_meta(content)
    assert (0x0008).to_bytes(2, "little") == zlib.decompress(content[start:], -zlib.MAX_WBITS)[:2]  # the next group
    monkeypatch.setattr(dicom_deflated, "MOST_BYTES", 1 << 20)
    assert image_size(film) == (64, 64)
    assert decode_bytes(content, "film.dcm").shape == (64, 64)
    for act in (lambda: image_size(bomb), lambda: decode_bytes(bomb.read_bytes(), "film.dcm")):
        assert peak(lambda act=act: refused(act, "inflates to more than 1,048,576 bytes")) < 10e6


def test_no_other_program_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    (tmp_path / "film.png").write_bytes(EPS)
    refused(lambda: decode_bytes(EPS, "film.png"), "film.png")
    refused(lambda: image_size(tmp_path / "film.png"), "film.png")


def test_stretching_in_rows_is_stretching_at_once() -> None:
    values = np.random.default_rng(0).normal(1000, 300, (700, 41))
    low, high = np.percentile(values.astype(np.float32), (0.5, 99.5))
    at_once = to_grey((values.astype(np.float32).astype(np.float64) - float(low)) / (float(high) - float(low)))
    np.testing.assert_array_equal(stretch(values), at_once)
