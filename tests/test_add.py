"""`cxremb data add` and `fetch` as a user types them: one tiny tree for each kind of collection."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import save_film
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from cxremb.cli.main import main
from cxremb.encoders.weights import suggested
from cxremb.store.dataset import Dataset, open_dataset

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cxremb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """The command `cxremb data`, with a store root of its own: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")  # a command with the folders of a test in it stays one line

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cxremb", "data", *map(str, words), "--root", str(tmp_path / "root")])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def added(call: Call, tmp_path: Path, *words: object) -> tuple[Dataset, str]:
    """The data set that `data add ...` made, and what it printed."""
    code, out, err = call("add", *words)
    assert code == 0, err
    return open_dataset(tmp_path / "root", out.splitlines()[0]), out


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    """A CSV of these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_iu_xray(cxremb: Call, tmp_path: Path) -> None:
    save_film(tmp_path / "png" / "CXR1_IM-0001-3001.png", 1)
    sections = {"image": "x", "indication": "pain", "comparison": "", "findings": "Clear.", "impression": "Normal."}
    reports = write_rows(tmp_path / "r.csv", {"uid": 1, "MeSH": "normal", "Problems": "normal", **sections})
    dataset, out = added(cxremb, tmp_path, "iu_xray", "--images", tmp_path / "png", "--reports", reports)
    assert dataset.name == "iu_xray"
    assert dataset.images["image_id"].to_pylist() == ["1_IM-0001-3001"]
    assert "texts       indication 1, findings 1, impression 1" in out
    assert "licence     CC BY-NC-ND 4.0" in out
    assert f"next        cxremb embed --model {suggested('image')} --root {tmp_path / 'root'}" in out


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zero", 0.0), ("one", 1.0)])
def test_mimic_cxr(uncertain: str, value: float | None, cxremb: Call, tmp_path: Path) -> None:
    root = tmp_path / "jpg"
    film = "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014"
    save_film(root / "files" / "p10" / "p10000032" / "s50414267" / f"{film}.png", 1).rename(
        root / "files" / "p10" / "p10000032" / "s50414267" / f"{film}.jpg"
    )
    who = {"subject_id": 10000032, "study_id": 50414267}
    other = {"subject_id": 10000033, "study_id": 50414268}  # a set in which all studies say the same would be left out
    seen = {"dicom_id": film[::-1], **other, "ViewPosition": "PA"}
    write_rows(root / "mimic-cxr-2.0.0-metadata.csv", {"dicom_id": film, **who, "ViewPosition": "PA"}, seen)
    blank = dict.fromkeys(CHEXPERT, "")
    write_rows(
        root / "mimic-cxr-2.0.0-chexpert.csv",
        {**who, **CHEXPERT, "Edema": -1.0, "No Finding": "", "Fracture": 1.0},
        {**other, **blank, "Fracture": 0.0},
    )
    write_rows(root / "mimic-cxr-2.0.0-split.csv", {"dicom_id": film, **who, "split": "train"})
    note = tmp_path / "reports" / "files" / "p10" / "p10000032" / "s50414267.txt"
    note.parent.mkdir(parents=True)
    note.write_text("FINAL REPORT\n INDICATION:  Cough.\n\n FINDINGS:  Clear lungs.\n\n IMPRESSION:  Normal.\n")
    dataset, _ = added(cxremb, tmp_path, "mimic_cxr", root, "--reports", tmp_path / "reports", "--uncertain", uncertain)
    assert dataset.studies.to_pylist()[0] == {"study_id": "50414267", "patient_id": "10000032"}
    rows = [row for row in dataset.labels.to_pylist() if row["label"] == "Edema" and row["label_set"] == "chexpert"]
    assert [row["value"] for row in rows] == ([] if value is None else [value])
    assert "findings" in dataset.reports["section"].to_pylist()


CHEXPERT = dict.fromkeys(
    (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Enlarged Cardiomediastinum",
        "Fracture",
        "Lung Lesion",
        "Lung Opacity",
        "No Finding",
        "Pleural Effusion",
        "Pleural Other",
        "Pneumonia",
        "Pneumothorax",
        "Support Devices",
    ),
    0.0,
)


def test_kermany(cxremb: Call, tmp_path: Path) -> None:
    for number, name in enumerate(
        ("train/NORMAL/IM-0115-0001.png", "train/PNEUMONIA/person1_virus_6.png", "test/PNEUMONIA/person1_virus_7.png")
    ):
        save_film(tmp_path / "chest_xray" / name, number)
    dataset, out = added(cxremb, tmp_path, "kermany", tmp_path / "chest_xray", "--name", "children")
    assert dataset.name == "children"
    assert (dataset.images.num_rows, len(set(dataset.studies["patient_id"].to_pylist()))) == (3, 2)
    assert "CC BY 4.0" in out


def test_medmnist(cxremb: Call, tmp_path: Path) -> None:
    file = write_medmnist(tmp_path / "pneumoniamnist.npz")
    dataset, _ = added(cxremb, tmp_path, "medmnist", file)
    assert dataset.name == "pneumoniamnist"
    assert dataset.images.num_rows == 12
    unpacked = tmp_path / "root" / "unpacked" / "pneumoniamnist"
    assert all(Path(path).is_relative_to(unpacked) for path in dataset.images["path"].to_pylist())
    _, out = added(cxremb, tmp_path, "medmnist", file)
    assert "nothing was written" in out


def write_medmnist(path: Path) -> Path:
    """A MedMNIST file of four images a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 28, 28), dtype=np.uint8)
    arrays = {f"{part}_images": pixels[index] for index, part in enumerate(("train", "val", "test"))}
    labels = {f"{part}_labels": np.array([[0], [1], [1], [0]], np.uint8) for part in ("train", "val", "test")}
    np.savez(path, **arrays, **labels)
    return path


def test_table(cxremb: Call, tmp_path: Path) -> None:
    save_film(tmp_path / "png" / "b.png", 1)
    table = write_rows(
        tmp_path / "t.csv",
        {"key": "a", "PatientID": "p", "Sick": "yes", "sex": "f", "age": 4.0, "seen": "Cough.", "findings": "Mass."},
        {"key": "b", "PatientID": "p", "Sick": "no", "sex": "", "age": "", "seen": "", "findings": ""},
    )
    options = ["--column", "id=key", "--label", "Sick", "--text", "findings", "--pre-read", "seen"]
    told = ["--text-template", "{sex}, {age} years", "--licence", "CC0", "--citation", "Nobody 2020"]
    dataset, out = added(
        cxremb, tmp_path, "table", "--name", "own", "--table", table, "--images", tmp_path / "png", *options, *told
    )
    assert "guessed     patient = column PatientID\n" in out
    assert "id = " not in out  # it was given
    assert "labels      Sick: binary" in out
    assert re.search(r"note {8}listed images that are not on disk: 1\n {14}a\n", out)
    assert (dataset.descriptor["licence"], dataset.descriptor["citation"]) == ("CC0", "Nobody 2020")
    assert {(row["section"], row["role"], row["text"]) for row in dataset.reports.to_pylist()} == {
        ("findings", "label source", "Mass."),
        ("seen", "before reading", "Cough."),
        ("clinical", "before reading", "f, 4 years"),
    }
    code, out, _ = cxremb("add", "table", "--name", "own", "--table", table, "--column", "id=key", "--format", "json")
    facts = json.loads(out)
    assert (code, facts["counts"]["images"], facts["source"]["patient"]) == (0, 0, "column PatientID (guessed)")


def test_a_table_of_reports_says_to_embed_texts(cxremb: Call, tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.csv", {"study_id": "1", "findings": "Mass."})
    _, out = added(cxremb, tmp_path, "table", "--name", "texts", "--table", table, "--text", "findings")
    assert f"next        cxremb embed --model {suggested('text')}" in out
    _, out = added(cxremb, tmp_path, "table", "--name", "bare", "--table", table)
    assert "next        cxremb data show" in out
    _, out = added(cxremb, tmp_path, "table", "--name", "texts", "--table", table, "--text", "findings")
    assert f"next        cxremb embed --model {suggested('text')} --dataset texts" in out


def test_folder(cxremb: Call, tmp_path: Path) -> None:
    for number, name in enumerate(("normal/p1_a.png", "sick/p1_b.png", "sick/p2_c.png")):
        save_film(tmp_path / "films" / name, number)
    pattern = ["--patient-pattern", r"(p\d+)_", "--licence", "CC0"]
    dataset, out = added(cxremb, tmp_path, "folder", tmp_path / "films", "--name", "films", *pattern)
    assert sorted(dataset.studies["patient_id"].to_pylist()) == ["p1", "p1", "p2"]
    assert sum(dataset.labels["value"].to_pylist()) == 2
    assert "licence     CC0" in out


def test_dicom(cxremb: Call, tmp_path: Path) -> None:
    write_dicom(tmp_path / "export" / "0001")
    dataset, _ = added(cxremb, tmp_path, "dicom", tmp_path / "export", "--name", "ward", "--citation", "Ward 7")
    (image,) = dataset.images.to_pylist()
    assert (image["image_id"], image["study_id"], image["patient_id"], image["view"]) == (
        "1.2.3",
        "1.2",
        "P7",
        "Lateral",
    )
    assert dataset.descriptor["citation"] == "Ward 7"


def write_dicom(path: Path) -> None:
    """A lateral film of patient P7."""
    path.parent.mkdir(parents=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3", ExplicitVRLittleEndian
    tags = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    tags.SOPClassUID, tags.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    tags.StudyInstanceUID, tags.SeriesInstanceUID = "1.2", generate_uid()
    tags.PatientID, tags.Modality, tags.ViewPosition = "P7", "DX", "LL"
    tags.Rows, tags.Columns, tags.BitsAllocated, tags.BitsStored, tags.HighBit = 8, 8, 8, 8, 7
    tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PixelRepresentation = 1, "MONOCHROME2", 0
    tags.PixelData = bytes(range(64))
    tags.save_as(path, enforce_file_format=True)


def test_fetch_of_a_medmnist_set(cxremb: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, target: Path, *_: object, **__: object) -> Path:  # a file instead of the network
        write_medmnist(target)
        return target

    monkeypatch.setattr("cxremb.datasets.medmnist.download", download)
    code, out, err = cxremb("fetch", "pneumoniamnist", "--output", tmp_path / "here")
    assert code == 0, err
    assert (tmp_path / "here" / "pneumoniamnist.npz").is_file()
    assert open_dataset(tmp_path / "root", "pneumoniamnist").images.num_rows == 12
    assert "next        cxremb embed" in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["fetch", "mimic_cxr"], 1, "iu_xray, .*pneumoniamnist"),
        (["fetch", "iu_xray", "--base-url", "ftp://x"], 1, "not an http"),
        (["fetch", "pneumoniamnist", "--size", 5], 1, "of 5 pixels"),
        (["fetch", "pneumoniamnist", "--size", 0], 1, "of 0 pixels"),
        (["fetch", "pneumoniamnist", "--base-url", "https://x"], 2, "pneumoniamnist comes from its own package"),
        (["fetch", "iu_xray", "--size", 64], 2, "iu_xray has one size"),
        (["add", "nonsense"], 2, "nonsense"),
        (["add", "table", "--table", "gone.csv"], 2, "--name"),
        (["add", "table", "--name", "t", "--table", "gone.csv"], 1, "gone.csv: cannot be read"),
        (["add", "table", "--name", "t", "--table", "t.csv", "--column", "key"], 2, "ROLE=COLUMN"),
        (["add", "table", "--name", "t", "--table", "t.csv", "--column", "id=a", "--column", "id=b"], 2, "each role"),
        (["add", "mimic_cxr", "gone", "--uncertain", "maybe"], 2, "maybe"),
        (["add", "mimic_cxr", "gone"], 1, "gone"),
        (["add", "kermany", "gone"], 1, "gone: no such folder"),
        (["add", "kermany", __file__], 1, "test_add.py: a file, and a folder is needed"),
        (["add", "mimic_cxr", __file__], 1, "test_add.py: a file, and a folder is needed"),
        (["add", "folder", __file__, "--name", "t"], 1, "test_add.py: a file, and a folder is needed"),
        (["add", "dicom", __file__, "--name", "t"], 1, "test_add.py: a file, and a folder is needed"),
        (["add", "medmnist", "gone.npz"], 1, "gone.npz"),
        (["add", "folder", "gone", "--name", "t"], 1, "gone: no such folder"),
        (["add", "dicom", "gone", "--name", "t"], 1, "gone: no such folder"),
        (["add", "iu_xray", "--reports", "gone.csv"], 1, "gone.csv: no such file"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told(words: list[object], code: int, told: str, cxremb: Call, tmp_path: Path) -> None:
    found, out, err = cxremb(*words)
    assert found == code, out + err
    assert re.search(told, re.sub(r"\s+", " ", err)), err
    assert "Traceback" not in err
    assert code == 2 or "hint:" in err
    assert not (tmp_path / "root").exists() or not any((tmp_path / "root").rglob("dataset.json"))


def test_kermany_without_a_name_has_its_own(cxremb: Call, tmp_path: Path) -> None:
    for seed, name in enumerate(("NORMAL/NORMAL-7-0001.jpeg", "PNEUMONIA/VIRUS-8-0001.jpeg")):
        path = save_film(tmp_path / "kz" / "train" / f"{name}.png", seed)
        path.rename(path.with_suffix(""))
    dataset, _ = added(cxremb, tmp_path, "kermany", tmp_path / "kz")
    assert dataset.name == "kermany"
    assert sorted(dataset.studies["patient_id"].to_pylist()) == ["NORMAL-7", "VIRUS-8"]


GERMAN = {"Patientennummer": "P1", "Untersuchungsnummer": "U1", "Bildnummer": "B1", "Dateiname": "a.png"}


@pytest.mark.parametrize("patient", ["Patientennummer", "PatientenID", "Patienten-Nr.", "PatID", "Pat.-Nr.", "PATID"])
def test_german_headings_are_guessed_where_they_mean_one_thing(patient: str, cxremb: Call, tmp_path: Path) -> None:
    save_film(tmp_path / "a.png", 1)
    cells = {patient: "P1", **{name: cell for name, cell in GERMAN.items() if name != "Patientennummer"}}
    table = write_rows(tmp_path / "t.csv", {**cells, "Fallnummer": "F1", "Strahlengang": "p.a.", "Befund": "o.B."})
    dataset, out = added(cxremb, tmp_path, "table", "--name", "ward", "--table", table)
    assert dataset.images.select(["image_id", "study_id", "patient_id", "view"]).to_pylist() == [
        {"image_id": "B1", "study_id": "U1", "patient_id": "P1", "view": "PA"}
    ]
    assert f"guessed     patient = column {patient}" in out
    assert {row["name"] for row in dataset.facts.to_pylist()} == {"fallnummer", "befund"}


def test_a_row_without_a_film_is_counted_and_named(cxremb: Call, tmp_path: Path) -> None:
    save_film(tmp_path / "a.png", 1)
    rows = [{"study_id": "s1", "path": "a.png"}, {"study_id": "s2", "path": ""}, {"study_id": "", "path": ""}]
    table = write_rows(tmp_path / "t.csv", *rows)
    dataset, _ = added(cxremb, tmp_path, "table", "--name", "ward", "--table", table)
    assert (dataset.images.num_rows, dataset.studies["study_id"].to_pylist()) == (1, ["s1", "s2"])
    notes = {note["what"]: (note["count"], note["examples"]) for note in dataset.descriptor["notes"]}
    assert notes["rows of a study without a film: neither an image id nor a path"] == (1, ["s2 (line 3)"])
    assert notes["rows without an id"] == (1, ["line 4"])
