"""`cxremb compare` pairs two runs on the units that both judge."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write

if TYPE_CHECKING:
    from cxremb.comparison import Comparison
    from cxremb.evaluation.bootstrap import Difference
    from cxremb.evaluation.delong import AreaDifference


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="A run id, or a part of it that no other run has.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The other one.")],
    shared: Annotated[bool, typer.Option("--shared", help="Leave out the units that only one of them has.")] = False,
    label: Annotated[
        str | None, typer.Option(help="One of several labels; their macro figures if left out.", show_default=False)
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Compare two runs on the test rows that both judge: AUROC by bootstrap and DeLong, accuracy, McNemar, in words.

    Example: cxremb compare 0a1b2c3d 4e5f6a7b
    """
    from dataclasses import asdict

    from cxremb.api.runs import compare as compare_runs

    found = compare_runs(first, second, shared=shared, label=label, dataset=dataset, root=root)
    if fmt is not Format.table:
        write(asdict(found), fmt, found.to_arrow().to_pylist())
    else:
        show_comparison(found)


def show_comparison(found: "Comparison") -> None:
    """What differs in what was requested, the figures with their differences, and the conclusion."""
    from rich.markup import escape

    from cxremb.cli.run_view import number, plain_table, show_table

    if found.differs:
        requested = plain_table(("", f"A  {found.a}", f"B  {found.b}"))
        for name, both in found.differs.items():
            requested.add_row(name.replace("_", " "), *(escape(words(value)) for value in both))
        show_table(requested)
    table = plain_table((f"test, {found.label}", "A", "B", "A - B", "p"))
    for name, pair in found.figures.items():
        table.add_row(name, number(pair.a), number(pair.b), escape(gap(pair.difference)), p_in_words(pair.difference.p))
    table.add_row("auroc, DeLong", "", "", escape(gap(found.delong)), p_in_words(found.delong.p))
    table.add_row(
        "right alone, studies",
        str(found.mcnemar.only_a),
        str(found.mcnemar.only_b),
        "McNemar",
        p_in_words(found.mcnemar.p),
    )
    show_table(table)
    typer.echo(f"\n{found.conclusion}")
    typer.echo(
        f"On {found.units:,} shared units, {found.studies:,} studies of {found.patients:,} patients; "
        f"left out: {found.left_out[0]:,} that only A has, {found.left_out[1]:,} that only B has"
    )
    typer.echo("Brackets: 95% over patients, bootstrap and DeLong; p two-sided, one comparison")
    reasons = {"auroc": found.figures["auroc"].difference.reason, "DeLong": found.delong.reason}
    for name, reason in (reasons | {"McNemar": found.mcnemar.reason}).items():
        if reason:
            typer.echo(f"No {name} test: {reason}" if name != "auroc" else f"No interval: {reason}")
    for caveat in found.caveats:
        typer.echo(caveat)


def gap(found: "Difference | AreaDifference") -> str:
    """A difference with its interval, or a dash."""
    if found.value is None:
        return "-"
    span = "" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.value:+.4f}{span}"


def p_in_words(p: float | None) -> str:
    """Three decimals, or a dash where there is none."""
    return "-" if p is None else "<.001" if p < 0.001 else f"{p:.3f}"


def words(value: Any) -> str:
    """A fact of a run in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)
