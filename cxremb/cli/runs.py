"""`cxremb runs`: what was trained, one run as it was shown when it was made, and removing one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, Root, RunId, WhereRunsAre
from cxremb.cli.output import AsFormat, AsPaperFormat, Format, PaperFormat, write
from cxremb.cli.pasted import completed

if TYPE_CHECKING:
    from cxremb.training.runs import Run

app = typer.Typer(help="What was trained: list, show, fill a checklist, remove.", no_args_is_help=True)

RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")  # a mark behind a figure, not a digit of it


@app.command()
def ls(
    controls: Annotated[bool, typer.Option("--controls", help="Those of `cxremb ablate` too.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsFormat = Format.table,
) -> None:
    """List the runs of every data set, newest first: arm, labels, split, AUROC with interval, what to read beside it.

    Example: cxremb runs ls
    """
    from cxremb.cli.screen import remark
    from cxremb.store.dataset import data_sets
    from cxremb.training.runs import list_runs

    runs = list_runs(*data_sets(root, dataset))
    if fmt is not Format.table:
        write([as_dict(run) for run in runs], fmt)
        return
    if not runs:
        remark(completed("no run yet; make one with `cxremb train fusion`"))
        return
    shown = runs if controls else [run for run in runs if not run.record.is_control]
    if shown:
        show_listing(shown)
    if hidden := len(runs) - len(shown):
        remark(f"{hidden:,} controls are not listed; add --controls")


@app.command()
def show(run: RunId, root: Root = DEFAULT_ROOT, dataset: WhereRunsAre = None, fmt: AsFormat = Format.table) -> None:
    """Show one run as `cxremb train` did: epochs, test figures, caveats, where it lies.

    Example: cxremb runs show 20261121T101500-0a1b2c3d
    """
    from cxremb.cli.run_view import show_run, write_run
    from cxremb.store.dataset import data_sets
    from cxremb.training.presets import PRESETS
    from cxremb.training.runs import open_run

    found = open_run(run, *data_sets(root, dataset))
    if fmt is not Format.table:
        write_run(found, fmt)
    else:
        show_run(found, PRESETS.get(found.record.preset))


@app.command()
def checklist(
    run: RunId,
    kind: Annotated[str, typer.Option(help="claim (CLAIM, 2024 update) or tripod (TRIPOD+AI, 2024).")] = "claim",
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsPaperFormat = PaperFormat.table,
) -> None:
    """Fill a reporting checklist from a run, its split, data set and last audit; what only people know is left to them.

    Example: cxremb runs checklist 0a1b2c3d --kind tripod --format markdown
    """
    from cxremb.api.runs import checklist as fill
    from cxremb.checklists import WORDING, checklist_table
    from cxremb.cli.screen import say, show_table

    found = fill(run, kind, dataset=dataset, root=root)
    label = f"{found.kind}-{found.run_id}"
    table = replace(checklist_table(found), title=found.heading(), label=label, notes=[WORDING])
    if fmt is PaperFormat.table:
        show_table(table)
        say(found.heading())
    else:
        write(asdict(found), fmt, found.to_arrow().to_pylist(), [table])


@app.command()
def rm(
    run: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
) -> None:
    """Remove one run: its model, its predictions and its figures.

    Example: cxremb runs rm 20261121T101500-0a1b2c3d --yes
    """
    from cxremb.cli.store import human
    from cxremb.store.dataset import data_sets
    from cxremb.training.runs import open_run, remove_run

    found = open_run(run, *data_sets(root, dataset))
    if not yes:
        typer.echo(f"{found.run_id}: {found.record.head} on {found.record.label_set}; add --yes to remove it")
        return
    typer.echo(f"removed {found.run_id}: {human(remove_run(found))} freed")


def show_listing(runs: "Sequence[Run]") -> None:
    """A line per run; at the end, once each, what is the same for all and what must be read beside marked figures."""
    from cxremb.cli.screen import fits, say, show_table
    from cxremb.table import Table, shared_columns

    own = [[completed(caveat, run.record.dataset) for caveat in run.caveats] for run in runs]
    caveats = list(dict.fromkeys(caveat for some in own for caveat in some))
    keys = {(run.record.dataset, run.record.split) for run in runs}
    names = Counter((dataset, split.partition("@")[0]) for dataset, split in keys)
    rows = []
    for run, said in zip(runs, own, strict=True):
        marks = (str(place).translate(RAISED) for place, caveat in enumerate(caveats, 1) if caveat in said)
        name = run.record.split.partition("@")[0]
        several = names[run.record.dataset, name] > 1  # splits of one name: their runs lie on different rows
        split = (run.record.split if several else name) + " LEAKY" * run.record.leaky
        place = (run.record.dataset, run.record.label_set, split, str(len(run.record.members)))
        rows.append([run.run_id, arm_of(run), area(run), "".join(marks), *place])
    headings = ["run", "arm", "AUROC", "", "data set", "labels", "split", "models"]
    table, same = shared_columns(Table(headings, rows, prose=[1, 2, 3, 4, 5, 6]), headings[4:])
    if not fits(table):
        table = replace(table, rows=[[shortest(row[0], runs), *row[1:]] for row in table.rows])
    show_table(table)
    if same:
        say(f"all: {same}", style="dim")
    for number, caveat in enumerate(caveats, 1):
        say(f"{str(number).translate(RAISED)} {caveat}", style="yellow")


def shortest(name: str, runs: "Sequence[Run]") -> str:
    """A part of a run's id that names it as well as the whole: what stands behind the time, if no other run has it."""
    end = name.rpartition("-")[2]
    return end if sum(end in run.run_id for run in runs) == 1 else name


def arm_of(run: "Run") -> str:
    """The arm, with its text where that is another than the usual one and not in the name."""
    from cxremb.store.texts import REPORT

    text = run.record.text
    return run.arm if text in (None, REPORT) or text in run.arm else f"{run.arm} ({text})"


def area(run: "Run") -> str:
    """The AUROC with its interval, short."""
    from cxremb.table import span

    return span(*run.metric("auroc"))


def as_dict(run: "Run") -> dict[str, Any]:
    """A run for JSON: its record and the main figures of its test rows."""
    from cxremb.cli.run_view import figures_of

    return {**run.record.to_dict(), "folder": str(run.folder), "test": figures_of(run)}
