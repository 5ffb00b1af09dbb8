"""Which column of a table is what: the roles that were given, and those that their names suggest."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cxremb.cells import is_missing
from cxremb.datasets.tree import SUFFIXES
from cxremb.errors import DataError, name_list
from cxremb.shards import PART, ROW
from cxremb.store.facts import RESERVED
from cxremb.tablefile import TableFile

# Role -> the names that suggest it, in snake case, the surest first. German ones too, but for those that mean several
# things: a Fallnummer is of a stay, with several examinations; an Aufnahmenummer of a stay or of a film.
ROLE_NAMES = {
    "id": ("image_id", "dicom_id", "image_index", "sop_instance_uid", "bild_id", "bildnummer", "bild_nr"),
    "path": (
        *("path", "file_path", "filepath", "image_path", "filename", "file_name", "file"),
        *("pfad", "dateipfad", "bildpfad", "dateiname", "bilddatei", "datei"),
    ),
    "patient": (
        *("patient_id", "patientid", "subject_id", "patient", "pid", "pat_id", "patid", "patient_number"),
        *("patientennummer", "patienten_nummer", "patienten_nr", "patientennr", "patienten_id", "patientenid"),
        *("patientnr", "patient_nr", "pat_nr", "patnr"),
    ),
    "study": (
        *("study_id", "studyid", "study_instance_uid", "accession_number"),
        *("untersuchungsnummer", "untersuchungs_nr", "untersuchungs_id", "untersuchungsid", "studien_id", "studienid"),
    ),
    "view": ("view", "view_position", "viewposition", "projection", "projektion", "strahlengang"),
    "part": ("split", "part", "fold"),
}


PICTURE = "image"  # a role too, of Parquet: the column with the films as bytes
PICTURE_NAMES = ("image", "img", "picture", "film", "xray", "image_bytes", "bytes", "png", "jpg", "jpeg", "dicom")
FILM_NAMES = ("image", "img", "image_name", "img_name", "imagename", "picture", "film", "xray", "dicom", "bild")


@dataclass(frozen=True)
class Role:
    """A column, and whether somebody said so."""

    column: str
    guessed: bool


def find_roles(table: TableFile, given: Mapping[str, str], taken: Sequence[str]) -> dict[str, Role]:
    """Role -> column: as given (`part=` with no column: none), else the column whose name suggests it.

    taken: columns that hold labels or text, which are not guessed. Raises `DataError` for a role or a column that
    does not exist.
    """
    unknown = [role for role in given if role not in (*ROLE_NAMES, PICTURE, *RESERVED)]
    if unknown:
        known = ", ".join((*ROLE_NAMES, PICTURE, *RESERVED))
        raise DataError(f"no role is called {unknown[0]!r}", hint=f"--column takes {known}")
    table.require(column for column in given.values() if column)
    roles = {role: Role(column, guessed=False) for role, column in given.items() if column and role in ROLE_NAMES}
    made = table.shards.made - {PART} if table.shards else ()
    used = {*taken, *given.values(), *table.bulky, *made}
    names = {snake(column): column for column in reversed(table.columns) if column and column not in used}
    for role, suggestive in ROLE_NAMES.items():
        found = next((names[name] for name in suggestive if name in names), None)
        if found and role not in given:
            roles[role] = Role(found, guessed=True)
    return roles


def find_film(table: TableFile, taken: Collection[str]) -> dict[str, Role]:
    """The column `image` or the like, where no other says which film a row is: of paths if its first cell is a file's.

    taken: as for `find_roles`.
    """
    names = {snake(column): column for column in reversed(table.columns) if column and column not in taken}
    column = next((names[name] for name in FILM_NAMES if name in names and names[name] not in table.bulky), None)
    if column is None:
        return {}
    first = next((cells[column] for _, cells in table.rows([column]) if not is_missing(cells[column])), "")
    return {"path" if first.lower().endswith(SUFFIXES) else "id": Role(column, guessed=True)}


def find_picture(table: TableFile, given: Mapping[str, str], *, elsewhere: bool) -> Role | None:
    """The column with the films as bytes: as given, else the one that its name suggests, or the only record of bytes.

    elsewhere: somebody has said where the films are, so none is guessed. Raises `DataError` for a column of no bytes,
    and where several could be meant.
    """
    known = table.shards.pictures if table.shards else {}
    if column := given.get(PICTURE):
        if column not in known:
            have = f"those are {name_list(list(known), 5)}" if known else "it has none"
            raise DataError(f"{table.path}: {column!r} is no column of bytes: {have}", hint="--column image=COLUMN")
        return Role(column, guessed=False)
    if PICTURE in given or elsewhere or not known:
        return None
    suggested = [column for column in known if snake(column) in PICTURE_NAMES]
    records = [column for column, leaf in known.items() if leaf != column]
    for group in (suggested, records):
        if len(group) == 1:
            return Role(group[0], guessed=True)
    if not suggested and not records:
        return None  # bytes of any kind
    raise DataError(
        f"{table.path}: several columns may hold films: {name_list(suggested or records, 5)}",
        hint="say which one does: --column image=COLUMN; or none: --column image=",
    )


def made_columns(table: TableFile) -> frozenset[str]:
    """The columns that stand for a place in the files, and say nothing of anybody."""
    return table.shards.made & {PART, ROW} if table.shards else frozenset()


def find_facts(table: TableFile, given: Mapping[str, str], taken: Collection[str]) -> dict[str, Role]:
    """Name of a fact -> its column, for every column that is not in `taken`.

    The names of `RESERVED` are as given, else found by the usual headings; the others are headings in snake case.
    """
    facts = {name: Role(column, guessed=False) for name, column in given.items() if column and name in RESERVED}
    used = {*taken, *table.bulky, *made_columns(table), *(role.column for role in facts.values())}
    rest = [column for column in table.columns if column and column not in used]
    names = {without_accents(snake(column)): column for column in reversed(rest)}
    for name, headings in RESERVED.items():
        found = next((names[heading] for heading in headings.split(", ") if heading in names), None)
        if found and name not in given:
            facts[name] = Role(found, guessed=snake(found) != name)
            rest.remove(found)
    for column in rest:
        name, number = fact_name(column), 2
        while name in facts:
            name, number = f"{snake(column)}_{number}", number + 1
        facts[name] = Role(column, guessed=False)
    return facts


def without_accents(name: str) -> str:
    """The letters without their accents."""
    return "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))


def fact_name(column: str) -> str:
    """What a column is called that is kept as a fact and has none of the names of `RESERVED`."""
    return snake(column) or column


def snake(name: str) -> str:
    """`ViewPosition` and `View Position` as view_position."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+|_+", "_", parted).strip("_").lower()
