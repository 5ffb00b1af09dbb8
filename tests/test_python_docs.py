"""docs/python.md and the README's Python do what they say: on small films, by encoders that need no weights."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cxremb

ROOT = Path(__file__).parent.parent
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXREMB_STORES", raising=False)
    return tmp_path


def draw_films(folder: Path, patients: int = 60) -> None:
    """Two films of each patient in one of two classes, of which one is brighter."""
    rng = np.random.default_rng(0)
    for patient in range(patients):
        kind = patient % 2
        for film in range(2):
            path = folder / ("normal", "pneumonia")[kind] / f"p{patient}_{film}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((rng.integers(0, 200, (48, 48)) + 50 * kind).astype(np.uint8)).save(path)


def test_docs_python_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_films(here / "films")
    names: dict[str, Any] = {}
    for block in blocks(PYTHON):
        exec(block.replace("efficientnet_b1", "tiny"), names)
    assert names["added"].counts["patients"] == 60
    assert names["vectors"].shape == (120, 32)
    assert names["arms"]["auroc"].min() > 0.9  # what was drawn is found
    assert names["wrong"].to_arrow_table().num_rows == 5
    assert names["predicted"].prob.shape == (120, 1)
    assert min(names["scores"]) > 0.9
    assert names["run"].run_id in {path.name for path in (here / "stores" / "films" / "runs").iterdir()}
    assert "auroc_low" in capsys.readouterr().out


def test_the_first_block_is_25_lines_at_most() -> None:
    assert len(blocks(PYTHON)[0].splitlines()) <= 25


def test_the_readme_block_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{uid},{mesh},{mesh},,,,The lungs are {word} {uid}.,{word} chest.\n" for uid, mesh, word in studies()]
    header = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    (here / "indiana_reports.csv").write_text(header + "".join(rows), encoding="utf-8")
    films = [f"{uid},{uid}_IM-0001-4001.dcm.png,Frontal\n" for uid, *_ in studies()]
    (here / "indiana_projections.csv").write_text("uid,filename,projection\n" + "".join(films), encoding="utf-8")
    rng = np.random.default_rng(0)
    (here / "images").mkdir()
    for uid, *_ in studies():
        pixels = rng.integers(0, 255, (48, 48)).astype(np.uint8)
        Image.fromarray(pixels).save(here / "images" / f"{uid}_IM-0001-4001.dcm.png")
    (block,) = blocks(README)
    assert len([line for line in block.splitlines() if line]) <= 8
    exec(block.replace("efficientnet_b1", "tiny").replace("biobert", "tiny_text"), {})
    out = capsys.readouterr().out
    assert "fusion" in out
    assert "label recovery" in out


def studies() -> list[tuple[int, str, str]]:
    return [(uid, *(("normal", "clear") if uid % 2 else ("Opacity/lung", "opaque"))) for uid in range(1, 101)]


def test_the_table_of_results_names_what_there_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PYTHON, re.MULTILINE)
    assert set(rows) == set(cxremb.__all__) - {"__version__", "CxrembError", "HeadClassifier"}
