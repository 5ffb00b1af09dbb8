"""An ablation as a table on the screen, and as Markdown, LaTeX, CSV or JSON."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from cxremb.cli.output import PaperFormat, write
from cxremb.cli.pasted import completed, here
from cxremb.table import Table

if TYPE_CHECKING:
    from cxremb.ablation import Ablation

SECONDS = "s: seconds of training"


def show_ablation(result: "Ablation", fmt: PaperFormat = PaperFormat.table, *, seconds: bool = False) -> None:
    """The comparison on stdout. seconds: with those of training."""
    from cxremb.ablation.headline import table_of

    if fmt is PaperFormat.table:
        show(result, table_of(result, seconds=seconds))
        return
    whole = table_of(result, seconds=seconds, whole=True)
    notes = result.caption if fmt is PaperFormat.markdown else result.notes_of_paper
    if seconds:
        notes = (*notes, SECONDS)
    write(
        {**asdict(result), "caption": result.caption},
        fmt,
        result.to_arrow().to_pylist(),
        [replace(whole, notes=notes, title="" if fmt is PaperFormat.markdown else result.title)],
    )


def show(result: "Ablation", table: Table) -> None:
    """The table and its caption on the screen, how long it took, and where every figure is."""
    from cxremb.cli.screen import say, say_commands, show_table

    show_table(table)
    for line in result.caption:
        say(completed(line))
    reused = [row.arm for row in result.rows if row.reused]
    reused_arms = f"; re-used: {', '.join(reused)}" if reused else ""
    say(f"{result.seconds:.1f} s{reused_arms}")
    names = ", ".join(f"'{row.run_id}'" for row in result.rows)
    say_commands([here(f'sql "select * from metrics where run_id in ({names})"')], "Ask: ")
