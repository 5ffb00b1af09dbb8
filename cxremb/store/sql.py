"""SQL over the stores: read-only, locked to the store root, and on DuckDB's own terms otherwise."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from cxremb.errors import QueryError, StoreError
from cxremb.store.guard import collected, ended_in_time, locked_database, reading, size_bytes
from cxremb.store.mistakes import NOTHING, first_lines, mistakes_named
from cxremb.store.plain import ARROW, distinct_names, plain_query
from cxremb.store.plans import Operator, multiplies
from cxremb.store.views import create_views, survey

remarks = logging.getLogger("cxremb")

# Works on any two vectors, whatever view they come from; NaN if one of them is zero.
COSINE = "CREATE MACRO cosine(a, b) AS list_cosine_similarity(a::FLOAT[], b::FLOAT[])"

# The k items most like one item in the same store: one named in full, else the newest of each data set that has it.
# `of` is the section, for texts; `pooling` one of the store, its first if null. Exact: every vector is compared.
# A name with a slash would be that of a file, which no store has.
NAME = "replace(encoder, '/', '_')"
TABLE = f"query_table(CASE WHEN contains(encoder, '@') THEN 'meta.\"' || {NAME} || '\"' ELSE {NAME} END)"
NEAREST = f"""
CREATE MACRO nearest(encoder, id, k := 10, of := 'image', pooling := NULL) AS TABLE
WITH found AS (SELECT them.dataset, them.store, them.section, them.pooling, them.embedding
               FROM {TABLE} AS them JOIN meta.stores AS held USING (dataset, store)
               WHERE them.item_id = id AND them.section = of AND them.pooling = coalesce(pooling, held.first_pooling)
               QUALIFY rank() OVER (PARTITION BY them.dataset ORDER BY held.created DESC, them.store DESC) = 1),
     target AS (FROM found UNION ALL
               SELECT error('{NOTHING}' || of || coalesce(' pooled as ' || pooling, '') || ' of ' || id || ' in '
                            || encoder), NULL, NULL, NULL, NULL
               WHERE NOT EXISTS (FROM found))
SELECT dataset, store, item_id, study_id, cosine(them.embedding, target.embedding) AS cosine
FROM {TABLE} AS them JOIN target USING (dataset, store, section, pooling)
WHERE item_id <> id ORDER BY cosine DESC, item_id LIMIT k
"""


def connect(root: Path, text: str | None = None, *, as_written: bool = False) -> duckdb.DuckDBPyConnection:
    """An in-memory database with the views of docs/sql.md over `root`, and the macros `cosine` and `nearest`.

    It can open files under `root` only, and in the folder of a data set that is a link there, no network and no
    extension, takes 40% of the machine's memory and no disk, and no setting can be changed any more. It does not keep
    a COPY from writing under `root`: run other people's SQL through `query`, which does.

    text: the one query that it is for: a root in object storage is asked for what that reads, and for no more.
    as_written: joins are made in the order in which a query has them. Raises `StoreError` on a damaged store.
    """
    root = root.resolve()
    linked = [path.parent.resolve() for path in root.glob("[!.]*/dataset.json") if path.parent.is_symlink()]
    con = locked_database(root, also=linked, as_written=as_written)
    try:
        create_views(con, survey(root), text)
        con.execute(COSINE)
        con.execute(NEAREST)
    except duckdb.Error as error:
        con.close()
        raise StoreError(
            f"{root}: {first_lines(error)}", hint="see what is wrong and what to do: `cxremb store check`"
        ) from error
    except BaseException:
        con.close()
        raise
    return con


@dataclass(frozen=True)
class Planned:
    """One statement that only reads, the database that it is for, and what DuckDB means to do."""

    con: duckdb.DuckDBPyConnection
    statement: str
    plan: Sequence[Operator]


def query(root: Path, text: str, *, kept: Collection[str] = ARROW, seconds: float | None = None) -> pa.Table:
    """The rows that one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) finds under `root`.

    kept: types that stay as they are (`store.plain`); anything else is text. Of columns of one name the second gets a
    number, and a remark says so. Ctrl-C ends it. Raises `QueryError`, with DuckDB's own words, if the statement is
    wrong, or if it would do more than read, or take more than `seconds`.
    """
    planned = plan_query(root, text)
    with planned.con as con, mistakes_named(con, root, text):
        return ended_in_time(con, seconds, lambda: rows_of(planned, kept))


def rows_of(planned: Planned, kept: Collection[str]) -> pa.Table:
    """All rows, under names that differ."""
    rows = planned.con.sql(planned.statement)
    names = distinct_names(rows.columns)
    if new := [name for name, old in zip(names, rows.columns, strict=True) if name != old]:
        remarks.warning("several columns have one name: the second ones are %s", ", ".join(new))
    plain = plain_query(planned.statement, rows.types, kept)
    rows = rows if plain == planned.statement else planned.con.sql(plain)
    return collected(rows, size_bytes(planned.con)).rename_columns(names)


def relation(root: Path, text: str) -> duckdb.DuckDBPyRelation:
    """As `query`, but a relation that is run when it is read; it keeps its database open. Raises as `query` does."""
    planned = plan_query(root, text)
    with mistakes_named(planned.con, root, text):
        return planned.con.sql(planned.statement)


def plan_query(root: Path, text: str) -> Planned:
    """`text` with a plan that joins no two tables on `dataset` alone, if there is one. Raises as `query` does.

    To begin with a table of five runs and that of all films costs little and means nothing: if the planner would, joins
    are made in the order in which they are written.
    """
    found = plan_with(root, text)
    if not multiplies(found.plan):
        return found
    ordered = plan_with(root, text, as_written=True)
    chosen, other = (found, ordered) if multiplies(ordered.plan) else (ordered, found)
    other.con.close()
    return chosen


def plan_with(root: Path, text: str, *, as_written: bool = False) -> Planned:
    """`text` as DuckDB plans it, in a database of its own. Raises as `query` does."""
    con = connect(root, text, as_written=as_written)
    try:
        with mistakes_named(con, root, text):
            return Planned(con, *reading(con, text))
    except QueryError:
        con.close()
        raise
