"""Published collections in the layout of their releases, small, with films drawn here."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from conftest import save_film

from cxremb.datasets import brax, chexpert, chexpert_plus, padchest, rsna, vindr
from cxremb.datasets.chexpert_labels import LABELS as CHEXPERT


def write(path: Path, header: Sequence[str], *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def chexpert_row(path: str, said: dict[str, str], *about: str) -> list[str]:
    sex, age, side, view = about or ("Female", "61", "Frontal", "AP")
    return [path, sex, age, side, view, *(said.get(label, "") for label in CHEXPERT)]


def chexpert_tree(folder: Path, release: str = "CheXpert-v1.0-small") -> Path:
    one, two = f"{release}/train/patient00001", f"{release}/train/patient00002"
    twice = {"Edema": "-1.0", "Pneumonia": "1.0"}
    write(
        folder / "train.csv",
        chexpert.COLUMNS,
        chexpert_row(f"{one}/study1/view1_frontal.jpg", twice),
        chexpert_row(f"{one}/study1/view2_lateral.jpg", twice, "Female", "61", "Lateral", ""),
        chexpert_row(f"{one}/study2/view1_frontal.jpg", {"No Finding": "1.0"}, "Female", "90", "Frontal", "PA"),
        chexpert_row(f"{two}/study1/view1_frontal.jpg", {"Edema": "0.0"}, "Unknown", "0", "Frontal", "LL"),
    )  # fmt: skip
    write(
        folder / "valid.csv",
        chexpert.COLUMNS,
        chexpert_row(f"{release}/valid/patient64541/study1/view1_frontal.jpg", {"Edema": "1", "Pneumonia": "0"}),
    )
    for name in ("train/patient00001/study1/view1_frontal.jpg", "valid/patient64541/study1/view1_frontal.jpg"):
        save_film(folder / name, len(name))
    return folder


PLUS_HEADER = ["path_to_dcm", *chexpert_plus.COLUMNS, "section_accession_number"]


def plus_row(path: str, **cells: str) -> list[str]:
    patient = path.split("/")[1]
    said = {
        chexpert_plus.PATH: path,
        chexpert_plus.PATIENT: patient,
        chexpert_plus.PART: path.split("/", maxsplit=1)[0],
    }
    said |= {chexpert_plus.SIDE: "Frontal", chexpert_plus.VIEW: "AP", "sex": "Male", "age": "50.0", **cells}
    return [said.get(column, "") for column in PLUS_HEADER]


def plus_label(path: str, **said: float) -> str:
    return json.dumps({chexpert_plus.PATH: path, **{label: said.get(label.replace(" ", "_")) for label in CHEXPERT}})


def plus_tree(folder: Path) -> Path:
    """Four films of three studies and one of valid; the labels of the impression and of the report."""
    one, two, valid = "train/patient00001/study1", "train/patient00002/study1", "valid/patient64541/study1"
    text = {"report": "all of it", "section_impression": "1. Edema.", "section_clinical_history": "Cough."}
    rows = [
        plus_row(f"{one}/view1_frontal.jpg", **text, race="White", insurance_type="Medicare"),
        plus_row(
            f"{one}/view2_lateral.jpg",
            **text,
            race="White",
            insurance_type="Medicare",
            frontal_lateral="Lateral",
            ap_pa="",
        ),
        plus_row(f"{two}/view1_frontal.jpg", report="Nothing.", sex="Unknown"),
        plus_row("train/patient00003/study1/view1_frontal.jpg"),
        plus_row(f"{valid}/view1_frontal.jpg"),
    ]
    write(folder / chexpert_plus.TABLE, PLUS_HEADER, *rows)
    (folder / "chexbert_labels").mkdir()
    lines = [plus_label(f"{one}/view{n}.jpg", Edema=-1, Fracture=0) for n in (1, 2)]
    lines += [plus_label(f"{two}/view1.jpg", No_Finding=1), plus_label(f"{valid}/view1.jpg", Pneumonia=1, Edema=0)]
    (folder / "chexbert_labels" / "impression_fixed.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    more = plus_label(f"{one}/view1.jpg", Edema=1)
    (folder / "chexbert_labels" / "report_fixed.json").write_text(more, encoding="utf-8")
    save_film(folder / "PNG" / "PNG" / one / "view1_frontal.png", 1)
    return folder


NIH_HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
NIH_HEADER += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"  # unquoted commas: eleven columns


def nih_tree(folder: Path, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = lines or (
        "00000001_000.png,Cardiomegaly|Effusion,0,1,57,M,PA,2682,2749,0.143,0.143",
        "00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.143,0.143",
        "00000002_000.png,Infiltration,0,2,148,F,PA,2500,2048,0.171,0.171",
    )
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *lines]) + "\n", encoding="utf-8")
    save_film(folder / "images_001" / "images" / "00000001_000.png", 1)
    save_film(folder / "images_002" / "images" / "00000002_000.png", 2)
    return folder


def padchest_row(**cells: str) -> list[str]:
    usual = {"StudyDate_DICOM": "20140915", "PatientBirth": "1930.0", "PatientSex_DICOM": "F", "Projection": "PA"}
    usual |= {"MethodProjection": "Manual review of DICOM fields", "Manufacturer_DICOM": "Philips", "ImageDir": "0"}
    usual |= {"MethodLabel": "Physician", "Pediatric": "No", "Localizations": "[]", "Report": "sin hallazg ."}
    return [{**usual, **cells}[name] for name in dict.fromkeys((*padchest.OF_STUDY, *padchest.OF_FILM))]


def rsna_tree(folder: Path) -> Path:
    write(folder / rsna.LABELS, [rsna.FILM, *rsna.SIDES, rsna.TARGET], ["f1", "", "", "", "", 0],
          ["f2", 1, 2, 3, 4, 1], ["f2", 5, 6, 7, 8, 1])  # fmt: skip
    write(
        folder / rsna.CLASSES, [rsna.FILM, rsna.CLASS], ["f1", "Normal"], ["f2", "Lung Opacity"], ["f2", "Lung Opacity"]
    )
    return folder


PADCHEST_HEADER = [*dict.fromkeys((*padchest.OF_STUDY, *padchest.OF_FILM))]
BRAX_HEADER = ["DicomPath", "PngPath", "PatientSex", "PatientAge", "ViewPosition", *CHEXPERT]


def published(folder: Path) -> None:
    """A folder for each collection, with as few rows as have something to tell apart."""
    chexpert_tree(folder / "CheXpert-v1.0-small")
    nih_tree(folder / "nih")
    write(
        folder / "padchest" / padchest.TABLES[0],
        PADCHEST_HEADER,
        padchest_row(ImageID="a.png", StudyID="1", PatientID="10", Labels="['nodule']"),
        padchest_row(ImageID="b.png", StudyID="2", PatientID="11", Labels="['normal']"),
    )
    said = [("a", reader, 1, 0) for reader in ("R1", "R2", "R3")] + [
        ("b", reader, 0, 1) for reader in ("R1", "R2", "R4")
    ]
    table = folder / "vindr-cxr" / "1.0.0" / "annotations" / vindr.PHYSIONET["train"]
    write(table, ["image_id", "rad_id", "Nodule/Mass", "No finding"], *said)
    rsna_tree(folder / "rsna")
    plus_tree(folder / "chexpertplus")
    write(folder / "siim" / "train-rle.csv", ["ImageId", " EncodedPixels"], ["1.2.3", "-1"], ["1.2.4", "1 2"])
    rows = []
    for patient, finding in enumerate(("Edema", "No Finding")):
        path = f"images/id_{patient}/Study_1/Series_1/image-1.png"
        rows.append(["x", path, "F", "40", "PA", *("1.0" if label == finding else "0.0" for label in CHEXPERT)])
    write(folder / "brax" / "1.1.0" / brax.TABLES[0], BRAX_HEADER, *rows)
