"""NIH ChestX-ray14: one table of films, the official lists, boxes, and Google's radiologists on some of them."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxremb.datasets.release import FETCH_AGAIN, People, ReleaseFilms, box, find_table, refuse_strangers, require_table
from cxremb.datasets.tree import without_suffix
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.tablefile import TableFile, open_bytes, open_table, text_of
from cxremb.types import Collection, Image, LabelSet, Note, NoteCounter, Study, notes_of

NAME = "nih"
LICENCE = "CC0 1.0"
CITATION = (
    "Wang X, Peng Y, Lu L, et al. ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on "
    "Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017;2097-2106. "
    "doi:10.1109/CVPR.2017.369"
)
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"
FILM, LISTED, PATIENT, AGE = "Image Index", "Finding Labels", "Patient ID", "Patient Age"
SEX, VIEW, FOLLOW_UP = "Patient Gender", "View Position", "Follow-up #"
COLUMNS = (FILM, LISTED, PATIENT, AGE, SEX, VIEW, FOLLOW_UP)
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}  # the official split has no validation part
BOXES, GOOGLE = "BBox_List_2017.csv", "google2019_nih-chest-xray-labels.csv"
SPELLED = {"Infiltrate": "Infiltration"}  # in the table of boxes
EXPERTS = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
ANSWERS = {"YES": 1.0, "NO": 0.0}
MINED = "read from the report by a program, which was right for more than 90%; what is not listed is 0"


@dataclass(frozen=True)
class Beside:
    """What other files say of films: image id -> part, boxes by fact, labels of Google's radiologists."""

    parts: Mapping[str, str]
    boxes: Mapping[str, Mapping[str, str]]
    experts: Mapping[str, Mapping[str, float]]


def read(folder: Path) -> Collection:
    """Every film that the table lists; a film is a study, since nothing says which were taken together.

    folder: holds Data_Entry_2017_v2020.csv (or the one of 2017) and, if they are there, train_val_list.txt and
    test_list.txt (the split `official`), BBox_List_2017.csv (facts such as `box_nodule`) and Google's labels of 4,376
    films (the label set `google`). Films are found by name anywhere below. `Follow-up #` is kept as a fact and joins
    nothing: it is the number in a film's name for four films of five only.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    table = require_table(folder, *TABLES, columns=COLUMNS)
    notes: list[Note] = []
    beside = read_beside(folder, notes)
    sets = [
        LabelSet("findings", "multilabel", f"the 14 findings, {MINED}", FINDINGS, "coded from the report"),
        LabelSet("normal_abnormal", "binary", f"0 if the report names No Finding, else 1; {MINED}", ("abnormal",), ""),
    ]
    if beside.experts:
        means = "what three radiologists or more saw on the film (Google, 2019); Nodule or mass is one label"
        sets.append(LabelSet("google", "multilabel", means, EXPERTS, "films that Google chose; others are missing"))
    return Collection(
        NAME,
        studies(table, beside, notes),
        images(table, folder, beside, notes=notes),
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder.resolve()), "table": table.path.name},
        notes,
        label_sets=sets,
        default_label_set="findings",
    )


def studies(table: TableFile, beside: Beside, notes: list[Note]) -> Iterator[Study]:
    """A study for each film; `notes` are filled at the end."""
    people = People()
    for line, row in table.rows(COLUMNS):
        name = film_id(table, line, row)
        found = listed(table, line, row)
        labels = {
            "findings": {label: float(label in found) for label in FINDINGS},
            "normal_abnormal": {"abnormal": float(NO_FINDING not in found)},
            **({"google": beside.experts[name]} if name in beside.experts else {}),
        }
        facts = {**people.facts(name, row[SEX], row[AGE]), "follow_up": row[FOLLOW_UP]}
        parts = {"official": beside.parts[name]} if name in beside.parts else {}
        yield Study(name, patient(row), labels=labels, parts=parts, facts=facts)
    notes += people.notes()


def images(table: TableFile, folder: Path, beside: Beside, *, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end, with what the other files say of films that the table lacks."""
    films, seen = ReleaseFilms(folder), set()
    for line, row in table.rows(COLUMNS):
        name = film_id(table, line, row)
        seen.add(name)
        path = films.find(row[FILM])
        yield Image(name, name, patient(row), films.view(row[VIEW]), path, row[VIEW], beside.boxes.get(name, {}))
    notes += films.notes()
    refuse_strangers(f"{folder}: {' and '.join(LISTS.values())}", beside.parts.keys(), seen)
    for what, of in (("official lists", beside.parts), ("boxes", beside.boxes), ("labels of Google", beside.experts)):
        strangers = NoteCounter(f"films of the {what} that the table does not name", "left out")
        for name in sorted(of.keys() - seen):
            strangers.add(name)
        notes += notes_of(strangers)
    if beside.parts and (rest := sorted(seen - beside.parts.keys())):
        notes.append(Note("films that neither official list names", len(rest), rest[:10], "in no part of `official`"))


def film_id(table: TableFile, line: int, row: Mapping[str, str]) -> str:
    """The name of a film without its suffix. Raises `DataError` for a row without a name or a patient."""
    if not row[FILM] or not patient(row):
        raise DataError(f"{table.path}: {table.place(line)} has no {FILM} or no {PATIENT}", hint=FETCH_AGAIN)
    return without_suffix(row[FILM])


def patient(row: Mapping[str, str]) -> str:
    """The patient's id."""
    return clean_id(row[PATIENT])


def listed(table: TableFile, line: int, row: Mapping[str, str]) -> set[str]:
    """What a row lists. Raises `DataError` for a finding that is none of the 14, and for none at all."""
    found = {label.strip() for label in row[LISTED].split("|")}
    if unknown := sorted(found - {*FINDINGS, NO_FINDING}):
        raise DataError(
            f"{table.path}: {table.place(line)}: no finding is called {unknown[0]!r}",
            hint=f"a row names findings with | between, or {NO_FINDING}; {FETCH_AGAIN}",
        )
    if NO_FINDING in found and len(found) > 1:
        raise DataError(f"{table.path}: {table.place(line)}: {NO_FINDING} stands beside a finding", hint=FETCH_AGAIN)
    return found


def read_beside(folder: Path, notes: list[Note]) -> Beside:
    """What the other files say; a note on those that are not here."""
    lists = {part: folder / name for part, name in LISTS.items() if (folder / name).is_file()}
    boxes, google = find_table(folder, BOXES), find_table(folder, GOOGLE)
    absent = [name for part, name in LISTS.items() if part not in lists]
    absent += [name for name, path in ((BOXES, boxes), (GOOGLE, google)) if path is None]
    if absent:
        notes.append(Note("files that are not here", len(absent), absent, "put them beside the table and add again"))
    return Beside(read_lists(lists), read_boxes(boxes) if boxes else {}, read_google(google) if google else {})


def read_lists(lists: Mapping[str, Path]) -> dict[str, str]:
    """Film -> part of the official split. Raises `DataError` for a film that is in both lists."""
    parts: dict[str, str] = {}
    for part, path in lists.items():
        for number, name in enumerate(path.read_text(encoding="utf-8").split(), 1):
            if parts.setdefault(without_suffix(name), part) != part:
                raise DataError(f"{path}: word {number}: {name} is in both official lists", hint=FETCH_AGAIN)
    return parts


def read_boxes(path: Path) -> dict[str, dict[str, str]]:
    """Film -> fact -> `x,y,width,height` in pixels of the film, with ; between several of one finding.

    The header writes `Bbox [x,y,w,h],,,` without quotes, so it has more cells than a row: this is no table for
    `open_table`. Raises `DataError`, naming the line, for a row without four numbers.
    """
    found: dict[str, dict[str, list[str]]] = {}
    with open_bytes(path) as raw, text_of(raw, "utf-8") as text:
        rows = csv.reader(text)
        if next(rows, [])[:2] != [FILM, "Finding Label"]:
            raise DataError(f"{path}: not the table of boxes", hint=FETCH_AGAIN)
        for cells in filter(None, rows):
            try:
                place = box(cells[2:6])
            except ValueError as error:
                raise DataError(f"{path}: line {rows.line_num}: no box of four numbers", hint=FETCH_AGAIN) from error
            label = SPELLED.get(cells[1], cells[1])
            found.setdefault(without_suffix(cells[0]), {}).setdefault(f"box_{label.lower()}", []).append(place)
    return {film: {name: ";".join(boxes) for name, boxes in its.items()} for film, its in found.items()}


def read_google(path: Path) -> dict[str, dict[str, float]]:
    """Film -> what Google's radiologists say. Raises `DataError` for an answer that is neither YES nor NO."""
    table = open_table(path, remedy=FETCH_AGAIN)
    found = {}
    for line, row in table.rows((FILM, *EXPERTS)):
        if unknown := [f"{label} is {row[label]!r}" for label in EXPERTS if row[label] not in ANSWERS]:
            raise DataError(f"{path}: {table.place(line)}: {unknown[0]}; it may be YES or NO", hint=FETCH_AGAIN)
        found[without_suffix(row[FILM])] = {label: ANSWERS[row[label]] for label in EXPERTS}
    return found
