"""Patients of whom a table says what cannot be true of one person."""

from pathlib import Path

import pytest
from conftest import collection
from test_audit import by_check

from cxremb.audit.audit import audit
from cxremb.audit.people import NAME
from cxremb.catalog import add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.store.dataset import Dataset

HEADER = "study_id,patient_id,Datum,Geschlecht,Alter,Geburtsjahr,findings,ill"


@pytest.fixture
def added(tmp_path: Path):
    """Adds a table of twenty studies of twenty patients whose first ones are given, patient by patient."""

    def add(*rows: str) -> Dataset:
        patients = {row.partition(",")[0] for row in rows}
        others = [f"x{n},,,50," for n in range(20 - len(patients))]
        lines = [f"s{n},{row},Words number {n}.,{n % 2}" for n, row in enumerate((*rows, *others))]
        table = tmp_path / "t.csv"
        table.write_text("\n".join([HEADER, *lines]) + "\n")
        spec = TableSpec(table, "people", labels=("ill",), texts=("findings",))
        return add_collection(read(spec), tmp_path / "stores").dataset

    return add


def found(dataset: Dataset) -> list[str]:
    finding = by_check(audit(dataset, pixels=False))[NAME]
    assert finding.value == len(finding.examples)
    assert finding.status == ("note" if finding.examples else "ok")
    return sorted(finding.examples)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("2020-01-01,w,50,", "2024-01-01,w,54,", ""),
        ("2020-01-01,w,50,", "2024-06-01,F,55,", ""),  # a birthday between, and a rounding
        ("2020-01-01,w,50,", "2024-01-01,m,54,", "female and male"),
        ("2020-01-01,w,50,", "2024-01-01,unbekannt,54,", ""),
        ("2020-01-01,w,50,", "2020-06-01,w,57,", "born about 1963 and 1970"),
        (",w,50,1970", ",w,51,1970", ""),
        (",w,,1970", ",w,,1980", "born about 1970 and 1980"),
        ("2020-01-01,,50,", ",,,1990", "born about 1970 and 1990"),
        (",w,30,", ",w,50,", ""),  # twenty years may lie between
        (",w,30,", ",w,60,", "aged 30 and 60"),
        (",,30,", ",,060Y,", "aged 30 and 60"),
    ],
)
def test_what_one_person_can_be(first: str, second: str, words: str, added) -> None:
    assert found(added(f"p,{first}", f"q,{first}", f"p,{second}")) == ([f"p: {words}"] if words else [])


def test_films_of_one_study_are_taken_on_one_day(tmp_path: Path) -> None:
    rows = [f"i{n},s{n // 2},p{n // 2},{n}.png,{50 + 10 * (n == 1) + (n == 3)},{n // 2 % 2}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["image_id,study_id,patient_id,path,age,ill", *rows]) + "\n")
    spec = TableSpec(tmp_path / "t.csv", "films", labels=("ill",))
    dataset = add_collection(read(spec), tmp_path / "stores").dataset
    assert found(dataset) == ["p0: aged 50 and 60 in one study"]


def test_where_nothing_is_known_it_says_so(tmp_path: Path) -> None:
    dataset = add_collection(collection(tmp_path / "films", 45), tmp_path / "stores").dataset
    finding = by_check(audit(dataset, pixels=False))[NAME]
    assert (finding.status, finding.why) == ("skip", "neither sex nor age nor year of birth is known")
