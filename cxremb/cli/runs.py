"""`cxremb runs`: what was trained, one run as it was shown when it was made, and removing one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write

if TYPE_CHECKING:
    from cxremb.training.runs import Run

app = typer.Typer(help="What was trained: list, show, remove.", no_args_is_help=True)

RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")  # a mark behind a figure, not a digit of it

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a part of it that no other run has.")]


@app.command()
def ls(root: Root = DEFAULT_ROOT, dataset: DatasetName = None, fmt: AsFormat = Format.table) -> None:
    """List every run, newest first: arm, labels, split, models, AUROC with interval and what to read beside it.

    Example: cxremb runs ls
    """
    from cxremb.cli.progress import log
    from cxremb.store.dataset import open_dataset
    from cxremb.training.runs import list_runs

    runs = list_runs(open_dataset(root, dataset))
    if fmt is not Format.table:
        write([as_dict(run) for run in runs], fmt)
        return
    if not runs:
        log.print("no run yet; make one with `cxremb train fusion`", markup=False)
        return
    show_listing(runs)


@app.command()
def show(run: RunId, root: Root = DEFAULT_ROOT, dataset: DatasetName = None, fmt: AsFormat = Format.table) -> None:
    """Show one run as `cxremb train` did: epochs, test figures, caveats, where it lies.

    Example: cxremb runs show 20261121T101500-0a1b2c3d
    """
    from cxremb.cli.run_view import show_run, write_run
    from cxremb.store.dataset import open_dataset
    from cxremb.training.presets import PRESETS
    from cxremb.training.runs import open_run

    found = open_run(open_dataset(root, dataset), run)
    if fmt is not Format.table:
        write_run(found, fmt)
    else:
        show_run(found, PRESETS.get(found.record.preset))


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
    from cxremb.training.runs import open_run, remove_run

    found = open_run(open_dataset(root, dataset), run)
    if not yes:
        typer.echo(f"{found.run_id}: {found.record.head} on {found.record.label_set}; add --yes to remove it")
        return
    typer.echo(f"removed {found.run_id}: {human(remove_run(found))} freed")


def show_listing(runs: "Sequence[Run]") -> None:
    """Two lines per run; at the end, once each, what must be read beside the figures that its number marks."""
    from rich.markup import escape

    from cxremb.cli.run_view import page, plain_table

    caveats = list(dict.fromkeys(caveat for run in runs for caveat in run.caveats))
    table = plain_table(("run\n[dim]labels, split×models[/]", "arm", "AUROC"))
    for column in table.columns:
        column.justify, column.overflow = "left", "fold"
    table.columns[0].min_width = max(len(run.run_id) for run in runs)  # an id is there to be copied
    table.columns[-1].no_wrap = True
    for run in runs:
        marks = "".join(
            str(place).translate(RAISED) for place, caveat in enumerate(caveats, 1) if caveat in run.caveats
        )
        named = f"{run.run_id}\n[dim]{escape(data_of(run))}[/]"
        table.add_row(named, escape(arm_of(run)), escape(area(run)) + marks)
    to = page()
    to.print(table)
    for number, caveat in enumerate(caveats, 1):
        to.print(f"{str(number).translate(RAISED)} {caveat}", style="yellow", markup=False, highlight=False)


def arm_of(run: "Run") -> str:
    """The arm, with its text where that is another than the usual one and not in the name."""
    from cxremb.store.texts import REPORT

    text = run.record.text
    return run.arm if text in (None, REPORT) or text in run.arm else f"{run.arm} ({text})"


def data_of(run: "Run") -> str:
    """What was learned from which split, and how many models that took."""
    record = run.record
    leaky = " LEAKY" if record.leaky else ""
    return f"{record.label_set}, {record.split.partition('@')[0]}×{len(record.members)}{leaky}"


def area(run: "Run") -> str:
    """The AUROC with its interval, short."""
    value, low, high = run.metric("auroc")
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def as_dict(run: "Run") -> dict[str, Any]:
    """A run for JSON: its record and the main figures of its test rows."""
    from cxremb.cli.run_view import figures_of

    return {**run.record.to_dict(), "folder": str(run.folder), "test": figures_of(run)}
