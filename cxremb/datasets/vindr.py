"""VinDr-CXR: three radiologists for each film of train, a consensus for test; PhysioNet's form or Kaggle's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cxremb.datasets.release import FETCH_AGAIN, ReleaseFilms, box, find_table, require_table
from cxremb.datasets.tree import unknown_patients
from cxremb.errors import DataError
from cxremb.store.readings import NO, YES, check_policy, decide, in_words
from cxremb.tablefile import TableFile
from cxremb.types import Collection, Image, LabelSet, Note, NoteCounter, Policy, Study, notes_of

NAME = "vindr"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = (
    "Nguyen HQ, Lam K, Le LT, et al. VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations. "
    "Sci Data 2022;9:429. doi:10.1038/s41597-022-01498-w"
)
FILM, READER, CLASS = "image_id", "rad_id", "class_name"
CORNERS = ("x_min", "y_min", "x_max", "y_max")
PHYSIONET = {"train": "image_labels_train.csv", "test": "image_labels_test.csv"}
BOXES = {"train": "annotations_train.csv", "test": "annotations_test.csv"}
KAGGLE = "train.csv"
NO_FINDING = "No finding"
KNOWN = (FILM, NO_FINDING, "Nodule/Mass")  # of the tables of labels: the children's VinDr-PCXR has files of these names
SPELLED = {"Other diseases": "Other disease"}  # as train says and test does not
Readings = dict[str, dict[str, dict[str, float]]]  # film -> reader -> label -> yes or no
Boxes = dict[str, dict[str, str]]  # film -> fact -> reader and corners


def read(folder: Path, readers: str = "majority") -> Collection:
    """Every film of the tables; each is a study, and of a patient of its own, since nobody says who was examined.

    folder: holds image_labels_train.csv and image_labels_test.csv (PhysioNet, also in `annotations`), or Kaggle's
    train.csv; the films `.dicom` lie anywhere below. readers: what three radiologists make together: the `majority`,
    `any` or `all` of them; other policies can be had later, since each one's word is kept. Boxes are facts, such as
    `box_cardiomegaly`: the reader and x, y of two corners.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    policy = check_policy(Policy(NAME, readers=readers))
    annotations = next((place for place in (folder / "annotations",) if place.is_dir()), folder)
    kaggle = find_table(annotations, *PHYSIONET.values()) is None
    found, boxes, parts = read_kaggle(folder) if kaggle else read_physionet(annotations)
    labels = tuple(dict.fromkeys(label for readings in found.values() for said in readings.values() for label in said))
    words = in_words(policy, several=True)
    notes = [unknown_patients(len(found))]
    return Collection(
        NAME,
        studies(found, parts, policy),
        images(found, folder, boxes, notes=notes),
        LICENCE,
        CITATION,
        {
            "adapter": NAME,
            "folder": str(folder.resolve()),
            "form": "Kaggle" if kaggle else "PhysioNet",
            "readers": readers,
        },
        notes,
        label_sets=[
            LabelSet(NAME, "multilabel", "what radiologists saw on the film", labels, words, policy),
            LabelSet("normal_abnormal", "binary", f"0 if {NO_FINDING} is 1, 1 if it is 0", ("abnormal",), words),
        ],
        default_label_set="normal_abnormal",
    )


def studies(found: Readings, parts: Mapping[str, str], policy: Policy) -> Iterator[Study]:
    """A study for each film."""
    for film, readings in found.items():
        nothing = decide(policy, readings).get(NO_FINDING)
        yield Study(
            film,
            film,
            labels={"normal_abnormal": {"abnormal": 1 - nothing}} if nothing is not None else {},
            parts={"official": parts[film]} if film in parts else {},
            readings={NAME: readings},
        )


def images(found: Readings, folder: Path, boxes: Boxes, *, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end. The collection has posterior-anterior films only."""
    films = ReleaseFilms(folder)
    for film in found:
        yield Image(film, film, film, "PA", films.find(film), None, boxes.get(film, {}))
    strangers = NoteCounter("films with boxes and without labels", "left out")
    for film in boxes.keys() - found.keys():
        strangers.add(film)
    notes += [*films.notes(), *notes_of(strangers)]


def read_physionet(folder: Path) -> tuple[Readings, Boxes, dict[str, str]]:
    """Readings, boxes and parts: a row for each film and reader of train, for each film of test.

    Raises `DataError` for a value that is neither 0 nor 1, and for a film that comes twice.
    """
    found: Readings = {}
    parts: dict[str, str] = {}
    for part, name in PHYSIONET.items():
        if find_table(folder, name):
            table = require_table(folder, name, columns=KNOWN)
            for line, film, reader, said in physionet_rows(table):
                known = found.setdefault(film, {})
                if parts.setdefault(film, part) != part or reader in known:
                    raise DataError(f"{table.path}: {table.place(line)}: {film} comes twice", hint=FETCH_AGAIN)
                known[reader] = said
    boxes: dict[str, dict[str, list[str]]] = {}
    for name in BOXES.values():
        if find_table(folder, name):
            table = require_table(folder, name, columns=(FILM, CLASS, *CORNERS))
            readers = [READER] if READER in table.columns else []
            for line, row in table.rows((FILM, CLASS, *CORNERS, *readers)):
                add_box(boxes, table, line, row=row)
    return found, joined(boxes), parts if len(set(parts.values())) > 1 else {}


def physionet_rows(table: TableFile) -> Iterator[tuple[int, str, str, dict[str, float]]]:
    """(line, film, reader, label -> yes or no) of each row; test has no reader."""
    labels = [column for column in table.columns if column not in (FILM, READER)]
    readers = [READER] if READER in table.columns else []
    for line, row in table.rows((FILM, *readers, *labels)):
        said = {SPELLED.get(label, label): yes_no(table, line, label, cell=row[label]) for label in labels}
        yield line, row[FILM], row.get(READER, ""), said


def read_kaggle(folder: Path) -> tuple[Readings, Boxes, dict[str, str]]:
    """Readings and boxes: a row for each box, or for `No finding`; what a reader does not name is 0."""
    table = require_table(folder, KAGGLE, columns=(FILM, CLASS, READER, *CORNERS))
    named: dict[str, dict[str, set[str]]] = {}
    labels: dict[str, None] = {}
    boxes: dict[str, dict[str, list[str]]] = {}
    for line, row in table.rows((FILM, CLASS, READER, *CORNERS)):
        label = SPELLED.get(row[CLASS], row[CLASS])
        labels[label] = None
        named.setdefault(row[FILM], {}).setdefault(row[READER], set()).add(label)
        if label != NO_FINDING:
            add_box(boxes, table, line, row=row)
    order = sorted(labels, key=lambda label: (label == NO_FINDING, label))
    found = {
        film: {reader: {label: YES if label in its else NO for label in order} for reader, its in readers.items()}
        for film, readers in named.items()
    }
    return found, joined(boxes), {}


def yes_no(table: TableFile, line: int, label: str, *, cell: str) -> float:
    """A label of PhysioNet's form. Raises `DataError` if it is neither 0 nor 1."""
    if cell not in ("0", "1", "0.0", "1.0"):
        raise DataError(f"{table.path}: {table.place(line)}: {label} is {cell!r}; it may be 0 or 1", hint=FETCH_AGAIN)
    return float(cell)


def add_box(boxes: dict[str, dict[str, list[str]]], table: TableFile, line: int, *, row: Mapping[str, str]) -> None:
    """One row's box, after those of the film. Raises `DataError` if its corners are no numbers."""
    if row[CLASS] == NO_FINDING:
        return
    label = SPELLED.get(row[CLASS], row[CLASS]).lower().replace(" ", "_").replace("/", "_")
    try:
        place = box([row[corner] for corner in CORNERS])
    except ValueError as error:
        raise DataError(f"{table.path}: {table.place(line)}: no box of four numbers", hint=FETCH_AGAIN) from error
    boxes.setdefault(row[FILM], {}).setdefault(f"box_{label}", []).append(f"{row.get(READER, '')} {place}".strip())


def joined(boxes: Mapping[str, Mapping[str, list[str]]]) -> Boxes:
    """The boxes of each film and finding as one text."""
    return {film: {name: ";".join(places) for name, places in its.items()} for film, its in boxes.items()}
