"""A condition on one row that somebody wrote in SQL: whether it is one, and what to say of one that is wrong."""

import re
from collections.abc import Iterable

import duckdb

from cxremb.errors import QueryError, did_you_mean

NOT_OF_THE_ROW = ("Permission Error", "Out of Memory Error")  # how DuckDB begins where no column is to blame
UNKNOWN = re.compile(r'Referenced column "([^"]+)" not found')
KIND = re.compile(r"^(Binder|Catalog|Conversion|Parser) Error: ")  # what DuckDB calls an error, which is no help here
GUESSES = "\nCandidate "  # columns that DuckDB thinks were meant: of our query, not of a row


def refuse_no_condition(text: str, hint: str) -> None:
    """Raises `QueryError` for a query, and for what does not end, so that it would swallow what we write behind it."""
    with duckdb.connect(":memory:") as con:
        try:
            alone = con.extract_statements(text)
        except duckdb.Error:  # as it should be: a condition is no statement
            alone = []
        if alone or not text.strip():
            raise QueryError(f"{text!r} is a query, not a condition on one row", hint=hint)
        try:
            con.extract_statements(f"SELECT (\n{text}\n)")
        except duckdb.Error as error:
            if "unterminated" in str(error):
                raise QueryError(f"{text!r}: a comment or a text in it has no end", hint=hint) from error


def condition_error(error: QueryError, hint: str, columns: Iterable[str] = ()) -> QueryError:
    """An error of DuckDB in words of the condition. Of files and memory it keeps the hint of `cxremb sql`.

    columns: of a row, of which one may be meant.
    """
    said = KIND.sub("", str(error).partition(GUESSES)[0])
    unknown = UNKNOWN.search(said)
    near = did_you_mean(unknown[1], columns) if unknown else ""
    said = f"a row has no {unknown[1]!r}" if unknown else said
    return QueryError(said, hint=error.hint if said.startswith(NOT_OF_THE_ROW) else near + hint)


def what_a_row_has(example: str, columns: Iterable[str], facts: Iterable[str]) -> str:
    """A hint: an example, and all that a condition may name."""
    known = sorted(set(facts))
    own = f"its table has {', '.join(known)}" if known else "no other column of its table is kept"
    return f"{example}; a row has {', '.join(columns)}; {own}; maps are reports and labels"
