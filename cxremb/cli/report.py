"""`cxremb report` writes one page about runs."""

from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, Root, WhereRunsAre
from cxremb.cli.progress import bar
from cxremb.cli.screen import say


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run ids, or parts of them that no other run has; left out: the newest ablation.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="The page; one that is there is replaced.")] = Path(
        "report.html"
    ),
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            help="A folder that also gets each figure as SVG, PNG and PDF, and the table as LaTeX.",
            show_default=False,
        ),
    ] = None,
    include_data: Annotated[
        bool, typer.Option("--include-data", help="Show texts and films of some patients; else there are none.")
    ] = False,
    checklist: Annotated[
        str | None,
        typer.Option(help="claim or tripod: a reporting checklist, filled from the reference.", show_default=False),
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
) -> None:
    """Write one HTML page about an ablation or some runs: tables and figures, which opens without a network.

    The newest ablation is the newest run of each arm and control on the split, folds, seeds, preset and label of the
    newest arm.

    Example: cxremb report --output paper/report.html
    """
    from cxremb.api.report import report as write_page

    path = write_page(
        runs or (),
        output=output,
        figures=figures,
        include_data=include_data,
        checklist=checklist,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    say(f"{path}, {path.stat().st_size / 1e3:,.0f} kB", "bold")
    if figures is not None:
        say(f"{figures}: {sum(1 for _ in figures.glob('*.pdf'))} figures as SVG, PNG and PDF, and table.tex")
