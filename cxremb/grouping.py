"""A value for each test row by any SQL expression over what is known of it: columns, facts, texts and labels."""

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import DataError, QueryError, name_list
from cxremb.predictions import Predictions
from cxremb.store.conditions import condition_error
from cxremb.store.dataset import Dataset
from cxremb.store.facts import MAPS_OF_A_STUDY, almost_numbers, fact_columns
from cxremb.store.scans import quoted
from cxremb.store.sql import query

FINDING, MISSING_SECTION, NO_INDEXING = "finding", "missing section", "no-indexing"
PRESETS = ("view", FINDING, MISSING_SECTION, NO_INDEXING)
MOST_NAMED = 12  # columns in a hint
EXAMPLES = (
    "give an expression of one row, such as view, width > 2000, age >= 60, reports['findings'] is null, or a preset: "
    + (", ".join(PRESETS))
)

# One row for each test item.
FACTS = """
WITH judged AS (
    SELECT DISTINCT item_id, study_id, patient_id FROM predictions
    WHERE run_id = {run} AND dataset = {dataset} AND part = 'test'
),
films AS ({films}),
{maps},
known AS (
    SELECT *{chosen} FROM judged LEFT JOIN films USING ({key})
    LEFT JOIN written USING (study_id) LEFT JOIN labelled USING (study_id)
)
SELECT item_id AS item, (
{expression}
)::VARCHAR AS stratum FROM known
"""
FILMS = {
    "image": """SELECT image_id AS item_id, image_id, view, view_raw, path, sha256, width, height
        FROM images WHERE dataset = {dataset}""",
    "study": """SELECT study_id, string_agg(DISTINCT view, '+' ORDER BY view) AS view, count(*) AS films
        FROM images WHERE dataset = {dataset} GROUP BY study_id""",
}

COLUMNS = {
    "image": ("image_id", "view", "view_raw", "path", "sha256", "width", "height", "study_id", "patient_id"),
    "study": ("view", "films", "study_id", "patient_id"),
}


def expression_of(dataset: Dataset, by: str) -> str:
    """The SQL behind a preset; anything else is SQL already."""
    if by == MISSING_SECTION:
        names = sorted(set(pc.drop_null(dataset.reports["section"]).to_pylist()))
        cases = [f"CASE WHEN reports[{quoted(name)}] IS NULL THEN {quoted(name)} END" for name in names]
        return f"coalesce(nullif(concat_ws(', ', {', '.join(cases)}), ''), 'none')" if cases else "'no report'"
    if by == NO_INDEXING:
        return "CASE WHEN labels['problems']['No Indexing'] = 1 THEN 'No Indexing' ELSE 'indexed' END"
    return by


def column_of(dataset: Dataset, found: Predictions, expression: str) -> NDArray[np.object_]:
    """(n,) the value of an expression for each row, None where it is null."""
    names = {"run": quoted(found.run), "dataset": quoted(dataset.name)}
    maps = MAPS_OF_A_STUDY.format(**names)
    key = "item_id" if found.unit == "image" else "study_id"
    films = FILMS[found.unit].format(**names)
    chosen = fact_columns(dataset, found.unit, expression)
    question = FACTS.format(**names, films=films, maps=maps, key=key, chosen=chosen, expression=expression)
    try:
        table = query(dataset.paths.root, question)
    except QueryError as error:
        known = [*COLUMNS[found.unit], *dataset.facts["name"].unique().to_pylist()]
        raise condition_error(error, what_there_is(dataset, found.unit, expression), known) from error
    values = dict(zip(table["item"].to_pylist(), table["stratum"].to_pylist(), strict=True))
    items = found.items.tolist()
    if len(values) < table.num_rows or not values.keys() >= set(items):
        counts = f"{table.num_rows:,} values for {len(values):,} rows"
        raise DataError(f"{expression!r} gives {counts}", hint=EXAMPLES)
    return np.array([values[item] for item in items], dtype=np.object_)


def what_there_is(dataset: Dataset, unit: str, expression: str) -> str:
    """A hint for an expression that SQL refused: the columns of a row, and facts that are no numbers for a few."""
    facts = name_list(sorted(set(dataset.facts["name"].to_pylist())), MOST_NAMED)
    kept = f"its table has {facts}" if facts else "no other column of its table is kept"
    return "; ".join([*almost_numbers(dataset, expression), EXAMPLES, f"a row has {', '.join(COLUMNS[unit])}", kept])
