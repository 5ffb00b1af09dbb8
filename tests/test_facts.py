"""Columns without a role: kept as facts, seen in SQL, and asked for by the names that every collection uses."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PilImage

from cxremb.audit.audit import audit
from cxremb.catalog import add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.errors import DataError
from cxremb.store.dataset import Dataset
from cxremb.store.facts import RESERVED, almost_numbers, day_of, fact_columns, number_of
from cxremb.store.sql import query


def add(folder: Path, text: str, **options: object) -> Dataset:
    """The table as a data set."""
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return add_collection(read(TableSpec(path, "t", **options)), folder / "stores").dataset  # type: ignore[arg-type]


def facts(dataset: Dataset) -> dict[tuple[str, str, str], str]:
    """(level, id, name) -> text."""
    return {(row["level"], row["id"], row["name"]): row["text"] for row in dataset.facts.to_pylist()}


def test_every_column_without_a_role_is_kept(tmp_path: Path) -> None:
    text = 'study_id,Geschlecht,Alter,CRP Wert,y,findings\n1,w,67,3.0,1,Clear.\n2,m,,"2,5",0,#WERT!\n'
    dataset = add(tmp_path, text, labels=("y",), texts=("findings",))
    assert facts(dataset) == {
        ("study", "1", "sex"): "w",
        ("study", "1", "age"): "67",
        ("study", "1", "crp_wert"): "3",
        ("study", "2", "sex"): "m",
        ("study", "2", "crp_wert"): "2,5",
    }
    assert dataset.descriptor["source"]["sex"] == "column Geschlecht (guessed)"
    assert dataset.descriptor["source"]["facts"] == "CRP Wert"
    found = query(dataset.paths.root, "select id, number from facts where name = 'crp_wert' order by id").to_pylist()
    assert found == [{"id": "1", "number": 3.0}, {"id": "2", "number": 2.5}]
    again = add_collection(
        read(TableSpec(tmp_path / "t.csv", "t", labels=("y",), texts=("findings",))), tmp_path / "stores"
    )
    assert again.changes == {}
    (tmp_path / "t.csv").write_text(text.replace("67", "68"), encoding="utf-8")
    changed = add_collection(
        read(TableSpec(tmp_path / "t.csv", "t", labels=("y",), texts=("findings",))), tmp_path / "stores"
    )
    assert changed.changes == {"studies changed": 1}


def unkept(folder: Path, table: Path, **options: object) -> list[tuple[int, tuple[str, ...]]]:
    """Count and examples of the notes on columns of which nothing is kept."""
    folder.mkdir(exist_ok=True)
    added = add_collection(read(TableSpec(table, "t", **options)), folder / "stores")  # type: ignore[arg-type]
    return [(note.count, tuple(note.examples)) for note in added.notes if "nothing is kept" in note.what]


@pytest.mark.parametrize("studies", [False, True], ids=["of studies", "of images"])
def test_columns_of_which_nothing_is_kept_are_counted_once(tmp_path: Path, studies: bool) -> None:
    path = tmp_path / "t.csv"
    PilImage.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "0.png")
    path.write_text(",key,kv,dose,half,y\n0,a,70,,nan,1\n1,b,,#WERT!,3,0\n2,b,,,,0\n", encoding="utf-8")
    given = {"columns": {"study": "key"}, "labels": ("y",)}
    if studies:
        path.write_text(",path,key,kv,dose,half,y\n0,0.png,a,70,,nan,1\n1,1.png,b,,#WERT!,3,0\n", encoding="utf-8")
    assert unkept(tmp_path, path, **given) == [(2, ("dose", "column 1 (no heading)"))]
    path.write_text("key,kv,y\na,70,1\nb,,0\n", encoding="utf-8")
    assert unkept(tmp_path / "whole", path, **given) == []


def test_columns_of_bytes_are_counted_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"study_id": ["1", "2"], "blob": [b"a", b"b"], "about": [{"x": 1}, {"x": 2}], "kv": ["70", "80"]}
    pq.write_table(pa.table(columns), path)
    assert unkept(tmp_path, path) == [(2, ("about", "blob"))]
    assert unkept(tmp_path / "asked", path, columns={"scanner": "blob"}, texts=("about",)) == []


def test_facts_of_images_where_a_study_has_several(tmp_path: Path) -> None:
    for n in range(4):
        PilImage.fromarray(np.full((4, 4), n, np.uint8)).save(tmp_path / f"{n}.png")
    text = "filename,study_id,sex,kv\n0.png,a,f,70\n1.png,a,f,90\n2.png,b,m,70\n3.png,c,f,80\n"
    dataset = add(tmp_path, text)
    assert facts(dataset)["image", "1", "kv"] == "90"
    judged = "(select image_id as item_id, study_id, patient_id from images) judged"
    films = query(
        dataset.paths.root, f"select item_id{fact_columns(dataset, 'image', 'kv > 75')} from {judged} order by 1"
    )
    assert films.to_pylist() == [{"item_id": str(n), "kv": kv} for n, kv in enumerate((70, 90, 70, 80))]
    judged = "(select study_id as item_id, study_id, patient_id from studies) judged"
    chosen = fact_columns(dataset, "study", "sex || kv")
    studies = query(dataset.paths.root, f"select item_id{chosen} from {judged} order by 1").to_pylist()
    assert studies == [
        {"item_id": "a", "kv": None, "sex": "f"},  # its films differ in kv
        {"item_id": "b", "kv": 70, "sex": "m"},
        {"item_id": "c", "kv": 80, "sex": "f"},
    ]


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Geschlecht", "sex"),
        ("Gender", "sex"),
        ("PatientSex", "sex"),
        ("Alter", "age"),
        ("Âge", "age"),
        ("Edad", "age"),
        ("Untersuchungsdatum", "day"),
        ("Date de l'examen", "day"),
        ("Fecha", "day"),
        ("Klinik", "site"),
        ("Gerät", "scanner"),
        ("Geburtsjahr", "birth_year"),
        ("Laktat", "laktat"),
    ],
)
def test_usual_headings_have_one_name(heading: str, name: str, tmp_path: Path) -> None:
    assert set(facts(add(tmp_path, f'study_id,"{heading}"\n1,x\n2,y\n'))) == {("study", n, name) for n in "12"}


def test_a_column_is_named_by_hand(tmp_path: Path) -> None:
    text = "study_id,Geschl.,Befund,G\n1,w,Clear.,x\n"
    dataset = add(tmp_path, text, columns={"sex": "Geschl."}, texts=("findings=Befund",))
    assert facts(dataset) == {("study", "1", "sex"): "w", ("study", "1", "g"): "x"}
    (report,) = dataset.reports.to_pylist()
    assert (report["section"], report["role"], report["text"]) == ("findings", "label source", "Clear.")
    with pytest.raises(DataError, match="no role is called 'weight'"):
        add(tmp_path, text, columns={"weight": "G"})
    with pytest.raises(DataError, match="no column 'Befunde'"):
        add(tmp_path, text, texts=("findings=Befunde",))


def test_numbers_and_days(tmp_path: Path) -> None:
    assert [number_of("age", text) for text in ("67", "067Y", "45 Jahre", "006M", "x")] == [67, 67, 45, 0.5, None]
    assert [number_of("crp", text) for text in ("1,5", "-2.5e1", "12Y", "1.234,5")] == [1.5, -25.0, None, None]
    assert [number_of("crp", text) for text in ("1,234", "12,345,678", "-inf")] == [None, None, float("-inf")]
    known = date(2026, 11, 27)
    assert [day_of(text) for text in ("2026-11-27", "27.11.2026", "20261127", "2026-11-27 10:00:00")] == [known] * 4
    assert [day_of(text) for text in ("11/12/2026", "2026-13-01", "20269999", "12345678")] == [None] * 4


def test_no_heading_has_two_names() -> None:
    headings = [heading for names in RESERVED.values() for heading in names.split(", ")]
    assert len(headings) == len(set(headings))


def test_a_data_set_of_before_facts_reads_as_without(tmp_path: Path) -> None:
    dataset = add(tmp_path, "study_id,sex\n1,f\n")
    tables = {name: about for name, about in dataset.descriptor["tables"].items() if name != "facts"}
    older = Dataset(dataset.paths, {**dataset.descriptor, "tables": tables})
    assert (older.facts.num_rows, "facts" in older.table_names) == (0, False)


def test_the_audit_looks_labels_up_in_columns(tmp_path: Path) -> None:
    rows = (f"{n},p{n // 2},{'wm'[n // 2 % 2]},{n * 7 % 11},{n // 2 % 2},Text {n}.\n" for n in range(200))
    dataset = add(tmp_path, "study_id,patient,sex,crp,y,findings\n" + "".join(rows), labels=("y",), texts=("findings",))
    found = {
        finding.name: finding for finding in audit(dataset, pixels=False).findings if finding.section == "look-ups"
    }
    assert (found["column sex"].value, found["column sex"].status) == (1.0, "note")
    assert "--by" in found["column sex"].remedy
    assert found["column crp"].status == "ok"


def test_a_column_with_a_few_that_are_no_numbers_says_how_to_read_it(tmp_path: Path) -> None:
    dataset = add(tmp_path, "study_id,crp,sex,ldh\n1,7.5,f,200\n2,<5,m,210\n3,12,f,190\n")
    why = "crp is text, since 1 of its 3 values are no numbers, such as '<5': write try_cast(crp as double)"
    assert almost_numbers(dataset, "crp >= 5 and sex = 'f' and ldh > 200") == [why]
    assert almost_numbers(dataset, "ldh > 200") == []
    judged = "(select study_id as item_id, study_id, patient_id from studies) judged"
    chosen = fact_columns(dataset, "study", "crp")
    text = f"select crp, try_cast(crp as double) >= 10 as high from (select *{chosen} from {judged}) order by study_id"
    rows = query(dataset.paths.root, text).to_pylist()
    assert rows == [{"crp": "7.5", "high": False}, {"crp": "<5", "high": None}, {"crp": "12", "high": True}]
