"""The folder in which the documents' commands run: what they name is there, small, and drawn here."""

import csv
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mimic
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dicom_files import dataset as dicom
from PIL import Image as PilImage
from released import published
from test_hospital import export

STUDIES = 120
XML = """<eCitation><uId id="CXR{uid}"/><Abstract><AbstractText Label="INDICATION">{indication}</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract><MeSH><major>{mesh}</major></MeSH>{films}</eCitation>"""
PARTS = ("train", "train", "train", "train", "train", "val", "test")
ABNORMAL = ("Opacity/lung/base", "Opacity/lung;Cardiomegaly/mild", "Hernia, Hiatal")
COMPLAINTS = ("Cough.", "Fever for XXXX days.", "Chest pain.", "Shortness of breath.")


def film(seed: int, bright: bool) -> np.ndarray:
    """Noise, brighter where something is to be found."""
    noise = np.random.default_rng(seed).integers(0, 160, (56, 48))
    return (noise + (60 if bright else 0)).astype(np.uint8)


def save(path: Path, seed: int, bright: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(film(seed, bright)).save(path)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def studies() -> Iterator[dict[str, str]]:
    """Reports in the words of the Kaggle tables; a third of the abnormal ones have two findings."""
    for uid in range(1, STUDIES + 1):
        abnormal = uid % 5 in {0, 1, 2}
        mesh = (
            ("Opacity/lung/base", "Opacity/lung;Cardiomegaly/mild", "Hernia, Hiatal")[uid % 3] if abnormal else "normal"
        )
        said = f"There is an opacity at the left base, number {uid}." if abnormal else f"The lungs are clear, {uid}."
        yield {
            "uid": str(uid),
            "MeSH": mesh,
            "Problems": ";".join(term.partition("/")[0] for term in mesh.split(";")),
            "image": "Xray Chest PA and Lateral",
            "indication": COMPLAINTS[uid % 4],
            "comparison": "XXXX, XXXX." if uid % 3 else "None.",
            "findings": "" if uid % 40 == 0 else said,
            "impression": "Opacity." if abnormal else "No acute disease.",
        }


def films_of(uid: str) -> list[tuple[str, str]]:
    """(name without suffix, view) of the films of a study."""
    return [(f"{uid}_IM-0001-4001", "Frontal"), (f"{uid}_IM-0001-3001", "Lateral")]


def iu_xray(folder: Path) -> None:
    """Kaggle's tables with `images/`, and Open-i's two archives with `png/`, of the same studies."""
    rows = list(studies())
    write_csv(folder / "indiana_reports.csv", rows)  # type: ignore[arg-type]
    listed = [(row["uid"], *film) for row in rows for film in films_of(row["uid"])]
    projections = [{"uid": uid, "filename": f"{name}.dcm.png", "projection": view} for uid, name, view in listed]
    write_csv(folder / "indiana_projections.csv", projections)  # type: ignore[arg-type]
    for row in rows:
        for number, (name, _) in enumerate(films_of(row["uid"])):
            seed, bright = 2 * int(row["uid"]) + number, row["MeSH"] != "normal"
            save(folder / "images" / f"{name}.dcm.png", seed, bright)
            save(folder / "png" / f"CXR{name}.png", seed, bright)
    reports = folder / "ecgen-radiology"
    reports.mkdir()
    for row in rows:
        films = "".join(f'<parentImage id="CXR{name}"/>' for name, _ in films_of(row["uid"]))
        (reports / f"{row['uid']}.xml").write_text(XML.format(mesh=row["MeSH"], films=films, **row), encoding="utf-8")
    for name, source in (("NLMCXR_reports.tgz", reports), ("NLMCXR_png.tgz", folder / "png")):
        with tarfile.open(folder / name, "w:gz") as archive:
            archive.add(source, source.name)


def vectors(folder: Path) -> None:
    """Vectors of the films of IU X-ray that another program made."""
    ids = [f"{name}.dcm.png" for row in studies() for name, _ in films_of(row["uid"])]
    made = np.random.default_rng(0).standard_normal((len(ids), 8)).astype(np.float32)
    pq.write_table(pa.table({"image_id": ids, "embedding": list(made)}), folder / "vectors.parquet")


def mimic_cxr(folder: Path) -> None:
    listed = list(mimic.films(30))
    tree = folder / "physionet.org" / "files" / "mimic-cxr-jpg" / "2.1.0"
    mimic.write_tables(tree, listed)
    mimic.write_films(tree, listed)
    mimic.write_archive(folder / "mimic-cxr-reports.zip", listed)


def kermany(folder: Path) -> None:
    for part, patients in (("train", 40), ("val", 4), ("test", 16)):
        for number in range(patients):
            ill = number % 2 == 0
            patient = number + 100 * len(part)
            name = f"PNEUMONIA/person{patient}_bacteria_{number}" if ill else f"NORMAL/IM-{patient:04d}-0001"
            save(folder / "chest_xray" / part / f"{name}.jpeg", 1000 * len(part) + number, ill)


def medmnist(folder: Path) -> None:
    arrays = {}
    for part, n in (("train", 60), ("val", 16), ("test", 24)):
        arrays[f"{part}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
        arrays[f"{part}_images"] = np.stack([film(n + one, bool(one % 2))[:28, :28] for one in range(n)])
    np.savez_compressed(folder / "pneumoniamnist.npz", **arrays)


def tables(folder: Path) -> None:
    """`data.csv` in the manner of Hannover, whose films lie in `png/` too, `reports.parquet`, and films as bytes."""
    rows = []
    for number in range(40):
        name, found = f"{number:08x}", number % 2 == 0
        save(folder / "png" / f"{name}.png", 5000 + number, found)
        age, crp = 40 + number, "inf" if number == 7 else f"{number}.5"
        rows.append(
            {"image_id": name, "patient_id": number // 2, "modality": "DX" if found else "CR", "sex": "fm"[found]}
        )
        rows[-1] |= {"age": age, "crp_val": crp, "ldh_val": 200 + number, "projection": ("PA", "AP")[number % 2]}
    write_csv(folder / "data.csv", rows)  # type: ignore[arg-type]
    accession, findings = zip(*((row["uid"], row["findings"] or None) for row in studies()), strict=True)
    columns = {"accession": accession, "findings": findings, "impression": [row["impression"] for row in studies()]}
    pq.write_table(pa.table(columns), folder / "reports.parquet")
    (folder / "hub").mkdir()
    for part, first in (("train", 0), ("test", 20)):
        rows = []
        for seed in range(first, first + 12):
            save(folder / "one.png", seed, seed % 2 == 1)
            said = {"label": ["normal", "opacity"][seed % 2], "patient_id": str(seed)}
            rows.append({"image": {"bytes": (folder / "one.png").read_bytes(), "path": None}, **said})
        (folder / "one.png").unlink()
        pq.write_table(pa.Table.from_pylist(rows), folder / "hub" / f"{part}-00000-of-00001.parquet")


def folders(folder: Path) -> None:
    """`films/` with two classes, and `export/` of DICOM files."""
    for patient in range(60):
        for number in range(2):
            kind = ("normal", "pneumonia")[patient % 2]
            save(folder / "films" / kind / f"p{patient}_{number}.png", 7000 + 2 * patient + number, patient % 2 == 1)
    for number in range(4):
        path = folder / "export" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        tags = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number}", "ViewPosition": "PA"}
        dicom(film(9000 + number, False).astype(np.uint16) * 16, **tags).save_as(path, enforce_file_format=True)


def hospital(folder: Path) -> None:
    """A German sheet and its films, and a film of tomorrow."""
    export(folder)
    save(folder / "neu.png", 1, True)


def files(folder: Path) -> None:
    """Single files: a new film, its report, a table of films to judge, a reader's labels, figures of a paper."""
    save(folder / "film.png", 1, True)
    (folder / "report.txt").write_text("There is an opacity at the left base.", encoding="utf-8")
    many = [{"path": f"images/{films_of(str(uid))[0][0]}.dcm.png", "report": "The lungs are clear."} for uid in (1, 2)]
    write_csv(folder / "many.csv", [{**row, "study": f"new {at}"} for at, row in enumerate(many)])
    labels = [{"study_id": row["uid"], "label": "nodule", "value": int(row["uid"]) % 2} for row in studies()]
    write_csv(folder / "reader2.csv", labels)
    parts = [{"study_id": row["uid"], "split": PARTS[int(row["uid"]) % 7]} for row in studies()]
    write_csv(folder / "split.csv", parts)
    epochs = [("0.9010", "0.9302", "0.9346", "0.9324"), ("0.9420", "0.9518", "0.9696", "0.9606")]
    names = ("accuracy", "precision", "recall", "f1")
    write_csv(folder / "epochs.csv", [dict(zip(names, row, strict=True)) for row in epochs])


MAKERS: tuple[Callable[[Path], None], ...] = (
    vectors,
    *(iu_xray, mimic_cxr, published, kermany, medmnist),
    *(tables, folders, hospital, files),
)


def furnish(folder: Path) -> None:
    """Everything that a page may name, but no store."""
    folder.mkdir(parents=True)
    for make in MAKERS:
        make(folder)
