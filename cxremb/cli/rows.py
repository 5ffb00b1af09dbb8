"""The rows of a query: as a table that fits the screen, or as the bytes of a file."""

import io
import json
import math
import os
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cxremb.cli.output import csv_text, visible

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

MAX_ROWS = 50  # a screenful; the other formats give them all
MAX_RECORDS = 10  # where each row takes a line a column
WIDE = 10_000  # columns, where nobody looks: rows in a pipe are whole
FRAME = 3  # columns that a table spends on each of its own: a bar and two blanks
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet runs


class FileFormat(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def print_table(rows: "pa.Table") -> None:
    """The first rows on stdout, and how to get the others. Where a table is too wide, each row is a list of its cells.

    No word is broken that fits on the screen. In a pipe rows are whole, unless COLUMNS says how wide it is.
    """
    from rich.console import Console

    from cxremb.cli.progress import console, log
    from cxremb.cli.screen import width

    screen = Console(width=width() if console.is_terminal or "COLUMNS" in os.environ else WIDE)
    cells = [[cell(value) for value in values(column)] for column in rows.slice(0, MAX_ROWS).columns]
    widths = fitting([[name, *column] for name, column in zip(rows.column_names, cells, strict=True)], screen.width)
    if widths is not None:
        print_grid(rows.schema, cells, widths, screen=screen)
        shown = MAX_ROWS
    elif not rows.num_rows:  # of a table the headings are there
        shown = 0
        log.print(f"no rows of {', '.join(map(visible, rows.column_names))}", highlight=False, markup=False)
    else:
        shown = MAX_RECORDS
        print_records(rows.column_names, [column[:shown] for column in cells], screen)
    if (more := rows.num_rows - shown) > 0:
        log.print(f"{more:,} more rows: add --format csv, or --output FILE", highlight=False)


def values(column: "pa.ChunkedArray") -> list[Any]:
    """The values of a column; a map is an object."""
    return list(column.to_pylist(maps_as_pydicts="strict"))


def fitting(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """A width for each column so that all fit side by side and no word is broken, or None.

    columns: their heading and cells. What is over after their longest words goes to the narrowest that can use it.
    """
    full = [max(map(longest_line, column)) for column in columns]
    widths = [max(map(longest_word, column)) for column in columns]
    room = width - 1 - sum(one + FRAME for one in widths)
    if room < 0:
        return None
    while room and (short := [place for place, one in enumerate(widths) if one < full[place]]):
        widths[min(short, key=lambda place: widths[place])] += 1
        room -= 1
    return widths


def longest_line(text: str) -> int:
    """The width of the widest line."""
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def longest_word(text: str) -> int:
    """The width of the widest word."""
    from rich.cells import cell_len

    return max(map(cell_len, text.split()), default=0)


def print_grid(
    schema: "pa.Schema", cells: Sequence[Sequence[str]], widths: Sequence[int], *, screen: "Console"
) -> None:
    """A table of columns, numbers to the right."""
    import pyarrow as pa
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for field, width in zip(schema, widths, strict=True):
        kind = field.type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        table.add_column(Text(visible(field.name)), justify="right" if number else "left", width=width, overflow="fold")
    for row in zip(*cells, strict=True):
        table.add_row(*map(Text, row))
    screen.print(table)


def print_records(names: Sequence[str], cells: Sequence[Sequence[str]], screen: "Console") -> None:
    """For each row the name and the value of each cell: beside each other, or below where a word would be broken."""
    from rich.text import Text

    names = list(map(visible, names))
    margin = max(map(len, names)) + 2
    for number, row in enumerate(zip(*cells, strict=True), 1):
        screen.print(Text(f"row {number}", style="bold"))
        for name, value in zip(names, row, strict=True):
            room = screen.width - margin
            beside = longest_word(value) <= room
            lines = Text(value).wrap(screen, room if beside else screen.width - 2)
            if not beside:
                screen.print(Text(name), soft_wrap=True)
            for place, line in enumerate(lines):
                before = f"{'' if place else name:{margin}}" if beside else "  "
                line.rstrip()
                screen.print(Text(before) + line, soft_wrap=True)


def cell(value: Any) -> str:
    """A value as a table shows it: floats to six figures, long lists by their ends, no control characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) > 6:
        return f"[{', '.join(map(cell, value[:2]))}, … {len(value)}]"
    if isinstance(value, list):
        return f"[{', '.join(map(cell, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{cell(key)}: {cell(one)}' for key, one in value.items())}}}"
    return visible("" if value is None else str(value))


def encode(rows: "pa.Table", shape: FileFormat, *, spreadsheet: bool = False) -> bytes:
    """The rows as the bytes of a CSV, JSON or Parquet file."""
    import pyarrow.parquet as pq

    if shape == FileFormat.parquet:
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="zstd")
        return buffer.getvalue()
    names, columns = rows.schema.names, [values(column) for column in rows.columns]
    if shape == FileFormat.json:
        keys = [json_text(name) for name in names]
        objects = (zip(keys, map(json_text, row), strict=True) for row in zip(*columns, strict=True))
        lines = ",\n".join(f" {{{', '.join(f'{key}: {value}' for key, value in one)}}}" for one in objects)
        return f"[\n{lines}\n]\n".encode()
    if spreadsheet:
        names, columns = [harmless(name) for name in names], [[harmless(one) for one in column] for column in columns]
    return csv_text(names, zip(*([csv_value(one) for one in column] for column in columns), strict=True)).encode()


def json_text(value: Any) -> str:
    """A value as JSON, a decimal with all its digits. NaN and infinity, which JSON has not, are null."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return json.dumps(value) if math.isfinite(value) else "null"
    if isinstance(value, list):
        return f"[{', '.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json_text(key)}: {json_text(one)}' for key, one in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def csv_value(value: Any) -> Any:
    """A value as a cell of CSV; what is made of several is JSON."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return json_text(value) if isinstance(value, list | dict) else value


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula, as a text for it: behind a quotation mark."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
