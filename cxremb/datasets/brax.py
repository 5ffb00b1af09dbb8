"""BRAX: Brazilian films with CheXpert's 14 labels, read from Portuguese reports that are not given out."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cxremb.datasets.chexpert_labels import LABELS, NORMAL_ABNORMAL, abnormal_set, abnormal_values, row_readings
from cxremb.datasets.release import People, ReleaseFilms, StudiesOnce, require_table
from cxremb.datasets.tree import without_suffix
from cxremb.errors import DataError
from cxremb.store.readings import check_policy, decide, in_words
from cxremb.tablefile import TableFile
from cxremb.types import Collection, Image, LabelSet, Note, Policy, Study

NAME = "brax"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = (
    "Reis EP, de Paiva JPQ, da Silva MCB, et al. BRAX, Brazilian labeled chest x-ray dataset. Sci Data 2022;9:487. "
    "doi:10.1038/s41597-022-01608-8"
)
TABLES = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
PATH, VIEW = "PngPath", "ViewPosition"
SEX, AGE, DAY, SCANNER = "PatientSex", "PatientAge", "StudyDate", "Manufacturer"  # where the release has them
PLACE = re.compile(r"(?:^|/)(?P<patient>id_[^/]+)/(?P<study>[^/]+)/")


class Row(NamedTuple):
    """One film: where it lies, whose it is, and its cells."""

    path: str
    study: str
    patient: str
    cells: Mapping[str, str]


def read(folder: Path, uncertain: str = "ignore") -> Collection:
    """Every film of the table. A patient is the `id_...` of the path, a study the folder below it.

    folder: holds master_spreadsheet_update.csv (or the one before it), and the films at their PngPath. uncertain: what
    -1 becomes: `ignore` (missing), `zero` or `one`; other policies can be had later, since -1 is kept as a reading.
    Sex, age (in bins of five years), day and manufacturer are facts where the table has such columns.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    policy = check_policy(Policy(NAME, uncertain))
    table = require_table(folder, *TABLES, columns=(PATH, VIEW, *LABELS))
    notes: list[Note] = []
    means = "what CheXpert's labeller, taught Portuguese, read from the report"
    return Collection(
        NAME,
        studies(table, policy, notes),
        images(table, folder, notes),
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder.resolve()), "table": table.path.name, "uncertain": uncertain},
        notes,
        label_sets=[
            LabelSet(NAME, "multilabel", means, LABELS, in_words(policy, several=False), policy),
            abnormal_set("the labeller", policy),
        ],
        default_label_set=NAME,
    )


def studies(table: TableFile, policy: Policy, notes: list[Note]) -> Iterator[Study]:
    """Each study once; its films have the same labels. Raises `DataError`, naming the line, where they differ."""
    people = People()
    once = StudiesOnce("labels")
    for line, row in rows(table):
        readings = row_readings(table, line, row.cells)
        if not once.is_new(table, line, row.study, said=tuple(readings.items())):
            continue
        abnormal = abnormal_values(decide(policy, {"": readings}))
        facts = {"day": row.cells.get(DAY, ""), "scanner": row.cells.get(SCANNER, "")}
        seen = people.facts(row.study, row.cells.get(SEX, ""), row.cells.get(AGE, ""))
        yield Study(
            row.study,
            row.patient,
            labels={NORMAL_ABNORMAL: abnormal} if abnormal else {},
            facts={**seen, **{name: text for name, text in facts.items() if text}},
            readings={NAME: {"": readings}} if readings else {},
        )
    notes += people.notes()


def images(table: TableFile, folder: Path, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end."""
    films = ReleaseFilms(folder)
    for _, row in rows(table):
        view = films.view(row.cells[VIEW])
        path = films.find(row.path, is_path=True)
        yield Image(without_suffix(row.path), row.study, row.patient, view, path, row.cells[VIEW] or None)
    notes += films.notes()


def rows(table: TableFile) -> Iterator[tuple[int, Row]]:
    """(line, film) of each row. Raises `DataError` for a path that names no patient."""
    optional = [name for name in (SEX, AGE, DAY, SCANNER) if name in table.columns]
    for line, cells in table.rows((PATH, VIEW, *LABELS, *optional)):
        found = PLACE.search(cells[PATH])
        if found is None:
            raise DataError(
                f"{table.path}: {table.place(line)}: {cells[PATH]!r} names no patient and study",
                hint=f"a path is like images/id_.../Study_.../Series_.../image.png; {table.remedy}",
            )
        yield line, Row(cells[PATH], f"{found['patient']}/{found['study']}", found["patient"], cells)
