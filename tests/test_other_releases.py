"""CheXpert Plus, and what is given as another release than it is: tables, films and files beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import save_film
from mimic import build_tree
from released import (
    PLUS_HEADER,
    chexpert_row,
    chexpert_tree,
    nih_tree,
    plus_label,
    plus_row,
    plus_tree,
    rsna_tree,
    write,
)

from cxremb.catalog import Added, add_collection
from cxremb.datasets import brax, chexpert, chexpert_plus, mimic_cxr, nih, padchest, rsna, siim, vindr
from cxremb.errors import DataError
from cxremb.labels import label_from_readings
from cxremb.store.sql import query
from cxremb.types import Collection, LabelSet, Policy


def added(collection: Collection, root: Path) -> Added:
    return add_collection(collection, root)


def rows(found: Added, text: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in query(found.dataset.paths.root, text).to_pylist()]


def notes(found: Added) -> dict[str, int]:
    return {note.what: note.count for note in found.notes}


def test_chexpert_plus_has_reports_people_and_labels_of_three_texts(tmp_path: Path) -> None:
    found = added(chexpert_plus.read(plus_tree(tmp_path / "plus")), tmp_path / "root")
    one, two, valid = "patient00001/study1", "patient00002/study1", "patient64541/study1"
    assert rows(found, "select image_id, patient_id, view, path is not null from images order by 1") == [
        (f"{one}/view1_frontal", "patient00001", "AP", True),
        (f"{one}/view2_lateral", "patient00001", "Lateral", False),
        (f"{two}/view1_frontal", "patient00002", "AP", False),
        ("patient00003/study1/view1_frontal", "patient00003", "AP", False),
        (f"{valid}/view1_frontal", "patient64541", "AP", False),
    ]
    assert rows(found, "select study_id, section, role, text from reports order by 1, 2") == [
        (one, "impression", "label source", "1. Edema."),
        (one, "indication", "before reading", "Cough."),
        (two, "report", "label source", "Nothing."),
    ]
    assert rows(found, "select study_id, label_set, label, value from readings order by all") == [
        (one, "chexbert_impression", "Edema", -1),
        (one, "chexbert_impression", "Fracture", 0),
        (one, "chexbert_report", "Edema", 1),
        (two, "chexbert_impression", "No Finding", 1),
        (valid, "chexbert_impression", "Edema", 0),
        (valid, "chexbert_impression", "Pneumonia", 1),
    ]
    assert rows(found, "select study_id, value from labels where label_set = 'normal_abnormal' order by 1") == [
        (two, 0),
        (valid, 1),
    ]
    assert rows(found, "select name, text from facts where id = 'patient00001/study1' order by 1") == [
        ("age", "50"),
        ("insurance", "Medicare"),
        ("race", "White"),
        ("sex", "M"),
    ]
    assert rows(found, "select part, study_id from splits where split = 'official' order by 2") == [
        ("train", one),
        ("train", two),
        ("train", "patient00003/study1"),
        ("test", valid),
    ]
    assert notes(found) == {
        "files of labels that are not here": 1,
        "studies that no file of labels names": 1,
        "studies whose report has none of the sections": 1,
        "studies whose patient's sex is not known": 1,
        "listed images that are not on disk": 4,
        "images whose file has another suffix than the table says": 1,
        "label sets in which all studies say the same, left out": 2,
    }
    assert found.dataset.descriptor["source"]["films"] == "PNG/PNG"
    label_from_readings(found.dataset, LabelSet("bold", "", ""), Policy("chexbert_impression", "one"))
    bold = "select study_id, value from labels where label_set = 'bold' and label = 'Edema' order by 1"
    assert rows(found, bold) == [(one, 1), (valid, 0)]


def broken(folder: Path, file: str, text: str) -> Path:
    plus_tree(folder)
    (folder / "chexbert_labels" / file).write_text(text, encoding="utf-8")
    return folder


STRANGER = plus_label("train/patient9/study9/view1.jpg", Edema=1)
TWICE = [plus_label(f"train/patient00001/study1/view{n}.jpg", Edema=n - 1) for n in (1, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "impression_fixed.json: line 1: not a film with path_to_image and the 14 labels"),
        (json.dumps({"path_to_image": "train/patient1/study1/a.jpg", "Edema": 1}), "line 1: not a film"),
        (plus_label("train/patient1/study1/a.jpg", Edema=3), "3 is none of 1, 0 and -1"),
        (plus_label("a.jpg", Edema=1), "'a.jpg' names no patient and study"),
        ("\n".join(TWICE), "line 2 says other things of a study than an earlier line"),
        (STRANGER, "impression_fixed.json: none of the 1 studies that it names is in the table"),
    ],
)
def test_a_file_of_labels_that_is_none_or_of_nobody(tmp_path: Path, text: str, message: str) -> None:
    folder = broken(tmp_path / "plus", "impression_fixed.json", text)
    with pytest.raises(DataError, match=r"fixed\.json") as caught:
        added(chexpert_plus.read(folder), tmp_path / "root")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (plus_row("train/patient1/study1/a.jpg", deid_patient_id="patient2"), "the path is of patient1"),
        (plus_row("train/patient1/study1/a.jpg", split="holdout"), "split is 'holdout'"),
        (plus_row("train/x/a.jpg"), "'train/x/a.jpg' names no patient and study"),
    ],
)
def test_a_row_of_plus_that_contradicts_itself(tmp_path: Path, row: list[str], message: str) -> None:
    write(tmp_path / chexpert_plus.TABLE, PLUS_HEADER, row)
    with pytest.raises(DataError, match="line 2") as caught:
        added(chexpert_plus.read(tmp_path), tmp_path / "root")
    assert message in str(caught.value)


def test_films_of_two_releases_in_one_folder(tmp_path: Path) -> None:
    folder = plus_tree(tmp_path / "plus")
    save_film(folder / "CheXpert-v1.0-small" / "train/patient00001/study1/view1_frontal.png", 3)
    with pytest.raises(DataError, match=r"films of several releases: CheXpert-v1.0-small, PNG/PNG"):
        chexpert_plus.read(folder)


def test_a_table_of_full_films_in_the_folder_of_small_ones_is_said(tmp_path: Path) -> None:
    folder = chexpert_tree(tmp_path / "CheXpert-v1.0-small", "CheXpert-v1.0")
    found = added(chexpert.read(folder), tmp_path / "root")
    assert notes(found)["a table of CheXpert-v1.0 in a folder called CheXpert-v1.0-small"] == 1
    assert found.dataset.descriptor["source"]["release"] == "CheXpert-v1.0"
    same = chexpert_tree(tmp_path / "more" / "CheXpert-v1.0-small")
    assert not [what for what in notes(added(chexpert.read(same), tmp_path / "root2")) if "a table of" in what]


def test_films_of_another_collection_are_said(tmp_path: Path) -> None:
    folder = nih_tree(tmp_path / "nih")
    for place in folder.glob("images_*"):
        shutil.rmtree(place)
    save_film(folder / "images" / "patient1.png", 1)
    found = added(nih.read(folder), tmp_path / "root")
    (missing,) = [note for note in found.notes if note.what == "listed images that are not on disk"]
    assert missing.hint == f"none of the images below {folder.name} is named: are they of another release?"


READERS: list[tuple[str, Callable[[Path], Collection]]] = [
    ("train.csv", chexpert.read),
    (chexpert_plus.TABLE, chexpert_plus.read),
    ("Data_Entry_2017_v2020.csv", nih.read),
    (padchest.TABLES[0], padchest.read),
    ("image_labels_train.csv", vindr.read),
    ("train.csv", vindr.read),
    ("stage_2_train_labels.csv", rsna.read),
    ("train-rle.csv", siim.read),
    (brax.TABLES[0], brax.read),
]


@pytest.mark.parametrize(("file", "read"), READERS, ids=lambda it: it if isinstance(it, str) else it.__module__)
def test_a_table_of_another_collection_names_the_columns_it_lacks(
    tmp_path: Path, file: str, read: Callable[[Path], Collection]
) -> None:
    write(tmp_path / file, ["image_id", "rad_ID", "Bronchitis"], ["a", "R1", "0"])
    with pytest.raises(DataError, match="no column") as caught:
        added(read(tmp_path), tmp_path / "root")
    assert file in str(caught.value)
    assert "fetch the table again" in str(caught.value.hint)


def test_lists_and_maps_that_name_nobody_are_refused(tmp_path: Path) -> None:
    folder = nih_tree(tmp_path / "nih")
    (folder / "test_list.txt").write_text("x_000.png\ny_000.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test_list.txt: none of the 2 films that it names is in the table"):
        added(nih.read(folder), tmp_path / "root")
    folder = rsna_tree(tmp_path / "rsna")
    (folder / rsna.MAPPING).write_text(json.dumps([{"subset_img_id": "x", "img_id": "00000001_000.png"}]))
    with pytest.raises(DataError, match=r"mappings_2018.json: none of the 1 films"):
        rsna.read(folder)
    (folder / rsna.MAPPING).unlink()
    write(folder / rsna.CLASSES, ["patientId", "class"], ["x", "Normal"])
    with pytest.raises(DataError, match=r"detailed_class_info.csv: none of the 1 films"):
        rsna.read(folder)


def test_a_split_of_mimic_that_names_nobody_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "mimic"
    build_tree(root)
    (split,) = root.glob("*split*")
    split.unlink()
    write(root / "mimic-cxr-2.0.0-split.csv", ["dicom_id", "study_id", "subject_id", "split"], ["a", 1, 2, "train"])
    with pytest.raises(DataError, match=r"split.csv: none of the 1 studies that it names is in the table"):
        added(mimic_cxr.read(root), tmp_path / "root")


def test_a_path_of_another_table_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", chexpert.COLUMNS, chexpert_row("img/1.jpg", {}))
    with pytest.raises(DataError, match="names no patient and study"):
        added(chexpert.read(tmp_path), tmp_path / "root")
