"""Facts: what a table says beside ids, labels and reports, a row for each cell: age, sex, laboratory values."""

import re
from collections.abc import Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.store.dataset import Dataset
from cxremb.store.scans import quoted

# What every collection calls by one name, whatever its heading, in snake case and without accents; the surest first.
RESERVED = {
    "sex": "sex, patient_sex, gender, patient_gender, geschlecht, sexe, sexo, genre, genero, sesso, geslacht, пол",
    "age": "age, patient_age, age_years, age_at_study, alter, patientenalter, alter_jahre, edad, idade, eta, возраст",
    "birth_year": "birth_year, year_of_birth, yob, geburtsjahr, annee_de_naissance, annee_naissance, ano_de_nacimiento",
    "day": "day, study_date, exam_date, acquisition_date, date, studiendatum, untersuchungsdatum, aufnahmedatum, "
    "datum, date_examen, date_d_examen, date_de_l_examen, fecha, fecha_estudio, fecha_del_estudio",
    "site": "site, hospital, institution, institution_name, center, centre, clinic, standort, klinik, krankenhaus, "
    "hopital, etablissement, centro",
    "scanner": "scanner, device, machine, manufacturer_model_name, manufacturer, gerat, geraet, hersteller, appareil, "
    "equipo",
    "race": "race, patient_race",
    "insurance": "insurance, insurance_type, payer, payor, versicherung, kostentraeger, assurance, seguro",
}
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
AGE = re.compile(
    r"0*(\d+)\s*(y|yrs?|years?|j\.?|jahre?|ans?|a|anos?|años?|m|mo|months?|monate?|mois|w|weeks?|wochen?|d|days?)",
    re.IGNORECASE,
)
YEARS = {"m": 1 / 12, "w": 1 / 52.1775, "d": 1 / 365.25}  # of one month, week and day; DICOM writes 006M
DAYS = (
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})([ T].*)?"),
    re.compile(r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})([ T].*)?"),
    re.compile(r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"),  # DICOM
)


def number_of(name: str, text: str) -> float | None:
    """A fact as a number; of an age in years, also where its unit is written. None if it is none."""
    if THOUSANDS.fullmatch(text):
        return None  # 1,234: nobody knows whether it is a thousand or one and a bit
    if NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    if text.lower().lstrip("+-") == "inf":
        return float(text)
    found = AGE.fullmatch(text) if name == "age" else None
    return round(int(found[1]) * YEARS.get(found[2][0].lower(), 1.0), 3) if found else None


def day_of(text: str) -> date | None:
    """A fact as a day, where its order is beyond doubt: 2026-11-27, 27.11.2026, 20261127. None for anything else."""
    for pattern in DAYS:
        if found := pattern.fullmatch(text):
            try:
                return date(int(found["year"]), int(found["month"]), int(found["day"]))
            except ValueError:
                return None
    return None


# The fact of an item: its image's own, else its study's, else its patient's; of a study, what all its images say.
FACT_OF = {
    "image": "(SELECT max({value}) FROM facts f WHERE {mine} AND level = 'image' AND id = judged.item_id)",
    "study": """(SELECT if(count(DISTINCT f.text) = 1, max({value}), NULL) FROM facts f JOIN images i
        ON i.image_id = f.id AND i.dataset = f.dataset
        WHERE {mine} AND level = 'image' AND i.study_id = judged.study_id)""",
}
ABOVE = ", ".join(
    f"(SELECT max({{value}}) FROM facts f WHERE {{mine}} AND level = '{level}' AND id = judged.{level}_id)"
    for level in ("study", "patient")
)
# What comes several times for a study, as maps: reports['findings'], labels['problems']['nodule'].
MAPS_OF_A_STUDY = """
written AS (
    SELECT study_id, map_from_entries(list((section, text))) AS reports
    FROM reports WHERE dataset = {dataset} AND text <> '' GROUP BY study_id
),
sets AS (
    SELECT study_id, label_set, map_from_entries(list((label, value))) AS one
    FROM labels WHERE dataset = {dataset} GROUP BY study_id, label_set
),
labelled AS (SELECT study_id, map_from_entries(list((label_set, one))) AS labels FROM sets GROUP BY study_id)"""
BESIDE = ("image_id", "study_id", "patient_id", "item_id", "view", "path", "sha256", "width", "height", "films")


def fact_columns(dataset: Dataset, unit: str, expression: str) -> str:
    """SQL of a column, with a comma before it, for each fact that `expression` names; for rows of a table `judged`.

    unit: image or study, what a row is. A column is a number or a day where all its values are, else text.
    """
    columns = []
    for name, rows in named_facts(dataset, expression):
        value = next((f"f.{kind}" for kind in ("number", "day") if rows[kind].null_count == 0), "f.text")
        if value == "f.number" and all(number.is_integer() for number in rows["number"].to_pylist()):
            value = "f.number::BIGINT"
        named = {"value": value, "mine": f"f.dataset = {quoted(dataset.name)} AND f.name = {quoted(name)}"}
        columns.append(f', coalesce({FACT_OF[unit].format(**named)}, {ABOVE.format(**named)}) AS "{name}"')
    return "".join(columns)


def named_facts(dataset: Dataset, expression: str) -> Iterator[tuple[str, pa.Table]]:
    """(Name, rows) of each fact that `expression` names."""
    facts, words = dataset.facts, set(re.findall(r"\w+", expression.lower()))
    for name in sorted(facts["name"].unique().to_pylist()):
        if name.lower() in words and name not in BESIDE:
            yield name, facts.filter(pc.equal(facts["name"], name))


def almost_numbers(dataset: Dataset, expression: str) -> list[str]:
    """For each fact in `expression` that is text though half of it is numbers: why, and how to compare it with one."""
    found = []
    for name, rows in named_facts(dataset, expression):
        others = rows.filter(pc.is_null(rows["number"]))["text"].to_pylist()
        if 0 < len(others) <= rows.num_rows / 2:
            why = f"{len(others):,} of its {rows.num_rows:,} values are no numbers, such as {others[0]!r}"
            found.append(f"{name} is text, since {why}: write try_cast({name} as double)")
    return found
