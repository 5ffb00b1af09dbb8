"""The views `patients` and `prior` equal what a plain loop finds, and a table's ages and sexes are counted."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from test_facts import add

from cxremb.store.sql import query

HEAD = "study_id,patient,sex,age,birth_year,day,site,scanner,race,insurance,y\n"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A table of 300 studies of 90 patients in no order, with gaps, ties of days, and patients of two sexes."""
    rng, rows = np.random.default_rng(0), []
    for number in rng.permutation(300).tolist():
        patient = number % 90
        day = date(2024, 1, 1) + timedelta(days=int(rng.integers(0, 40)))
        rows.append(
            {
                "study_id": f"s{number:03d}",
                "patient": f"p{patient}",
                "sex": "" if patient % 7 == 0 else "f" if (patient + (number == 5)) % 2 else "m",
                "age": str(20 + patient + number // 90),
                "birth_year": str(2004 - patient),
                "day": "" if number % 11 == 0 else day.isoformat(),
                "site": f"h{patient % 3}",
                "scanner": f"x{number % 2}",
                "race": "",
                "insurance": "public" if patient % 2 else "private",
                "y": str(number % 2),
            }
        )
    folder = tmp_path_factory.mktemp("people")
    add(folder, HEAD + "".join(",".join(row.values()) + "\n" for row in rows), labels=("y",))
    return folder / "stores", rows


def one(values: list[str]) -> str | None:
    known = {value for value in values if value}
    return known.pop() if len(known) == 1 else None


def test_patients_are_a_plain_pivot(told: tuple[Path, list[dict[str, str]]]) -> None:
    root, rows = told
    found = {row["patient_id"]: row for row in query(root, "select * from patients").to_pylist()}
    assert len(found) == 90
    for patient in {row["patient"] for row in rows}:
        own = [row for row in rows if row["patient"] == patient]
        days = sorted(date.fromisoformat(row["day"]) for row in own if row["day"])
        ages = sorted(float(row["age"]) for row in own)
        assert found[patient] == {
            "dataset": "t",
            "patient_id": patient,
            "studies": len(own),
            "images": 0,
            **{name: one([row[name] for row in own]) for name in ("sex", "site", "scanner", "race", "insurance")},
            "birth_year": int(own[0]["birth_year"]),
            "age": ages[0],
            "oldest": ages[-1],
            "day": days[0] if days else None,
            "last_day": days[-1] if days else None,
        }
    assert found["p5"]["sex"] is None  # two sexes
    assert sum(row["sex"] is None for row in found.values()) == 14


def test_a_prior_is_the_last_study_of_an_earlier_day(told: tuple[Path, list[dict[str, str]]]) -> None:
    root, rows = told
    expected = {}
    for row in rows:
        earlier = [
            (other["day"], other["study_id"])
            for other in rows
            if other["patient"] == row["patient"] and other["day"] and other["day"] < row["day"]
        ]
        if earlier:
            day, study = max(earlier)
            gone = (date.fromisoformat(row["day"]) - date.fromisoformat(day)).days
            expected[row["study_id"]] = ("t", row["patient"], row["day"], study, day, gone)
    found = {row.pop("study_id"): row for row in query(root, "select * from prior").to_pylist()}
    assert len(expected) > 100
    assert {
        study: (
            row["dataset"],
            row["patient_id"],
            row["day"].isoformat(),
            row["prior_study_id"],
            row["prior_day"].isoformat(),
            row["days"],
        )
        for study, row in found.items()
    } == expected


def test_films_that_say_their_day_date_their_study(tmp_path: Path) -> None:
    text = "image_id,study_id,patient,day,sex\n"
    text += "a,1,p,2024-01-01,f\nb,1,p,2024-01-01,f\nc,2,p,2024-03-01,f\nd,3,p,2024-02-01,f\ne,3,p,2024-02-02,m\n"
    (tmp_path / "films").mkdir()
    for name in "abcde":
        PilImage.fromarray(np.full((4, 4), ord(name), dtype=np.uint8)).save(tmp_path / "films" / f"{name}.png")
    dataset = add(tmp_path, text, images=tmp_path / "films")
    root = dataset.paths.root
    prior = query(root, "select study_id, prior_study_id, days from prior").to_pylist()
    assert prior == [{"study_id": "2", "prior_study_id": "1", "days": 60}]  # study 3 has two days, so none
    (row,) = query(root, "select * from patients").to_pylist()
    assert (row["studies"], row["images"], row["sex"], row["race"]) == (3, 5, None, None)
    assert (row["day"], row["last_day"]) == (date(2024, 1, 1), date(2024, 3, 1))


def test_nothing_there_has_the_columns(tmp_path: Path) -> None:
    assert query(tmp_path, "select * from patients").num_rows == 0
    assert query(tmp_path, "describe prior")["column_name"].to_pylist()[-1] == "days"


def test_ages_and_sexes_that_cannot_be_taken_as_they_stand_are_counted(tmp_path: Path) -> None:
    ages = ["-4", "140", "old", "85+", "", "?", *["90"] * 12, *[str(40 + n % 40) for n in range(80)]]
    sexes = ["", "unknown", *["f", "m"] * 48]
    rows = (f"{n},{sex},{age}\n" for n, (sex, age) in enumerate(zip(sexes, ages, strict=True)))
    dataset = add(tmp_path, "study_id,sex,age\n" + "".join(rows))
    notes = {note["what"]: (note["count"], note["examples"]) for note in dataset.descriptor["notes"]}
    assert notes["ages that cannot be (below 0, above 120, no number)"] == (3, ["0: -4", "1: 140", "2: old"])
    assert notes["ages written as `85 or more`"] == (1, ["3: 85+"])
    assert notes["rows whose age is not known"] == (2, ["4", "5"])
    assert notes["rows whose sex is not known"] == (2, ["0", "1"])
    assert notes["ages of 90, the highest, far more than of the five years below"] == (12, [])
    plain = add(tmp_path / "stores", "study_id,sex,age\n" + "".join(f"{n},f,{30 + n % 30}\n" for n in range(90)))
    assert not any("age" in note["what"] or "sex" in note["what"] for note in plain.descriptor["notes"])
