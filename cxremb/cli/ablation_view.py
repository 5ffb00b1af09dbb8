"""An ablation as a table of 100 columns, and as Markdown, LaTeX, CSV or JSON."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from cxremb.cli.output import csv_text, write
from cxremb.cli.progress import WIDTH

if TYPE_CHECKING:
    from cxremb.ablation import Ablation, ArmResult
    from cxremb.ablation.controls import ControlResult

LONG = 20  # of them, what a difference takes
NARROW = 28  # of them, those that are left for the name of an arm


class PaperFormat(StrEnum):
    """As other results, or for a paper."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"


def show_ablation(result: "Ablation", fmt: PaperFormat = PaperFormat.table) -> None:
    """The comparison on stdout."""
    if fmt is PaperFormat.table:
        show_table(result)
    elif fmt is PaperFormat.json:
        from dataclasses import asdict

        write({**asdict(result), "caption": result.caption}, fmt)
    else:
        styles = {PaperFormat.csv: as_csv, PaperFormat.markdown: as_markdown, PaperFormat.latex: as_latex}
        typer.echo(styles[fmt](result), nl=fmt is not PaperFormat.csv)


def headings(reference: str | None) -> list[str]:
    """The names of the columns."""
    name = reference if reference and len(reference) < LONG else "reference"  # the caption names it too
    gap = [f"- {name}", "p"] if reference else []
    return ["arm", "n", "AUROC", *gap, "acc", "F1", "sp@.95", "ECE", "s"]


def cells(row: "ArmResult", reference: str | None) -> list[str]:
    """What a reader sees of one arm."""
    figures = [row.accuracy.value, row.f1.value, row.specificity, row.ece]
    others = [*(short(figure) for figure in figures), f"{row.seconds:.0f}"]
    start = [row.title, f"{row.n:,}", span(row.auroc.value, row.auroc.low, row.auroc.high)]
    if reference is None:
        return [*start, *others]
    if row.difference is None:
        return [*start, "reference", "", *others]
    gap = row.difference
    p = "-" if row.holm is None else "<.001" if row.holm < 0.001 else bare(row.holm)
    return [*start, span(gap.value, gap.low, gap.high, sign="+"), p, *others]


def control_cells(control: "ControlResult", reference: str | None) -> list[str]:
    """What a reader sees of one control, in the columns of the arms; it is compared with no arm in figures."""
    if control.row is None:
        return [control.name, "", "not made", *[""] * (len(headings(reference)) - 3)]
    first, *others = cells(replace(control.row, arm=control.name, difference=None), reference)
    return [first, *("" if cell == "reference" else cell for cell in others)]


def show_table(result: "Ablation") -> None:
    """A table of at most 100 columns, arms above and controls below, and its caption."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    for place, name in enumerate(headings(result.reference)):
        table.add_column(
            name.replace("[", "\\["), overflow="fold", no_wrap=place > 0, justify="left" if place < 1 else "right"
        )
    for row in result.rows:
        first, *others = cells(row, result.reference)
        table.add_row(broken(first), *(cell.replace("[", "\\[") for cell in others))
    if result.controls:
        table.add_section()
        table.add_row("Controls:")
    for control in result.controls:
        table.add_row(*(cell.replace("[", "\\[") for cell in control_cells(control, result.reference)))
    Console(width=WIDTH).print(table)  # a pipe would get 80 columns
    for line in result.caption:
        typer.echo(line)
    reused = [row.arm for row in result.rows if row.reused]
    reused_arms = f"; re-used: {', '.join(reused)}" if reused else ""
    typer.echo(f"{result.seconds:.1f} s{reused_arms}")
    names = ", ".join(f"'{row.run_id}'" for row in result.rows)
    typer.echo(f'Ask: cxremb sql "select * from metrics where run_id in ({names})"')


def broken(name: str) -> str:
    """An arm's name for a narrow column: each change on a line of its own where the whole is long."""
    base, bracket, changes = name.removesuffix("]").partition("[")
    lines = [base, *(f" {change}" for change in changes.split(","))]
    return "\n".join(lines) if bracket and len(name) > NARROW else name.replace("[", "\\[")


def whole_cells(row: "ArmResult", reference: str | None) -> list[str]:
    """As `cells`, with the intervals of accuracy and F1: a page is wider than a terminal."""
    found = cells(row, reference)
    found[-5:-3] = [span(figure.value, figure.low, figure.high) for figure in (row.accuracy, row.f1)]
    return found


def as_markdown(result: "Ablation") -> str:
    """A GitHub table with its caption as a list."""
    names = headings(result.reference)
    rows = [whole_cells(row, result.reference) for row in result.rows]
    rows += [control_cells(control, result.reference) for control in result.controls]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in result.caption)])


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def as_latex(result: "Ablation") -> str:
    """A table for the package booktabs, with its caption as notes below."""
    names = headings(result.reference)
    arms = [whole_cells(row, result.reference) for row in result.rows]
    controls = [control_cells(control, result.reference) for control in result.controls]
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering\small"]
    lines += [r"\begin{tabular}{l" + "r" * (len(names) - 1) + "}", r"\toprule", latex_row(names), r"\midrule"]
    lines += [latex_row(row) for row in arms]
    if controls:
        lines += [r"\midrule", *(latex_row(row) for row in controls)]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip\raggedright\footnotesize"]
    lines += [f"{latex(line)}.\\\\" for line in result.caption]
    return "\n".join([*lines, r"\end{table}"])


def latex_row(row: list[str]) -> str:
    """One line of a tabular. A bracket first in a line would be taken for an option of the break before it."""
    return " & ".join("{" + text + "}" if (text := latex(cell)).startswith("[") else text for cell in row) + r" \\"


def latex(text: str) -> str:
    """Text with what LaTeX would take for its own escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def as_csv(result: "Ablation") -> str:
    """One line per arm and control, full precision; the caveats travel in a column."""
    rows = result.to_arrow()
    return csv_text(rows.column_names, (row.values() for row in rows.to_pylist()))


def span(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    """`.912 [.901, .922]`, or a dash where undefined."""
    if value is None:
        return "-"
    interval = "" if low is None or high is None else f" [{bare(low, sign)}, {bare(high, sign)}]"
    return f"{bare(value, sign)}{interval}"


def short(value: float | None) -> str:
    """A figure alone, or a dash where undefined."""
    return "-" if value is None else bare(value)


def bare(value: float, sign: str = "") -> str:
    """Three decimals without the zero before the point: ten columns of them fit a line of 100."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:{sign}.3f}"
