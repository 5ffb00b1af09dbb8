"""Whatever a file holds, its film is decoded and resized, or it is an `ImageError` that names the file."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import film, save_film
from dicom_files import dataset, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image as PilImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxremb.catalog import add_collection
from cxremb.datasets import folder
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import ImageError
from cxremb.images import Frame, decode_bytes, decode_file, image_size
from cxremb.store.reader import open_store

FRAMES = [Frame(16, aspect) for aspect in ("squash", "pad", "crop")]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STARTS = [
    b"",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\xff\xd8\xff\xc0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"GIF89a",
    b"BM",
    b"\x93NUMPY\x01\0",
    b"PK\x03\x04",
    b"\0" * 128 + b"DICM",
    b"\x02\0\0\0UL\x04\0",
    b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
    b"P5\n4 4\n255\n",
]


def saved(style: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray(film(3, 24)).save(buffer, style, **options)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def turned() -> PilImage.Exif:
    exif = PilImage.Exif()
    exif[0x112] = 6
    return exif


def dicom() -> bytes:
    """A film with every tag that the decoder looks at."""
    values = film(3, 24).astype(np.uint16) * 16
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    tags = {
        "RescaleSlope": 1,
        "RescaleIntercept": -5,
        "WindowCenter": 2000,
        "WindowWidth": 3000,
        "PixelPaddingValue": 7,
    }
    return written(dataset(values, VOILUTSequence=Sequence([item]), VOILUTFunction="LINEAR", **tags))


FILMS = {
    "png": saved("PNG"),
    "jpg": saved("JPEG", quality=90),
    "progressive.jpg": saved("JPEG", quality=90, progressive=True),
    "tif": saved("TIFF"),
    "lzw.tif": saved("TIFF", compression="tiff_lzw"),
    "deflate.tif": saved("TIFF", compression="tiff_adobe_deflate"),
    "webp": saved("WEBP"),
    "bmp": saved("BMP"),
    "gif": saved("GIF"),
    "npy": npy(film(3, 24)),
    "turned.jpg": saved("JPEG", quality=90, exif=turned()),
    "turned.png": saved("PNG", exif=turned()),
    "dcm": dicom(),
    "bare.dcm": dicom()[132:],
}


def attempt(function: Callable[..., Any], *given: object) -> Any:
    """What it gives, or its `ImageError`; anything else that it raises is raised."""
    try:
        return function(*given)
    except ImageError as error:
        return error


def check(content: bytes, path: Path) -> None:
    """The film in every frame, or an error of the one kind that names the file; its size may be had or not."""
    path.write_bytes(content)
    size = attempt(image_size, path)
    for frame in (None, *FRAMES):
        found = attempt(decode_file, path, frame)
        if isinstance(found, ImageError):
            assert str(path) in str(found)
            assert found.stage in {"read", "decode", "content"}
            assert found.hint
            continue
        assert found.pixels.dtype == np.uint8
        assert found.pixels.ndim == 2
        assert found.pixels.shape == (size[::-1] if frame is None else (16, 16))  # what decodes has its size
    assert str(path) in str(size) if isinstance(size, ImageError) else list(map(type, size)) == [int, int]


@QUICK
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=400), name=st.sampled_from(["x", "x.dcm", "x.npy"]))
def test_random_bytes(tmp_path: Path, start: bytes, rest: bytes, name: str) -> None:
    check(start + rest, tmp_path / name)


@QUICK
@given(
    values=npst.arrays(
        dtype=st.one_of(
            npst.boolean_dtypes(),
            npst.integer_dtypes(endianness="?"),
            npst.unsigned_integer_dtypes(endianness="?"),
            npst.floating_dtypes(),
            npst.complex_number_dtypes(),
            npst.datetime64_dtypes(),
            npst.unicode_string_dtypes(max_len=2),
            st.just(np.dtype([("a", "u1"), ("b", "f4")])),
        ),
        shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    )
)
def test_arrays_of_any_kind(tmp_path: Path, values: np.ndarray) -> None:
    check(npy(values), tmp_path / "x.npy")


@pytest.mark.parametrize("shape", ["(0, 80)", "(80, 0)", "(0, 0)", "(99999, 99999)", "(-3, 5)", "(10**9, 5)", "(5,)"])
@pytest.mark.parametrize("kind", ["|u1", "<f8", "|O", "<c16", "<M8[s]"])
def test_headers_of_arrays(tmp_path: Path, shape: str, kind: str) -> None:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header
    check(content, tmp_path / "x.npy")
    with pytest.raises(ImageError):
        decode_file(tmp_path / "x.npy")


@QUICK
@given(name=st.sampled_from(sorted(FILMS)), data=st.data())
def test_films_with_bytes_changed_and_cut_off(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(FILMS[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    check(bytes(content[: data.draw(st.integers(0, len(content)))]), tmp_path / name)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 1)])
def test_films_of_one_line(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.zeros(shape, np.uint8)
    values[-1, -1] = 255
    check(npy(values), tmp_path / "x.npy")


@pytest.mark.parametrize("name", sorted(FILMS))
def test_cut_films_are_refused(name: str) -> None:
    whole = decode_bytes(FILMS[name], name)
    for tenth in range(10):
        with pytest.raises(ImageError):
            decode_bytes(FILMS[name][: len(FILMS[name]) * tenth // 10], name)
    np.testing.assert_array_equal(whole, decode_bytes(FILMS[name], name))


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nowhere.png", tmp_path / "pipe", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(ImageError) as caught:
            decode_file(path)
        assert caught.value.stage == "read"
        with pytest.raises(ImageError):
            image_size(path)


def test_memory_that_runs_out_is_a_failure_of_the_film(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cxremb.images.film.resize", none)
    with pytest.raises(ImageError, match="takes more memory than there is"):
        decode_file(save_film(tmp_path / "a.png", 1), Frame(16))


def test_one_film_never_stops_a_job(tmp_path: Path) -> None:
    """Among four good films: arrays without a pixel, a folder of links that go round, a file that is no film."""
    films = tmp_path / "films"
    for seed in range(4):
        save_film(films / f"{seed}.png", seed)
    bad = {
        "empty.npy": npy(np.zeros((0, 80), np.uint8)),
        "narrow.npy": npy(np.zeros((80, 0), np.uint8)),
        "nothing.npy": npy(np.zeros((0, 0), np.uint8)),
        "object.npy": npy(np.zeros((2, 2), complex)),
        "cut.png": FILMS["png"][:100],
        "zero.png": b"",
        "x.dcm": b"no DICOM",
        "y.tif": zlib.compress(b"no TIFF"),
    }
    for name, content in bad.items():
        (films / name).write_bytes(content)
    (films / "loop.png").symlink_to(films / "loop.png")
    (films / "gone.png").symlink_to(films / "nowhere.png")
    os.mkfifo(films / "pipe.png")
    added = add_collection(folder.read(films, "odd"), tmp_path / "root")
    assert any("cannot be read" in note.what or "header" in note.what for note in added.notes)
    update = embed(added.dataset, load_encoder(What("tiny")))
    assert (update.asked, update.added, len(update.failures)) == (15, 4, 11)
    assert sorted(open_store(added.dataset, "tiny").vectors()[0]) == ["0", "1", "2", "3"]
