"""`cxremb data`: bring a collection in, and see what is there."""

from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import add_released, completion
from cxremb.cli.collection import line, show_counts, show_notes
from cxremb.cli.concepts import concepts
from cxremb.cli.fetch import fetch
from cxremb.cli.label import label, show_labels
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root, Yes
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.split import split

if TYPE_CHECKING:
    from cxremb.store.dataset import Dataset

app = typer.Typer(help="Bring a collection in, and see what is there.", no_args_is_help=True)
app.add_typer(add_released.app, name="add")
app.command()(fetch)
app.command()(label)
app.command()(split)
app.command()(concepts)


@app.command()
def ls(root: Root = DEFAULT_ROOT, fmt: AsFormat = Format.table) -> None:
    """List the data sets in the store.

    Example: cxremb data ls
    """
    from cxremb.cli.screen import remark, show_table
    from cxremb.store.dataset import list_datasets
    from cxremb.store.tables import count
    from cxremb.table import Table

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
        remark(f"{root}: no data set yet; add one with `cxremb data add`")
        return
    names = [heading.split("_")[-1] for heading in rows[0]]
    cells = [[text_of(value) for value in row.values()] for row in rows]
    show_table(Table(names, cells, prose=[names.index("licence"), names.index("simulated")]))


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Short for --dataset NAME.", autocompletion=completion.datasets),
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Show what a data set holds: counts, views, labels, splits, licence, citation, and what did not pair.

    Example: cxremb data show iu_xray
    """
    from cxremb.splits import stored_splits
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import list_stores
    from cxremb.store.tables import describe

    if name and dataset and name != dataset:
        raise typer.BadParameter(f"{name} or {dataset}? Name one data set", param_hint="--dataset")
    data = open_dataset(root, name or dataset)
    imported = [store.name for store in list_stores(data) if store.imported]
    found = {**describe(data), "imported": imported, "splits": stored_splits(data), "pseudonyms": data.pseudonyms}
    if fmt is not Format.table:
        write(found, fmt)
        return
    show_counts(found["name"], found["counts"], found["texts"])
    show_whereabouts(data, present=found["counts"]["images_present"])
    if found["simulated"]:
        line("its images are simulated: figures that rest on them say nothing about patients", style="yellow")
    line("views       " + ", ".join(f"{view} {n:,}" for view, n in found["views"].items()))
    for label_set, about in found["labels"].items():
        show_labels(label_set, about)
    line("")
    for store in found["imported"]:
        line(f"imported    {store}: its vectors were made elsewhere", style="yellow")
    for stored in found["splits"]:
        whose = f" ({stored['label_set']})" if stored["label_set"] else ""
        line(f"split       {stored['name']}{whose}{', LEAKY' * stored['leaky']}")
    show_notes(found["notes"], shown=10)
    line(f"licence     {found['licence']}")
    line(f"cite        {found['citation']}")
    line("source      " + ", ".join(f"{key} {value}" for key, value in found["source"].items()))


def show_whereabouts(data: "Dataset", *, present: int) -> None:
    """Lines on films that lie on another machine, and on pseudonyms. present: films that there were when added."""
    if present and data.images["path"].null_count == len(data.images):
        line("            when added; where they lie is not known on this machine", style="yellow")
    if data.pseudonyms:
        line(f"pseudonyms  ids are keyed hashes; the key: {data.locations.key or 'not known on this machine'}")


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="The data set.", autocompletion=completion.datasets)],
    yes: Yes = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Remove a data set: its tables, stores, splits, runs and notes. Films that lie elsewhere stay.

    Example: cxremb data rm iu_xray
    """
    from cxremb.cli.screen import say
    from cxremb.cli.store import human
    from cxremb.store.clean import contents, remove_dataset
    from cxremb.store.layout import DatasetPaths

    paths = DatasetPaths(root, name)
    for what, size in contents(paths).items():
        line(f"{what:<12}{human(size)}")
    if yes:
        say(f"removed {name}: {human(remove_dataset(paths))} freed")
    else:
        say("nothing was removed; add --yes to remove this")


def text_of(value: object) -> str:
    """A table cell."""
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
