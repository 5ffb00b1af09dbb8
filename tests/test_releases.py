"""Published collections: trees in the layout of each release, what its table says, and what is wrong with it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, save_film
from released import BRAX_HEADER, PADCHEST_HEADER, chexpert_row, chexpert_tree, nih_tree, padchest_row, rsna_tree, write

from cxremb.catalog import Added, add_collection
from cxremb.datasets import brax, chexpert, nih, padchest, rsna, siim, vindr
from cxremb.datasets.chexpert_labels import LABELS as CHEXPERT
from cxremb.errors import DataError
from cxremb.labels import label_from_readings, read_labels
from cxremb.store.sql import query
from cxremb.types import Collection, LabelSet, Policy

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "published.json"


def added(collection: Collection, root: Path) -> Added:
    return add_collection(collection, root)


def rows(found: Added, text: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in query(found.dataset.paths.root, text).to_pylist()]


def notes(found: Added) -> dict[str, int]:
    return {note.what: note.count for note in found.notes}


# CheXpert


def test_chexpert_has_patient_and_study_from_the_path_and_keeps_what_is_uncertain(tmp_path: Path) -> None:
    found = added(chexpert.read(chexpert_tree(tmp_path / "films")), tmp_path / "root")
    assert rows(found, "select image_id, study_id, patient_id, view, path is not null from images order by 1") == [
        ("patient00001/study1/view1_frontal", "patient00001/study1", "patient00001", "AP", True),
        ("patient00001/study1/view2_lateral", "patient00001/study1", "patient00001", "Lateral", False),
        ("patient00001/study2/view1_frontal", "patient00001/study2", "patient00001", "PA", False),
        ("patient00002/study1/view1_frontal", "patient00002/study1", "patient00002", None, False),
        ("patient64541/study1/view1_frontal", "patient64541/study1", "patient64541", "AP", True),
    ]
    assert rows(found, "select study_id, label, value from readings where label = 'Edema' order by 1") == [
        ("patient00001/study1", "Edema", -1),
        ("patient00002/study1", "Edema", 0),
        ("patient64541/study1", "Edema", 1),
    ]
    edema = "select study_id, value from labels where label_set = 'chexpert' and label = 'Edema' order by 1"
    assert rows(found, edema) == [("patient00002/study1", 0), ("patient64541/study1", 1)]
    assert rows(found, "select study_id, value from labels where label_set = 'normal_abnormal' order by 1") == [
        ("patient00001/study1", 1),
        ("patient00001/study2", 0),
        ("patient64541/study1", 1),
    ]
    assert rows(found, "select id, name, text from facts order by all")[2:5] == [
        ("patient00001/study2", "age", "90"),
        ("patient00001/study2", "sex", "F"),
        ("patient00002/study1", "age", "0"),
    ]
    assert rows(found, "select part, study_id from splits where split = 'official' order by 2")[-1] == (
        "test",
        "patient64541/study1",
    )
    assert notes(found) == {
        "ages of 90": 1,
        "ages of 0": 1,
        "studies whose patient's sex is not known": 1,
        "listed images that are not on disk": 3,
        "images whose view is not known": 1,
    }


def test_the_policy_of_chexpert_decides_and_a_sibling_comes_later(tmp_path: Path) -> None:
    found = added(chexpert.read(chexpert_tree(tmp_path / "films"), "one"), tmp_path / "root")
    edema = "select study_id, value from labels where label_set = '{}' and label = 'Edema' order by 1"
    certain = [("patient00002/study1", 0), ("patient64541/study1", 1)]
    assert rows(found, edema.format("chexpert")) == [("patient00001/study1", 1), *certain]
    label_from_readings(found.dataset, LabelSet("shy", "", ""), Policy("chexpert", "zero"))
    assert rows(found, edema.format("shy")) == [("patient00001/study1", 0), *certain]


def test_valid_is_val_where_there_is_a_test_table(tmp_path: Path) -> None:
    folder = chexpert_tree(tmp_path / "films", "CheXpert-v1.0")
    row = ["test/patient64741/study1/view1_frontal.jpg", *("0.0" for _ in CHEXPERT)]
    write(folder / "test.csv", ["Path", *CHEXPERT], row)
    found = added(chexpert.read(folder), tmp_path / "root")
    assert rows(found, "select part, count(*) from splits where split = 'official' group by 1 order by 1") == [
        ("test", 1),
        ("train", 3),
        ("val", 1),
    ]
    assert rows(found, "select view from images where patient_id = 'patient64741'") == [("Frontal",)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (chexpert_row("p1.jpg", {}), "line 2: 'p1.jpg' names no patient and study"),
        (chexpert_row("x/train/patient1/study1/a.jpg", {"Edema": "2"}), "line 2: Edema is '2'; it may be 1, 0, -1"),
    ],
)
def test_a_row_of_another_table_is_named(tmp_path: Path, row: list[str], message: str) -> None:
    write(tmp_path / "train.csv", chexpert.COLUMNS, row)
    with pytest.raises(DataError, match="line 2") as caught:
        added(chexpert.read(tmp_path), tmp_path / "root")
    assert message in str(caught.value)


def test_films_of_a_study_that_differ_are_named(tmp_path: Path) -> None:
    path = "CheXpert-v1.0/train/patient1/study1/view{}_frontal.jpg"
    ones = [chexpert_row(path.format(n), {"Edema": value}) for n, value in ((1, "1"), (2, "0"))]
    write(tmp_path / "train.csv", chexpert.COLUMNS, *ones)
    with pytest.raises(DataError, match="line 3 says other things of patient1/study1"):
        added(chexpert.read(tmp_path), tmp_path / "root")


# NIH ChestX-ray14


def test_nih_has_findings_films_and_the_files_beside_it(tmp_path: Path) -> None:
    folder = nih_tree(tmp_path / "nih")
    (folder / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n", encoding="utf-8")
    (folder / "test_list.txt").write_text("00000002_000.png\n00000009_000.png\n", encoding="utf-8")
    (folder / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000002_000.png,Infiltrate,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661\n"
        "00000002_000.png,Infiltrate,1,2,3,4\n",
        encoding="utf-8",
    )
    with gzip.open(folder / "google2019_nih-chest-xray-labels.csv.gz", "wt", encoding="utf-8") as file:
        file.write("Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id\n")
        file.write("00000001_000.png,NO,NO,YES,NO,test\n00000002_000.png,NO,YES,YES,NO,val\n")
    found = added(nih.read(folder), tmp_path / "root")
    assert rows(found, "select image_id, patient_id, view, path is not null from images order by 1") == [
        ("00000001_000", "1", "PA", True),
        ("00000001_001", "1", "AP", False),
        ("00000002_000", "2", "PA", True),
    ]
    labels = read_labels(found.dataset, "findings")
    assert labels.names == nih.FINDINGS
    assert [[name for name, value in zip(labels.names, row, strict=True) if value] for row in labels.values] == [
        ["Cardiomegaly", "Effusion"],
        [],
        ["Infiltration"],
    ]
    assert rows(found, "select study_id, value from labels where label_set = 'normal_abnormal' order by 1") == [
        ("00000001_000", 1),
        ("00000001_001", 0),
        ("00000002_000", 1),
    ]
    google = "select study_id from labels where label_set = 'google' and label = 'Pneumothorax' and value = 1"
    assert rows(found, google) == [("00000002_000",)]
    assert rows(found, "select id, text from facts where name = 'box_infiltration'") == [
        ("00000002_000", "225.085,547.019,86.7797,79.1864;1,2,3,4")
    ]
    assert rows(found, "select study_id, part from splits where split = 'official' order by 1") == [
        ("00000001_000", "train"),
        ("00000001_001", "train"),
        ("00000002_000", "test"),
    ]
    assert notes(found) == {
        "ages that cannot be (below 0, above 120, no number)": 1,
        "listed images that are not on disk": 1,
        "films of the official lists that the table does not name": 1,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1_000.png,Cardio,0,1,57,M,PA,1,1,1,1", "line 2: no finding is called 'Cardio'"),
        ("1_000.png,,0,1,57,M,PA,1,1,1,1", "line 2: no finding is called ''"),
        ("1_000.png,No Finding|Mass,0,1,57,M,PA,1,1,1,1", "line 2: No Finding stands beside a finding"),
        ("1_000.png,No Finding,0,,57,M,PA,1,1,1,1", "line 2 has no Image Index or no Patient ID"),
        ("1_000.png,No Finding,0,1,57,M,PA", "line 2 has 7 cells, the header has 11"),
    ],
)
def test_a_row_that_nih_would_not_write_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        added(nih.read(nih_tree(tmp_path / "nih", line)), tmp_path / "root")
    assert message in str(caught.value)


def test_a_film_in_both_official_lists_is_named(tmp_path: Path) -> None:
    folder = nih_tree(tmp_path / "nih")
    for name in nih.LISTS.values():
        (folder / name).write_text("00000001_000.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test_list\.txt: word 1: 00000001_000\.png is in both"):
        nih.read(folder)


# PadChest


def test_padchest_matches_whole_labels_and_knows_what_says_nothing(tmp_path: Path) -> None:
    both, no_change = "['pseudonodule', ' scoliosis']", "['normal', 'unchanged']"
    write(
        tmp_path / "p" / padchest.TABLES[0],
        PADCHEST_HEADER,
        padchest_row(ImageID="a.png", StudyID="1", PatientID="10", Labels=both),
        padchest_row(ImageID="b.png", StudyID="1", PatientID="10", Labels=both, Projection="L"),
        padchest_row(ImageID="c.png", StudyID="1", PatientID="11", Labels="['normal']", Report=""),
        padchest_row(ImageID="d.png", StudyID="2", PatientID="12", Labels="['nodule']", MethodLabel="RNN_model"),
        padchest_row(ImageID="e.png", StudyID="3", PatientID="13", Labels="['unchanged']", Projection="AP_horizontal"),
        padchest_row(ImageID="f.png", StudyID="4", PatientID="14", Labels=no_change, Projection="COSTAL"),
        padchest_row(ImageID="g.png", StudyID="5", PatientID="15", Labels="['']"),
    )  # fmt: skip
    save_film(tmp_path / "p" / "0" / "a.png", 1)
    found = added(padchest.read(tmp_path / "p", least=1), tmp_path / "root")
    assert rows(found, "select image_id, study_id, patient_id, view from images order by 1") == [
        ("a", "1", "10", "PA"),
        ("b", "1", "10", "Lateral"),
        ("c", "1_11", "11", "PA"),
        ("d", "2", "12", "PA"),
        ("e", "3", "13", "AP supine"),
        ("f", "4", "14", None),
        ("g", "5", "15", "PA"),
    ]
    labels = read_labels(found.dataset, "findings")
    assert labels.names == ("nodule", "pseudonodule", "scoliosis")
    assert dict(zip(labels.study_ids, labels.values.tolist(), strict=True)) == {
        "1": [0, 1, 1],
        "1_11": [0, 0, 0],
        "2": [1, 0, 0],
        "4": [0, 0, 0],
    }
    abnormal = "select study_id, value from labels where label_set = 'normal_abnormal' order by 1"
    assert rows(found, abnormal) == [("1", 1), ("1_11", 0), ("2", 1), ("4", 0)]
    assert rows(found, "select study_id, section, text from reports where study_id in ('1', '1_11')") == [
        ("1", "report", "sin hallazg .")
    ]
    facts = "select name, text, number, day::varchar from facts where id = '2' and level = 'study' order by 1"
    assert rows(found, facts) == [
        ("birth_year", "1930", 1930, None),
        ("day", "20140915", 20140915, "2014-09-15"),
        ("method_label", "RNN_model", None, None),
        ("pediatric", "No", None, None),
        ("sex", "F", None, None),
    ]
    assert notes(found) == {
        "studies whose films name two patients": 1,
        "studies without labels": 1,
        "listed images that are not on disk": 6,
        "images whose view is not known": 1,
    }


def test_films_of_a_study_of_padchest_that_differ_are_named(tmp_path: Path) -> None:
    both = [padchest_row(ImageID=f"{n}.png", StudyID="1", PatientID="10", Labels=f"['{n}']") for n in ("a", "b")]
    write(tmp_path / padchest.TABLES[0], PADCHEST_HEADER, *both)
    with pytest.raises(DataError, match="line 3 says other things of 1 than an earlier line"):
        added(padchest.read(tmp_path), tmp_path / "root")


def test_a_film_that_is_listed_twice_is_kept_and_counted_once(tmp_path: Path) -> None:
    line = "00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.143,0.143"
    mass = "00000001_002.png,Mass,1,1,58,M,AP,2894,2729,0.143,0.143"
    found = added(nih.read(nih_tree(tmp_path / "nih", line, line, mass)), tmp_path / "root")
    assert rows(found, "select image_id from images order by 1") == [("00000001_001",), ("00000001_002",)]
    assert notes(found)["films that the table lists twice"] == 1
    assert notes(found)["listed images that are not on disk"] == 2


@pytest.mark.parametrize("cell", ["normal", "{'a': __import__('os')}", "[1]", "[['a']]"])
def test_labels_that_are_no_list_of_words_are_named(tmp_path: Path, cell: str) -> None:
    row = padchest_row(ImageID="a.png", StudyID="1", PatientID="10", Labels=cell)
    write(tmp_path / padchest.TABLES[0], PADCHEST_HEADER, row)
    with pytest.raises(DataError, match="line 2: Labels is no list of words"):
        padchest.read(tmp_path)


# VinDr-CXR


def test_vindr_of_physionet_keeps_each_reader(tmp_path: Path) -> None:
    folder = tmp_path / "vindr"
    train = ["image_id", "rad_id", "Nodule/Mass", "Other diseases", "No finding"]
    said = [("a", "R1", 1, 0, 0), ("a", "R2", 1, 0, 0), ("a", "R3", 0, 1, 0)]
    said += [("b", reader, 0, 0, 1) for reader in ("R1", "R4", "R5")]
    write(folder / "annotations" / "image_labels_train.csv", train, *said)
    test = ["image_id", "Nodule/Mass", "Other disease", "No finding"]
    write(folder / "annotations" / "image_labels_test.csv", test, ["c", 0, 1, 0])
    boxes = ["image_id", "rad_id", "class_name", *vindr.CORNERS]
    write(folder / "annotations" / "annotations_train.csv", boxes, ["a", "R1", "Nodule/Mass", 691.5, 1375, 1653, 1831],
          ["b", "R1", "No finding", "", "", "", ""])  # fmt: skip
    save_film(folder / "train" / "a.png", 1)
    (folder / "train" / "a.png").rename(folder / "train" / "a.dicom")  # its bytes say what it is
    found = added(vindr.read(folder), tmp_path / "root")
    assert rows(found, "select reader, label from readings where study_id = 'a' and value = 1 order by 1, 2") == [
        ("R1", "Nodule/Mass"),
        ("R2", "Nodule/Mass"),
        ("R3", "Other disease"),
    ]
    positive = "select study_id, label from labels where label_set = 'vindr' and value = 1 order by 1, 2"
    assert rows(found, positive) == [("a", "Nodule/Mass"), ("b", "No finding"), ("c", "Other disease")]
    bold = added(vindr.read(folder, "any"), tmp_path / "bold")
    assert rows(bold, positive) == [("a", "Nodule/Mass"), ("a", "Other disease"), *rows(found, positive)[1:]]
    assert rows(found, "select study_id, value from labels where label_set = 'normal_abnormal' order by 1") == [
        ("a", 1),
        ("b", 0),
        ("c", 1),
    ]
    assert rows(found, "select id, name, text from facts") == [("a", "box_nodule_mass", "R1 691.5,1375,1653,1831")]
    assert rows(found, "select image_id from images where path is not null") == [("a",)]
    assert rows(found, "select part, count(*) from splits group by 1 order by 1") == [("test", 1), ("train", 2)]
    assert notes(found)["images whose patient is not known: each counts as a patient of its own"] == 3


def test_vindr_of_kaggle_takes_what_a_reader_does_not_name_for_a_no(tmp_path: Path) -> None:
    header = ["image_id", "class_name", "class_id", "rad_id", *vindr.CORNERS]
    rows_of = [("a", "Cardiomegaly", 3, "R10", 1, 2, 3, 4), ("a", "Cardiomegaly", 3, "R10", 5, 6, 7, 8)]
    rows_of += [("a", "No finding", 14, "R11", "", "", "", ""), ("a", "Cardiomegaly", 3, "R9", 1, 2, 3, 4)]
    write(tmp_path / "v" / "train.csv", header, *rows_of)
    found = added(vindr.read(tmp_path / "v"), tmp_path / "root")
    assert rows(found, "select reader, label, value from readings order by 1, 2") == [
        ("R10", "Cardiomegaly", 1),
        ("R10", "No finding", 0),
        ("R11", "Cardiomegaly", 0),
        ("R11", "No finding", 1),
        ("R9", "Cardiomegaly", 1),
        ("R9", "No finding", 0),
    ]
    assert rows(found, "select text from facts") == [("R10 1,2,3,4;R10 5,6,7,8;R9 1,2,3,4",)]


# RSNA, SIIM, BRAX


def test_rsna_calls_a_film_a_patient_and_the_map_says_whose_it_is(tmp_path: Path) -> None:
    folder = rsna_tree(tmp_path / "rsna")
    alone = added(rsna.read(folder), tmp_path / "alone")
    assert rows(alone, "select study_id, patient_id from studies") == [("f1", "f1"), ("f2", "f2")]
    assert notes(alone)["images whose patient is not known: each counts as a patient of its own"] == 2
    mapping = [{"subset_img_id": film, "img_id": f"00000013_00{n}.png"} for n, film in enumerate(("f1", "f2"))]
    (folder / rsna.MAPPING).write_text(json.dumps(mapping), encoding="utf-8")
    found = added(rsna.read(folder), tmp_path / "root")
    assert rows(found, "select study_id, patient_id from studies") == [("f1", "13"), ("f2", "13")]
    assert rows(found, "select study_id, label from labels where label_set = 'class' and value = 1 order by 1") == [
        ("f1", "Normal"),
        ("f2", "Lung Opacity"),
    ]
    assert rows(found, "select id, text from facts") == [("f2", "1,2,3,4;5,6,7,8")]
    assert "images whose patient is not known: each counts as a patient of its own" not in notes(found)


def test_siim_reads_the_heading_that_begins_with_a_space_and_counts_masks(tmp_path: Path) -> None:
    folder = tmp_path / "siim"
    folder.mkdir()
    table = folder / "train-rle.csv"
    table.write_text("ImageId, EncodedPixels\n1.2.3,-1\n1.2.4,557374 2 1015 8\n1.2.4,1 2\n", encoding="utf-8")
    found = added(siim.read(folder), tmp_path / "root")
    assert rows(found, "select study_id, value from labels order by 1") == [("1.2.3", 0), ("1.2.4", 1)]
    assert rows(found, "select id, number from facts order by 1") == [("1.2.3", 0), ("1.2.4", 2)]
    table.write_text("ImageId, EncodedPixels\n1.2.3,-1\n1.2.3,1 2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1\.2\.3 has a mask and has none"):
        siim.read(folder)


def test_brax_has_patient_and_study_from_the_path(tmp_path: Path) -> None:
    path = "images/id_{}/Study_{}/Series_1/image-{}.png"
    said = ["1.0" if label == "Edema" else "" for label in CHEXPERT]
    unsure = ["-1.0" if label == "Edema" else "" for label in CHEXPERT]
    write(
        tmp_path / "b" / "master_spreadsheet_update.csv",
        BRAX_HEADER,
        ["x", path.format("aa", "1", "1"), "F", "40", "PA", *said],
        ["x", path.format("aa", "1", "2"), "F", "40", "L", *said],
        ["x", path.format("bb", "1", "1"), "M", "85 or more", "", *unsure],
    )
    save_film(tmp_path / "b" / path.format("aa", "1", "1"), 1)
    found = added(brax.read(tmp_path / "b", "zero"), tmp_path / "root")
    assert rows(found, "select study_id, patient_id, view, path is not null from images order by all") == [
        ("id_aa/Study_1", "id_aa", "Lateral", False),
        ("id_aa/Study_1", "id_aa", "PA", True),
        ("id_bb/Study_1", "id_bb", None, False),
    ]
    assert rows(found, "select study_id, value from labels where label_set = 'brax' order by 1") == [
        ("id_aa/Study_1", 1),
        ("id_bb/Study_1", 0),
    ]
    assert notes(found)["ages written as `85 or more`"] == 1
    assert rows(found, "select number from facts where name = 'age' order by 1") == [(40,), (85,)]


# All of them


@pytest.mark.parametrize("reader", [brax, chexpert, nih, padchest, rsna, siim, vindr])
def test_a_folder_without_the_tables_is_named(reader: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no .*csv in it"):
        reader.read(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        reader.read(tmp_path / "nowhere")


def test_a_table_of_another_release_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["Path", "Edema"], ["a", "1"])
    for read in (chexpert.read, vindr.read):
        with pytest.raises(DataError, match=r"train\.csv: no column") as caught:
            read(tmp_path)
        assert "no table of that release" in caught.value.hint


def test_the_commands(tmp_path: Path, cxremb: Callable[..., Result]) -> None:
    films = chexpert_tree(tmp_path / "films")
    done = cxremb("data", "add", "chexpert", films, "--uncertain", "zero", "--root", tmp_path / "root")
    assert done.code == 0, done.err
    assert "5 listed, 2 present" in done.out
    done = cxremb("data", "add", "rsna", rsna_tree(tmp_path / "rsna"), "--root", tmp_path / "root", "--name", "other")
    assert done.code == 0, done.err
    names = query(tmp_path / "root", "select distinct dataset from studies order by 1")["dataset"].to_pylist()
    assert names == ["chexpert", "other"]


def test_real_tables_count_as_they_were_counted() -> None:
    """Figures that were counted in the real tables by other code; `benchmarks/published.py` adds them."""
    found = {name: its["counts"] for name, its in json.loads(RESULTS.read_text())["collections"].items()}
    assert found["chexpert"] == {
        "films": 223_414, "studies": 187_641, "patients": 64_540, "pneumonia uncertain": 18_770,
        "pneumonia positive": 6_039, "atelectasis uncertain": 33_739, "atelectasis positive": 33_376,
        "no finding is 0": 0, "films at the top age": 7_579,
    }  # fmt: skip
    assert found["nih"] == {
        "films": 112_120, "studies": 112_120, "patients": 30_805, "PA": 67_310, "AP": 44_810, "boxes": 984,
        "films with boxes": 880, "films of Google": 4_376,
    }  # fmt: skip
    padchest = dict(found["padchest"])
    assert padchest.pop("studies") == 109_931 + 1  # of which one is of two patients
    assert padchest == {
        "films": 160_861, "patients": 67_625, "by a physician": 39_053, "by a network": 121_808,
        "pseudonodule": 2_241, "hiatal hernia": 2_363, "projection guessed": 15_126,
        "studies after an earlier one": 41_528, "days since it, median": 154, "patients whose sex is known": 67_611,
    }  # fmt: skip
    assert found["vindr"] == {
        "films": 15_000, "studies": 15_000, "patients": 15_000, "readers": 17, "readings": 45_000,
        "films on which readers differ": 3_683, "on No finding": 0,
    }  # fmt: skip
    assert {name: found["rsna"][name] for name in ("films", "positive")} == {"films": 26_684, "positive": 6_012}
    assert {name: found["siim"][name] for name in ("films", "positive")} == {"films": 12_047, "positive": 2_669}
