"""The free-text reports of MIMIC-CXR, found in a folder or in the .zip as published."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from cxremb.datasets.mimic_release import entries, patient_folder, patients
from cxremb.errors import DataError


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
