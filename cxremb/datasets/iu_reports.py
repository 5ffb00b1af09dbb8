"""The reports of Indiana University Chest X-rays, from the Kaggle CSV or from the Open-i XML."""

import gzip
import re
import tarfile
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from cxremb.cells import Cells
from cxremb.datasets.tree import refuse_no_folder
from cxremb.datasets.views import view_named
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.tablefile import open_table
from cxremb.types import Image, Study

SECTIONS = ("indication", "comparison", "findings", "impression")
REPORT_COLUMNS = ("uid", "MeSH", "Problems", *SECTIONS)
PROJECTION_COLUMNS = ("uid", "filename", "projection")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff")
# What a cell says when it says nothing: pandas writes "nan"; a spreadsheet turned three indications that begin
# with "+" into "#NAME?". "None." stays: a radiologist wrote it.
NO_TEXT = ("", "nan", "#name?")
FETCH_AGAIN = "fetch it again: `cxremb data fetch iu_xray`, or from where you got it"


def read_kaggle_reports(path: Path) -> list[Study]:
    """One study per row of `indiana_reports.csv`, in its order; a uid that is listed twice comes twice.

    Raises `DataError`, naming the file, if it is missing, empty, not UTF-8, ragged, or lacks a column.
    """
    return [
        Study(
            study_id=row["uid"],
            patient_id=row["uid"],
            sections=present({section: row[section] for section in SECTIONS}),
            terms=terms_of(mesh=row["MeSH"].split(";"), problems=row["Problems"].split(";")),
        )
        for row in read_rows(path, REPORT_COLUMNS)
    ]


def read_projections(path: Path) -> list[Image]:
    """The films that `indiana_projections.csv` lists, without a path. View: Frontal or Lateral."""
    return [
        Image(
            canonical_id(row["filename"]),
            row["uid"],
            row["uid"],
            view_named(row["projection"]),
            None,
            row["projection"] or None,
        )
        for row in read_rows(path, PROJECTION_COLUMNS)
    ]


def read_openi_reports(path: Path) -> tuple[list[Study], list[Image]]:
    """The studies and the films they list, from a folder of XML (searched recursively) or a .tgz of it.

    The archive is read in place. Ordered by uid. No view: captions describe the whole examination, never one film.
    Raises `DataError`, naming the file, if one cannot be read.
    """
    documents = read_archive(path) if is_archive(path) else read_folder(path)
    parsed = sorted((parse_report(content, name) for name, content in documents), key=lambda pair: by_number(pair[0]))
    if not parsed:
        raise DataError(
            f"{path}: no .xml report in it", hint="give the folder or .tgz of XML reports, or indiana_reports.csv"
        )
    return [study for study, _ in parsed], [image for _, images in parsed for image in images]


def canonical_id(name: str) -> str:
    """The Kaggle stem of a film's name in either layout: `<uid>_IM-<series>-<image>`.

    `1900_IM-0584-1001.dcm.png` and `CXR1900_IM-0584-1001.png` are one film. So are `1_IM-0001-3001.dcm.png` and
    `CXR1_1_IM-0001-3001`: Open-i put its uid before a name that already began with it.
    """
    stem = name
    while stem.lower().endswith(IMAGE_SUFFIXES):
        stem = stem.rpartition(".")[0]
    openi = re.fullmatch(r"CXR(\d+)_(.+)", stem)
    if openi is None:
        return stem
    uid, rest = openi.groups()
    return rest if rest.startswith(f"{uid}_") else f"{uid}_{rest}"


def uid_of(image_id: str) -> str:
    """The uid that a canonical id begins with; the whole id if it begins with none."""
    found = re.match(r"(\d+)_", image_id)
    return found[1] if found else image_id


def is_archive(path: Path) -> bool:
    """Whether the name says that `path` is a gzipped tar."""
    return path.name.lower().endswith((".tgz", ".tar.gz"))


def present(sections: dict[str, str]) -> dict[str, str]:
    """The sections that hold text, stripped."""
    stripped = {section: text.strip() for section, text in sections.items()}
    return {section: text for section, text in stripped.items() if text.lower() not in NO_TEXT}


def terms_of(**vocabularies: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The terms per vocabulary, stripped; a vocabulary without terms is absent."""
    kept = {name: tuple(term.strip() for term in terms if term.strip()) for name, terms in vocabularies.items()}
    return {name: terms for name, terms in kept.items() if terms}


def by_number(study: Study) -> tuple[int, str]:
    """Sort key: 2 before 10, and ids that are no numbers last."""
    uid = study.study_id
    return (int(uid), uid) if uid.isdecimal() else (10**12, uid)


def read_rows(path: Path, columns: Sequence[str]) -> list[Cells]:
    """The rows of a CSV in UTF-8. Raises `DataError` if it lacks a column, has no row, or one without a uid."""
    table = open_table(path, encoding="utf-8", delimiter=",", remedy=FETCH_AGAIN)
    table.require(columns, "--reports takes indiana_reports.csv, --projections indiana_projections.csv: swapped?")
    rows = []
    for line, cells in table.rows(columns):
        cells["uid"] = clean_id(cells["uid"])
        if not cells["uid"]:
            raise DataError(f"{path}: line {line} has no uid", hint="give the row its uid, or remove it")
        rows.append(cells)
    if not rows:
        raise DataError(f"{path}: a header and no rows", hint=FETCH_AGAIN)
    return rows


def read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every XML file in `folder` and below."""
    refuse_no_folder(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".xml" and not path.name.startswith("."):  # ._1.xml: left by a Mac's archiver
            try:
                yield str(path), path.read_bytes()
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror})", hint="mend or remove it") from error


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every XML file in a .tgz. Raises `DataError` if it is damaged or ends early."""
    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as archive:
            for member in archive:
                name = Path(member.name)
                if member.isfile() and name.suffix.lower() == ".xml" and not name.name.startswith("."):
                    file = archive.extractfile(member)
                    yield f"{path}: {member.name}", file.read() if file else b""
            while unzipped.read(1 << 20):  # to the end: only there does gzip compare its checksum
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: a damaged or incomplete archive ({error})", hint=FETCH_AGAIN) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror})", hint="check the path given to --reports"
        ) from error


def parse_report(content: bytes, name: str) -> tuple[Study, list[Image]]:
    """One XML report. Raises `DataError`, naming it, if it is not XML or has no uId."""
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter of an encoding that is not known
        raise DataError(f"{name}: not readable as XML ({error})", hint=f"{FETCH_AGAIN}, or remove the file") from error
    uid_tag = root.find("uId")
    uid = "" if uid_tag is None else uid_tag.get("id", "").removeprefix("CXR").strip()
    if not uid:
        raise DataError(f"{name}: no uId: not an Open-i report", hint="remove the file from the folder of reports")
    texts: dict[str, str] = {}
    for tag in root.iter("AbstractText"):
        label = tag.get("Label", "").lower()
        if label in SECTIONS:
            texts[label] = f"{texts.get(label, '')} {''.join(tag.itertext())}".strip()
    mesh = [tag.text or "" for tag in root.findall("MeSH/major")]
    terms = terms_of(
        mesh=mesh,
        problems=[term.partition("/")[0] for term in mesh],  # what the Kaggle column of that name holds
        automatic=[tag.text or "" for tag in root.findall("MeSH/automatic")],
    )
    films = [Image(canonical_id(tag.get("id", "")), uid, uid, None, None) for tag in root.findall("parentImage")]
    return Study(uid, uid, present(texts), terms), films
