"""`cxremb data`: bring a collection in, and see what is there."""

import json
from typing import Annotated

import typer

from cxremb.cli import add
from cxremb.cli.collection import line, show_counts, show_notes
from cxremb.cli.fetch import fetch
from cxremb.cli.label import label, show_labels
from cxremb.cli.options import DEFAULT_ROOT, AsJson, Root
from cxremb.cli.split import split

app = typer.Typer(help="Bring a collection in, and see what is there.", no_args_is_help=True)
app.add_typer(add.app, name="add")
app.command()(fetch)
app.command()(label)
app.command()(split)


@app.command()
def ls(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """List the data sets in the store.

    Example: cxremb data ls
    """
    from rich import box
    from rich.table import Table

    from cxremb.cli.progress import console, log
    from cxremb.store.dataset import list_datasets
    from cxremb.store.describe import count

    rows = [
        {
            "name": dataset.name,
            **count(dataset),
            "licence": dataset.descriptor["licence"],
            "simulated": dataset.simulated,
        }
        for dataset in list_datasets(root)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        log.print(f"{root}: no data set yet; add one with `cxremb data add`", markup=False, soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, value in rows[0].items():
        number = type(value) is int  # and not a bool
        table.add_column(heading.split("_")[-1], justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*(text_of(value) for value in row.values()))
    console.print(table)


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The data set, if there are several.")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Show what a data set holds: counts, views, labels, licence, citation, and what did not pair.

    Example: cxremb data show iu_xray
    """
    from cxremb.store.dataset import open_dataset
    from cxremb.store.describe import describe

    found = describe(open_dataset(root, name))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    show_counts(found["name"], found["counts"])
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
