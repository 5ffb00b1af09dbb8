"""RSNA Pneumonia Detection Challenge: boxes around pneumonia on films of NIH ChestX-ray14."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxremb.datasets.release import FETCH_AGAIN, People, ReleaseFilms, box, find_table, refuse_strangers, require_table
from cxremb.datasets.tree import unknown_patients, without_suffix
from cxremb.errors import DataError
from cxremb.types import Collection, Image, LabelSet, Note, Study

NAME = "rsna"
LICENCE = "RSNA Pneumonia Detection Challenge Terms of Use: research and education"
CITATION = (
    "Shih G, Wu CC, Halabi SS, et al. Augmenting the National Institutes of Health Chest Radiograph Dataset with "
    "Expert Annotations of Possible Pneumonia. Radiol Artif Intell 2019;1(1):e180041. doi:10.1148/ryai.2019180041"
)
FILM, TARGET, CLASS = "patientId", "Target", "class"  # patientId is a film, whatever it is called
SIDES = ("x", "y", "width", "height")
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
HEADERS = ("kaggle_stage_2_train_images_dicom_headers.csv", "stage_2_train_images_dicom_headers.csv")
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
NAMES = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
SEX, AGE, VIEW = "PatientSex", "PatientAge", "ViewPosition"


@dataclass
class RsnaFilm:
    """What the tables say of one film."""

    target: float
    boxes: list[str] = field(default_factory=list)
    group: str = ""
    sex: str = ""
    age: str = ""
    view: str = ""


def read(folder: Path) -> Collection:
    """Every film of the labels; each is a study.

    folder: holds stage_2_train_labels.csv and, if they are there, stage_2_detailed_class_info.csv (the label set
    `class`), a table of the DICOM headers (sex, age and view), and pneumonia-challenge-dataset-mappings_2018.json,
    which says which film of NIH each is: without it nobody knows which films are of one patient. Films are found by
    name anywhere below. Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    films = read_labels(folder)
    notes: list[Note] = []
    classes = read_classes(folder, films)
    read_headers(folder, films)
    patients = read_mapping(folder)
    refuse_strangers(folder / MAPPING, patients.keys(), films)
    if unknown := [name for name in films if name not in patients]:
        hint = f"put {MAPPING} of the RSNA beside the tables, and add again"
        note = unknown_patients(len(unknown))
        notes.append(Note(note.what, note.count, unknown[:10], f"{note.hint}; {hint}"))
    sets = [LabelSet("pneumonia", "binary", "1 if a radiologist drew a box around an opacity", ("pneumonia",))]
    if classes:
        sets.append(LabelSet("class", "multiclass", "what the radiologist called the film", NAMES))
    return Collection(
        NAME,
        studies(films, patients, notes),
        images(films, patients, folder, notes=notes),
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder.resolve())},
        notes,
        label_sets=sets,
        default_label_set="pneumonia",
    )


def studies(films: Mapping[str, RsnaFilm], patients: Mapping[str, str], notes: list[Note]) -> Iterator[Study]:
    """A study for each film."""
    people = People()
    known = any(film.sex or film.age for film in films.values())
    for name, film in films.items():
        labels = {"pneumonia": {"pneumonia": film.target}, **({"class": {film.group: 1.0}} if film.group else {})}
        facts = people.facts(name, film.sex, film.age) if known else {}
        yield Study(name, patients.get(name, name), labels=labels, facts=facts)
    notes += people.notes()


def images(
    films: Mapping[str, RsnaFilm], patients: Mapping[str, str], folder: Path, *, notes: list[Note]
) -> Iterator[Image]:
    """The films; `notes` are filled at the end."""
    files = ReleaseFilms(folder)
    for name, film in films.items():
        facts = {"box_pneumonia": ";".join(film.boxes)} if film.boxes else {}
        view = files.view(film.view)
        yield Image(name, name, patients.get(name, name), view, files.find(name), film.view or None, facts)
    notes += files.notes()


def read_labels(folder: Path) -> dict[str, RsnaFilm]:
    """The films, with a box for each row of one that has any. Raises `DataError` for a target that is neither 0 nor 1,
    or that changes within a film.
    """
    table = require_table(folder, LABELS, columns=(FILM, *SIDES, TARGET))
    films: dict[str, RsnaFilm] = {}
    for line, row in table.rows((FILM, *SIDES, TARGET)):
        if row[TARGET] not in ("0", "1") or not row[FILM]:
            raise DataError(f"{table.path}: {table.place(line)}: {TARGET} is {row[TARGET]!r}, not 0 or 1", FETCH_AGAIN)
        film = films.setdefault(row[FILM], RsnaFilm(float(row[TARGET])))
        if film.target != float(row[TARGET]):
            raise DataError(f"{table.path}: {table.place(line)} contradicts an earlier line", hint=FETCH_AGAIN)
        if film.target:
            try:
                film.boxes.append(box([row[side] for side in SIDES]))
            except ValueError as error:
                raise DataError(f"{table.path}: {table.place(line)}: no box of four numbers", FETCH_AGAIN) from error
    return films


def read_classes(folder: Path, films: Mapping[str, RsnaFilm]) -> bool:
    """Whether the classes are here; they are written into `films`. A film has a row for each of its boxes.

    Raises `DataError` for a class of another name, or two of one film.
    """
    if find_table(folder, CLASSES) is None:
        return False
    table = require_table(folder, CLASSES, columns=(FILM, CLASS))
    refuse_strangers(table.path, {row[FILM] for _, row in table.rows([FILM])}, films)
    for line, row in table.rows((FILM, CLASS)):
        film = films.get(row[FILM])
        if row[CLASS] not in NAMES or (film and film.group not in ("", row[CLASS])):
            raise DataError(f"{table.path}: {table.place(line)}: {row[CLASS]!r} is no class of this film", FETCH_AGAIN)
        if film:
            film.group = row[CLASS]
    return True


def read_headers(folder: Path, films: Mapping[str, RsnaFilm]) -> None:
    """Sex, age and view into `films`, if a table of the headers is here."""
    if find_table(folder, *HEADERS) is None:
        return
    table = require_table(folder, *HEADERS, columns=("PatientID", SEX, AGE, VIEW))
    refuse_strangers(table.path, {row["PatientID"] for _, row in table.rows(["PatientID"])}, films)
    for _, row in table.rows(("PatientID", SEX, AGE, VIEW)):
        if film := films.get(row["PatientID"]):
            film.sex, film.age, film.view = row[SEX], row[AGE], row[VIEW]


def read_mapping(folder: Path) -> dict[str, str]:
    """Film -> patient of NIH, whose films are called patient_number. Raises `DataError` if the file says otherwise."""
    path = folder / MAPPING
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["subset_img_id"]: without_suffix(row["img_id"]).partition("_")[0].lstrip("0") for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not the mapping of the RSNA ({error})", hint=FETCH_AGAIN) from error
