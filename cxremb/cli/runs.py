"""`cxremb runs`: what was trained, how two runs differ, and removing one."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root

if TYPE_CHECKING:
    from cxremb.train.runs import Run

app = typer.Typer(help="What was trained: list, show, compare, remove.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a part of it that no other run has.")]
ASKED = (
    *("head", "preset", "label_set", "task", "stores", "text", "pooling", "views", "unit", "missing", "split", "folds"),
    *("repeats", "seeds", "rows", "patients", "parameters", "leaky", "note"),
)


@app.command()
def ls(root: Root = DEFAULT_ROOT, dataset: DatasetName = None, as_json: AsJson = False) -> None:
    """List every run, newest first: head, labels, split, AUROC with interval.

    Example: cxremb runs ls
    """
    from rich.markup import escape

    from cxremb.cli.progress import log
    from cxremb.cli.run_view import plain_table, show_table
    from cxremb.store.dataset import open_dataset
    from cxremb.train.runs import list_runs

    runs = list_runs(open_dataset(root, dataset))
    if as_json:
        typer.echo(json.dumps([told(run) for run in runs], indent=2, ensure_ascii=False))
        return
    if not runs:
        log.print("no run yet; make one with `cxremb train fusion`", markup=False)
        return
    table = plain_table(("run", "head", "label set", "split", "models", "AUROC"))
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True  # an id is there to be copied
    for run in runs:
        record = run.record
        leaky = " LEAKY" if record["leaky"] else ""
        cells = (run.run_id, record["head"], record["label_set"], f"{record['split'].partition('@')[0]}{leaky}")
        table.add_row(*map(escape, cells), str(len(record["members"])), escape(area(run)))
    show_table(table)


@app.command()
def show(run: RunId, root: Root = DEFAULT_ROOT, dataset: DatasetName = None, as_json: AsJson = False) -> None:
    """Show one run as `cxremb train` did: epochs, test figures, caveats, where it lies.

    Example: cxremb runs show 20261121T101500-0a1b2c3d
    """
    from cxremb.cli.run_view import run_json, show_run
    from cxremb.store.dataset import open_dataset
    from cxremb.train.presets import PRESETS
    from cxremb.train.runs import open_run

    found = open_run(open_dataset(root, dataset), run)
    if as_json:
        run_json(found)
    else:
        show_run(found, PRESETS.get(found.record["preset"]))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="A run id, or a part of it that no other run has.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The other one.")],
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    as_json: AsJson = False,
) -> None:
    """Show two runs side by side: what was asked of each where they differ, and their main test figures.

    These are two figures, not a test of their difference: rows and patients may be others.

    Example: cxremb runs compare 0a1b2c3d 4e5f6a7b
    """
    from cxremb.store.dataset import open_dataset
    from cxremb.train.runs import open_run

    data = open_dataset(root, dataset)
    runs = [open_run(data, name) for name in (first, second)]
    if as_json:
        typer.echo(json.dumps([told(run) for run in runs], indent=2, ensure_ascii=False))
    else:
        show_both(*runs)


@app.command()
def rm(
    run: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
) -> None:
    """Remove one run: its model, its predictions and its figures.

    Example: cxremb runs rm 20261121T101500-0a1b2c3d --yes
    """
    from cxremb.cli.store import human
    from cxremb.store.dataset import open_dataset
    from cxremb.train.runs import open_run, remove_run

    found = open_run(open_dataset(root, dataset), run)
    if not yes:
        typer.echo(f"{found.run_id}: {found.record['head']} on {found.record['label_set']}; add --yes to remove it")
        return
    typer.echo(f"removed {found.run_id}: {human(remove_run(found))} freed")


def area(run: "Run") -> str:
    """The AUROC with its interval, short."""
    value, low, high = run.metric("auroc")
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def told(run: "Run") -> dict[str, Any]:
    """A run for JSON: its record and the main figures of its test rows."""
    from cxremb.cli.run_view import figures_of

    return {**run.record, "folder": str(run.folder), "test": figures_of(run)}


def show_both(first: "Run", second: "Run") -> None:
    """Two tables: what differs in what was asked, and the figures."""
    from rich.markup import escape

    from cxremb.cli.run_view import figures_of, plain_table, show_table, span

    asked = plain_table(("", first.run_id, second.run_id))
    for name in ASKED:
        pair = [words(run.record.get(name)) for run in (first, second)]
        if pair[0] != pair[1]:
            asked.add_row(name.replace("_", " "), *map(escape, pair))
    show_table(asked)
    figures = [figures_of(run) for run in (first, second)]
    table = plain_table((f"test, {first.label}", first.run_id, second.run_id))
    for name in figures[0]:
        if name in figures[1]:
            table.add_row(name, *(escape(span(one[name])) for one in figures))
    show_table(table)
    if first.label != second.label:
        typer.echo(f"the figures of {first.run_id} are of {first.label}, those of the other of {second.label}")


def words(value: Any) -> str:
    """A fact of a run in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)
