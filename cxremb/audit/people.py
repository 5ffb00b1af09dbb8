"""Whether what a collection says of a patient can be of one person: sex, year of birth, and age on a day."""

from collections import defaultdict
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.audit.subject import COLLECTION, NOTE, OK, AuditSubject, Finding, skipped
from cxremb.store.dataset import Dataset
from cxremb.types import EXAMPLES

NAME = "patients of two people"
SEXES = {
    **dict.fromkeys(("m", "male", "man", "männlich", "maennlich", "mann", "homme", "masculin", "masculino"), "male"),
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich", "frau", "femme", "féminin", "femenino"), "female"),
}
ROUNDED = 2.0  # years: an age is rounded down, and in some tables counted from New Year
LONGEST = 25.0  # years between two films whose days are not known: the longest collection (NIH) took 23

Spoken = dict[str, list[tuple[str, float]]]  # patient -> (study, years) of each item


def one_person_each(subject: AuditSubject) -> Finding:
    """Patients with two sexes, years of birth, or ages that no time between two films explains."""
    facts = subject.dataset.facts
    kept = facts.filter(pc.is_in(facts["name"], value_set=pa.array(["sex", "age", "birth_year"])))
    if not kept.num_rows:
        return skipped(COLLECTION, NAME, "neither sex nor age nor year of birth is known")
    found = [*two_sexes(subject.dataset), *two_ages(subject.dataset)]
    n = len({patient for patient, _ in found})
    why = "One id stands for two people, a film lies under another's id, or a table has a slip."
    remedy = "look at them, mend ids or table, and add the data set again"
    return Finding(
        COLLECTION,
        NAME,
        f"patients whose films or studies differ in sex, year of birth or age: {n:,}",
        float(n),
        f"{n:,}",
        NOTE if n else OK,
        *((why, remedy) if n else ("", "")),
        examples=[f"{patient}: {words}" for patient, words in found[:EXAMPLES]],
    )


def rows_of(dataset: Dataset, name: str) -> list[tuple[str, str, dict[str, object]]]:
    """(patient, study, row) of each item that has this fact; of a patient's own, the study is nothing."""
    studies = dict(zip(*(dataset.studies[one].to_pylist() for one in ("study_id", "patient_id")), strict=True))
    images = dict(zip(*(dataset.images[one].to_pylist() for one in ("image_id", "study_id")), strict=True))
    found = []
    for row in dataset.facts.filter(pc.equal(dataset.facts["name"], name)).to_pylist():
        study = {"image": images.get(row["id"]), "study": row["id"]}.get(row["level"])
        patient = row["id"] if row["level"] == "patient" else studies.get(study)
        if patient is not None:
            found.append((patient, study or "", row))
    return found


def two_sexes(dataset: Dataset) -> list[tuple[str, str]]:
    """(patient, what differs)."""
    said: dict[str, set[str]] = defaultdict(set)
    for patient, _, row in rows_of(dataset, "sex"):
        if sex := SEXES.get(str(row["text"]).lower()):
            said[patient].add(sex)
    return [(patient, "female and male") for patient, sexes in said.items() if len(sexes) > 1]


def two_ages(dataset: Dataset) -> list[tuple[str, str]]:
    """(patient, what differs): years of birth, said or reckoned from age and day; else ages, also of one study."""
    days = {(row["level"], row["id"]): row["day"] for _, _, row in rows_of(dataset, "day") if row["day"] is not None}
    born: dict[str, list[float]] = defaultdict(list)
    for patient, _, row in rows_of(dataset, "birth_year"):
        if row["number"] is not None:
            born[patient].append(float(row["number"]) + 0.5)  # type: ignore[arg-type]
    ages: Spoken = defaultdict(list)
    for patient, study, row in rows_of(dataset, "age"):
        if row["number"] is None:
            continue
        age, day = float(row["number"]), days.get((row["level"], row["id"]))  # type: ignore[arg-type]
        if isinstance(day, date):
            born[patient].append(day.year + day.timetuple().tm_yday / 366 - age - 0.5)
        else:
            ages[patient].append((study, age))
    found = [
        (patient, f"born about {min(years):.0f} and {max(years):.0f}")
        for patient, years in born.items()
        if max(years) - min(years) > ROUNDED
    ]
    return found + [
        (patient, f"aged {low:g} and {high:g}{' in one study' if study else ''}")
        for patient, its in ages.items()
        for study, low, high in [widest(its)]
        if high - low > (ROUNDED if study else LONGEST)
    ]


def widest(ages: list[tuple[str, float]]) -> tuple[str, float, float]:
    """(study, lowest, highest) of the study whose ages differ by more than roundings do; else over all, no study."""
    by_study: dict[str, list[float]] = defaultdict(list)
    for study, age in ages:
        by_study[study].append(age)
    for study, its in by_study.items():
        if study and max(its) - min(its) > ROUNDED:
            return study, min(its), max(its)
    every = [age for _, age in ages]
    return "", min(every), max(every)
