"""Indiana University Chest X-rays (Open-i), in the Kaggle layout or in its own: reports, list and files, paired."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cxremb.datasets.dicom import read_header
from cxremb.datasets.iu_labels import LEAST, NORMAL_ABNORMAL, label_studies
from cxremb.datasets.iu_reports import (
    IMAGE_SUFFIXES,
    canonical_id,
    is_archive,
    read_kaggle_reports,
    read_openi_reports,
    read_projections,
    uid_of,
)
from cxremb.datasets.tree import all_files, counted, refuse_no_folder
from cxremb.errors import DataError
from cxremb.images.dicom import INSTALL
from cxremb.store.files import sha256_of
from cxremb.types import Collection, Image, Note, Study

NAME = "iu_xray"
LICENCE = "CC BY-NC-ND 4.0"
CITATION = (
    "Demner-Fushman D, Kohli MD, Rosenman MB, et al. Preparing a collection of radiology examinations for "
    "distribution and retrieval. J Am Med Inform Assoc 2016;23(2):304-310. doi:10.1093/jamia/ocv080"
)


def read(
    reports: Path, *, images: Path | None = None, projections: Path | None = None, least: int = LEAST
) -> Collection:
    """What pairs, and notes on what does not. A patient is a uid: the collection has one study of each.

    Texts are as they were written, `XXXX` (a word that was removed to protect the patient) included.

    reports: indiana_reports.csv, or the folder or .tgz of Open-i XML.
    images: a folder, searched recursively; None adds reports and lists alone.
    projections: indiana_projections.csv, which gives views; with XML reports it is optional. DICOM files
    that no list gives a view have it from their tags.
    least: how many studies carry a term, for it to be a label of the set `findings`.
    Raises `DataError`, naming the file, for what cannot be read or contradicts itself.
    """
    reported, listed, layout = read_reports(reports)
    studies, notes = merge_studies(reported, reports)
    rows = merge_listed([*listed, *(read_projections(projections) if projections else ())])
    files, found_notes = find_films(images) if images else ({}, [])
    films, view_notes = with_tagged_views(pair(rows, files))
    orphans = [image for image in films if image.study_id not in studies]
    notes += [
        *found_notes,
        *view_notes,
        *pairing_notes(rows, files, orphans),
        *study_notes(studies.values(), films),
    ]
    for image in orphans:  # kept: a film without a report can still be encoded and searched
        studies.setdefault(image.study_id, Study(image.study_id, image.patient_id))
    labelled, label_sets, label_notes = label_studies(studies.values(), least)
    given = {"images": images, "reports": reports, "projections": projections}
    source = {"adapter": NAME, "layout": layout, **{name: str(path.resolve()) for name, path in given.items() if path}}
    return Collection(
        NAME,
        labelled,
        films,
        LICENCE,
        CITATION,
        source,
        [*notes, *label_notes],
        label_sets=label_sets,
        default_label_set=NORMAL_ABNORMAL,
    )


def read_reports(path: Path) -> tuple[list[Study], list[Image], str]:
    """Studies, the films they list, and the layout's name. Raises `DataError` if `path` is of neither layout."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", hint="check the path given to --reports")
    if path.is_dir() or is_archive(path):
        return *read_openi_reports(path), "openi"
    if path.suffix.lower() == ".csv":
        return read_kaggle_reports(path), [], "kaggle"
    raise DataError(
        f"{path}: neither a .csv, a .tgz nor a folder", hint="give indiana_reports.csv or NLMCXR_reports.tgz"
    )


def merge_studies(studies: Iterable[Study], path: Path) -> tuple[dict[str, Study], list[Note]]:
    """Each study once, by id. Raises `DataError` if two say different things under one id."""
    merged: dict[str, Study] = {}
    repeated = []
    for study in studies:
        if merged.setdefault(study.study_id, study) != study:
            raise DataError(
                f"{path}: two studies with one id, {study.study_id}, and their contents differ",
                hint="remove one of the two, or give each its own uid",
            )
        if merged[study.study_id] is not study:
            repeated.append(study.study_id)
    return merged, counted(("reports listed more than once, with the same content", repeated, "kept once"))


def merge_listed(listed: Iterable[Image]) -> dict[str, Image]:
    """Each listed film once, by id; a view is taken from whichever list gives one.

    Raises `DataError` if two lists disagree on a film's study or view.
    """
    merged: dict[str, Image] = {}
    for image in listed:
        known = merged.setdefault(image.image_id, image)
        if known.view is None:
            merged[image.image_id] = image
        if known.study_id != image.study_id or len({known.view, image.view} - {None}) > 1:
            raise DataError(
                f"image {image.image_id} is listed twice: as study {known.study_id}, view {known.view}, "
                f"and as study {image.study_id}, view {image.view}",
                hint="correct the list of projections: a film belongs to one study and has one view",
            )
    return merged


def find_films(folder: Path) -> tuple[dict[str, Path], list[Note]]:
    """The image files in `folder` and below, by canonical id.

    Raises `DataError` if there is no such folder, no image in it, or one id with two different files.
    """
    refuse_no_folder(folder)
    films: dict[str, Path] = {}
    copies = []
    for path in all_files(folder):
        if not path.name.lower().endswith(IMAGE_SUFFIXES) or path.name.startswith("."):  # ._x.png: by a Mac's archiver
            continue
        first = films.setdefault(canonical_id(path.name), path)
        if first is path:
            continue
        if sha256_of(first) != sha256_of(path):
            raise DataError(
                f"two different files are the same image: {first} and {path}",
                hint="keep one of them, or point --images at the folder of one layout",
            )
        copies.append(f"{path} is {first}")
    if not films:
        raise DataError(
            f"{folder}: no image in it (looked for {', '.join(IMAGE_SUFFIXES)}, in folders below too)",
            hint="check the path given to --images, or leave it out to add the reports alone",
        )
    return films, counted(("copies of an image that is already there", copies, "the first was kept"))


def with_tagged_views(images: Sequence[Image]) -> tuple[list[Image], list[Note]]:
    """The images, DICOM films without a view with the one that their tags name; a note if pydicom is missing."""
    wanting = [image.path for image in images if lacks_view(image)]
    if wanting and find_spec("pydicom") is None:
        what, names = "DICOM files whose view was not read: pydicom is missing", [str(path) for path in wanting[:10]]
        return list(images), [Note(what, len(wanting), names, f"{INSTALL}, or give --projections")]
    return [with_tags(image) if lacks_view(image) else image for image in images], []


def lacks_view(image: Image) -> bool:
    """Whether only the file's own tags can tell the view."""
    return image.view is None and image.path is not None and image.path.suffix.lower() == ".dcm"


def with_tags(image: Image) -> Image:
    """The image with the view that its own tags name, if they do and can be read."""
    try:
        header = read_header(image.path) if image.path else None
    except Exception:  # pydicom raises anything at all on damaged bytes; the file is counted when it is hashed
        return image
    return replace(image, view=header.view, view_raw=header.view_raw) if header else image


def pair(listed: Mapping[str, Image], files: Mapping[str, Path]) -> list[Image]:
    """The listed films, each with its file if it is here, then the files that no list names."""
    paired = [replace(image, path=files.get(image.image_id)) for image in listed.values()]
    unlisted = sorted(files.keys() - listed.keys())
    return paired + [Image(name, uid_of(name), uid_of(name), None, files[name]) for name in unlisted]


def pairing_notes(listed: Mapping[str, Image], files: Mapping[str, Path], orphans: Sequence[Image]) -> list[Note]:
    """What the list and the folder do not have in common, and the films without a report."""
    lost = {image.image_id for image in orphans}
    unlisted = sorted(files.keys() - listed.keys() - lost) if listed else []
    return counted(
        (
            "listed images that are not on disk",
            [name for name in listed if name not in files],
            "they stay listed; put the files under the --images folder and add again",
        ),
        (
            "images without a report",
            [str(image.path or image.image_id) for image in orphans],
            "kept without a label; check that --reports is the whole table",
        ),
        (
            "images on disk that no list names",
            [str(files[name]) for name in unlisted],
            "added without a view; list them in --projections to give them one",
        ),
    )


def study_notes(studies: Iterable[Study], films: Sequence[Image]) -> list[Note]:
    """The reports without a film, the reports without text, and the films without a view."""
    studies = list(studies)
    pictured = {image.study_id for image in films}
    return counted(
        (
            "reports without an image",
            [study.study_id for study in studies if study.study_id not in pictured],
            "kept: their text can be encoded",
        ),
        (
            "reports with neither findings nor impression",
            [study.study_id for study in studies if not {"findings", "impression"} & study.sections.keys()],
            "kept: they have no text vector for findings+impression",
        ),
        (
            "images whose view is not known",
            [image.image_id for image in films if image.view is None],
            "give --projections indiana_projections.csv, which lists the views",
        ),
    )
