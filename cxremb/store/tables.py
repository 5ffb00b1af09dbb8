"""The tables of one data set, asked in SQL: what they hold in numbers, and what differs between two of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset, verified
from cxremb.store.scans import literal, quoted
from cxremb.store.texts import place

SETTINGS = {
    "memory_limit": "512MB",  # what sorting and grouping may take before they spill to the disk
    "threads": "4",  # each holds a row group or two
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}

Tables = Mapping[str, Path | pa.Table]  # name -> its file, or its rows


@contextmanager
def opened(files: Mapping[str, Path | pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with one view per name in `files`. Raises `StoreError` if DuckDB cannot read or spill."""
    folder = next(path.parent for path in files.values() if isinstance(path, Path))
    with duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(folder / ".spill")}) as con:
        try:
            for name, path in files.items():
                if isinstance(path, pa.Table):
                    con.register(name, path)
                    continue
                con.execute(f'CREATE VIEW "{name}" AS FROM read_parquet({quoted(literal(path))})')
            yield con
        except duckdb.Error as error:
            raise StoreError(f"{folder}: {error}", hint="run the same `cxremb data add` again") from error


MOST = 10  # rows of a label set that `data show` lists
COUNTS = """
SELECT (SELECT count(*) FROM studies) AS studies,
       (SELECT count(DISTINCT patient_id) FROM studies) AS patients,
       (SELECT count(*) FROM images) AS images,
       (SELECT count(path) FROM images) AS images_present,
       (SELECT count(DISTINCT study_id) FROM reports WHERE section IN ('findings', 'impression')) AS reports_with_text
"""
TEXTS = "SELECT section, count(DISTINCT study_id) FROM reports WHERE text <> '' GROUP BY 1"
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
    with opened({name: verified(dataset, name) for name in dataset.table_names}) as con:
        return counted(con)


def text_counts(dataset: Dataset) -> dict[str, int]:
    """Section -> studies that have it, in the order of a report. Raises `StoreError` as `count` does."""
    with opened({"reports": verified(dataset, "reports")}) as con:
        return in_order(con.execute(TEXTS).fetchall())


def in_order(sections: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Section -> how many, in the order of a report."""
    return dict(sorted(sections, key=lambda found: place(found[0])))


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
    with opened({name: verified(dataset, name) for name in dataset.table_names}) as con:
        return {
            **{name: dataset.descriptor[name] for name in kept},
            "counts": counted(con),
            "views": dict(con.execute(VIEWS).fetchall()),
            "texts": in_order(con.execute(TEXTS).fetchall()),
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


# All that the tables say of an id, in one number: the sum of its rows' 64-bit hashes, whatever order they stand in.
# Rows belong to the study or, in `images`, to the image.
DIGESTS = """
SELECT what, id, sum(row) AS digest FROM ({rows}) GROUP BY what, id
"""
WHOSE = {"images": ("'images'", "image_id"), "facts": ("if(level = 'image', 'images', 'studies')", "id")}
CHANGES = """
WITH before AS ({before}), after AS ({after})
SELECT what || CASE WHEN before.digest IS NULL THEN ' added' WHEN after.digest IS NULL THEN ' removed'
                    ELSE ' changed' END AS change, count(*)
FROM before FULL JOIN after USING (what, id)
WHERE before.digest IS DISTINCT FROM after.digest
GROUP BY change ORDER BY change
"""


# Nothing but a film, a report or the place of a film says so: many collections have a study called 1. Where the new one
# has none of these at all, ids are all that can be compared.
RELATED = """
SELECT EXISTS (SELECT sha256 FROM before_images WHERE sha256 IS NOT NULL INTERSECT SELECT sha256 FROM after_images)
    OR EXISTS (SELECT image_id, path FROM before_images WHERE path IS NOT NULL
               INTERSECT SELECT image_id, path FROM after_images)
    OR EXISTS (SELECT study_id, text FROM before_reports INTERSECT SELECT study_id, text FROM after_reports)
    OR (NOT EXISTS (FROM after_images WHERE path IS NOT NULL) AND NOT EXISTS (FROM after_reports)
        AND EXISTS (SELECT study_id FROM before_studies INTERSECT SELECT study_id FROM after_studies))
"""


def related(before: Tables, after: Tables) -> bool:
    """Whether two sets of tables, table -> file, may be of one collection: they share something."""
    with opened(both(before, after)) as con:
        return bool(con.execute(RELATED).fetchall()[0][0])


def both(before: Tables, after: Tables) -> dict[str, Path | pa.Table]:
    """The tables of two times by names of their own."""
    times = (("before", before), ("after", after))
    return {f"{when}_{name}": path for when, files in times for name, path in files.items()}


def changes(before: Tables, after: Tables) -> dict[str, int]:
    """How many studies and images were added, removed and changed: {"images added": 8}; only what happened.

    before, after: table -> file. Two different ids' rows with equal 64-bit sums would pass as unchanged; nothing
    rests on it but the count and whether equal tables are written again.
    """
    with opened(both(before, after)) as con:
        question = CHANGES.format(before=row_digests("before", before), after=row_digests("after", after))
        return dict(con.execute(question).fetchall())


def row_digests(when: str, names: Iterable[str]) -> str:
    """SQL of the digests of all tables of that time, per id."""
    rows = (
        f"""SELECT {WHOSE.get(name, ("'studies'", "study_id"))[0]} AS what,
        {WHOSE.get(name, ("'studies'", "study_id"))[1]} AS id, hash('{name}', t) AS row FROM {when}_{name} t"""
        for name in names
    )
    return DIGESTS.format(rows=" UNION ALL ".join(rows))
