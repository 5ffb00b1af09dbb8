"""A hospital that reports four in ten films by one line: every command works with its defaults; none contradicts."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

LINES = {
    "short": "Normal chest.",
    "long": "The heart is normal in size and the lungs are clear, without effusion, pneumothorax or fracture.",
}
STUDIES, PATIENTS = 240, 150


def export(folder: Path, line: str) -> Path:
    """A film and a report a row. Nearly all who have the line are well, as are a third of the others."""
    draw = np.random.default_rng(0)
    (folder / "films").mkdir(parents=True)
    rows = ["film,patient,findings,indication,ill"]
    for n in range(STUDIES):
        short = draw.random() < 0.4
        ill = draw.random() < (0.05 if short else 0.67)
        grey = draw.integers(0, 80, (40, 40)) + 60 * ill
        Image.fromarray(grey.astype(np.uint8)).save(folder / "films" / f"im{n}.png")
        own = (
            f"Opacity of {n} mm in the {'lower' if ill else 'upper'} lobe; all else is as it was on film {n}, no change"
        )
        reason = ("Cough.", "Fever.", "Chest pain.")[draw.integers(3)]
        rows.append(f'im{n}.png,p{draw.integers(PATIENTS)},"{line if short else own}",{reason},{int(ill)}')
    table = folder / "films.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.mark.parametrize("kind", ["short", pytest.param("long", marks=pytest.mark.slow)])
def test_every_command_works_with_its_defaults(
    kind: str, tmp_path: Path, cxremb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = export(tmp_path / "export", LINES[kind])
    monkeypatch.setenv("CXREMB_STORES", str(tmp_path / "stores"))

    def works(*words: object, code: int = 0) -> str:
        found = cxremb(*words)
        assert found.code == code, f"{words}: {found.out}{found.err}"
        return str(found.out)

    works(
        *("data", "add", "table", "--name", "ward", "--table", table, "--images", table.parent / "films"),
        *("--column", "path=film", "--label", "ill", "--text", "findings", "--text", "indication"),
    )
    works("data", "show")
    works("embed", "--model", "tiny")
    works("embed", "--model", "tiny_text")
    trained = works("train")
    share = re.search(r"([\d.]+)% of the test rows have one that stands word for word in train; AUROC on", trained)
    assert share is not None
    assert 30 < float(share[1]) < 50
    for words in (("text",), ("image",), ("text", "--text", "indication")):
        works("train", *words)
    runs = [row["run_id"] for row in json.loads(works("runs", "ls", "--format", "json")) if row["arm"] == "text"]
    works("compare", *runs)  # one reads findings, the other indications
    works("evaluate", runs[0])
    works("runs", "show", runs[0])
    works("align")
    works("refresh")
    ablated = json.loads(works("ablate", "--format", "json"))
    arms = {row["arm"]: row for row in ablated["rows"]}
    assert arms["text"]["in_train"] == pytest.approx(0.4, abs=0.06)
    assert arms["image"]["in_train"] is None
    found = json.loads(works("audit", "--format", "json"))["findings"]
    by_name = {row["name"]: row for row in found}
    assert by_name["copied reports"]["status"] == "ok"
    assert by_name["identical reports"]["status"] == "note"
    works("data", "split", "mine", "--group", "patient")
    for split in ("mine", "holdout", "patient-5fold"):
        found = json.loads(works("audit", "--split", split, "--format", "json"))["findings"]
        assert {row["name"] for row in found if row["status"] == "fail" and "report" in row["name"]} == set()
