"""A hospital's own export, from `data add` to `evaluate --by sex`, by documented commands alone."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import dataset as dicom
from PIL import Image as PilImage

ROWS = 160
HEADER = "Fall;Pat.-Nr.;Untersuchung;Datei;Geschlecht;Alter;Untersuchungsdatum;CRP;Gerät;Befund;Pneumonie"


def export(folder: Path) -> Path:
    """Films as DICOM and PNG, and a sheet as a German spreadsheet saves it: cp1252, semicolons, ja and nein."""
    draw = np.random.default_rng(0)
    films = folder / "Aufnahmen"
    films.mkdir(parents=True)
    lines = [HEADER]
    for n in range(ROWS):
        ill = n % 3 == 0
        pixels = draw.integers(0, 60, (48, 40)) + (120 if ill else 0)
        name = f"AUFN{n:04d}"
        if n % 2:
            name += ".png"
            PilImage.fromarray(pixels.astype(np.uint8)).save(films / name)
        else:
            name += ".dcm"
            dicom((pixels * 16).astype(np.uint16), PatientID=f"P{n // 2}").save_as(films / name)
        sex, age = ("w", "m")[n // 2 % 2], f"{30 + n // 2 % 50}"
        answer = "" if n == 11 else "#WERT!" if n == 13 else ("Ja", "ja")[n % 2] if ill else "nein"
        words = f"Infiltrat rechts von {n} mm, ähnlich wie zuvor." if ill else f"Unauffällig, Aufnahme {n}."
        cells = (
            n,
            n // 2,
            f"S{n}",
            name,
            sex,
            age,
            f"{n % 28 + 1:02d}.03.2025",
            f"{n % 7},5",
            "Gerät Ä",
            words,
            answer,
        )
        lines.append(";".join(map(str, cells)))
    (films / "AUFN0021.png").unlink()
    damaged = films / "AUFN0033.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    sheet = folder / "Export.csv"
    sheet.write_bytes(("\r\n".join(lines) + "\r\n").encode("cp1252"))
    return sheet


def test_from_a_hospital_export_to_figures_by_sex(tmp_path: Path, cxremb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = export(tmp_path / "export")
    monkeypatch.setenv("CXREMB_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    columns = ["path=Datei", "patient=Pat.-Nr.", "study=Untersuchung", "scanner=Gerät"]
    added = cxremb(
        *("data", "add", "table", "--name", "klinik", "--table", sheet, "--images", sheet.parent / "Aufnahmen"),
        *(word for column in columns for word in ("--column", column)),
        *("--label", "Pneumonie", "--text", "findings=Befund"),
    )
    assert added.code == 0, added.err
    for words in (
        f"{ROWS} of {ROWS // 2} patients",
        f"images      {ROWS} listed, {ROWS - 1} present",
        "sex = column Geschlecht",
        "age = column Alter",
        "Pneumonie: binary, 1 if the column Pneumonie says yes, 0 if no",
        "labels that are blank: 2",
    ):
        assert words in added.out
    facts = json.loads(cxremb("sql", "select name, count(*) as n from facts group by all", "--format", "json").out)
    assert {row["name"]: row["n"] for row in facts} == dict.fromkeys(
        ("sex", "age", "day", "crp", "scanner", "fall"), ROWS
    )
    assert cxremb("embed", "--model", "tiny").code in (0, 1)  # 1: a film failed, and it says which
    failed = json.loads(cxremb("sql", "select item_id from failures", "--format", "json").out)
    assert [row["item_id"] for row in failed] == ["AUFN0033"]
    assert cxremb("embed", "--model", "tiny_text").code == 0
    trained = cxremb("train", "linear-image", "--split", "holdout")
    assert trained.code == 0, trained.err
    run = re.search(r"\d{8}T\d{6}-[0-9a-f]{8}", trained.out)
    assert run is not None
    for by, groups in (
        ("sex", {"m", "w"}),
        ("age >= 60", {"true", "false"}),
        ("day < '2025-03-15'", {"true", "false"}),
    ):
        found = cxremb("evaluate", run[0], "--by", by, "--format", "json")
        assert found.code == 0, found.err + found.out
        assert {group["name"] for group in json.loads(found.out)["strata"]["groups"]} == groups
    wrong = cxremb("evaluate", run[0], "--by", "sexx")
    assert wrong.code == 1
    assert "its table has " in " ".join(wrong.err.split())
    assert "did you mean sex?" in wrong.err
    assert "sex" in wrong.err.split("its table has")[1]
