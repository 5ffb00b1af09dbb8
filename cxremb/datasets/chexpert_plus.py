"""CheXpert Plus: the films of CheXpert with their reports, and labels that CheXbert read from three texts of each."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxremb.cells import is_missing
from cxremb.datasets.chexpert import PLACE, ListedPath, place_of
from cxremb.datasets.chexpert_labels import LABELS, NORMAL_ABNORMAL, abnormal_set, abnormal_values, read_code
from cxremb.datasets.release import (
    FETCH_AGAIN,
    People,
    ReleaseFilms,
    StudiesOnce,
    find_table,
    refuse_strangers,
    require_table,
)
from cxremb.datasets.tree import image_files
from cxremb.errors import DataError, name_list
from cxremb.ids import clean_id
from cxremb.store.layout import BEFORE_READING
from cxremb.store.readings import check_policy, decide, in_words
from cxremb.tablefile import TableFile
from cxremb.types import Collection, Image, LabelSet, Note, NoteCounter, Policy, Study, notes_of, part_named

NAME = "chexpert_plus"
LICENCE = "Stanford University Dataset Research Use Agreement"
CITATION = (
    "Chambon P, Delbrouck JB, Sounack T, et al. CheXpert Plus: Augmenting a Large Chest X-ray Dataset with Text "
    "Radiology Reports, Patient Demographics and Additional Image Formats. arXiv:2405.19538 (2024)"
)
TABLE = "df_chexpert_plus_240401.csv"
PATH, SIDE, VIEW, PATIENT, PART = "path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "split"
SEX, AGE, REPORT = "sex", "age", "report"
SECTIONS = {  # of a study -> its column; accession_number is no text
    "narrative": "section_narrative",
    "indication": "section_clinical_history",
    "history": "section_history",
    "comparison": "section_comparison",
    "technique": "section_technique",
    "procedure": "section_procedure_comments",
    "findings": "section_findings",
    "impression": "section_impression",
    "end_of_impression": "section_end_of_impression",
    "summary": "section_summary",
}
FACTS = {  # fact -> its column. The order of reports is no time: public audits disagree with it
    "race": "race",
    "ethnicity": "ethnicity",
    "interpreter_needed": "interpreter_needed",
    "insurance": "insurance_type",
    "bmi": "recent_bmi",
    "deceased": "deceased",
    "report_order": "patient_report_date_order",
}
COLUMNS = (PATH, SIDE, VIEW, PATIENT, PART, SEX, AGE, REPORT, *SECTIONS.values(), *FACTS.values())
# Label set -> its file, and what was read; the first that is there is the default. Of the whole report also what was
# asked and what was there before counts as found.
FILES = {
    "chexbert_impression": ("impression_fixed.json", "the impression"),
    "chexbert_report": ("report_fixed.json", "the whole report"),
    "chexbert_findings": ("findings_fixed.json", "the findings"),
}
LABEL_FOLDER = "chexbert_labels"
Readings = dict[str, dict[str, dict[str, float]]]  # label set -> study -> label -> 1, 0 or -1


def read(folder: Path, uncertain: str = "ignore") -> Collection:
    """Every film of df_chexpert_plus_240401.csv, with the sections of its report.

    folder: holds the table; impression_fixed.json, report_fixed.json and findings_fixed.json, in `chexbert_labels` or
    beside it, as far as they are there; and the films, which may lie deeper (`PNG/train/...`). uncertain: what -1
    becomes: `ignore` (missing), `zero` or `one`; other policies can be had later, since -1 is kept as a reading.
    The split `official` has the part valid as test. The text `report` is kept where it has none of the sections.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself, and for a file of labels
    that names none of the films.
    """
    table = require_table(folder, TABLE, columns=COLUMNS)
    check_policy(Policy(NAME, uncertain))
    readings: Readings = {}
    for name, (file, _) in FILES.items():
        if path := find_table(folder, file) or find_table(folder / LABEL_FOLDER, file):
            readings[name] = read_labels(path)
    notes: list[Note] = []
    if absent := [file for name, (file, _) in FILES.items() if name not in readings]:
        notes.append(Note("files of labels that are not here", len(absent), absent, "put them beside the table"))
    policies = {name: Policy(name, uncertain) for name in readings}
    means = {name: f"what CheXbert read from {said}" for name, (_, said) in FILES.items()}
    sets = [
        LabelSet(name, "multilabel", means[name], LABELS, in_words(policy, several=False), policy)
        for name, policy in policies.items()
    ]
    first = next(iter(policies), "")
    place = place_of_films(folder)
    return Collection(
        NAME,
        studies(table, readings, policies.get(first), notes=notes),
        images(table, folder, place, notes=notes),
        LICENCE,
        CITATION,
        {
            "adapter": NAME,
            "folder": str(folder.resolve()),
            "table": table.path.name,
            "films": place or ".",
            "uncertain": uncertain,
        },
        notes,
        label_sets=[*sets, abnormal_set(f"CheXbert, of {FILES[first][1]},", policies[first])] if first else [],
        default_label_set=first,
        roles={"procedure": BEFORE_READING},
    )


def read_labels(path: Path) -> dict[str, dict[str, float]]:
    """Study -> label -> 1, 0 or -1, of a file with an object in each line, one for each film.

    Raises `DataError`, naming the line, for what is none, and for two films of a study that differ.
    """
    found: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                said = json.loads(line)
                place = PLACE.search(said[PATH])
                values = {label: read_code(said[label]) for label in LABELS if said[label] is not None}
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                what = f"{path}: line {number}: not a film with {PATH} and the 14 labels ({error!r})"
                raise DataError(what, hint=FETCH_AGAIN) from error
            if place is None:
                raise DataError(f"{path}: line {number}: {said[PATH]!r} names no patient and study", hint=FETCH_AGAIN)
            if found.setdefault(f"{place['patient']}/{place['study']}", values) != values:
                raise DataError(f"{path}: line {number} says other things of a study than an earlier line", FETCH_AGAIN)
    return found


def studies(table: TableFile, readings: Readings, policy: Policy | None, *, notes: list[Note]) -> Iterator[Study]:
    """Each study once: its films have the same report. policy: of the set that `normal_abnormal` is made of.

    Raises `DataError`, naming the line, for a film that says otherwise than an earlier one of its study.
    """
    people, once = People(), StudiesOnce("report, patient and part")
    unlabelled = NoteCounter("studies that no file of labels names", "kept without labels")
    without = NoteCounter("studies whose report has none of the sections", "kept whole, as the section `report`")
    names: set[str] = set()
    for line, row in table.rows(COLUMNS):
        place = checked_place(table, line, row)
        part = part_of(table, line, row)
        if not once.is_new(table, line, place.study, said=(part, row[SEX], row[AGE], *texts_of(row).items())):
            continue
        names.add(place.study)
        its = {name: {"": by_study[place.study]} for name, by_study in readings.items() if by_study.get(place.study)}
        if readings and not any(place.study in by_study for by_study in readings.values()):
            unlabelled.add(place.study)
        sections = texts_of(row)
        if REPORT in sections:
            without.add(place.study)
        abnormal = abnormal_values(decide(policy, its[policy.of])) if policy and policy.of in its else {}
        facts = {name: row[column] for name, column in FACTS.items() if not is_missing(row[column])}
        yield Study(
            place.study,
            place.patient,
            sections=sections,
            labels={NORMAL_ABNORMAL: abnormal} if abnormal else {},
            parts={"official": part} if part else {},
            facts={**people.facts(place.study, row[SEX], row[AGE]), **facts},
            readings=its,
        )
    for name, by_study in readings.items():
        refuse_strangers(FILES[name][0], by_study.keys(), names, what="studies")
    notes += [*notes_of(unlabelled, without), *people.notes()]


def checked_place(table: TableFile, line: int, row: Mapping[str, str]) -> ListedPath:
    """Where a film lies and whose it is. Raises `DataError` if path and id name two patients."""
    place = place_of(table, line, row[PATH])
    patient = clean_id(row[PATIENT])
    if patient and patient != place.patient:
        raise DataError(
            f"{table.path}: {table.place(line)}: the path is of {place.patient}, {PATIENT} says {patient}",
            hint=FETCH_AGAIN,
        )
    return place


def part_of(table: TableFile, line: int, row: Mapping[str, str]) -> str:
    """The part of the official split: the release has train and valid, which stands for test."""
    part = part_named(row[PART]) if row[PART] else ""
    if part is None:
        raise DataError(f"{table.path}: {table.place(line)}: {PART} is {row[PART]!r}", hint=FETCH_AGAIN)
    return "test" if part == "val" else part


def texts_of(row: Mapping[str, str]) -> dict[str, str]:
    """Section -> text; the whole report where none of them has any."""
    found = {section: row[column] for section, column in SECTIONS.items() if not is_missing(row[column])}
    return found or ({REPORT: row[REPORT]} if not is_missing(row[REPORT]) else {})


def images(table: TableFile, folder: Path, below: str, *, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end. below: the folder, in `folder`, that has train and valid."""
    films = ReleaseFilms(folder)
    for line, row in table.rows((PATH, SIDE, VIEW, PATIENT)):
        place = checked_place(table, line, row)
        words = " ".join(row[name] for name in (SIDE, VIEW) if not is_missing(row[name]))
        path = films.find(f"{below}/{place.below}" if below else place.below, is_path=True)
        yield Image(place.image, place.study, place.patient, films.view(words), path, words or None)
    notes += films.notes()


def place_of_films(folder: Path) -> str:
    """The folder below `folder` that holds train and valid, "" for itself. Raises `DataError` if several do."""
    paths = (path.relative_to(folder).as_posix() for path in image_files(folder, needed=False)[0])
    found = {path[: place.start()].rstrip("/") for path in paths if (place := PLACE.search(path))}
    if len(found) > 1:
        raise DataError(
            f"{folder}: films of several releases: {name_list(sorted(one or '.' for one in found), 5)}",
            hint="leave the films of one of them in it: PNG, DICOM or those of CheXpert",
        )
    return found.pop() if found else ""
