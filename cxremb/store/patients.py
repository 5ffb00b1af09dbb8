"""Views of who was examined: the reserved facts of each patient in columns, and the examination before each other.

Each data set is a branch of its own in which `dataset` is a constant, as in all views (`scans`).
"""

from collections.abc import Sequence

from cxremb.store.scans import quoted

# Facts that a patient has one of: null where the patient's films and studies say different things, as the audit notes.
ONE_EACH = ("sex", "site", "scanner", "race", "insurance")

# All that is said of one data set's patients, whatever it was written beside: an image, a study or the patient.
SAID = """
    SELECT s.patient_id, s.study_id, f.name, f.text, f.number, f.day
    FROM facts f JOIN studies s ON f.id = s.study_id
    WHERE f.dataset = {dataset} AND s.dataset = {dataset} AND f.level = 'study'
    UNION ALL
    SELECT i.patient_id, i.study_id, f.name, f.text, f.number, f.day
    FROM facts f JOIN images i ON f.id = i.image_id
    WHERE f.dataset = {dataset} AND i.dataset = {dataset} AND f.level = 'image'
    UNION ALL
    SELECT f.id, NULL, f.name, f.text, f.number, f.day
    FROM facts f WHERE f.dataset = {dataset} AND f.level = 'patient'"""

PATIENTS = """
SELECT {dataset}::VARCHAR AS dataset, patient_id, studies, coalesce(films, 0) AS images, {kept} FROM (
    SELECT patient_id, count(*) AS studies FROM studies WHERE dataset = {dataset} GROUP BY patient_id
) LEFT JOIN (
    SELECT patient_id, count(*) AS films FROM images WHERE dataset = {dataset} GROUP BY patient_id
) USING (patient_id) LEFT JOIN (
    SELECT patient_id, {pivoted} FROM ({said}) GROUP BY patient_id
) USING (patient_id)"""

PRIOR = """
SELECT {dataset}::VARCHAR AS dataset, a.study_id, a.patient_id, a.day,
    b.study_id AS prior_study_id, b.day AS prior_day, (a.day - b.day)::BIGINT AS days
FROM ({dated}) a ASOF JOIN (
    SELECT patient_id, day, max(study_id) AS study_id FROM ({dated}) GROUP BY patient_id, day
) b ON a.patient_id = b.patient_id AND a.day > b.day"""

# A study's day: its own, else that of its films where they agree.
DATED = """
    SELECT patient_id, study_id, min(day) AS day FROM ({said}) WHERE name = 'day' AND study_id IS NOT NULL
    GROUP BY patient_id, study_id HAVING count(DISTINCT day) = 1"""

PATIENT_COLUMNS = {
    "dataset": "VARCHAR",
    "patient_id": "VARCHAR",
    "studies": "BIGINT",
    "images": "BIGINT",
    **dict.fromkeys(ONE_EACH, "VARCHAR"),
    "birth_year": "BIGINT",
    "age": "DOUBLE",
    "oldest": "DOUBLE",
    "day": "DATE",
    "last_day": "DATE",
}
PRIOR_COLUMNS = {
    "dataset": "VARCHAR",
    "study_id": "VARCHAR",
    "patient_id": "VARCHAR",
    "day": "DATE",
    "prior_study_id": "VARCHAR",
    "prior_day": "DATE",
    "days": "BIGINT",
}


def patients_view(datasets: Sequence[str]) -> str:
    """SQL of the view `patients`: a row for each, with how many studies and films, and the reserved facts.

    `age` and `day` are of the first examination, `oldest` and `last_day` of the last.
    """
    pivoted = [f"{one_of('text', name)} AS {name}" for name in ONE_EACH]
    pivoted += [f"{one_of('number', 'birth_year')}::BIGINT AS birth_year"]
    for name, kind, last in (("age", "number", "oldest"), ("day", "day", "last_day")):
        pivoted += [f"{end}({kind}) FILTER (name = '{name}') AS {to}" for end, to in (("min", name), ("max", last))]
    kept = ", ".join(list(PATIENT_COLUMNS)[4:])
    branches = []
    for name in datasets:
        place = quoted(name)
        said = SAID.format(dataset=place)
        branches.append(PATIENTS.format(dataset=place, kept=kept, pivoted=", ".join(pivoted), said=said))
    return created("patients", branches, PATIENT_COLUMNS)


def one_of(kind: str, name: str) -> str:
    """SQL of a fact that all rows of a patient agree on, else null."""
    rows = f"FILTER (name = '{name}')"
    return f"if(count(DISTINCT {kind}) {rows} = 1, min({kind}) {rows}, NULL)"


def prior_view(datasets: Sequence[str]) -> str:
    """SQL of the view `prior`: for each study whose patient has an earlier day, the last study before that day."""
    branches = []
    for name in datasets:
        place = quoted(name)
        dated = DATED.format(said=SAID.format(dataset=place))
        branches.append(PRIOR.format(dataset=place, dated=dated))
    return created("prior", branches, PRIOR_COLUMNS)


def created(name: str, branches: Sequence[str], columns: dict[str, str]) -> str:
    """SQL that makes the view; of no data set it has its columns and no row."""
    empty = f"SELECT {', '.join(f'NULL::{kind} AS {column}' for column, kind in columns.items())} WHERE false"
    return f"CREATE VIEW {name} AS {' UNION ALL '.join(branches) or empty}"
