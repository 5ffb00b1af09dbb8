"""A tree of DICOM files: ids, patients and views from the tags of real files that pydicom writes."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save_film
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    generate_uid,
)

from cxremb.catalog import add_collection
from cxremb.datasets.dicom import read
from cxremb.errors import DataError
from cxremb.images import decode_file
from cxremb.types import Collection

FILM = {"Modality": "DX", "PatientID": "P1", "StudyInstanceUID": "1.2.3", "ViewPosition": "PA"}


def write(path: Path, seed: int = 0, kind: str = ComputedRadiographyImageStorage, **tags: Any) -> str:
    """A film of 6 x 8 pixels, one frame; its SOPInstanceUID. A tag of None is left out."""
    uid = generate_uid(entropy_srcs=[str(path)])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    shape = {"Rows": 6, "Columns": 8, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1}
    image = {**shape, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    every = {"SOPClassUID": kind, "SOPInstanceUID": uid, **FILM, **image, **tags}
    for name, value in every.items():
        if value is not None:
            setattr(file, name, value)
    if every["Rows"]:
        file.PixelData = np.random.default_rng(seed).integers(0, 256, 48, dtype=np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return str(every["SOPInstanceUID"])


def notes(collection: Collection) -> dict[str, int]:
    return {note.what: note.count for note in collection.notes}


def test_ids_from_the_tags_whatever_the_file_is_called(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "IM0001", 1)
    second = write(tmp_path / "b" / "x.dcm", 2, ViewPosition="LL")
    third = write(tmp_path / "b" / "y.strange.suffix", 3, PatientID="P2", StudyInstanceUID=None, AccessionNumber="A7")
    got = read(tmp_path, "mine")
    assert {(study.study_id, study.patient_id) for study in got.studies} == {("1.2.3", "P1"), ("A7", "P2")}
    assert {(image.image_id, image.study_id, image.patient_id, image.view) for image in got.images} == {
        (first, "1.2.3", "P1", "PA"),
        (second, "1.2.3", "P1", "Lateral"),
        (third, "A7", "P2", "PA"),
    }
    assert notes(got) == {}
    added = add_collection(got, tmp_path / "root")
    assert added.counts == {"studies": 2, "patients": 2, "images": 3, "images_present": 3, "reports_with_text": 0}
    assert set(added.dataset.images["width"].to_pylist()) == {8}
    assert decode_file(tmp_path / "a" / "IM0001")[0].shape == (6, 8)


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LATERAL"}, "Lateral"),
        ({"ViewPosition": "RL", "SeriesDescription": "PA"}, "Lateral"),
        ({"PatientOrientation": ["L", "F"]}, "Frontal"),
        ({"PatientOrientation": ["R", "F"]}, "Frontal"),
        ({"PatientOrientation": ["P", "F"]}, "Lateral"),
        ({"PatientOrientation": ["A", "F"], "SeriesDescription": "Chest PA"}, "Lateral"),
        ({"PatientOrientation": ["A", "R"]}, None),  # an axial slice
        ({"SeriesDescription": "W Chest Lat."}, "Lateral"),
        ({"SeriesDescription": "Thorax a.p.; AP supine"}, "AP supine"),
        ({"SeriesDescription": "Chest PA and LAT"}, None),
        ({"SeriesDescription": "Patella"}, None),  # no view within a word
        ({}, None),
    ],
)
def test_view(tmp_path: Path, tags: dict[str, Any], view: str | None) -> None:
    write(tmp_path / "x", **{"ViewPosition": None, **tags})
    got = read(tmp_path, "mine")
    assert [image.view for image in got.images] == [view]
    assert notes(got) == ({} if view else {"images whose view is not known": 1})


def test_what_the_tags_leave_out(tmp_path: Path) -> None:
    no_patient = write(tmp_path / "1.dcm", PatientID="  ", StudyInstanceUID="1.5")
    no_study = write(tmp_path / "2.dcm", StudyInstanceUID=None, PatientID=None)
    other = write(tmp_path / "3.dcm", PatientID=None, StudyInstanceUID="1.6")
    named = write(tmp_path / "4.dcm", PatientID="P6", StudyInstanceUID="1.6")  # names the patient of 3.dcm as well
    frames = write(tmp_path / "5.dcm", PatientID="P7", StudyInstanceUID="1.7", NumberOfFrames=2, Modality="RF")
    got = read(tmp_path, "mine")
    assert {(image.image_id, image.study_id, image.patient_id) for image in got.images} == {
        (no_patient, "1.5", "1.5"),
        (no_study, no_study, no_study),
        (other, "1.6", "P6"),
        (named, "1.6", "P6"),
        (frames, "1.7", "P7"),
    }
    assert notes(got) == {
        "images without StudyInstanceUID and AccessionNumber": 1,
        "images of several frames": 1,
        "images of another modality than CR or DX": 1,
        "studies whose patient is not known: each counts as a patient of its own": 2,
    }


def test_files_that_are_no_image(tmp_path: Path) -> None:
    write(tmp_path / "film.dcm")
    shutil.copy(tmp_path / "film.dcm", tmp_path / "again")
    write(tmp_path / "report.dcm", kind=BasicTextSRStorage, Rows=None, Columns=None)
    write(tmp_path / "DICOMDIR", kind=MediaStorageDirectoryStorage, Rows=None, Columns=None)
    save_film(tmp_path / "film.png", 1)
    write(tmp_path / "cut.dcm", PatientID="P9")
    whole = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:137])
    (tmp_path / "cut2.dcm").write_bytes(whole[: whole.index(b"P9") + 2])
    got = read(tmp_path, "mine")
    assert len(list(got.images)) == 1
    assert notes(got) == {
        "files that are not DICOM, left out": 1,
        "DICOM files whose header cannot be read, left out": 2,
        "DICOM objects without an image (reports, DICOMDIR), left out": 2,
        "copies of an image that is already there, left out": 1,
    }


def test_contradictions_are_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm", 1, SOPInstanceUID="1.9")
    write(tmp_path / "2.dcm", 2, SOPInstanceUID="1.9", PatientID="P7")
    for who in ("P3", "P4"):
        write(tmp_path / f"torn{who}.dcm", StudyInstanceUID="1.5", PatientID=who)
    alone = write(tmp_path / "3.dcm", 3, StudyInstanceUID="1.6", PatientID="P5")
    got = read(tmp_path, "mine")
    assert {image.image_id: (image.patient_id, image.path) for image in got.images} == {
        "1.9": ("P1", tmp_path / "1.dcm"),
        alone: ("P5", tmp_path / "3.dcm"),
    }
    assert {study.study_id for study in got.studies} == {"1.2.3", "1.6"}
    assert {note.what: note.examples for note in got.notes} == {
        "files with the SOPInstanceUID of another and other contents, left out": (str(tmp_path / "2.dcm"),),
        "studies of several patients, left out": (
            f"1.5 (P3 in {tmp_path / 'tornP3.dcm'}, P4 in {tmp_path / 'tornP4.dcm'})",
        ),
    }
    for name in ("1.dcm", "2.dcm", "3.dcm"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"no study of one patient in it: 1\.5 .P3 in .*tornP3\.dcm, P4 in"):
        read(tmp_path, "mine")


def test_films_of_other_parts_and_films_with_words_in_them_are_noted(tmp_path: Path) -> None:
    for number, part in enumerate(("CHEST", "THORAX_PA", "TORAX", "RIBS", "", None, "HAND", "ABDOMEN")):
        write(
            tmp_path / f"{number}.dcm", number, BodyPartExamined=part, BurnedInAnnotation="YES" if number == 2 else "NO"
        )
    got = read(tmp_path, "mine")
    assert len(list(got.images)) == 8
    assert {note.what: note.examples for note in got.notes} == {
        "images of another part of the body": (f"{tmp_path / '6.dcm'} (HAND)", f"{tmp_path / '7.dcm'} (ABDOMEN)"),
        "images that say that words are burned into them": (str(tmp_path / "2.dcm"),),
    }


def test_one_name_for_everybody(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / str(number), StudyInstanceUID=f"1.{number}", PatientID="ANON")
    assert notes(read(tmp_path, "mine")) == {"studies that all carry one PatientID, ANON": 3}


def test_no_image_at_all(tmp_path: Path) -> None:
    save_film(tmp_path / "film.png", 1)
    with pytest.raises(DataError, match=r"no DICOM image in it .files that are not DICOM, left out: 1") as caught:
        read(tmp_path, "mine")
    assert "cxremb data add folder" in caught.value.hint


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "1.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match="need pydicom") as caught:
        read(tmp_path, "mine")
    assert caught.value.hint == 'pip install "cxremb[dicom]"'


def test_files_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    """Links to nowhere, or round and round, and a pipe: none of them stops the others."""
    write(tmp_path / "film.dcm")
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    os.mkfifo(tmp_path / "pipe.dcm")
    got = read(tmp_path, "mine")
    assert len(list(got.images)) == 1
    assert notes(got) == {"files that cannot be read, left out": 3}
