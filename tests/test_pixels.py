"""The pixel cache: what was decoded once comes back to the byte, and what is damaged is decoded again."""

import os
from pathlib import Path

import numpy as np
import pytest

from cxremb.embedding import pixels
from cxremb.embedding.pixels import bytes_needed, open_pixels
from cxremb.errors import StoreError
from cxremb.images import Film, Frame, stamp_of

FRAME = Frame(16)
FILMS = np.random.default_rng(0).integers(0, 256, (10, 16, 16), dtype=np.uint8)
NAMES = [f"{number:064x}" for number in range(10)]


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten films in three files."""
    monkeypatch.setattr(pixels, "ROWS", 4)
    cache = open_pixels(tmp_path, FRAME)
    for name, film in zip(NAMES, FILMS, strict=True):
        cache.keep(Film(film, name))
        cache.keep(Film(film, name))  # the same content a second time
    cache.flush()
    return tmp_path


def test_films_come_back(filled: Path) -> None:
    cache = open_pixels(filled, FRAME)
    assert (len(cache), len(cache.files)) == (10, 3)
    order = [7, 0, 9, 3]
    np.testing.assert_array_equal(cache.films([NAMES[row] for row in order]), FILMS[order])
    stored = sum(films.nbytes for films in cache.files)
    assert stored == bytes_needed(10, FRAME)


def test_another_frame_is_another_cache(filled: Path) -> None:
    assert len(open_pixels(filled, Frame(16, "pad"))) == 0
    assert len(open_pixels(filled, Frame(17))) == 0
    assert len(open_pixels(filled, Frame(16, scaled_jpeg=True))) == 0


def test_a_damaged_file_is_passed_over(filled: Path) -> None:
    first, second, _ = sorted(filled.rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:-5])
    second.with_suffix(".parquet").unlink()
    cache = open_pixels(filled, FRAME)
    assert len(cache) in {2, 4}  # one whole file is left: of four films, or the last one of two
    lost = [name for name in NAMES if name not in cache]
    with pytest.raises(StoreError, match=f"{len(lost)} of 10 films are not in the pixel cache") as caught:
        cache.films(NAMES)
    assert "--keep-pixels" in caught.value.hint
    for name in lost:
        cache.keep(Film(FILMS[NAMES.index(name)], name))
    cache.flush()
    np.testing.assert_array_equal(open_pixels(filled, FRAME).films(NAMES), FILMS)


def test_a_film_is_unchanged_while_its_stamp_is(tmp_path: Path) -> None:
    file = tmp_path / "film.png"
    file.write_bytes(b"a film")
    cache = open_pixels(tmp_path, FRAME)
    cache.keep(Film(FILMS[0], NAMES[0], ("a note",), stamp_of(str(file))))
    cache.keep(Film(FILMS[1], NAMES[1]))
    cache.flush()
    cache = open_pixels(tmp_path, FRAME)
    assert cache.notes == {NAMES[0]: ["a note"]}
    assert cache.unchanged(NAMES[0], ["other.png", str(file)])
    assert not cache.unchanged(NAMES[0], ["other.png"])
    assert not cache.unchanged(NAMES[1], [str(file)])  # nobody knows its file
    os.utime(file, ns=(0, 1))
    assert not cache.unchanged(NAMES[0], [str(file)])
    file.unlink()
    assert not cache.unchanged(NAMES[0], [str(file)])
