"""Kermany: patients and kinds by file name, folders as a split, nothing counted twice."""

import os
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import save_film

from cxremb.catalog import add_collection
from cxremb.datasets.kermany import read
from cxremb.errors import DataError
from cxremb.types import Collection

NAMES = {
    "train/PNEUMONIA/person1000_bacteria_2931.jpeg": ("person1000_bacteria", 1.0, "bacteria"),
    "train/PNEUMONIA/person1000_virus_1681.jpeg": ("person1000_virus", 1.0, "virus"),
    "train/NORMAL/IM-0115-0001.jpeg": ("IM-0115", 0.0, "normal"),
    "train/NORMAL/IM-0001-0001-0002.jpeg": ("IM-0001", 0.0, "normal"),
    "val/NORMAL/NORMAL2-IM-1430-0001.jpeg": ("NORMAL2-IM-1430", 0.0, "normal"),
    "test/PNEUMONIA/person1000_bacteria_2932.jpeg": ("person1000_bacteria", 1.0, "bacteria"),
    "test/NORMAL/IM-0115-0001-0002.jpeg": ("IM-0115", 0.0, "normal"),
}


def tree(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names or NAMES):
        save_film(folder / name, seed)
    return folder


def notes(collection: Collection) -> dict[str, int]:
    """Those of the reader, and those that adding any collection gives."""
    with TemporaryDirectory() as root:
        return {note.what: note.count for note in add_collection(collection, Path(root)).notes}


def test_patient_class_and_kind_from_the_name(tmp_path: Path) -> None:
    got = read(tree(tmp_path / "chest_xray"))
    assert {
        f"{study.parts['folders']}/{image.path.parent.name}/{image.path.name}": (
            study.patient_id,
            study.labels["pneumonia"]["pneumonia"],
            next(iter(study.labels["kind"])),
        )
        for study, image in zip(got.studies, got.images, strict=True)
    } == NAMES
    assert all(image.image_id == image.path.stem == image.study_id for image in got.images)
    assert notes(got) == {
        "images in folders whose counts are not the published ones": 7,
        "images in the folder val: too few to choose an epoch on": 1,
        "patients in more than one part of the split `folders`": 2,
    }
    assert got.label_sets[1].labels == ("normal", "bacteria", "virus")
    added = add_collection(got, tmp_path / "root")
    assert (added.counts["images_present"], added.counts["patients"]) == (7, 5)


def test_the_nested_copy_and_the_mac_folder_of_the_archive(tmp_path: Path) -> None:
    outer = tree(tmp_path / "chest_xray")
    shutil.copytree(outer, tmp_path / "copy")
    shutil.move(tmp_path / "copy", outer / "chest_xray")
    (outer / "__MACOSX" / "train" / "NORMAL").mkdir(parents=True)
    (outer / "__MACOSX" / "train" / "NORMAL" / "._IM-0115-0001.jpeg").write_bytes(b"x")
    save_film(outer / "chest_xray" / "train" / "NORMAL" / "IM-0999-0001.jpeg", 99)  # only in the copy: not lost
    for folder in (tmp_path, outer):
        got = read(folder)
        assert len(list(got.studies)) == len(NAMES) + 1
        assert {image.image_id for image in got.images} == {Path(name).stem for name in NAMES} | {"IM-0999-0001"}
        assert notes(got)["second copies of an image in a nested folder, left out"] == len(NAMES)
        assert notes(got)["files that are not images, or made by a Mac's archiver, left out"] == 1
    assert len(list(read(outer / "chest_xray").studies)) == len(NAMES) + 1
    save_film(outer / "chest_xray" / "train" / "NORMAL" / "IM-0115-0001.jpeg", 77)
    with pytest.raises(DataError, match="two different files are the same image"):
        read(outer)


def test_one_name_in_two_folders_is_two_rows(tmp_path: Path) -> None:
    names = (
        "train/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "val/NORMAL/IM-0001-0001.png",
    )
    tree(tmp_path, *names)
    (tmp_path / names[1]).write_bytes((tmp_path / names[0]).read_bytes())
    got = read(tmp_path)
    assert [image.image_id for image in got.images] == [names[1], names[0], "IM-0001-0001"]
    assert notes(got)["images that share their name with another"] == 2
    assert notes(got)["patients in more than one part of the split `folders`"] == 1
    assert add_collection(got, tmp_path / "root").counts["images"] == 3


def test_names_that_do_not_say(tmp_path: Path) -> None:
    tree(tmp_path, "train/PNEUMONIA/a.png", "train/NORMAL/person3_virus_1.jpeg", "train/NORMAL/b.png", "extra/c.png")
    got = read(tmp_path)
    assert [(study.study_id, study.patient_id, "kind" in study.labels) for study in got.studies] == [
        ("b", "b", False),
        ("person3_virus_1", "person3_virus", False),
        ("a", "a", False),
    ]
    assert notes(got)["images whose name names no patient"] == 2
    assert notes(got)["images whose name does not say, or contradicts, the kind that the folder calls for"] == 3
    assert notes(got)["images outside train, val, test / NORMAL, PNEUMONIA, left out"] == 1


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in train, val, test / NORMAL or PNEUMONIA") as caught:
        read(tree(tmp_path, "NORMAL/IM-0115-0001.jpeg"))
    assert "cxremb data add folder" in caught.value.hint


@pytest.mark.parametrize(("in_val", "split"), [(8, "official"), (9, "folders")])
def test_the_published_folders_are_known_by_their_counts(tmp_path: Path, in_val: int, split: str) -> None:
    for group, counts in {"NORMAL": (1341, in_val, 234), "PNEUMONIA": (3875, 8, 390)}.items():
        for part, n in zip(("train", "val", "test"), counts, strict=True):
            folder = tmp_path / part / group
            folder.mkdir(parents=True)
            for number in range(n):  # read by name alone: no adapter opens a picture
                (folder / f"IM-{number:04d}-{part}{group}.jpeg").touch()
    got = read(tmp_path)
    assert {name for study in got.studies for name in study.parts} == {split}
    assert notes(got)["images in the folder val: too few to choose an epoch on"] == 8 + in_val


def test_the_real_images(real_data: Path) -> None:
    folder = real_data / "kermany_224"
    got = read(folder)
    walked = Counter(Path(parent).parts[-2:] for parent, _, names in os.walk(folder) for _ in names)
    assert walked.total() == 5856
    assert Counter(image.path.parts[-3:-1] for image in got.images) == walked
    assert len({image.image_id for image in got.images}) == 5856
    studies = list(got.studies)
    assert Counter((study.parts["folders"], study.labels["pneumonia"]["pneumonia"]) for study in studies) == {
        (part, float(group == "PNEUMONIA")): n for (part, group), n in walked.items()
    }
    assert Counter(next(iter(study.labels["kind"])) for study in studies) == {
        "normal": 1583,
        "bacteria": 2780,
        "virus": 1493,
    }
    # the patient again, by cutting the name at its separators
    parts: dict[tuple[str, ...], set[str]] = {}
    for study in studies:
        steps = study.study_id.replace("-", "_").split("_")
        cut = {"person": 2, "IM": 2, "NORMAL2": 3}[steps[0].rstrip("0123456789") if "person" in steps[0] else steps[0]]
        parts.setdefault(tuple(steps[:cut]), set()).add(study.parts["folders"])
    assert len(parts) == len({study.patient_id for study in studies}) == 4097
    straddling = sum(len(its) > 1 for its in parts.values())
    assert notes(got) == {
        "images in folders whose counts are not the published ones": 5856,
        "patients in more than one part of the split `folders`": straddling,
    }
    assert straddling == 458


def test_names_of_the_mendeley_release(tmp_path: Path) -> None:
    names = (
        "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg",
        "test/PNEUMONIA/BACTERIA-1008087-0002.jpeg",
        "train/PNEUMONIA/virus-77-0001.jpeg",
        "train/NORMAL/NORMAL-1003233-0001.jpeg",
        "train/NORMAL/BACTERIA-5-0001.jpeg",  # contradicts its folder
    )
    got = read(tree(tmp_path, *names))
    assert {study.study_id: (study.patient_id, dict(study.labels.get("kind", {}))) for study in got.studies} == {
        "BACTERIA-1008087-0001": ("BACTERIA-1008087", {"bacteria": 1.0}),
        "BACTERIA-1008087-0002": ("BACTERIA-1008087", {"bacteria": 1.0}),
        "virus-77-0001": ("virus-77", {"virus": 1.0}),
        "NORMAL-1003233-0001": ("NORMAL-1003233", {"normal": 1.0}),
        "BACTERIA-5-0001": ("BACTERIA-5", {}),
    }
    found = notes(got)
    assert "images whose name names no patient" not in found
    assert found["images whose name does not say, or contradicts, the kind that the folder calls for"] == 1
    assert found["patients in more than one part of the split `folders`"] == 1
