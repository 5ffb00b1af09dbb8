"""SQL that reads the Parquet files of a store as views, with what their place says as constants."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

TYPES = {
    pa.string(): "VARCHAR",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.timestamp("s", "UTC"): "TIMESTAMP",
}
RUN_ID = "parse_path(filename)[-2]"  # of runs/<run_id>/x.parquet; there may be thousands: too many for a branch each
NOT_HERE = "error('this view is not here: name it in the query, and it is fetched')"


@dataclass(frozen=True)
class Source:
    """Files of one view that share what their place says: `dataset`, and `store` where they are of one."""

    files: Sequence[Path]
    place: Mapping[str, str]


def source(files: Iterable[Path], **place: str) -> Source:
    """`files` in a fixed order, and what their place says."""
    return Source(sorted(files), place)


def view(
    name: str,
    origin: Sequence[str],
    kept: Sequence[str],
    *,
    sources: Iterable[Source],
    may_lack: pa.Schema | None = None,
    absent: bool = False,
) -> str:
    """SQL that makes the view `name`: the columns `origin`, which places tell, then `kept`, each as `x::TYPE AS x`.

    Each source is a branch of its own, in which `dataset` and `store` are constants. So the planner knows that they
    have one value. Were they computed from file names it would take each row's for another, and join two tables on
    `dataset` alone, which nearly all views share.

    name: an identifier, quoted where it has to be.
    may_lack: columns that are younger than some files; they are null there.
    absent: the files are in object storage, and have not been fetched: whoever reads the view is told so.
    """
    if absent:
        kinds = [*(f"VARCHAR AS {column}" for column in origin), *(column.rpartition("::")[2] for column in kept)]
        return f"CREATE VIEW {name} AS SELECT {', '.join(f'{NOT_HERE}::{kind}' for kind in kinds)} WHERE {NOT_HERE}"
    branches = [
        f"SELECT {', '.join([*(placed(column, each.place) for column in origin), *kept])} FROM {rows(each, may_lack)}"
        for each in sources
        if each.files
    ]
    if not branches:
        kinds = [*(f"VARCHAR AS {column}" for column in origin), *(column.rpartition("::")[2] for column in kept)]
        branches = [f"SELECT {', '.join(f'NULL::{kind}' for kind in kinds)} WHERE false"]
    return f"CREATE VIEW {name} AS {' UNION ALL '.join(branches)}"


def placed(column: str, place: Mapping[str, str]) -> str:
    """A column that the place tells, as SQL."""
    return f"{quoted(place[column]) if column in place else RUN_ID} AS {column}"


def rows(found: Source, may_lack: pa.Schema | None) -> str:
    """SQL that reads the files of one source."""
    paths = ", ".join(quoted(literal(path)) for path in found.files)
    read = f"read_parquet([{paths}], filename=true, union_by_name=true)"
    if may_lack is None:
        return read
    nulls = ", ".join(f'NULL::{TYPES[field.type]} AS "{field.name}"' for field in may_lack)
    return f"(FROM {read} UNION ALL BY NAME SELECT {nulls} WHERE false)"


def columns(schema: pa.Schema) -> list[str]:
    """The columns of a layout table as SQL, each cast to its type."""
    return [f'{read_as(field)}::{TYPES[field.type]} AS "{field.name}"' for field in schema]


def read_as(field: pa.Field) -> str:
    """A column as SQL reads it: quoted, and a point in time in UTC, where a plain cast would give the time of here."""
    return f'make_timestamp(epoch_us("{field.name}"))' if pa.types.is_timestamp(field.type) else f'"{field.name}"'


def literal(path: Path) -> str:
    """`path` as a pattern that matches it alone: DuckDB would read `data [1]` as the folder `data 1`."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quoted(value: str) -> str:
    """`value` as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def fill(con: duckdb.DuckDBPyConnection, name: str, kinds: dict[str, str], *, rows: Sequence[Sequence[Any]]) -> None:
    """A small table in memory."""
    con.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in kinds.items())})")
    if rows:
        con.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(kinds))})", rows)
