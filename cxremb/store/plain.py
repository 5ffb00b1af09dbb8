"""A result that every file can hold: no two columns of one name, no type that the file lacks."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

NUMBERS = {
    *("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("float", "double", "decimal"),
}
# What JSON and CSV hold as it is. Anything else, also of a DuckDB to come, is text as DuckDB writes it: a cast to its
# type gives the value back.
TEXT = {*NUMBERS, "boolean", "varchar", "null"}
# What Arrow and Parquet hold beside it. Of the others Arrow would change the value (an offset of a time is dropped, a
# UHUGEINT overflows) or Parquet has no type (intervals, unions).
ARROW = {
    *(*TEXT, "blob", "date", "enum", "time", "uuid"),
    *("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"),
}


def plain_query(statement: str, kinds: "Sequence[DuckDBPyType]", kept: Collection[str]) -> str:
    """`statement` with all columns in types that are `kept`. kinds: the types that it has."""
    plain = [plain_type(kind, kept) for kind in kinds]
    if plain == [str(kind) for kind in kinds]:
        return statement
    names = [f"c{number}" for number in range(len(plain))]
    casts = ", ".join(f"{name}::{kind}" for name, kind in zip(names, plain, strict=True))
    return f"SELECT {casts} FROM (\n{statement}\n) AS result({', '.join(names)})"


def plain_type(kind: "DuckDBPyType", kept: Collection[str]) -> str:
    """The SQL type of a column of type `kind`: text, or itself if it is kept; of what is made of several, each of them.

    The keys of a map are text where `kept` is `TEXT`, since those of a JSON object are.
    """
    parts: dict[str, Any] = dict(kind.children) if kind.id in ("list", "array", "struct", "map") else {}
    match kind.id:
        case "list":
            return f"{plain_type(parts['child'], kept)}[]"
        case "array":
            return f"{plain_type(parts['child'], kept)}[{parts['size']}]"
        case "struct" if all(parts):
            return f"STRUCT({', '.join(f'{identifier(name)} {plain_type(one, kept)}' for name, one in parts.items())})"
        case "map":
            key = "VARCHAR" if kept == TEXT else plain_type(parts["key"], kept)
            return f"MAP({key}, {plain_type(parts['value'], kept)})"
    return str(kind) if kind.id in kept else "VARCHAR"


def identifier(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, of which a second `study_id` is `study_id_1`, as DuckDB has it in a subquery.

    `A` and `a` are one name: for SQL they are, also for those who read the file.
    """
    given, found = {name.lower() for name in names}, dict[str, str]()
    for name in names:
        new, number = name, 0
        while new.lower() in found or (number and new.lower() in given):
            number += 1
            new = f"{name}_{number}"
        found[new.lower()] = new
    return list(found.values())
