"""PadChest: one table of films with stemmed Spanish reports, and labels by physicians or by a network."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxremb.cells import is_missing, plain
from cxremb.datasets.release import FETCH_AGAIN, People, ReleaseFilms, StudiesOnce, require_table
from cxremb.datasets.tree import without_suffix
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.tablefile import TableFile
from cxremb.types import Collection, Image, LabelSet, Note, NoteCounter, Study, notes_of

NAME = "padchest"
LICENCE = "PadChest Dataset Research Use Agreement"
CITATION = (
    "Bustos A, Pertusa A, Salinas JM, de la Iglesia-Vaya M. PadChest: A large chest x-ray image dataset with "
    "multi-label annotated reports. Med Image Anal 2020;66:101797. doi:10.1016/j.media.2020.101797"
)
TABLES = ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "PADCHEST_chest_x_ray_images_labels_160K.csv")
FILM, FOLDER, STUDY, PATIENT = "ImageID", "ImageDir", "StudyID", "PatientID"
DAY, BIRTH, SEX, VIEW = "StudyDate_DICOM", "PatientBirth", "PatientSex_DICOM", "Projection"
REPORT, LABELS, PLACES = "Report", "Labels", "Localizations"
FACTS = {"method_label": "MethodLabel", "pediatric": "Pediatric"}  # of a study
FILM_FACTS = {"scanner": "Manufacturer_DICOM", "method_projection": "MethodProjection"}
OF_STUDY = (FILM, STUDY, PATIENT, DAY, BIRTH, SEX, REPORT, LABELS, PLACES, *FACTS.values())
OF_FILM = (FILM, FOLDER, STUDY, PATIENT, VIEW, *FILM_FACTS.values())
NORMAL = "normal"
# What is no finding: the report was of no use, or says that nothing is new.
SAYS_NOTHING = frozenset(("unchanged", "exclude", "suboptimal study"))
LEAST = 1000  # studies that carry a label, for it to be one of `findings`


def read(folder: Path, least: int = LEAST) -> Collection:
    """Every film that the table lists; the labels are whole words, as coded.

    folder: holds the table and, in folders 0 to 54, the films. least: studies that carry a label, for it to be one of
    the label set `findings`; `labels` and `localizations` list all. Who coded a report is the fact `method_label`:
    `Physician`, or `RNN_model` for three studies of four, so test on physicians. The text is the section `report`.
    Raises `DataError`, naming file and line, for what cannot be read.
    """
    table = require_table(folder, *TABLES, columns=(*OF_STUDY, *OF_FILM))
    notes: list[Note] = []
    terms = frequent(table, least)
    coded = "coded from the report"
    sets = [
        LabelSet(
            "findings",
            "multilabel",
            f"which of the {len(terms)} labels that at least {least:,} studies carry; what is not coded is 0",
            terms,
            f"without normal, unchanged, exclude and suboptimal study; {coded}",
        ),
        LabelSet(
            "normal_abnormal",
            "binary",
            "0 if normal is all that is coded, 1 for any finding",
            ("abnormal",),
            f"missing: nothing is coded but unchanged, exclude or suboptimal study; {coded}",
        ),
        LabelSet("labels", "terms", "one row per label, such as pleural effusion"),
        LabelSet("localizations", "terms", "one row per place, such as loc right"),
    ]
    return Collection(
        NAME,
        studies(table, terms, notes),
        images(table, folder, notes),
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder.resolve()), "table": table.path.name, "least": str(least)},
        notes,
        label_sets=[about for about in sets if terms or about.name != "findings"],
        default_label_set="normal_abnormal",
    )


def studies(table: TableFile, terms: Sequence[str], notes: list[Note]) -> Iterator[Study]:
    """Each study once: its films have the same report and labels. `notes` are filled at the end."""
    people = People()
    shared = NoteCounter("studies whose films name two patients", "each patient's films are a study of their own")
    uncoded = NoteCounter("studies without labels", "kept: films and report can be encoded")
    owners: dict[str, str] = {}
    once = StudiesOnce("report and labels")
    for line, row in table.rows(OF_STUDY):
        name = study_id(table, line, row, owners=owners)
        if not once.is_new(table, line, name, said=(row[REPORT], row[LABELS], row[PLACES])):
            continue
        if name != row[STUDY]:
            shared.add(row[STUDY])
        coded, places = words_of(table, line, LABELS, cell=row[LABELS]), words_of(table, line, PLACES, cell=row[PLACES])
        if not coded:
            uncoded.add(name)
        facts = {"day": row[DAY], "birth_year": plain(row[BIRTH]), **{name: row[of] for name, of in FACTS.items()}}
        facts = {name: text for name, text in facts.items() if not is_missing(text)}
        yield Study(
            name,
            clean_id(row[PATIENT]),
            sections={"report": row[REPORT]} if not is_missing(row[REPORT]) else {},
            labels=labels_of(coded, places, terms),
            facts={**people.facts(name, row[SEX], ""), **facts},
        )
    notes += notes_of(shared, uncoded) + people.notes()


def images(table: TableFile, folder: Path, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end."""
    films = ReleaseFilms(folder)
    owners: dict[str, str] = {}
    for line, row in table.rows(OF_FILM):
        study = study_id(table, line, row, owners=owners)
        path = films.find(row[FILM])
        facts = {name: row[of] for name, of in FILM_FACTS.items() if not is_missing(row[of])}
        view = films.view(row[VIEW])
        yield Image(without_suffix(row[FILM]), study, clean_id(row[PATIENT]), view, path, row[VIEW] or None, facts)
    notes += films.notes()


def study_id(table: TableFile, line: int, row: Mapping[str, str], *, owners: dict[str, str]) -> str:
    """The study of a row; of a second patient under one StudyID, a study of its own. owners: study -> first patient.

    Raises `DataError` for a row without an id.
    """
    if missing := [name for name in (FILM, STUDY, PATIENT) if not row[name]]:
        raise DataError(f"{table.path}: {table.place(line)} has no {missing[0]}", hint=FETCH_AGAIN)
    patient = clean_id(row[PATIENT])
    return row[STUDY] if owners.setdefault(row[STUDY], patient) == patient else f"{row[STUDY]}_{patient}"


def words_of(table: TableFile, line: int, column: str, *, cell: str) -> list[str]:
    """The distinct words of a list that Python wrote, some with blanks before them. Raises `DataError` if it is none.

    Never by substring: `pseudonodule` is no nodule.
    """
    if is_missing(cell):
        return []
    try:
        found = ast.literal_eval(cell)
        return list(dict.fromkeys(word.strip() for word in found if word.strip()))
    except (ValueError, SyntaxError, AttributeError, TypeError, MemoryError, RecursionError) as error:
        raise DataError(f"{table.path}: {table.place(line)}: {column} is no list of words", hint=FETCH_AGAIN) from error


def labels_of(coded: Sequence[str], places: Sequence[str], terms: Sequence[str]) -> dict[str, dict[str, float]]:
    """Label set -> label -> value, of one study."""
    findings = [word for word in coded if word != NORMAL and word not in SAYS_NOTHING]
    labels: dict[str, dict[str, float]] = {
        "labels": dict.fromkeys(coded, 1.0),
        "localizations": dict.fromkeys(places, 1.0),
    }
    if findings or NORMAL in coded:
        labels["findings"] = {term: float(term in findings) for term in terms}
        labels["normal_abnormal"] = {"abnormal": float(bool(findings))}
    return {name: values for name, values in labels.items() if values}


def frequent(table: TableFile, least: int) -> list[str]:
    """The findings that at least so many studies carry, the most frequent first."""
    carried: Counter[str] = Counter()
    seen: set[str] = set()
    for line, row in table.rows((STUDY, LABELS)):
        if row[STUDY] not in seen:
            seen.add(row[STUDY])
            carried.update(words_of(table, line, LABELS, cell=row[LABELS]))
    found = sorted(carried.items(), key=lambda pair: (-pair[1], pair[0]))
    return [word for word, n in found if n >= least and word != NORMAL and word not in SAYS_NOTHING]
