"""What a command prints for other programs: JSON for all that is known, CSV for its rows."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """For a person, for a table of figures, for a program."""

    table = "table"
    csv = "csv"
    json = "json"


AsFormat = Annotated[Format, typer.Option("--format", help="A table to read; csv, its rows; or json, all of it.")]


def write(data: Any, fmt: str, rows: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Data on stdout as JSON or CSV. rows: those of the CSV; by default `data`, or its one row if it is an object."""
    if fmt == Format.json:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    if rows is None:
        rows = [data] if isinstance(data, Mapping) else data
    names = list(dict.fromkeys(name for row in rows for name in row))
    typer.echo(csv_text(names, ([row.get(name) for name in names] for row in rows)), nl=False)


def csv_text(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A heading and a line for each row; lists and objects as JSON, what is missing as an empty cell."""
    text = io.StringIO(newline="")
    if not names:
        return ""
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(
            json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else value for value in row
        )
    return text.getvalue()
