"""What a command prints for programs and papers: JSON for all that is known, CSV for its rows, tables for people."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from cxremb.table import Table, as_latex, as_markdown


class Format(StrEnum):
    """For a person, for a table of figures, for a program."""

    table = "table"
    csv = "csv"
    json = "json"


QUOTE = '"'
NEEDS_QUOTES = re.compile(r'[",\r\n]')


class PaperFormat(StrEnum):
    """As other results, or for a paper."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"


class PageFormat(StrEnum):
    """As for a paper, or as a page of its own."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"
    html = "html"


AsFormat = Annotated[Format, typer.Option("--format", help="A table to read; csv, its rows; or json, all of it.")]
AsPaperFormat = Annotated[
    PaperFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",  # the choices in one word would be broken in 80 columns
        help="A table to read; csv, its rows; json, all of it; markdown or latex, for a paper.",
    ),
]
AsPageFormat = Annotated[
    PageFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="A table to read; csv, its rows; json, all of it; markdown or latex, for a paper; html, the page of "
        "`cxremb report`.",
    ),
]


def write(data: Any, fmt: str, rows: Sequence[Mapping[str, Any]] | None = None, tables: Sequence[Table] = ()) -> None:
    """Data on stdout as JSON or CSV, or tables as Markdown or LaTeX.

    rows: those of the CSV; by default `data`, or its one row if it is an object.
    """
    if fmt in (PaperFormat.markdown, PaperFormat.latex):
        style = as_markdown if fmt == PaperFormat.markdown else as_latex
        emit("\n\n".join(map(style, tables)) + "\n")
        return
    if fmt == Format.json:
        emit(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        return
    if rows is None:
        rows = [data] if isinstance(data, Mapping) else data
    names = list(dict.fromkeys(name for row in rows for name in row))
    emit(csv_text(names, ([row.get(name) for name in names] for row in rows)))


def csv_text(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A heading and a line for each row; lists and objects as JSON, what is missing as an empty cell.

    An empty text is "" in quotes, as DuckDB writes and reads it: it is not missing.
    """
    return "".join(f"{csv_line(row)}\n" for row in (names, *rows)) if names else ""


def csv_line(row: Iterable[Any]) -> str:
    """One line; never an empty one, which readers skip."""
    return ",".join(map(csv_cell, row)) or '""'


def csv_cell(value: Any) -> str:
    """One cell, in quotes where it has to be."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else str(value)
    return f'"{text.replace(QUOTE, QUOTE * 2)}"' if not text or NEEDS_QUOTES.search(text) else text


def emit(text: str) -> None:
    """Text on stdout for a program, as it is; where a terminal reads it, without what that would obey."""
    typer.echo(visible(text) if sys.stdout.isatty() else text, nl=False)


def visible(text: str) -> str:
    """A text without a character that a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
