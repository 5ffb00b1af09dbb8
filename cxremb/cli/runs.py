"""`cxremb runs`: what was trained, one run as it was shown when it was made, and removing one."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root

if TYPE_CHECKING:
    from cxremb.train.runs import Run

app = typer.Typer(help="What was trained: list, show, remove.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a part of it that no other run has.")]


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
