"""`cxremb data`: bring a collection in, and see what is there."""

from typing import Annotated

import typer

from cxremb.cli import add
from cxremb.cli.collection import line, show_counts, show_notes
from cxremb.cli.fetch import fetch
from cxremb.cli.label import label, show_labels
from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.split import split

app = typer.Typer(help="Bring a collection in, and see what is there.", no_args_is_help=True)
app.add_typer(add.app, name="add")
app.command()(fetch)
app.command()(label)
app.command()(split)


@app.command()
def ls(root: Root = DEFAULT_ROOT, fmt: AsFormat = Format.table) -> None:
    """List the data sets in the store.

    Example: cxremb data ls
    """
    from rich.markup import escape

    from cxremb.cli.progress import log
    from cxremb.cli.run_view import page, plain_table
    from cxremb.store.dataset import list_datasets
    from cxremb.store.tables import count

    rows = [
        {
            "name": dataset.name,
            **count(dataset),
            "licence": dataset.descriptor["licence"],
            "simulated": dataset.simulated,
        }
        for dataset in list_datasets(root)
    ]
    if fmt is not Format.table:
        write(rows, fmt)
        return
    if not rows:
        log.print(f"{root}: no data set yet; add one with `cxremb data add`", markup=False, soft_wrap=True)
        return
    table = plain_table([heading.split("_")[-1] for heading in rows[0]])
    for column, value in zip(table.columns, rows[0].values(), strict=True):
        column.justify = "left" if isinstance(value, str | bool) else "right"
        column.no_wrap = column.header != "licence"  # which may be a sentence
    for row in rows:
        table.add_row(*(escape(text_of(value)) for value in row.values()))
    page().print(table)


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The data set, if there are several.")] = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Show what a data set holds: counts, views, labels, licence, citation, and what did not pair.

    Example: cxremb data show iu_xray
    """
    from cxremb.store.dataset import open_dataset
    from cxremb.store.tables import describe

    found = describe(open_dataset(root, name))
    if fmt is not Format.table:
        write(found, fmt)
        return
    show_counts(found["name"], found["counts"], found["texts"])
    if found["simulated"]:
        line("its images are simulated: figures that rest on them say nothing about patients", style="yellow")
    line("views       " + ", ".join(f"{view} {n:,}" for view, n in found["views"].items()))
    for label_set, about in found["labels"].items():
        show_labels(label_set, about)
    line("")
    show_notes(found["notes"], shown=10)
    line(f"licence     {found['licence']}")
    line(f"cite        {found['citation']}")
    line("source      " + ", ".join(f"{key} {value}" for key, value in found["source"].items()))


def text_of(value: object) -> str:
    """A table cell."""
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
