"""The folders of MIMIC-CXR: p10/p10000032/s50414267/<dicom_id>.jpg, and p10/p10000032/s50414267.txt for its report."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cxremb.datasets.mimic_tables import Listed
from cxremb.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")  # as published, resized by users, or of MIMIC-CXR itself


def patient_folder(patient: int) -> str:
    """Where a patient lies, from the folder `files` on."""
    return f"p{str(patient)[:2]}/p{patient}"


def film_files(folder: Path | str) -> dict[str, str]:
    """Stem -> file name of the films in one folder; nothing if there is no such folder."""
    names = sorted(name for name, _ in entries(folder) if name.lower().endswith(SUFFIXES) and name[0] != ".")
    return {os.path.splitext(name)[0]: name for name in names}  # noqa: PTH122 - a Path per film is slow


def study_folders(files: Path) -> Iterator[tuple[int, int, Path]]:
    """(patient, study, folder) of every study in the tree, in order."""
    for patient, folder in patients(files):
        for name, is_folder in entries(folder):
            if is_folder and (study := re.fullmatch(r"s(\d+)", name)):
                yield patient, int(study[1]), folder / name


def walk_films(files: Path) -> Iterator[Listed]:
    """Every film in the tree; what it says of patient and study is its path."""
    for patient, study, folder in study_folders(files):
        for stem, name in film_files(folder).items():
            yield Listed(str(folder / name), stem, patient, study, "")


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


class Reports(Protocol):
    """Where the texts of reports lie."""

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there."""

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""


class ReportFolder:
    """Reports as files. `root` is the folder that holds p10, p11 ..."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there. Raises `DataError` if it cannot be read."""
        path = self.root / patient_folder(patient) / f"s{study}.txt"
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})", hint="mend its permissions") from error

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""
        for patient, folder in patients(self.root):
            for name, _ in entries(folder):
                if study := re.fullmatch(r"s(\d+)\.txt", name):
                    yield patient, int(study[1])


class ReportArchive:
    """Reports in the .zip as published, read in place."""

    NAME = re.compile(r"(?P<root>(?:.*/)?)p\d+/p(?P<patient>\d+)/s(?P<study>\d+)\.txt")

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)  # open as long as its reports are read
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{path}: a damaged or incomplete archive ({error})", hint="fetch it again") from error
        first = next((found for name in self.archive.namelist() if (found := self.NAME.fullmatch(name))), None)
        if first is None:
            raise DataError(f"{path}: no report in it", hint="give mimic-cxr-reports.zip of MIMIC-CXR")
        self.root = first["root"]

    def read(self, patient: int, study: int) -> bytes | None:
        """One report, or None if it is not there. Raises `DataError` if the archive is damaged at it."""
        name = f"{self.root}{patient_folder(patient)}/s{study}.txt"
        try:
            return self.archive.read(name)
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:  # RuntimeError: encrypted
            raise DataError(f"{self.path}: {name}: cannot be read ({error})", hint="fetch the archive again") from error

    def listed(self) -> Iterator[tuple[int, int]]:
        """(patient, study) of every report there is."""
        for name in self.archive.namelist():
            if name.startswith(self.root) and (found := self.NAME.fullmatch(name)):
                yield int(found["patient"]), int(found["study"])


def open_reports(path: Path) -> Reports:
    """The reports in a folder, or in a .zip of it. Raises `DataError` if there is none."""
    if path.is_file():
        return ReportArchive(path)
    for root in (path, path / "files", path / "mimic-cxr-reports" / "files"):
        if next(patients(root), None):
            return ReportFolder(root)
    raise DataError(
        f"{path}: no report in it (looked for p10/p10000032/s50414267.txt, also below files and mimic-cxr-reports)",
        hint="give mimic-cxr-reports.zip of MIMIC-CXR, or the folder it unpacks to",
    )
