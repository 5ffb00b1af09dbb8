"""`cxremb sql` asks the stores, the runs and their predictions; without a query it is a small shell."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import csv_text

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 50  # a screenful; the other formats give them all
WIDE = 10_000  # columns, where nobody looks: a table in a file or a pipe is never cut


class FileFormat(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


FormatOption = Annotated[
    FileFormat | None,
    typer.Option("--format", help="table, csv, json or parquet; else what --output ends in, else table."),
]


def sql(
    query: Annotated[
        str | None, typer.Argument(help="One SELECT, quoted. Left out: a shell, or what is piped in.")
    ] = None,
    fmt: FormatOption = None,
    file: Annotated[
        Path | None, typer.Option(help="Read the query from this file, or an example by its name: arms.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the rows to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Query stores, runs and predictions with SQL, read-only. Try: cxremb sql "show tables".

    Example: cxremb sql "select arm, metric, value, low, high from metrics join runs using (run_id) where part = 'test'"
    """
    from cxremb.store.dataset import list_datasets, open_dataset
    from cxremb.store.sql import query as ask

    if query is not None and file is not None:
        raise typer.BadParameter("give a query or --file, not both")
    shape = chosen_format(fmt, output)
    refuse_to_replace(output, force)
    list_datasets(root) or open_dataset(root)  # which says that there is none
    if query is None and file is None and sys.stdin.isatty():
        shell(root)
        return
    rows = ask(root, query if query is not None else read_query(file))
    if shape == FileFormat.table:
        print_table(rows)
    else:
        write_bytes(encode(rows, shape), output)


def chosen_format(requested: FileFormat | None, output: Path | None) -> FileFormat:
    """The format asked for, else the one that the output file's name ends in, else a table."""
    suffix = output.suffix.lstrip(".").lower() if output else "table"
    shape = requested or (FileFormat(suffix) if suffix in list(FileFormat) else None)
    if shape is None or (output and shape == FileFormat.table):
        raise typer.BadParameter(f"{output}: say --format csv, json or parquet")
    if shape == FileFormat.parquet and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is no text: add --output FILE, or pipe it somewhere")
    return shape


def refuse_to_replace(output: Path | None, force: bool) -> None:
    """Raise `QueryError` before any work if the output file is there already."""
    from cxremb.errors import QueryError

    if output and output.exists() and not force:
        raise QueryError(f"{output} exists already", hint="name another file, or add --force to replace it")


def read_query(file: Path | None) -> str:
    """The query in `file`, which may be the name of an example, or on standard input.

    Raises `QueryError` if the file cannot be read.
    """
    from cxremb.errors import QueryError
    from cxremb.shipped import find_file, shipped_names

    if file is None:
        return sys.stdin.read()
    try:
        return find_file(file, ".sql").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(shipped_names(".sql"))
        raise QueryError(f"{file}: cannot be read ({error})", hint=f"name a file, or an example: {known}") from error


def shell(root: Path) -> None:
    """Ask for queries until `.quit` or the end of input; a query ends with a semicolon."""
    from cxremb.cli.progress import log
    from cxremb.errors import CxrembError
    from cxremb.store.sql import query as ask

    log.print("SQL over the stores. End a query with ;   .tables lists the views, .quit leaves.", highlight=False)
    lines: list[str] = []
    while True:
        try:
            line = input("   ...> " if lines else "cxremb> ")
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip() == ".quit":
            return
        lines = ["show tables;"] if line.strip() == ".tables" else [*lines, line]
        if lines[-1].rstrip().endswith(";"):
            try:
                print_table(ask(root, "\n".join(lines)))
            except CxrembError as error:
                log.print(f"{error}\nhint: {error.hint}", markup=False, highlight=False, soft_wrap=True)
            lines = []


def print_table(rows: "pa.Table") -> None:
    """The first `MAX_ROWS` rows on stdout, and how to get the others."""
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cxremb.cli.progress import console, log

    shown = Table(header_style="bold")
    for field in rows.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        shown.add_column(Text(field.name), justify="right" if number else "left", overflow="fold")
    columns = [column.to_pylist() for column in rows.slice(0, MAX_ROWS).columns]  # by position: names may repeat
    for values in zip(*columns, strict=True):
        shown.add_row(*(Text(cell(value)) for value in values))
    (console if console.is_terminal else Console(width=WIDE)).print(shown)
    if (more := rows.num_rows - MAX_ROWS) > 0:
        log.print(f"{more:,} more rows: add --format csv, or --output FILE", highlight=False)


def cell(value: Any) -> str:
    """A value as a table shows it: floats to six figures, long lists by their ends, no control characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) > 6:
        return f"[{', '.join(map(cell, value[:2]))}, … {len(value)}]"
    if isinstance(value, list):
        return f"[{', '.join(map(cell, value))}]"
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def encode(rows: "pa.Table", shape: FileFormat) -> bytes:
    """The rows as the bytes of a CSV, JSON or Parquet file."""
    import io
    import json

    import pyarrow.parquet as pq

    if shape == FileFormat.parquet:
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd")
        return buffer.getvalue()
    names, columns = rows.schema.names, [[plain(value) for value in column.to_pylist()] for column in rows.columns]
    if shape == FileFormat.json:
        records = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        return (json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    return csv_text(names, zip(*columns, strict=True)).encode()


def plain(value: Any) -> Any:
    """A value that JSON knows: NaN and infinity are null, a point in time is text, a large sum is a number."""
    import math
    from decimal import Decimal

    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write_bytes(data: bytes, output: Path | None) -> None:
    """`data` on stdout, or as the file `output` in one step."""
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    from cxremb.cli.progress import log
    from cxremb.store.files import replace_file

    def fill(draft: Path) -> None:
        draft.write_bytes(data)

    replace_file(output, fill)
    log.print(f"wrote {output}", markup=False, highlight=False)
