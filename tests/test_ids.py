"""Ids: one rule wherever they are read, compared, grouped or joined; what a spreadsheet changed is found."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import save_film

from cxremb.audit.subject import patient_codes
from cxremb.catalog import Added, add_collection
from cxremb.datasets.iu_xray import read as read_iu
from cxremb.datasets.mimic_cxr import read as read_mimic
from cxremb.datasets.table import TableSpec
from cxremb.datasets.table import read as read_table
from cxremb.errors import DataError
from cxremb.ids import changed, clean_id, id_notes, spellings
from cxremb.labels import label_from_file
from cxremb.splits import import_split
from cxremb.types import LabelSet


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("7.00", "7"),
        ("7.000000", "7"),
        ("7,0", "7"),
        (" 7\u00a0", "7"),
        ("\ufeff7\u200b", "7"),
        ("'007", "007"),
        ('="007"', "007"),
        ("007", "007"),
        ("007.0", "007"),
        ("7.000", "7.000"),  # of a float, or seven thousand
        ("P7.0", "P7.0"),
        ("1.2.840.0", "1.2.840.0"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("''", "''"),
    ],
)
def test_an_id_is_written_in_one_way(cell: str, kept: str) -> None:
    assert clean_id(cell) == kept
    assert clean_id(clean_id(cell)) == kept


def test_ids_that_may_be_one() -> None:
    assert spellings(["7", "007", "8"], numbers=True) == [["7", "007"]]
    assert spellings(["100000", "1E+05", "100,000", "100.000"], numbers=True) == [
        ["100000", "1E+05", "100,000", "100.000"]
    ]
    assert spellings(["P7", "p07", "p 7", "P70"]) == [["P7", "p07", "p 7"]]
    assert spellings(["7", "8", "70", "1e999999"], numbers=True) == []


def test_what_a_spreadsheet_did() -> None:
    assert changed(["1.23E+10", "12345678901"]) == {"written as 1.23E+10": ["1.23E+10"]}
    assert changed(["1e5", "77"]) == {"written as 1.23E+10": ["1e5"]}
    assert changed(["1e5", "a7f"]) == {}  # hexadecimal digits
    assert changed(["12,345", "a"]) == {"with marks for thousands": ["12,345"]}
    assert changed(["12.345", "999"]) == {"with marks for thousands": ["12.345"]}
    assert changed(["1.234", "1.2.345"]) == {}
    dates = ["3-Apr", "Mrz 21", "04. Mrz", "2021-03-04", "2021-03-04 00:00:00", "04.03.2021", "3/4/21"]
    assert changed(dates) == {"that look like a date": dates}
    assert changed(["1234567890123450", "2234567890123400"]) == {
        "rounded to 15 digits": ["1234567890123450", "2234567890123400"]
    }
    assert changed(["1234567890123450", "2234567890123456"]) == {}
    assert changed(["######", "7"]) == {"of a column too narrow to show them": ["######"]}
    assert changed(["7", "007", "S-12", "1.2.840.113", "2-3"]) == {}
    assert [note.what for note in id_notes("patient", ["unknown", "12"])] == ["patient ids that are a word for nobody"]


def add(folder: Path, header: str, rows: Sequence[str], **columns: str) -> Added:
    """A table of rows `film,...` with a film for each."""
    for number, row in enumerate(rows):
        save_film(folder / "films" / row.partition(",")[0], number)
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    spec = TableSpec(folder / "t.csv", "mine", images=folder / "films", columns=columns)
    return add_collection(read_table(spec), folder / "stores")


def test_one_patient_written_7_and_7_0(tmp_path: Path) -> None:
    rows = [f"{number}.png,{number // 3}{('', '.0', ' ')[number % 3]}" for number in range(12)]
    added = add(tmp_path, "filename,patient_id", rows)
    assert sorted(set(added.dataset.studies["patient_id"].to_pylist())) == ["0", "1", "2", "3"]
    assert set(added.dataset.images["patient_id"].to_pylist()) == {"0", "1", "2", "3"}
    assert not added.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1.png,7", "2.png,007"], r"one number in several ways: 7 \(line 2\) and 007 \(line 3\)"),
        (["1.png,100000", "2.png,1E+05"], r"one number in several ways: 100000 \(line 2\) and 1E\+05"),
        (["1.png,1.23E+10", "2.png,1.23E+10"], r"has 1.23E\+10 in 2 rows \(first in line 2\)"),
        (["1.png,1e5", "2.png,1e5", "3.png,12"], "has 1e5 in 2 rows"),
        (["1.png,1234567890123400", "2.png,1234567890123400", "3.png,9234567890123400"], "rounded it"),
    ],
)
def test_several_patients_that_became_one_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        add(tmp_path, "filename,patient_id", rows)


def test_a_column_too_narrow_to_show_its_ids_makes_nobody_one(tmp_path: Path) -> None:
    added = add(tmp_path, "filename,patient_id", ["1.png,#####", "2.png,#####"])
    assert added.dataset.studies["patient_id"].to_pylist() == ["1", "2"]
    assert [note.what for note in added.notes] == ["studies without a patient"]


def test_changed_ids_that_are_still_different_are_told(tmp_path: Path) -> None:
    added = add(tmp_path, "filename,patient_id", ["1.png,3-Apr", "2.png,4-Apr", "3.png,P7", "4.png,p07"])
    assert {note.what: list(note.examples) for note in added.notes} == {
        "patient ids that look like a date": ["3-Apr", "4-Apr"],
        "patient ids that may be one, written in several ways": ["P7 = p07"],
    }


def test_other_tables_are_joined_by_the_same_rule(tmp_path: Path) -> None:
    rows = [f"{number}.png,{number},{number}" for number in range(4)]
    dataset = add(tmp_path, "filename,study_id,patient_id", rows).dataset
    (tmp_path / "labels.csv").write_text("study_id,label,value\n0.0,ill,1\n 1,ill,0\n2,ill,1\n", encoding="utf-8")
    labelled = label_from_file(dataset, LabelSet("ill", "binary", "ill"), tmp_path / "labels.csv")
    assert sorted(labelled.labels["study_id"].to_pylist()) == ["0", "1", "2"]
    (tmp_path / "split.csv").write_text("patient_id,split\n0.0,train\n1.0,train\n2,test\n3.00,test\n", encoding="utf-8")
    table = import_split(dataset, "theirs", tmp_path / "split.csv").table
    placed = zip(table["patient_id"].to_pylist(), table["part"].to_pylist(), strict=True)
    assert dict(placed) == {"0": "train", "1": "train", "2": "test", "3": "test"}


def test_uids_of_two_lists_of_iu_xray(tmp_path: Path) -> None:
    header = "uid,MeSH,Problems,indication,comparison,findings,impression"
    (tmp_path / "reports.csv").write_text(f"{header}\n1,normal,normal,cough,,Clear.,Normal.\n", encoding="utf-8")
    (tmp_path / "projections.csv").write_text("uid,filename,projection\n1.0,1_IM-1-1.png,Frontal\n", encoding="utf-8")
    got = read_iu(tmp_path / "reports.csv", projections=tmp_path / "projections.csv")
    assert [(study.study_id, study.patient_id) for study in got.studies] == [("1", "1")]
    assert [image.study_id for image in got.images] == ["1"]


def test_every_reader_tells_of_patients_that_a_published_split_tears(tmp_path: Path) -> None:
    rows = [f"{number}.png,{number // 2},{('train', 'test')[number % 2]}" for number in range(6)]
    added = add(tmp_path, "filename,patient_id,split", rows)
    assert {note.what: note.count for note in added.notes} == {
        "patients in more than one part of the split `official`": 3
    }


def test_an_audit_takes_ids_that_may_be_one_for_one() -> None:
    """As an older store has them, which was made before there was a rule."""
    codes = patient_codes(pa.chunked_array([["7", "7.0", "P7"], ["p07", "8", "7"]]))
    assert codes.tolist() == [0, 0, 1, 1, 2, 0]


def test_the_split_of_mimic_may_tear_patients_too(tmp_path: Path) -> None:
    """Two studies of one patient in two parts, its ids as a data frame with gaps writes them."""
    films = [
        ("a-1", 10000001, 50000001, "train"),
        ("a-2", 10000001, 50000002, "test"),
        ("b-1", 10000002, 50000003, "val"),
    ]
    tables = {
        "metadata": ["dicom_id,subject_id,study_id,ViewPosition", *(f"{it[0]},{it[1]}.0,{it[2]},PA" for it in films)],
        "split": ["dicom_id,study_id,subject_id,split", *(f"{it[0]},{it[2]}.0,{it[1]},{it[3]}" for it in films)],
    }
    for kind, lines in tables.items():
        (tmp_path / f"mimic-cxr-2.0.0-{kind}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    added = add_collection(read_mimic(tmp_path), tmp_path / "stores")
    assert set(added.dataset.studies["patient_id"].to_pylist()) == {"10000001", "10000002"}
    torn = [note for note in added.notes if note.what == "patients in more than one part of the split `official`"]
    assert [(note.count, list(note.examples)) for note in torn] == [(1, ["10000001"])]
