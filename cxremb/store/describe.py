"""What a data set holds, in numbers: counts, views, and how each label set is spread."""

from typing import Any

import duckdb

from cxremb.store.dataset import Dataset, verified
from cxremb.store.layout import TABLES
from cxremb.store.tables import opened

MOST = 10  # rows of a label set that `data show` lists
COUNTS = """
SELECT (SELECT count(*) FROM studies) AS studies,
       (SELECT count(DISTINCT patient_id) FROM studies) AS patients,
       (SELECT count(*) FROM images) AS images,
       (SELECT count(path) FROM images) AS images_present,
       (SELECT count(DISTINCT study_id) FROM reports WHERE section IN ('findings', 'impression')) AS reports_with_text
"""
VIEWS = "SELECT coalesce(view, 'unknown') AS view, count(*) FROM images GROUP BY 1 ORDER BY 2 DESC, 1"
SPREAD = """
SELECT label, count(*) FILTER (value = 1) AS ones, count(*) FILTER (value = 0) AS zeros FROM labels
WHERE label_set = ? GROUP BY label ORDER BY ones DESC, label
"""
STUDIES = "SELECT count(DISTINCT study_id) FROM labels WHERE label_set = ?"


def count(dataset: Dataset) -> dict[str, int]:
    """Studies, patients, images listed, images present, and studies with findings or impression.

    Raises `StoreError` if a table is not the file that dataset.json names.
    """
    with opened({name: verified(dataset, name) for name in TABLES}) as con:
        return counted(con)


def counted(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The counts, by name."""
    found = con.execute(COUNTS)
    return dict(zip([column[0] for column in found.description], found.fetchall()[0], strict=True))


def describe(dataset: Dataset) -> dict[str, Any]:
    """What `data show` shows: the descriptor's words, the counts, the views, and how the labels are spread.

    labels: per label set its definition, how many labels and studies it has, and studies with 1 and with 0 per label,
    the most frequent first.
    """
    kept = ("name", "created", "licence", "citation", "simulated", "source", "notes")
    sets = dataset.descriptor.get("label_sets", {})
    with opened({name: verified(dataset, name) for name in TABLES}) as con:
        return {
            **{name: dataset.descriptor[name] for name in kept},
            "counts": counted(con),
            "views": dict(con.execute(VIEWS).fetchall()),
            "labels": {name: {**about, **spread(con, name)} for name, about in sets.items()},
        }


def spread(con: duckdb.DuckDBPyConnection, label_set: str) -> dict[str, Any]:
    """How one label set is spread over the studies."""
    found = con.execute(SPREAD, [label_set]).fetchall()
    return {
        "label_count": len(found),
        "studies": con.execute(STUDIES, [label_set]).fetchall()[0][0],
        "most": [{"label": label, "ones": ones, "zeros": zeros} for label, ones, zeros in found[:MOST]],
    }
