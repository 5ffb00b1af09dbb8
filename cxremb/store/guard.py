"""What SQL may do here: one statement that only reads, in a database that opens one folder and can be stopped."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from cxremb.errors import QueryError
from cxremb.store.mistakes import SHOW_TABLES, mistakes_named
from cxremb.store.plans import Operator, names
from cxremb.store.scans import literal, quoted

T = TypeVar("T")

# Of the machine's memory: what DuckDB may take for a query, and what its rows may take. Both together are what DuckDB
# alone would take; a query that needs more is a slip, and ends with an error.
MEMORY = "40%"
OFTEN = 0.05  # seconds between two tries to interrupt: one that comes before the query has begun is lost

# The table functions that a query may use besides the catalogue's own (`duckdb_...`): they only read. Anything else is
# refused, known or not: `json_execute_serialized_sql`, for one, runs SQL that no check of the statement sees.
READERS = {
    *("glob", "json_each", "json_tree", "pragma_show", "pragma_table_info", "pragma_version"),
    *("generate_series", "range", "repeat", "unnest"),
    *("parquet_file_metadata", "parquet_kv_metadata", "parquet_metadata", "parquet_schema"),
    *("read_json", "read_json_auto", "read_parquet", "read_text", "seq_scan"),
}
FILES = {name for name in READERS if name.startswith(("read_", "parquet_", "glob"))} | {"query_table"}
PLAIN = re.compile(r"'.*'|[\[\],=:>]+|\w+", re.DOTALL)  # paths in quotes, lists of them, options by name
EXPLAIN = re.compile(r"\s*explain(?:\s+analyze)?\s+(?P<query>.*)", re.IGNORECASE | re.DOTALL)


def locked_database(folder: Path, *, also: Iterable[Path] = (), as_written: bool = False) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that can open files under `folder` and `also`, whose settings cannot be changed.

    It uses no network, no extension and no disk, and 40% of the machine's memory. as_written: joins are made in the
    order in which a query has them.
    """
    con = duckdb.connect(":memory:", config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})
    con.execute(f"SET memory_limit = '{MEMORY}'")
    con.execute("SET enable_progress_bar = false")  # it would stand among the rows on stdout
    if as_written:
        con.execute("SET disabled_optimizers = 'join_order'")
    con.execute("SET temp_directory = ''")  # DuckDB may read and write there: no spilling then, but no leak either
    con.execute("SET python_enable_replacements = false")  # else a query sees the variables of this program
    allowed = (quoted(word) for place in (folder, *also) for word in (str(place), literal(place)))
    con.execute(f"SET allowed_directories = [{', '.join(allowed)}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")  # before anything that a file there says is SQL
    return con


def selected(folder: Path, view: str, text: str) -> pa.Table:
    """What the one SELECT `text` finds in `view`, a statement that makes a view of files of `folder`.

    Raises `QueryError` if the statement is wrong, or does more than read.
    """
    with locked_database(folder) as con, mistakes_named(con, folder, text):
        con.execute(view)
        statement, _ = reading(con, text)
        return ended_in_time(con, None, lambda: collected(con.sql(statement), size_bytes(con)))


def ended_in_time(con: duckdb.DuckDBPyConnection, seconds: float | None, work: Callable[[], T]) -> T:
    """What `work` gives, which asks `con`. Ctrl-C ends it, and so does the end of `seconds`, with a `QueryError`.

    DuckDB holds its thread until it has the rows and hears no signal, so the work is done in a thread of its own.
    """
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(work)
        try:
            wait([asked], seconds)
        finally:
            late = interrupted(con, asked)
    if late and asked.exception():
        raise QueryError(
            f"the query took more than {seconds:g} seconds and was ended",
            hint="give it more time, join by an id and not by dataset alone, or ask for fewer rows",
        )
    return asked.result()


def interrupted(con: duckdb.DuckDBPyConnection, asked: "Future[T]") -> bool:
    """Whether the work had to be stopped, which it then is."""
    late = not asked.done()
    while not asked.done():
        con.interrupt()
        wait([asked], OFTEN)
    return late


def collected(rows: duckdb.DuckDBPyRelation, most: int) -> pa.Table:
    """All rows. Raises `QueryError` if they take more than `most` bytes, which DuckDB does not count as its own."""
    with pa.RecordBatchReader.from_stream(rows) as reader:
        batches, held = [], 0
        for batch in reader:
            held += batch.nbytes
            if held > most:
                raise QueryError(
                    f"the result has more than {most / 2**30:,.1f} GB of rows",
                    hint="end the query with `limit 1000`, or ask for counts and averages of them",
                )
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def size_bytes(con: duckdb.DuckDBPyConnection) -> int:
    """The memory that a database may take."""
    number, unit = con.execute("SELECT current_setting('memory_limit')").fetchall()[0][0].split()
    return int(float(number) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit))


def reading(con: duckdb.DuckDBPyConnection, text: str) -> tuple[str, Sequence[Operator]]:
    """The one statement in `text`, which only reads, and its plan. Raises `QueryError` if it does more.

    The kind of statement is not enough to know: `WITH d AS (COPY ... TO ...) SELECT 1` is a SELECT, and writes. But
    DuckDB refuses to write from inside a subquery, and it plans without running: so the query is planned as one.
    """
    statements = con.extract_statements(encodable(text))
    if len(statements) != 1:
        raise QueryError(
            f"expected one statement, found {len(statements)}",
            hint="give one SELECT at a time" if statements else 'example: `cxremb sql "select * from stores"`',
        )
    statement = unended(statements[0].query)
    refuse_ways_out(statement)
    query = explained(statement) if kind_of(statements[0]) == "EXPLAIN" else statement
    kinds = [kind_of(inner) for inner in con.extract_statements(query)]
    if kinds != ["SELECT"]:
        raise refusal(kinds[0])
    try:
        plan = json.loads(con.execute(f"EXPLAIN (FORMAT json) SELECT * FROM (\n{query}\n)").fetchall()[0][1])
    except duckdb.BinderException as error:
        if "must be at the top level" in str(error):
            raise refusal("WITH that writes") from error
        raise
    calls = names(plan) & table_functions(con)
    if forbidden := sorted(name for name in calls - READERS if not name.startswith("duckdb_")):
        raise QueryError(f"the function {forbidden[0]} may not be used here", hint=SHOW_TABLES)
    return statement, plan


def kind_of(statement: duckdb.Statement) -> str:
    """SELECT, EXPLAIN, COPY and so on."""
    try:
        return str(statement.type.name)
    except ValueError:  # of a kind that DuckDB's Python package has no name for, as UPDATE EXTENSIONS
        return str(statement.query.split()[0]).upper()


def encodable(text: str) -> str:
    """The text, if UTF-8 can hold it. Raises `QueryError` if not, as for an argument in another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"letter {error.start + 1} of the query is no letter in UTF-8",
            hint="write it in UTF-8, or in a file: `cxremb sql --file QUERY.sql`",
        ) from error
    return text


def refuse_ways_out(statement: str) -> None:
    """Raises `QueryError` for a path that leads up, or that is not written out where a file is named.

    DuckDB compares what a path says with the folder that it may open; the system follows a link before it goes up, so
    `link/../x` lies beside what the link leads to.
    """
    tokens = tokens_of(statement)
    for place, (kind, word) in enumerate(tokens):
        text = kind == duckdb.token_type.string_const or word.startswith('"')
        if text and "/" in word and ".." in re.split(r"[/'\"$]", word):
            raise QueryError(f"the path {word} leads up", hint="write it without ..")
        inner = arguments(tokens[place + 1 :]) if word.lower().strip('"') in FILES else ()
        if not all(map(PLAIN.fullmatch, inner)):
            raise QueryError(f"{word} takes paths that are written out", hint="such as read_json('stores/x.json')")


def tokens_of(statement: str) -> list[tuple[duckdb.token_type, str]]:
    """(kind, word) of each token but for comments."""
    found, text = duckdb.tokenize(statement), statement.encode()
    ends = [offset for offset, _ in found[1:]] + [len(text)]
    words = [(kind, text[start:end].decode().strip()) for (start, kind), end in zip(found, ends, strict=True)]
    return [(kind, word) for kind, word in words if kind != duckdb.token_type.comment]


def arguments(tokens: Sequence[tuple[duckdb.token_type, str]]) -> Iterator[str]:
    """The words in the bracket that opens first, if one opens at once; with one inside, up to its end."""
    if tokens and tokens[0][1] == "(":
        yield from takewhile(lambda word: word != ")", (word for _, word in tokens[1:]))


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


def table_functions(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Every table function and pragma that DuckDB knows."""
    names = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('table', 'pragma')"
    return {name for (name,) in con.execute(names).fetchall()}
