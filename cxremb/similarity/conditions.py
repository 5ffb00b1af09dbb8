"""Which films or studies an SQL condition holds for: asked through the same guard as `cxremb sql`."""

from cxremb.errors import QueryError
from cxremb.store.conditions import condition_error, refuse_no_condition, what_a_row_has
from cxremb.store.dataset import Dataset
from cxremb.store.facts import MAPS_OF_A_STUDY, fact_columns
from cxremb.store.scans import quoted
from cxremb.store.sql import query

ROWS = {
    "image": "SELECT dataset, image_id AS item_id, * EXCLUDE (dataset) FROM images WHERE dataset = {dataset}",
    "text": """SELECT dataset, study_id AS item_id, study_id, patient_id, view, films FROM studies LEFT JOIN (
        SELECT dataset, study_id, string_agg(DISTINCT view, '+' ORDER BY view) AS view, count(*) AS films
        FROM images GROUP BY ALL) USING (dataset, study_id) WHERE dataset = {dataset}""",
}
KNOWN = """
WITH judged AS ({rows}),
{maps},
known AS (SELECT *{facts} FROM judged LEFT JOIN written USING (study_id) LEFT JOIN labelled USING (study_id))
SELECT item_id AS item, (
{condition}
)::BOOLEAN AS holds FROM known
"""
UNITS = {"image": "image", "text": "study"}
COLUMNS = {
    "image": ("image_id", "study_id", "patient_id", "view", "path", "sha256", "width", "height"),
    "text": ("study_id", "patient_id", "view", "films"),
}
EXAMPLE = "give a condition on one row, such as view = 'PA' or reports['findings'] ilike '%effusion%'"


def items_that(dataset: Dataset, modality: str, condition: str) -> frozenset[str]:
    """The films, or the studies of texts, for which a condition is true.

    condition: SQL over the columns of `images`, or view, films, study_id and patient_id of a text's study; facts by
    their names (age); `reports['findings']`; `labels['problems']['nodule']`. Raises `QueryError` if it is wrong, or
    would do more than read.
    """
    hint = what_a_row_has(EXAMPLE, COLUMNS[modality], dataset.facts["name"].to_pylist())
    refuse_no_condition(condition, hint)
    facts = fact_columns(dataset, UNITS[modality], condition)
    named = quoted(dataset.name)
    rows = ROWS[modality].format(dataset=named)
    maps = MAPS_OF_A_STUDY.format(dataset=named)
    question = KNOWN.format(rows=rows, maps=maps, facts=facts, condition=condition)
    try:
        table = query(dataset.paths.root, question)
    except QueryError as error:
        raise condition_error(error, hint) from error
    if table.column_names != ["item", "holds"] or table.num_rows > len(set(table["item"].to_pylist())):
        raise QueryError(f"{condition!r} is no condition on one row", hint=hint)
    columns = (table[name].to_pylist() for name in ("item", "holds"))
    return frozenset(item for item, holds in zip(*columns, strict=True) if holds)
