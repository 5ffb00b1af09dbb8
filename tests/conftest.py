"""What tests share: the real data where it is, and a small real store of phantoms built once."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.cli.main import main
from cxremb.datasets.iu_labels import label_studies
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, Image, Study

WIDE = "1000"  # columns: tests of words read whole sentences; tests/test_screen.py holds what 80 columns do to them


@pytest.fixture(autouse=True)
def wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen on which no sentence is broken."""
    monkeypatch.setenv("COLUMNS", WIDE)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Ctrl-C ends pytest also after a test that called `main`, which keeps its handlers to its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip with the reason."""
    folder = os.environ.get("CXREMB_REAL_DATA")
    if not folder:
        pytest.skip("CXREMB_REAL_DATA is not set: no real data on this machine")
    return Path(folder)


def film(seed: int, side: int = 80) -> np.ndarray:
    """A film of smooth noise, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(PilImage.fromarray(coarse).resize((side, side + 16), PilImage.Resampling.BICUBIC))


def save_film(path: Path, seed: int) -> Path:
    """A PNG of `film(seed)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(film(seed)).save(path)
    return path


def collection(folder: Path, n: int = 12, name: str = "small") -> Collection:
    """n studies of n patients, two films each (of which the last film repeats the first), abnormal every third."""
    studies, images = [], []
    for number in range(n):
        study = str(number)
        abnormal = number % 3 == 0
        texts = {
            "indication": "Chest pain.",
            "findings": f"Opacity number {number}." if abnormal else f"Clear lungs {number}.",
            "impression": "Abnormal." if abnormal else "Normal.",
        }
        if number == 1:
            del texts["findings"]
        terms = ("Opacity/lung",) if abnormal else ("normal",)
        studies.append(Study(study, study, texts, {"mesh": terms, "problems": (terms[0].split("/")[0],)}))
        for view, seed in (("Frontal", 2 * number), ("Lateral", 2 * number + 1)):
            same = 0 if (number, view) == (n - 1, "Lateral") else seed
            path = save_film(folder / f"{number}_{view}.png", same)
            images.append(Image(f"{number}_{view}", study, study, view, path))
    labelled, label_sets, _ = label_studies(studies, least=2)
    source = {"images": str(folder)}
    return Collection(name, labelled, images, "none", "made by the tests", source, label_sets=label_sets)


@pytest.fixture
def small(tmp_path: Path) -> Dataset:
    """The data set of `collection`, added to a store root of its own."""
    return add_collection(collection(tmp_path / "films"), tmp_path / "root").dataset


class Result:
    """What one call printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def cxremb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """The command `cxremb`, in this process."""

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["cxremb", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return call
