"""The published folder of MIMIC-CXR-JPG: what its tables say, held by id, and its films, read anew each time.

Films lie in p10/p10000032/s50414267/<dicom_id>.jpg, reports in p10/p10000032/s50414267.txt.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxremb.datasets.mimic_tables import (
    BY_HAND,
    BY_HAND_TABLE,
    LABELLERS,
    ListedFilm,
    find_table,
    read_by_hand,
    read_findings,
    read_metadata,
    read_split,
)
from cxremb.datasets.tree import refuse_no_folder
from cxremb.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")  # as published, resized by users, or of MIMIC-CXR itself
KINDS = ("metadata", *LABELLERS, "split")


@dataclass(frozen=True)
class Release:
    """The published folder: what its tables say of studies, kept; its films, read anew each time."""

    files: Path
    tables: Mapping[str, Path]  # of `KINDS`, and the one filled by hand, those that are there
    patients: dict[int, int] = field(default_factory=dict)  # study -> patient, in the order listed
    ids: set[str] = field(default_factory=set)  # of all films listed
    repeated: set[str] = field(default_factory=set)  # of those listed more than once, and alike
    findings: dict[str, dict[int, bytes]] = field(default_factory=dict)  # labeller -> study -> codes
    parts: dict[int, str] = field(default_factory=dict)  # study -> train, val or test

    def films(self) -> Iterator[ListedFilm]:
        """Every film as the metadata table lists it or, without one, as it lies on disk."""
        return read_metadata(self.tables["metadata"]) if "metadata" in self.tables else walk_films(self.files)

    def distinct_films(self) -> Iterator[ListedFilm]:
        """`films`, each the first time that it is listed."""
        pending = set(self.repeated)
        for film in self.films():
            if film.dicom_id in pending:
                pending.remove(film.dicom_id)
            elif film.dicom_id in self.repeated:
                continue
            yield film

    @property
    def index(self) -> Path:
        """Where `films` come from, for messages."""
        return self.tables.get("metadata", self.files)


def open_release(root: Path) -> Release:
    """The tables of the folder, read and checked. Raises `DataError` if it is no MIMIC-CXR-JPG."""
    refuse_no_folder(root)
    tables = {kind: path for kind in KINDS if (path := find_table(root, kind))}
    release = Release(root / "files", tables)
    if "metadata" not in tables and not next(patients(release.files), None):
        raise DataError(
            f"{root}: not MIMIC-CXR-JPG: neither mimic-cxr-2.0.0-metadata.csv.gz (any version, gzipped or not) "
            "nor a folder files/p10/p10000032 in it",
            hint="give the folder that holds both, such as physionet.org/files/mimic-cxr-jpg/2.1.0",
        )
    index_films(release)
    release.findings.update({name: read_findings(tables[name]) for name in LABELLERS if name in tables})
    if by_hand := find_table(root, BY_HAND_TABLE):
        tables[BY_HAND] = by_hand
        release.findings[BY_HAND] = read_by_hand(by_hand)
    release.parts.update(read_split(tables["split"]) if "split" in tables else {})
    return release


def index_films(release: Release) -> None:
    """Fill in the ids and patients. Raises `DataError` if a study has two patients or an id is of two films."""
    for film in release.films():
        known = release.patients.setdefault(film.study, film.patient)
        if known != film.patient:
            raise DataError(
                f"{release.index}: {film.place}: study {film.study} is of patient {film.patient}, earlier of {known}",
                hint="a study has one patient: correct or remove one of the two",
            )
        (release.repeated if film.dicom_id in release.ids else release.ids).add(film.dicom_id)
    if not release.patients:
        raise DataError(f"{release.index}: no image in it", hint="fetch it again from PhysioNet")
    first: dict[str, ListedFilm] = {}
    for film in release.films() if release.repeated else ():
        if film.dicom_id in release.repeated and (other := first.setdefault(film.dicom_id, film))[1:] != film[1:]:
            raise DataError(
                f"{release.index}: {other.place} and {film.place} list one image, {film.dicom_id}, and differ: "
                f"study {other.study}, view {other.view!r}; study {film.study}, view {film.view!r}",
                hint="correct or remove one of the two",
            )


def patient_folder(patient: int) -> str:
    """Where a patient lies, from the folder `files` on."""
    return f"p{str(patient)[:2]}/p{patient}"


def film_files(folder: Path | str) -> dict[str, str]:
    """Stem -> file name of the films in one folder; nothing if there is no such folder.

    Of a film in several formats it is the first of `SUFFIXES`: as published, before what somebody made of it.
    """
    return {stem: names[0] for stem, names in film_formats(folder).items()}


def film_formats(folder: Path | str) -> dict[str, list[str]]:
    """Stem -> the names of its files, in the order of `SUFFIXES`."""
    found: dict[str, list[str]] = {}
    for name, _ in entries(folder):
        if name.lower().endswith(SUFFIXES) and name[0] != ".":
            found.setdefault(os.path.splitext(name)[0], []).append(name)  # noqa: PTH122 - a Path per film is slow
    for names in found.values():
        names.sort(key=lambda name: SUFFIXES.index(os.path.splitext(name)[1].lower()))  # noqa: PTH122
    return found


def study_folders(files: Path) -> Iterator[tuple[int, int, Path]]:
    """(patient, study, folder) of every study in the tree, in order."""
    for patient, folder in patients(files):
        for name, is_folder in entries(folder):
            if is_folder and (study := re.fullmatch(r"s(\d+)", name)):
                yield patient, int(study[1]), folder / name


def walk_films(files: Path) -> Iterator[ListedFilm]:
    """Every film in the tree; what it says of patient and study is its path."""
    for patient, study, folder in study_folders(files):
        for stem, name in film_files(folder).items():
            yield ListedFilm(str(folder / name), stem, patient, study, "")


def patients(files: Path) -> Iterator[tuple[int, Path]]:
    """(patient, folder) of every patient in the tree, in order."""
    for group, is_group in entries(files):
        if is_group and re.fullmatch(r"p\d+", group):
            for name, is_folder in entries(files / group):
                if is_folder and (patient := re.fullmatch(r"p(\d+)", name)):
                    yield int(patient[1]), files / group / name


def entries(folder: Path | str) -> list[tuple[str, bool]]:
    """(name, is a folder) of what is in a folder, sorted; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_dir()) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be searched ({error.strerror})", hint="mend its permissions") from error
