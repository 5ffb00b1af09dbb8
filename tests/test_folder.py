"""Folders of images: classes, parts and patients by where a file lies."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import save_film

from cxremb.catalog import add_collection
from cxremb.datasets.folder import read
from cxremb.errors import DataError
from cxremb.types import Collection, part_named


def films(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        save_film(folder / name, seed)
    return folder


def notes(collection: Collection) -> dict[str, int]:
    """Those of the reader, and those that adding any collection gives."""
    with TemporaryDirectory() as root:
        return {note.what: note.count for note in add_collection(collection, Path(root)).notes}


def labels(collection: Collection) -> dict[str, dict[str, float]]:
    return {study.study_id: dict(study.labels.get("class", {})) for study in collection.studies}


def test_parts_above_classes(tmp_path: Path) -> None:
    names = ["Training/ill/p1_a.png", "Training/well/p2_a.png", "valid/ill/deep/er/p1_b.png", "testing/well/p3_a.png"]
    got = read(films(tmp_path, *names), "mine")
    assert {study.study_id: dict(study.parts) for study in got.studies} == {
        "Training/ill/p1_a": {"official": "train"},
        "Training/well/p2_a": {"official": "train"},
        "valid/ill/deep/er/p1_b": {"official": "val"},
        "testing/well/p3_a": {"official": "test"},
    }
    assert labels(got) == {
        "Training/ill/p1_a": {"ill": 1.0},
        "Training/well/p2_a": {"ill": 0.0},
        "valid/ill/deep/er/p1_b": {"ill": 1.0},
        "testing/well/p3_a": {"ill": 0.0},
    }
    assert {image.path for image in got.images} == {tmp_path / name for name in names}
    assert notes(got) == {"images whose patient is not known: each counts as a patient of its own": 4}
    assert (got.licence, got.citation, got.label_sets[0].task) == ("not given", "not given", "binary")


@pytest.mark.parametrize("negative", ["normal", "Negative", "No finding", "no-finding", "CONTROL"])
@pytest.mark.parametrize("other", ["Abscess", "zoster"])
def test_the_class_called_normal_is_zero(tmp_path: Path, negative: str, other: str) -> None:
    got = read(films(tmp_path, f"{negative}/1.png", f"{other}/2.png"), "mine")
    assert labels(got) == {f"{negative}/1": {other: 0.0}, f"{other}/2": {other: 1.0}}


@pytest.mark.parametrize(
    ("zero", "one"),
    [("health", "tb"), ("non-COVID", "COVID"), ("no", "yes"), ("0", "1"), ("nein", "ja"), ("uninfected", "infected")],
)
def test_polarity_is_that_of_the_words(tmp_path: Path, zero: str, one: str) -> None:
    got = read(films(tmp_path, f"{zero}/1.png", f"{one}/2.png"), "mine")
    assert labels(got) == {f"{zero}/1": {one: 0.0}, f"{one}/2": {one: 1.0}}
    assert got.label_sets[0].means == f"1 if the image lies in folder {one}, 0 if in {zero}"


def test_two_classes_of_unknown_polarity_are_asked_for(tmp_path: Path) -> None:
    films(tmp_path, "bacteria/1.png", "virus/2.png")
    with pytest.raises(DataError, match="which of them is 1 cannot be told from their names") as caught:
        read(tmp_path, "mine")
    assert caught.value.hint == "say it: --positive 'bacteria' or --positive 'virus'"
    for one, values in (("virus", (0.0, 1.0)), ("bacteria", (1.0, 0.0))):
        got = read(tmp_path, "mine", positive=one.upper())
        assert labels(got) == {"bacteria/1": {one: values[0]}, "virus/2": {one: values[1]}}
        assert got.source["positive"] == one.upper()
    with pytest.raises(DataError, match="no class 'viral'; it has bacteria, virus"):
        read(tmp_path, "mine", positive="viral")


def test_one_class_against_all_others(tmp_path: Path) -> None:
    got = read(films(tmp_path, "a/1.png", "b/1.png", "c/1.png"), "mine", positive="b")
    assert labels(got) == {"a/1": {"b": 0.0}, "b/1": {"b": 1.0}, "c/1": {"b": 0.0}}
    assert got.label_sets[0].means == "1 if the image lies in folder b, 0 if in a or c"


def test_folders_that_differ_in_their_spelling_are_one_class(tmp_path: Path) -> None:
    got = read(films(tmp_path, "Normal/1.png", "COVID/1.png", "COVID/2.png", "covid/3.png"), "mine")
    assert labels(got) == {f"COVID/{n}": {"COVID": 1.0} for n in (1, 2)} | {
        "covid/3": {"COVID": 1.0},
        "Normal/1": {"COVID": 0.0},
    }
    assert notes(got)["class folders whose name is spelled in several ways"] == 1


def test_three_classes(tmp_path: Path) -> None:
    got = read(films(tmp_path, "b/1.png", "a/1.png", "c/1.png"), "mine")
    assert labels(got) == {"a/1": {"a": 1.0}, "b/1": {"b": 1.0}, "c/1": {"c": 1.0}}
    assert (got.label_sets[0].task, got.label_sets[0].labels) == ("multiclass", ("a", "b", "c"))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    got = read(films(tmp_path, "2.png", "1.png"), "mine")
    assert [image.image_id for image in got.images] == ["1", "2"]
    assert labels(got) == {"1": {}, "2": {}}
    assert not got.label_sets
    assert notes(got)["images in no class folder"] == 2


def test_one_class_folder_is_no_label(tmp_path: Path) -> None:
    got = read(films(tmp_path, "chest/1.png", "chest/2.png"), "mine")
    assert not got.label_sets
    assert notes(got)["class folders: too few for a label set"] == 1


@pytest.mark.parametrize("pattern", [r"(p\d+)_", r"(?P<patient>p\d+)_(a|b)"])
def test_patients_by_pattern(tmp_path: Path, pattern: str) -> None:
    names = ["train/ill/p1_a.png", "train/well/p2_a.png", "test/ill/p1_b.png", "test/well/odd.png"]
    got = read(films(tmp_path, *names), "mine", patient_pattern=pattern)
    assert [study.patient_id for study in got.studies] == ["p1", "test/well/odd", "p1", "p2"]
    assert [image.patient_id for image in got.images] == ["p1", "test/well/odd", "p1", "p2"]
    assert notes(got) == {
        "images whose path does not fit the patient pattern": 1,
        "patients in more than one part of the split `official`": 1,
    }
    assert got.source["patient_pattern"] == pattern


@pytest.mark.parametrize("pattern", ["(p", "p", "(p)(q)"])
def test_a_wrong_pattern(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=re.escape(repr(pattern))) as caught:
        read(films(tmp_path, "a/1.png"), "mine", patient_pattern=pattern)
    assert "--patient-pattern" in caught.value.hint


def test_every_file_is_a_row_or_is_counted(tmp_path: Path) -> None:
    films(tmp_path, "a/1.png", "b/1.png", "b/1.jpg", "b/.hidden.png", "__MACOSX/a/._1.png", "loose.png")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    got = read(tmp_path, "mine", positive="a")
    assert [image.image_id for image in got.images] == ["a/1", "b/1.jpg", "b/1.png", "loose"]
    assert notes(got) == {
        "files that are not images, left out": 3,
        "images that differ from another by their suffix alone": 2,
        "images in no class folder": 1,
        "images whose patient is not known: each counts as a patient of its own": 4,
    }
    assert len(list(got.images)) + 3 == sum(len(files) for _, _, files in os.walk(tmp_path))


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    films(tmp_path / "elsewhere", "1.png")
    films(tmp_path / "data", "a/2.png")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    assert [image.image_id for image in read(tmp_path / "data", "mine", positive="a").images] == ["a/2", "b/1"]


def test_parts_and_classes_side_by_side(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train name parts of a split, ill beside them do not"):
        read(films(tmp_path, "train/ill/1.png", "ill/2.png"), "mine")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "none", "mine")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no image in it"):
        read(tmp_path, "mine")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    save_film(tmp_path / "a" / "1.png", 1).rename(tmp_path / "a" / os.fsdecode(b"\xe4.png"))
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path, "mine")


def test_into_the_store(tmp_path: Path) -> None:
    folder = films(tmp_path / "films", "normal/1.png", "ill/1.png", "ill/2.png")
    added = add_collection(read(folder, "mine", licence="CC0"), tmp_path / "root")
    assert (added.counts["studies"], added.counts["images_present"], added.counts["patients"]) == (3, 3, 3)
    assert added.dataset.descriptor["licence"] == "CC0"


def patients(collection: Collection) -> dict[str, str]:
    return {study.study_id: study.patient_id for study in collection.studies}


@pytest.mark.parametrize("masks", ["masks", "Mask", "labels", "segmentation", "lung_masks", "ManualMask/leftMask"])
def test_masks_are_no_films(tmp_path: Path, masks: str) -> None:
    """The layout of the COVID-19 Radiography Database, Montgomery's, and those of annotation tools."""
    names = [
        f"{group}/{kind}/{group}-{n}.png" for group in ("ill", "normal") for kind in ("images", masks) for n in "12"
    ]
    got = read(films(tmp_path, *names), "mine")
    assert patients(got) == {
        f"{group}/images/{group}-{n}": f"{group}/images/{group}-{n}" for group in ("ill", "normal") for n in "12"
    }
    assert notes(got)["files in folders of masks or labels, or named as the mask of a film, left out"] == 4


def test_masks_beside_their_films(tmp_path: Path) -> None:
    got = read(
        films(tmp_path, "a/1.png", "a/1_mask.png", "normal/2.png", "normal/2-seg.png", "normal/3_mask.png"), "mine"
    )
    assert sorted(patients(got)) == ["a/1", "normal/2", "normal/3_mask"]  # the last is nobody's mask
    assert notes(got)["files in folders of masks or labels, or named as the mask of a film, left out"] == 2
    only = read(films(tmp_path / "masks", "a/1.png", "normal/1.png"), "mine")
    assert len(patients(only)) == 2  # who points at them wants them


def test_a_class_called_like_a_mask_word_among_others_stays(tmp_path: Path) -> None:
    got = read(films(tmp_path, "no label/1.png", "masked/2.png", "contour loss/3.png"), "mine")
    assert len(patients(got)) == 3


def test_equal_names_in_sub_folders_of_a_class_are_one_patient(tmp_path: Path) -> None:
    names = [f"{group}/{kind}/{n}.png" for group in ("ill", "normal") for kind in ("plain", "equalised") for n in "12"]
    got = read(films(tmp_path, *names, "ill/plain/3.png", "ill/4.png"), "mine")
    assert patients(got) == {
        **{name.removesuffix(".png"): f"{name[: name.index('/')]}/{Path(name).stem}" for name in names},
        "ill/plain/3": "ill/3",
        "ill/4": "ill/4",
    }
    assert notes(got)["sub-folders of a class that hold files of the same names"] == 4


def test_parts_by_the_words_that_people_use() -> None:
    words = {"Training": "train", "train_set": "train", "Test set": "test", "validation-data": "val", "dev": "val"}
    assert {word: part_named(word) for word in words} == words
    assert [part_named(word) for word in ("set", "trainer", "contest", "test2", "")] == [None] * 5


def test_studies_of_a_patient_stay_together_below_a_class(tmp_path: Path) -> None:
    """As CheXpert lays films out, and with a folder for each site above the patients."""
    names = [f"ill/patient{patient}/study{n}/view1.png" for patient in range(6) for n in (1, 2)]
    names += [f"well/site{patient % 2}/p{patient}/study{n}/view1.png" for patient in range(6) for n in (1, 2)]
    names += ["ill/patient5/study3/view9.png", "ill/alone.png"]
    got = read(films(tmp_path, *names), "mine")
    expected = {name.removesuffix(".png"): name.rpartition("/study")[0] for name in names}
    assert patients(got) == {**expected, "ill/alone": "ill/alone"}
    assert notes(got)["sub-folders of a class that hold files of the same names"] == 12


def test_many_sub_folders_with_equal_names_are_patients(tmp_path: Path) -> None:
    names = [f"ill/p{patient}/{n}.png" for patient in range(6) for n in "12"]
    got = read(films(tmp_path, *names, "normal/1.png"), "mine")
    assert set(patients(got).values()) == {*(f"ill/p{patient}" for patient in range(6)), "normal/1"}
    assert notes(got)["sub-folders of a class that hold files of the same names"] == 6
