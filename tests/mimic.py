"""MIMIC-CXR-JPG as it is laid out, of any size and with nothing of it in it: tables, tiny films, reports."""

import csv
import gzip
import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from PIL import Image as PilImage

LABELLED = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
LABELS = tuple(LABELLED.split(","))
DESCRIBED = (
    "PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,"
    "ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
HEADERS = {
    "metadata": f"dicom_id,subject_id,study_id,{DESCRIBED}",
    "split": "dicom_id,study_id,subject_id,split",
    "chexpert": f"subject_id,study_id,{LABELLED}",
    "negbio": f"subject_id,study_id,{LABELLED}",
}
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old with {complaint}

 TECHNIQUE:  Chest, PA and lateral.

 COMPARISON:  ___

 FINDINGS:

 Report number {number}.  {said}
 The heart is not enlarged.

 IMPRESSION:

 {said}
""".replace("\n\n", "\n \n")  # as published: a blank line holds a blank


class Film(NamedTuple):
    """One row of the metadata table."""

    dicom_id: str
    patient: int
    study: int
    view: str


def films(patients: int) -> Iterator[Film]:
    """Their films as published: in the order of patients and studies, 3.5 studies a patient and 5 films in 3 studies.

    The published 65,379 patients make 381,378 films; a film of a hundred has no view.
    """
    study = 50_000_000
    for index in range(patients):
        for _ in range(1 + index % 6):
            study += 1
            for view in (("PA", "LATERAL"), ("AP", "LL"), ("AP",))[study % 3]:
                digest = hashlib.sha1(f"{study} {view}".encode(), usedforsecurity=False).hexdigest()
                words = (digest[start : start + 8] for start in range(0, 40, 8))
                yield Film("-".join(words), 10_000_000 + 137 * index, study, "" if study % 100 == 0 else view)


def findings(study: int) -> list[str]:
    """Fourteen cells of a labeller: an even study has No Finding, an odd one some findings."""
    if study % 2 == 0:
        return ["1.0" if label == "No Finding" else "" for label in LABELS]
    cells = [("1.0", "", "0.0", "-1.0")[(study + 3 * place) % 4] for place in range(len(LABELS))]
    return ["" if label == "No Finding" else cell for label, cell in zip(LABELS, cells, strict=True)]


def part(patient: int) -> str:
    """Its part of the official split: of five patients, three train, one validates and one tests."""
    return ("train", "train", "train", "validate", "test")[(patient - 10_000_000) // 137 % 5]


def report(study: int) -> str:
    """The report of a study; one like no other."""
    said = "No acute process." if study % 2 == 0 else "Opacity at the left base."
    return REPORT.format(number=study, said=said, complaint=("cough", "fever", "chest pain")[study % 3])


def write_tables(folder: Path, listed: Iterable[Film], version: str = "2.0.0") -> Path:
    """The four tables of `listed`, gzipped, written as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        tables = {}
        for kind, header in HEADERS.items():
            path = folder / f"mimic-cxr-{version}-{kind}.csv.gz"
            tables[kind] = csv.writer(files.enter_context(gzip.open(path, "wt", compresslevel=1, newline="")))
            tables[kind].writerow(header.split(","))
        last = None
        for film in listed:
            rest = ("CHEST (PA AND LAT)", film.view, 3056, 2544, 21800506, 213014.53, "CHEST (PA AND LAT)", "", "Erect")
            tables["metadata"].writerow([film.dicom_id, film.patient, film.study, *rest])
            tables["split"].writerow([film.dicom_id, film.study, film.patient, part(film.patient)])
            if film.study != last:
                for kind in ("chexpert", "negbio"):
                    tables[kind].writerow([film.patient, film.study, *findings(film.study)])
            last = film.study
    return folder


def study_folder(patient: int, study: int) -> str:
    """Where a study lies, from the folder `files` on."""
    return f"p{str(patient)[:2]}/p{patient}/s{study}"


def write_films(folder: Path, listed: Iterable[Film]) -> Path:
    """A tiny JPEG for each film, all of them different."""
    for number, film in enumerate(listed):
        path = folder / "files" / study_folder(film.patient, film.study) / f"{film.dicom_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = PilImage.linear_gradient("L").resize((16, 20)).rotate(7 * number)
        picture.putpixel((0, 0), number % 256)
        picture.save(path, quality=95)
    return folder


def write_reports(folder: Path, listed: Iterable[Film]) -> Path:
    """The reports of the studies as files below `folder`/files."""
    for film in listed:
        path = folder / "files" / f"{study_folder(film.patient, film.study)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(film.study), encoding="utf-8")
    return folder


def write_archive(path: Path, listed: Iterable[Film]) -> Path:
    """The reports of the studies as one .zip, written as they come."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        last = None
        for film in listed:
            if film.study != last:
                archive.writestr(f"files/{study_folder(film.patient, film.study)}.txt", report(film.study))
            last = film.study
    return path


def build_tree(folder: Path, patients: int = 5) -> list[Film]:
    """MIMIC-CXR-JPG in `folder`, with reports in `folder`/mimic-cxr-reports; the films in it."""
    listed = list(films(patients))
    write_tables(folder, listed)
    write_films(folder, listed)
    write_reports(folder / "mimic-cxr-reports", listed)
    return listed
