"""CheXpert: patient and study in the path, 14 labels that may be uncertain, radiologists for the small parts."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxremb.datasets.chexpert_labels import (
    LABELS,
    NORMAL_ABNORMAL,
    abnormal_set,
    abnormal_values,
    row_readings,
)
from cxremb.datasets.release import People, ReleaseFilms, StudiesOnce, find_table, require_table
from cxremb.datasets.tree import without_suffix
from cxremb.errors import DataError
from cxremb.store.readings import check_policy, decide, in_words
from cxremb.tablefile import TableFile
from cxremb.types import Collection, Image, LabelSet, Note, Policy, Study

NAME = "chexpert"
LICENCE = "Stanford University Dataset Research Use Agreement"
CITATION = (
    "Irvin J, Rajpurkar P, Ko M, et al. CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert "
    "Comparison. AAAI 2019;33:590-597. doi:10.1609/aaai.v33i01.3301590"
)
PATH, SEX, AGE, SIDE, VIEW = "Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"
COLUMNS = (PATH, SEX, AGE, SIDE, VIEW, *LABELS)
TRAIN, VALID, TEST = "train.csv", "valid.csv", "test.csv"
TOP_AGE = 90
RELEASE = re.compile(r"CheXpert-v1\.0(-small)?")
# The release with small films calls the folder CheXpert-v1.0-small; test.csv names no release.
PLACE = re.compile(r"(?:train|valid|test)/(?P<patient>patient\d+)/(?P<study>study\d+)/[^/]+$")


class ListedPath(NamedTuple):
    """What a path says: `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`."""

    below: str  # the path below the folder of the release
    study: str  # patient00001/study1: study1 is somebody's first, and repeats for every patient
    patient: str

    @property
    def image(self) -> str:
        return f"{self.study}/{without_suffix(PurePosixPath(self.below).name)}"


def read(folder: Path, uncertain: str = "ignore") -> Collection:
    """Every film of train.csv, valid.csv and, if it is there, test.csv.

    folder: holds the tables, and the films as `train/patient00001/study1/view1_frontal.jpg`. The release with small
    films is read as the other. uncertain: what the labeller's -1 becomes: `ignore` (missing), `zero` or `one`; other
    policies can be had later, since -1 is kept as a reading.
    The split `official` has valid.csv as test where there is no test.csv, else as val.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    policy = check_policy(Policy(NAME, uncertain))
    tables = [require_table(folder, TRAIN, columns=COLUMNS)]
    parts = ["train"]
    for name, part in ((VALID, "val" if find_table(folder, TEST) else "test"), (TEST, "test")):
        if find_table(folder, name):
            tables.append(require_table(folder, name, columns=(PATH, *LABELS)))
            parts.append(part)
    absent = Note("tables that are not here", 1, [VALID], "put it beside train.csv and add again")
    release = release_of(tables[0])
    notes = [*([absent] if len(tables) == 1 else []), *other_release(release, folder)]
    return Collection(
        NAME,
        studies(tables, parts, policy, notes=notes),
        images(tables, folder, notes),
        LICENCE,
        CITATION,
        {
            "adapter": NAME,
            "folder": str(folder.resolve()),
            **({"release": release} if release else {}),
            "uncertain": uncertain,
            "tables": ", ".join(table.path.name for table in tables),
        },
        notes,
        label_sets=[
            LabelSet(
                NAME,
                "multilabel",
                "what CheXpert's labeller read from the report; of valid and test, what radiologists saw on the films",
                LABELS,
                in_words(policy, several=False),
                policy,
            ),
            abnormal_set("CheXpert's labeller", policy),
        ],
        default_label_set=NAME,
    )


def release_of(table: TableFile) -> str:
    """The release that the table's first path names: its films are small or full. "" where it names none."""
    _, row = next(iter(table.rows([PATH])), (0, {PATH: ""}))
    found = RELEASE.match(row[PATH])
    return found[0] if found else ""


def other_release(release: str, folder: Path) -> list[Note]:
    """A note if the folder is called as the other release, whose films have another size."""
    found = RELEASE.search(folder.resolve().name)
    if not release or not found or found[0] == release:
        return []
    hint = "are the films small or full? Vectors of one are not those of the other: name the folder as its release"
    return [Note(f"a table of {release} in a folder called {found[0]}", 1, [str(folder)], hint)]


def studies(tables: Sequence[TableFile], parts: Sequence[str], policy: Policy, *, notes: list[Note]) -> Iterator[Study]:
    """Each study once: the films of one have the same labels, sex and age. `notes` are filled at the end.

    Raises `DataError`, naming the line, for a film that says otherwise than an earlier one of its study.
    """
    people = People(TOP_AGE)
    once = StudiesOnce("labels, sex and age")
    for table, part in zip(tables, parts, strict=True):
        for line, row in table.rows([name for name in COLUMNS if name in table.columns]):
            place, readings = place_of(table, line, row[PATH]), row_readings(table, line, row)
            sex, age = row.get(SEX, ""), row.get(AGE, "")
            if not once.is_new(table, line, place.study, said=(part, sex, age, *readings.items())):
                continue
            abnormal = abnormal_values(decide(policy, {"": readings}))
            yield Study(
                place.study,
                place.patient,
                labels={NORMAL_ABNORMAL: abnormal} if abnormal else {},
                parts={"official": part} if len(tables) > 1 else {},
                facts=people.facts(place.study, sex, age),
                readings={NAME: {"": readings}} if readings else {},
            )
    notes += people.notes()


def images(tables: Sequence[TableFile], folder: Path, notes: list[Note]) -> Iterator[Image]:
    """The films; `notes` are filled at the end."""
    films = ReleaseFilms(folder)
    for table in tables:
        for line, row in table.rows([name for name in (PATH, SIDE, VIEW) if name in table.columns]):
            place = place_of(table, line, row[PATH])
            words = f"{row[SIDE]} {row[VIEW]}".strip() if SIDE in row else side(place.below)
            path = films.find(place.below, is_path=True)
            yield Image(place.image, place.study, place.patient, films.view(words), path, words)
    notes += films.notes()


def side(path: str) -> str:
    """Frontal or lateral, by the name of a film: `view1_frontal.jpg`."""
    return without_suffix(path).rpartition("_")[2].capitalize()


def place_of(table: TableFile, line: int, path: str) -> ListedPath:
    """Where a film lies and whose it is. Raises `DataError` for a path of another form."""
    found = PLACE.search(path)
    if found is None:
        raise DataError(
            f"{table.path}: {table.place(line)}: {path!r} names no patient and study",
            hint=f"a path is like train/patient00001/study1/view1_frontal.jpg; {table.remedy}",
        )
    return ListedPath(found[0], f"{found['patient']}/{found['study']}", found["patient"])
