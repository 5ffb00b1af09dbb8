"""`cxremb sql` asks the stores, the runs and their predictions; without a query it is a small shell."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import emit
from cxremb.cli.rows import FileFormat, encode, print_table

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
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="CSV whose texts no spreadsheet runs: ' before = + - @.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="End the query after so many seconds.", show_default=False)
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Query stores, runs and predictions with SQL, read-only. Try: cxremb sql "show tables".

    Example: cxremb sql "select arm, metric, value, low, high from metrics join runs using (run_id) where part = 'test'"
    """
    from cxremb.store.dataset import list_datasets, open_dataset
    from cxremb.store.plain import ARROW, TEXT
    from cxremb.store.sql import query as ask

    if query is not None and file is not None:
        raise typer.BadParameter("give a query or --file, not both")
    shape = chosen_format(fmt, output, spreadsheet)
    refuse_to_replace(output, force)
    list_datasets(root) or open_dataset(root)  # which says that there is none
    if query is None and file is None and sys.stdin.isatty():
        shell(root, timeout)
        return
    kept = ARROW if shape == FileFormat.parquet else TEXT
    rows = ask(root, query if query is not None else read_query(file), kept=kept, seconds=timeout)
    if shape == FileFormat.table:
        print_table(rows)
    else:
        write_bytes(encode(rows, shape, spreadsheet=spreadsheet), output)


def chosen_format(requested: FileFormat | None, output: Path | None, spreadsheet: bool) -> FileFormat:
    """The format asked for, else the one that the output file's name ends in, else a table."""
    suffix = output.suffix.lstrip(".").lower() if output else "csv" if spreadsheet else "table"
    shape = requested or (FileFormat(suffix) if suffix in list(FileFormat) else None)
    if shape is None or (output and shape == FileFormat.table):
        raise typer.BadParameter(f"{output}: say --format csv, json or parquet")
    if spreadsheet and shape != FileFormat.csv:
        raise typer.BadParameter("--spreadsheet is for CSV: add --format csv")
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


def shell(root: Path, seconds: float | None) -> None:
    """Ask for queries until `.quit` or the end of input; a query ends with a semicolon, or with Ctrl-C."""
    from cxremb.cli.progress import log
    from cxremb.errors import CxrembError
    from cxremb.store.plain import TEXT
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
                print_table(ask(root, "\n".join(lines), kept=TEXT, seconds=seconds))
            except KeyboardInterrupt:
                log.print("the query was ended")
            except CxrembError as error:
                log.print(f"{error}\nhint: {error.hint}", markup=False, highlight=False, soft_wrap=True)
            lines = []


def write_bytes(data: bytes, output: Path | None) -> None:
    """`data` on stdout, or as the file `output` in one step."""
    if output is None:
        if sys.stdout.isatty():
            emit(data.decode())
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        return
    from cxremb.cli.progress import log
    from cxremb.store.files import replace_file

    def fill(draft: Path) -> None:
        draft.write_bytes(data)

    replace_file(output, fill)
    log.print(f"wrote {output}", markup=False, highlight=False)
