"""`cxremb data`: bring a collection in, and see what is there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, Root

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cxremb.catalog import Added
    from cxremb.datasets.openi import OnBytes
    from cxremb.types import Collection

SHOWN = 3  # examples of a note: the pattern; `data show` has them all
NEXT = "cxremb embed --model efficientnet_b1"

app = typer.Typer(help="Bring a collection in, and see what is there.", no_args_is_help=True)

AdapterName = Annotated[str, typer.Argument(metavar="COLLECTION", help="The kind of collection: iu_xray.")]
SetName = Annotated[str | None, typer.Option("--name", help="Name of the data set, if not the collection's own.")]


@app.command()
def add(
    adapter: AdapterName,
    reports: Annotated[Path, typer.Option(help="indiana_reports.csv, or a folder or .tgz of Open-i XML.")],
    images: Annotated[Path | None, typer.Option(help="Folder of image files; folders below are searched too.")] = None,
    projections: Annotated[Path | None, typer.Option(help="indiana_projections.csv: images and their views.")] = None,
    name: SetName = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Pair a collection's images and reports, and list them in the store. Say what does not pair, and go on.

    Example: cxremb data add iu_xray --images png/ --reports indiana_reports.csv --projections indiana_projections.csv
    """
    from cxremb.catalog import open_adapter

    read = open_adapter(adapter)
    store(read(images, reports, projections), name, root, as_json)


@app.command()
def fetch(
    adapter: AdapterName,
    to: Annotated[Path | None, typer.Option(help="Folder of the downloads.", show_default="ROOT/downloads")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where the archives lie, if not at Open-i.")] = None,
    name: SetName = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Download a collection (1.3 GB; an interrupted download resumes), unpack it and add it.

    Example: cxremb data fetch iu_xray --to downloads
    """
    from cxremb.catalog import open_adapter, open_fetcher
    from cxremb.datasets.openi import OPENI_URL

    read, obtain = open_adapter(adapter), open_fetcher(adapter)
    with byte_bar() as progress:
        images, reports = obtain(to or root / "downloads" / adapter, base_url or OPENI_URL, progress)
    store(read(images, reports, None), name, root, as_json)


@app.command()
def ls(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """List the data sets in the store.

    Example: cxremb data ls
    """
    from rich import box
    from rich.table import Table

    from cxremb.catalog import count
    from cxremb.cli.progress import console, log
    from cxremb.store.dataset import list_datasets

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
    from cxremb.catalog import describe
    from cxremb.store.dataset import open_dataset

    found = describe(open_dataset(root, name))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    show_counts(found["name"], found["counts"])
    if found["simulated"]:
        line("its images are simulated: figures that rest on them say nothing about patients", style="yellow")
    line("views       " + ", ".join(f"{view} {n:,}" for view, n in found["views"].items()))
    for label_set, about in found["labels"].items():
        line(f"\n{label_set}: {about['means']}; labels: {about['labels']:,}, studies: {about['studies']:,}")
        for row in about["most"]:
            line(f"  {row['studies']:>6,}  {row['label']} = {row['value']:g}")
    line("")
    show_notes(found["notes"], shown=10)
    line(f"licence     {found['licence']}")
    line(f"cite        {found['citation']}")
    line("source      " + ", ".join(f"{key} {value}" for key, value in found["source"].items()))


def store(collection: "Collection", name: str | None, root: Path, as_json: bool) -> None:
    """Add the collection, under `name` if given, and say what happened."""
    from dataclasses import replace

    from cxremb.catalog import add_collection
    from cxremb.cli.progress import bar

    added = add_collection(replace(collection, name=name or collection.name), root, bar)
    if as_json:
        facts = {"name": added.dataset.name, "counts": dict(added.counts), "changes": dict(added.changes)}
        typer.echo(json.dumps({**facts, "notes": added.dataset.descriptor["notes"]}, indent=2, ensure_ascii=False))
        return
    show_added(added)


def show_added(added: "Added") -> None:
    """What was added, what did not pair, and what to type next."""
    show_counts(added.dataset.name, added.counts)
    changes = ", ".join(f"{what} {n:,}" for what, n in added.changes.items())
    line(f"changes     {changes or 'none: everything was there already, nothing was written'}")
    show_notes(added.dataset.descriptor["notes"], SHOWN)
    line(f"licence     {added.dataset.descriptor['licence']}")
    line(f"next        {NEXT}", style="bold")


def show_counts(name: str, counts: Mapping[str, int]) -> None:
    """One line of counts under the name."""
    line(name, style="bold")
    line(
        f"studies     {counts['studies']:,} of {counts['patients']:,} patients, "
        f"{counts['reports_with_text']:,} with findings or impression"
    )
    line(f"images      {counts['images']:,} listed, {counts['images_present']:,} present")


def show_notes(notes: Sequence[Mapping[str, Any]], shown: int) -> None:
    """What did not pair: count, first examples, remedy."""
    for note in notes:
        more = ", ..." if note["count"] > min(shown, len(note["examples"])) else ""
        line(f"note        {note['what']}: {note['count']:,}", style="yellow")
        line(f"              {', '.join(note['examples'][:shown])}{more}")
        if note["hint"]:
            line(f"              {note['hint']}", style="dim")


def line(text: str, style: str = "") -> None:
    """One line on stdout, as it is: paths and terms may hold brackets."""
    from cxremb.cli.progress import console

    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def text_of(value: object) -> str:
    """A table cell."""
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


@contextmanager
def byte_bar() -> "Iterator[OnBytes]":
    """A bar on stderr with bytes, rate and time left, one line for each file."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cxremb.cli.progress import log

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log) as bars:
        tasks: dict[str, TaskID] = {}

        def show(done: int, total: int | None, name: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show
