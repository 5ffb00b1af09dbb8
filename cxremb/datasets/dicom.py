"""A tree of DICOM files: images, studies, patients and views from the tags; no pixel is read."""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxremb.datasets.tree import NOT_GIVEN, all_files, counted, unknown_patients
from cxremb.datasets.views import view_named
from cxremb.errors import DataError, reason
from cxremb.ids import clean_id
from cxremb.images.dicom import HEAD, INSTALL, MAGIC, is_dicom, is_named_dicom, read_tags
from cxremb.store.files import sha256_of
from cxremb.types import Collection, Image, Note, Study

if TYPE_CHECKING:
    from pydicom import Dataset

TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "Modality", "Rows"),
    *("Columns", "NumberOfFrames", "ViewPosition", "PatientOrientation", "SeriesDescription"),
    *("BodyPartExamined", "BurnedInAnnotation"),
)
FILMS = ("CR", "DX")  # the modalities of a radiograph
CHEST = re.compile(r"chest|thora|tora[xk]|lung|rib|pulm|brust|heart|sternum|clavicle", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """What the tags of one image say; None where they say nothing."""

    path: Path
    image_id: str | None
    study_id: str | None
    patient_id: str | None
    view: str | None
    view_raw: str | None  # the tag that names the view; else what ViewPosition says
    modality: str | None
    frames: int
    body_part: str | None
    burned_in: bool  # whether it says that words stand in the picture


def read(folder: Path, name: str, licence: str = NOT_GIVEN, *, citation: str = NOT_GIVEN) -> Collection:
    """Every image at and below `folder` that is a DICOM file, with or without preamble; only headers are read.

    Image: SOPInstanceUID. Study: StudyInstanceUID, else AccessionNumber, else the image. Patient: PatientID, else the
    study. View: ViewPosition, else PatientOrientation, else words of SeriesDescription. There are no labels: bring
    them with `cxremb data label`.
    Where tags contradict each other, something is left out and noted: of one SOPInstanceUID in two files all but the
    first, of one study with two patients all of it. Raises `DataError` without pydicom, or if no image is left.
    """
    headers, left_out = read_headers(folder)
    if not headers:
        instead = "; ".join(f"{note.what}: {note.count:,}" for note in left_out) or "it is empty"
        raise DataError(
            f"{folder}: no DICOM image in it ({instead})",
            hint="check the path; for PNG or JPEG files use `cxremb data add folder DIR --name NAME`",
        )
    unique, notes = without_copies(headers, folder)
    patients, torn = patient_of_each(unique, folder)
    unique = [header for header in unique if ids(header, folder)[1] in patients]
    notes += counted(("studies of several patients, left out", torn, "correct PatientID or StudyInstanceUID in them"))
    if not unique:
        raise DataError(f"{folder}: no study of one patient in it: {torn[0]}", hint=notes[-1].hint)
    return Collection(
        name=name,
        studies=[Study(study, patient or study) for study, patient in patients.items()],
        images=[
            Image(image, study, patients[study] or study, header.view, header.path, header.view_raw)
            for header in unique
            for image, study in [ids(header, folder)]
        ],
        licence=licence,
        citation=citation,
        source={"folder": str(folder.resolve())},
        notes=[
            *left_out,
            *notes,
            *header_notes(unique),
            *patient_notes(patients),
        ],
    )


def read_headers(folder: Path) -> tuple[list[Header], list[Note]]:
    """The header of each image, in the order of the paths, and notes on the files that are none."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise DataError("DICOM files need pydicom", hint=INSTALL) from error
    headers: list[Header] = []
    foreign: list[str] = []
    unread: list[str] = []
    damaged: list[str] = []
    imageless: list[str] = []
    for path in all_files(folder):
        try:
            if path.exists() and not path.is_file():
                raise OSError("not a file")  # a pipe would never end
            with path.open("rb") as file:
                head = file.read(HEAD)
            has_preamble = head[128:132] == MAGIC
            header = read_header(path) if is_dicom(head) or is_named_dicom(path.name) else None
        except OSError as error:
            unread.append(f"{path} ({error.strerror or reason(error)})")
            continue
        except Exception as error:  # the file is counted
            (damaged if has_preamble else foreign).append(f"{path} ({reason(error)})" if has_preamble else str(path))
            continue
        if header:
            headers.append(header)
        else:
            (imageless if has_preamble else foreign).append(str(path))
    return headers, counted(
        (
            "files that are not DICOM, left out",
            foreign,
            "a DICOM file has DICM at byte 128, or begins with group 0002 or 0008, or is called .dcm",
        ),
        ("files that cannot be read, left out", unread, "mend their permissions, or fetch them again"),
        ("DICOM files whose header cannot be read, left out", damaged, "replace or remove them"),
        ("DICOM objects without an image (reports, DICOMDIR), left out", imageless, ""),
    )


def read_header(path: Path) -> Header | None:
    """What the tags say; None if the file is of a kind without image. Raises anything at all if it is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an ID or a date against the rules of its type is still what it is
        with path.open("rb") as file:
            tags = read_tags(file, TAGS)
        kind = str(getattr(tags.file_meta.get("MediaStorageSOPClassUID") or tags.get("SOPClassUID"), "name", ""))
        if not (tags.get("Rows") and tags.get("Columns")):
            if "Image Storage" in kind or not kind:
                raise DataError(f"{kind or 'no class'}, cut off before the size of its image")
            return None
        view, view_raw = view_of(tags)
        return Header(
            path=path,
            image_id=clean_id(text(tags, "SOPInstanceUID") or "") or None,
            study_id=clean_id(text(tags, "StudyInstanceUID") or text(tags, "AccessionNumber") or "") or None,
            patient_id=clean_id(text(tags, "PatientID") or "") or None,
            view=view,
            view_raw=view_raw,
            modality=text(tags, "Modality"),
            frames=int(tags.get("NumberOfFrames") or 1),
            body_part=text(tags, "BodyPartExamined"),
            burned_in=text(tags, "BurnedInAnnotation") == "YES",
        )


def text(tags: "Dataset", name: str) -> str | None:
    """The tag's text without the blanks and zero bytes that pad it; None if nothing is left."""
    return str(tags.get(name) or "").strip(" \0") or None


def view_of(tags: "Dataset") -> tuple[str | None, str | None]:
    """(view, the words that say so): of ViewPosition, else of PatientOrientation, else of SeriesDescription."""
    position, series = text(tags, "ViewPosition"), text(tags, "SeriesDescription")
    if view := view_named(position):
        return view, position
    axes = tags.get("PatientOrientation")
    if view := view_by_axes(axes):
        return view, position or "\\".join(map(str, axes))
    return view_named(series), position or (series if view_named(series) else None)


def view_by_axes(axes: Any) -> str | None:
    """The view by where the rows of the image point: to left or right, or to front or back (PS3.3 C.7.6.1.1.1)."""
    if not axes or isinstance(axes, str) or len(axes) != 2 or str(axes[1])[:1] not in {"F", "H"}:
        return None
    return {"L": "Frontal", "R": "Frontal", "A": "Lateral", "P": "Lateral"}.get(str(axes[0])[:1])


def ids(header: Header, folder: Path) -> tuple[str, str]:
    """Image and study; what the tags leave out is the path below `folder`, and the image."""
    image = header.image_id or header.path.relative_to(folder).as_posix()
    return image, header.study_id or image


def without_copies(headers: Sequence[Header], folder: Path) -> tuple[list[Header], list[Note]]:
    """The first file of each image, and notes on the others: copies of it, or files with its id and other contents."""
    kept: dict[str, Header] = {}
    copies: list[str] = []
    others: list[str] = []
    for header in headers:
        first = kept.setdefault(ids(header, folder)[0], header)
        if first is not header:
            same = sha256_of(first.path) == sha256_of(header.path)
            (copies if same else others).append(f"{header.path} is {first.path}" if same else str(header.path))
    taken = "the first by path was kept"
    return list(kept.values()), counted(
        ("copies of an image that is already there, left out", copies, taken),
        (
            "files with the SOPInstanceUID of another and other contents, left out",
            others,
            f"{taken}: see which is right",
        ),
    )


def patient_of_each(headers: Sequence[Header], folder: Path) -> tuple[dict[str, str | None], list[str]]:
    """(study -> patient, from whichever of its images names one; the studies of which two name different ones)."""
    found: Mapping[str, dict[str, Path]] = defaultdict(dict)
    for header in headers:
        named = found[ids(header, folder)[1]]
        if header.patient_id:
            named.setdefault(header.patient_id, header.path)
    torn = {study: named for study, named in found.items() if len(named) > 1}
    return {study: next(iter(named), None) for study, named in found.items() if study not in torn}, [
        f"{study} ({', '.join(f'{who} in {path}' for who, path in named.items())})" for study, named in torn.items()
    ]


def header_notes(headers: Sequence[Header]) -> list[Note]:
    """What the tags of the images leave open."""

    def where(chosen: Iterator[bool]) -> list[str]:
        return [str(header.path) for header, yes in zip(headers, chosen, strict=True) if yes]

    return counted(
        (
            "images without SOPInstanceUID",
            where(header.image_id is None for header in headers),
            "their id is the path below the folder: do not move them",
        ),
        (
            "images without StudyInstanceUID and AccessionNumber",
            where(header.study_id is None for header in headers),
            "each counts as a study of its own",
        ),
        (
            "images whose view is not known",
            where(header.view is None for header in headers),
            "ViewPosition, PatientOrientation and SeriesDescription do not say",
        ),
        (
            "images of several frames",
            where(header.frames > 1 for header in headers),
            "embedding records them as failures: export the frame you mean",
        ),
        (
            f"images of another modality than {' or '.join(FILMS)}",
            where(header.modality not in FILMS for header in headers),
            "kept; remove them if they are not radiographs",
        ),
        (
            "images of another part of the body",
            [
                f"{header.path} ({header.body_part})"
                for header in headers
                if header.body_part and not CHEST.search(header.body_part)
            ],
            "kept; BodyPartExamined says so: remove them if they are not of the chest",
        ),
        (
            "images that say that words are burned into them",
            where(header.burned_in for header in headers),
            "kept; BurnedInAnnotation is YES: look whether a name can be read, and cover it before you share films",
        ),
    )


def patient_notes(patients: Mapping[str, str | None]) -> list[Note]:
    """Whose patient is not known, and whether everybody has one name."""
    unknown = sum(patient is None for patient in patients.values())
    names = set(patients.values()) - {None}
    notes = [unknown_patients(unknown, "studies")] if unknown else []
    if len(names) == 1 and len(patients) - unknown > 1:
        hint = "if de-identification wrote it, give each patient an id of its own: folds cannot be made of one patient"
        notes.append(Note(f"studies that all carry one PatientID, {names.pop()}", len(patients) - unknown, hint=hint))
    return notes
