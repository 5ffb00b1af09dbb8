"""What to do about a query that DuckDB refuses: its own words, and the columns that there are."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from cxremb.errors import QueryError

SHOW_TABLES = 'see what there is: `cxremb sql "show tables"`'
NOTHING = "nearest: there is no "
NEAREST = ["dataset", "store", "item_id", "study_id", "cosine"]
COLUMNS = """
SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main' GROUP BY table_name ORDER BY table_name
"""
NO_TABLE = re.compile(r"Table with name .* does not exist")
NO_COLUMN = re.compile(
    r'Referenced column "(?P<name>.*)" not found|does not have a column named|does not exist on (left|right) side'
    r"|Ambiguous reference to column|Referenced table .* not found"
)
HINTS = {
    NOTHING: 'see what there is: `cxremb sql "select store, item_id, section from embeddings limit 10"`',
    r"Table with name \S+@": 'see what there is: `cxremb sql "select dataset, store from stores"`',
    "^Permission Error": "SQL reads the tables, and files under {root}, and nothing else",
    "^Out of Memory Error": "select fewer columns or rows, and join by an id, not by dataset alone",
    "Could not convert string|types? .*VARCHAR": "try_cast(x as double) makes numbers of a text, and null of `<5`",
    "must appear in the GROUP BY": "end the query with `group by all`",
}


@contextmanager
def mistakes_named(con: duckdb.DuckDBPyConnection, root: Path, text: str) -> Iterator[None]:
    """DuckDB's errors as `QueryError`, with what to do. con: where `text` is asked."""
    try:
        yield
    except (duckdb.Error, OSError) as error:  # OSError: one that came while rows were on their way to Arrow
        raise QueryError(first_lines(error), hint=remedy(str(error), con, root, text=text)) from error


def first_lines(error: Exception) -> str:
    """DuckDB's message without its drawing of the statement, its lists of functions and its advice on settings."""
    return re.split(r"\n\nLINE |\n\tCandidate functions:|\nDatabase is launched in", str(error))[0].strip()


def remedy(said: str, con: duckdb.DuckDBPyConnection, root: Path, *, text: str) -> str:
    """What to do about an error of DuckDB."""
    if known := next((hint for words, hint in HINTS.items() if re.search(words, said)), None):
        return known.format(root=root)
    if NO_TABLE.search(said):
        return f"there are {', '.join(view_columns(con))}"
    if found := NO_COLUMN.search(said):
        return columns_of(con, text) + single_quotes(found["name"], text)
    return SHOW_TABLES


def view_columns(con: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """The columns of every view of docs/sql.md."""
    return {name: list(columns) for name, columns in con.execute(COLUMNS).fetchall()}


def columns_of(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """The columns of the views that `text` names: `studies has dataset, study_id, patient_id; reports has ...`."""
    words = set(re.findall(r"\w+", text.lower()))
    known = {**view_columns(con), "nearest": NEAREST}
    found = [f"{name} has {', '.join(columns)}" for name, columns in known.items() if name in words]
    return "; ".join(found) or SHOW_TABLES


def single_quotes(name: str | None, text: str) -> str:
    """A word on quotes, if what was taken for a column is compared as a text would be: `view = PA`, `arm = "image"`."""
    if not name or not re.search(rf"[=(,]\s*\"?{re.escape(name)}\b", text):
        return ""
    return f". Is it a text? Write '{name}' in single quotes"
