"""Near pairs are those that comparing everything with everything finds; hashes tell copies from other patients."""

import io
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PilImage
from scipy.fft import dctn

from cxremb.audit import similar
from cxremb.audit.overlap import HAMMING
from cxremb.audit.pixels import film_facts, frame_width, perceptual_hash
from cxremb.audit.similar import PARTNERS, centred, cosine_pairs, text_pairs
from cxremb.images import decode_file, squash
from cxremb.splits import normalised
from cxremb.store.files import sha256_of
from cxremb.store.matrices import Matrix


def edited(rng: np.random.Generator, words: list[str], changes: int) -> str:
    changed = list(words)
    for place in rng.choice(len(words), changes, replace=False):
        changed[place] = f"new{rng.integers(1000)}"
    return " ".join(changed)


def slow_jaccard(a: str, b: str) -> float:
    first, second = (set(zip(text.split(), text.split()[1:], strict=False)) for text in (a, b))
    return len(first & second) / len(first | second)


def test_text_pairs_as_comparing_all_with_all() -> None:
    rng = np.random.default_rng(0)
    texts = {"pain", "", "no pain"}
    for family in range(60):
        words = [f"w{number}" for number in rng.integers(0, 400, 15 + family)]
        texts |= {edited(rng, words, changes) for changes in (0, 1, 2, 4, 8)}
    listed = sorted(texts)
    expected = {
        (a, b)
        for a, b in combinations(range(len(listed)), 2)
        if len(listed[a].split()) > 1 and len(listed[b].split()) > 1 and slow_jaccard(listed[a], listed[b]) >= 0.8
    }
    assert len(expected) > 80
    assert set(map(tuple, text_pairs(listed, 0.8).tolist())) == expected


def test_no_text_no_pair() -> None:
    assert text_pairs([], 0.8).shape == text_pairs(["one text"], 0.8).shape == (0, 2)


def test_a_template_in_thousands_of_texts_ends() -> None:
    base = " ".join(f"w{number}" for number in range(60))
    pairs = text_pairs([f"{base} n{number}" for number in range(5000)], 0.8)
    assert set(np.unique(pairs)) == set(range(5000))  # each has met another
    assert len(pairs) < 5000 * 500


def test_cosine_pairs_as_comparing_all_with_all() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 5)).astype(np.float32)
    queries = np.arange(0, 300, 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = {
        (a, b) for a, b in combinations(range(300), 2) if (a % 3 == 0 or b % 3 == 0) and unit[a] @ unit[b] >= 0.95
    }
    assert len(expected) > 40
    assert set(map(tuple, cosine_pairs(vectors, 0.95, queries).tolist())) == expected


def test_vectors_of_a_store_are_compared_less_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "ROWS", 7)
    monkeypatch.setattr(similar, "COLUMNS", 11)  # several blocks of either, the last ones shorter
    monkeypatch.setattr(similar, "PAIRS_AT_ONCE", 20)
    rng = np.random.default_rng(0)
    stored = (rng.standard_normal((90, 4)) + 3).astype(np.float16)
    places = rng.permutation(90)[:80]
    vectors = stored[places].astype(np.float64)
    vectors -= vectors.mean(axis=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = {(a, b) for a, b in combinations(range(80), 2) if a < 30 and unit[a] @ unit[b] >= 0.8}
    ids = pa.array([str(number) for number in range(90)])
    pairs = cosine_pairs(centred(Matrix(ids, ids, stored), places), 0.8, np.arange(30))
    assert len(expected) > 90
    assert set(map(tuple, pairs.tolist())) == expected


def test_of_many_partners_the_nearest_are_kept() -> None:
    angles = np.linspace(0, 0.1, 200)
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    pairs = cosine_pairs(vectors, 0.9, np.array([0]))
    assert pairs.tolist() == [[0, other] for other in range(1, PARTNERS + 1)]


def test_the_hash_is_the_sign_of_low_frequencies_about_their_median() -> None:
    film = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    low = dctn(squash(film, 64).astype(float), norm="ortho")[:16, :16].ravel()
    assert perceptual_hash(film) == np.packbits(low > np.median(low)).tobytes()


@pytest.mark.parametrize(("edges", "width"), [((4, 0, 0, 0), 0), ((4, 4, 0, 0), 0.04), ((8, 4, 5, 5), 0.05)])
def test_a_frame_is_the_second_widest_constant_edge(edges: tuple[int, int, int, int], width: float) -> None:
    film = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
    top, bottom, left, right = edges
    for edge in (film[:top], film[100 - bottom :], film[:, :left], film[:, 100 - right :]):
        edge[...] = 9
    assert frame_width(film) == pytest.approx(width)


def bits(hashes: list[bytes]) -> np.ndarray:
    return np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1), axis=1).astype(np.float32)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.rint((a.shape[1] - (1 - 2 * a) @ (1 - 2 * b).T) / 2)


def resized(film: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(PilImage.fromarray(film).resize((width, height), PilImage.Resampling.LANCZOS))


def jpeg(film: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    PilImage.fromarray(film).save(buffer, "JPEG", quality=50)
    return np.asarray(PilImage.open(buffer))


COPIES = {
    "re-encoded": jpeg,
    "smaller": lambda film: resized(film, 160, 150),
    "larger": lambda film: resized(film, 512, 420),
    "cropped": lambda film: film[2:-2, 2:-2],
    "brighter": lambda film: np.clip(film.astype(int) + 25, 0, 255).astype(np.uint8),
    "more contrast": lambda film: np.clip(film * 1.2 - 10, 0, 255).astype(np.uint8),
}


@pytest.fixture(scope="module")
def kermany(real_data: Path) -> list[Path]:
    """Every third real film: 1,952 of them."""
    return sorted((real_data / "kermany_224" / "chest_xray").rglob("*.jp*g"))[::3]


def test_no_other_patient_is_a_copy_and_every_copy_is(kermany: list[Path]) -> None:
    films = [decode_file(path)[0] for path in kermany]
    hashes = bits([perceptual_hash(film) for film in films])
    patients = np.array([re.split(r"_\d+$|-\d+(?:-\d+)?$", path.stem)[0] for path in kermany])
    apart = distances(hashes, hashes)
    apart[patients[:, None] == patients] = hashes.shape[1]
    assert apart.min() > HAMMING
    chosen = range(0, len(films), 10)
    for name, copy in COPIES.items():
        copies = bits([perceptual_hash(copy(films[row])) for row in chosen])
        own = distances(copies, hashes)[np.arange(len(copies)), list(chosen)]
        assert (own <= HAMMING).all(), name


def test_inverted_films_are_told_from_real_ones(kermany: list[Path], tmp_path: Path) -> None:
    alarms, found = 0, 0
    for number, path in enumerate(kermany[::5]):
        upright = film_facts([(str(path), sha256_of(path), None)])
        turned = tmp_path / f"{number}.png"
        PilImage.fromarray(255 - decode_file(path)[0]).save(turned)
        inverted = film_facts([(str(turned), sha256_of(turned), None)])
        assert isinstance(upright, dict)
        assert isinstance(inverted, dict)
        alarms += upright["spine"] < 0 and upright["trunk"] < 0
        found += inverted["spine"] < 0 and inverted["trunk"] < 0
    assert alarms == 0
    assert found / len(kermany[::5]) > 0.97


def test_near_reports_of_iu_as_comparing_all_with_all(real_data: Path) -> None:
    import csv

    with (real_data / "iu_xray" / "indiana_reports.csv").open(encoding="utf-8") as file:
        texts = sorted({normalised(f"{row['findings']} {row['impression']}") for row in csv.DictReader(file)} - {""})
    listed = texts[::3]
    sets = [set(zip(text.split(), text.split()[1:], strict=False)) for text in listed]
    expected = {
        (a, b)
        for a, b in combinations(range(len(sets)), 2)
        if sets[a] and len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b])
    }
    assert expected
    found = {pair for pair in map(tuple, text_pairs(listed, 0.8).tolist()) if sets[pair[0]]}
    assert found == expected
