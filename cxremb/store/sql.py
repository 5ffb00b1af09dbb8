"""SQL over the stores: read-only, locked to the store root, and on DuckDB's own terms otherwise."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from cxremb.errors import QueryError, StoreError
from cxremb.store.views import create_views, literal, quoted, survey

SHOW_TABLES = 'see what there is: cxremb sql "show tables"'

# Works on any two vectors, whatever view they come from; NaN if one of them is zero.
COSINE = "CREATE MACRO cosine(a, b) AS list_cosine_similarity(a::FLOAT[], b::FLOAT[])"

# The k items most like one item in the same store: one named in full, else the newest of each data set that has it.
# `of` is the section, for texts. Exact: every vector is compared.
TABLE = "query_table(CASE WHEN contains(encoder, '@') THEN 'meta.\"' || encoder || '\"' ELSE encoder END)"
NOTHING = "nearest: there is no "
NEAREST = f"""
CREATE MACRO nearest(encoder, id, k := 10, of := 'image') AS TABLE
WITH found AS (SELECT dataset, store, section, pooling, embedding FROM {TABLE} JOIN meta.stores USING (dataset, store)
               WHERE item_id = id AND section = of
               QUALIFY rank() OVER (PARTITION BY dataset ORDER BY created DESC, store DESC) = 1),
     target AS (FROM found UNION ALL
               SELECT error('{NOTHING}' || of || ' of ' || id || ' in ' || encoder), NULL, NULL, NULL, NULL
               WHERE NOT EXISTS (FROM found))
SELECT dataset, store, item_id, study_id, cosine(them.embedding, target.embedding) AS cosine
FROM {TABLE} AS them JOIN target USING (dataset, store, section, pooling)
WHERE item_id <> id ORDER BY cosine DESC, item_id LIMIT k
"""

# The table functions that a query may use besides the catalogue's own (`duckdb_...`): they only read. Anything else is
# refused, known or not: `json_execute_serialized_sql`, for one, runs SQL that no check of the statement sees.
READERS = {
    *("glob", "json_each", "json_tree", "pragma_show", "pragma_table_info", "pragma_version"),
    *("generate_series", "range", "repeat", "unnest"),
    *("parquet_file_metadata", "parquet_kv_metadata", "parquet_metadata", "parquet_schema"),
    *("read_json", "read_json_auto", "read_parquet", "read_text", "seq_scan"),
}
EXPLAIN = re.compile(r"\s*explain(?:\s+analyze)?\s+(?P<query>.*)", re.IGNORECASE | re.DOTALL)


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory database with the views of docs/sql.md over `root`, and the macros `cosine` and `nearest`.

    It can open files under `root` only, no network and no extension, and no setting can be changed any more. It does
    not keep a COPY from writing under `root`: run other people's SQL through `query`, which does.
    Raises `StoreError` on a damaged store.
    """
    root = root.resolve()
    con = duckdb.connect(":memory:", config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})
    try:
        con.execute("SET temp_directory = ''")  # DuckDB may read and write there: no spilling then, but no leak either
        create_views(con, survey(root))
        con.execute(COSINE)
        con.execute(NEAREST)
        con.execute("SET python_enable_replacements = false")  # else a query sees the variables of this program
        con.execute(f"SET allowed_directories = [{quoted(str(root))}, {quoted(literal(root))}]")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        con.close()
        raise StoreError(
            f"{root}: {first_lines(error)}", hint="restore that file, or delete its folder and make it again"
        ) from error
    except BaseException:
        con.close()
        raise
    return con


def query(root: Path, text: str) -> pa.Table:
    """The rows that one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) finds under `root`.

    Raises `QueryError`, with DuckDB's own words, if the statement is wrong, or if it would do more than read.
    """
    with connect(root) as con:
        try:
            return con.sql(reading(con, text)).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(first_lines(error), hint=remedy(error, root)) from error


def relation(root: Path, text: str) -> duckdb.DuckDBPyRelation:
    """As `query`, but a relation that is run when it is read; it keeps its database open. Raises as `query` does."""
    con = connect(root)
    try:
        return con.sql(reading(con, text))
    except duckdb.Error as error:
        con.close()
        raise QueryError(first_lines(error), hint=remedy(error, root)) from error


def reading(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """The one statement in `text`, which only reads. Raises `QueryError` if it does not.

    The kind of statement is not enough to know: `WITH d AS (COPY ... TO ...) SELECT 1` is a SELECT, and writes. But
    DuckDB refuses to write from inside a subquery, and it plans without running: so the query is planned as one.
    """
    statements = con.extract_statements(text)
    if len(statements) != 1:
        raise QueryError(
            f"expected one statement, found {len(statements)}",
            hint="give one SELECT at a time" if statements else 'example: cxremb sql "select * from stores"',
        )
    statement = unended(statements[0].query)
    query = explained(statement) if statements[0].type == duckdb.StatementType.EXPLAIN else statement
    kinds = [inner.type for inner in con.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise refusal(kinds[0].name)
    try:
        plan = con.execute(f"EXPLAIN (FORMAT json) SELECT * FROM (\n{query}\n)").fetchall()[0][1]
    except duckdb.BinderException as error:
        if "must be at the top level" in str(error):
            raise refusal("WITH that writes") from error
        raise
    calls = {name for root in json.loads(plan) for name in operators(root)} & table_functions(con)
    if forbidden := sorted(name for name in calls - READERS if not name.startswith("duckdb_")):
        raise QueryError(f"the function {forbidden[0]} may not be used here", hint=SHOW_TABLES)
    return statement


def unended(statement: str) -> str:
    """`statement` without the semicolon and the comments at its end, so that it fits into brackets."""
    end = len(statement.encode())
    for offset, kind in reversed(duckdb.tokenize(statement)):
        if kind != duckdb.token_type.comment and statement.encode()[offset : offset + 1] != b";":
            break
        end = offset
    return statement.encode()[:end].decode()


def explained(statement: str) -> str:
    """The query that an EXPLAIN is about: EXPLAIN ANALYZE runs it, so it has to be one that only reads."""
    found = EXPLAIN.fullmatch(statement)
    if found is None:
        raise QueryError("this form of EXPLAIN is not supported", hint="write: explain select ...")
    return found["query"]


def refusal(kind: str) -> QueryError:
    """The error for a statement that would change something."""
    if kind == "MULTI":  # a PIVOT without IN is two statements, of which the first makes a type
        return QueryError("PIVOT needs its values", hint="write: pivot ... on part in ('val', 'test') using ...")
    return QueryError(
        f"{kind}: SQL over the stores only reads",
        hint="begin with SELECT, FROM, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; write results with --output FILE",
    )


def operators(node: Mapping[str, Any]) -> Iterator[str]:
    """The name of every operator in a query plan, in lower case; that of a scan is its table function."""
    yield node["name"].strip().lower()
    for child in node["children"]:
        yield from operators(child)


def table_functions(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Every table function and pragma that DuckDB knows."""
    names = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('table', 'pragma')"
    return {name for (name,) in con.execute(names).fetchall()}


def first_lines(error: duckdb.Error) -> str:
    """DuckDB's message without its drawing of the statement."""
    return str(error).split("\n\nLINE ")[0].strip()


def remedy(error: duckdb.Error, root: Path) -> str:
    """What to do about an error of DuckDB."""
    if isinstance(error, duckdb.PermissionException):
        return f"SQL reads the tables, and files under {root}, and nothing else"
    if NOTHING in str(error):
        return 'see what there is: cxremb sql "select store, item_id, section from embeddings limit 10"'
    if isinstance(error, duckdb.OutOfMemoryException):
        return "select fewer columns or rows, or leave out the embeddings"
    return SHOW_TABLES
