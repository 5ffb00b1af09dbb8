"""`cxremb compare` pairs two runs on the units that both judge."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, Root, WhereRunsAre, remember_run
from cxremb.cli.output import AsPaperFormat, PaperFormat, write
from cxremb.table import Table, bare, short, span

RECIPES = "Recipes: 95% over other patients to train and to test on, as `cxremb ablate` has it"
ONE_FOLD = "One fold: it cannot be told what other training patients would change, only what other test patients would"

if TYPE_CHECKING:
    from cxremb.comparison import Comparison
    from cxremb.evaluation.bootstrap import Difference
    from cxremb.evaluation.simultaneous import Contrast


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="RUN_A",
            help="A run id, or its first letters.",
            callback=remember_run,
            autocompletion=completion.runs,
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The other one.", autocompletion=completion.runs)],
    shared: Annotated[bool, typer.Option("--shared", help="Leave out the units that only one of them has.")] = False,
    label: Annotated[
        str | None, typer.Option(help="One of several labels; their macro figures if left out.", show_default=False)
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsPaperFormat = PaperFormat.table,
) -> None:
    """Compare two runs on the test rows that both judge: of recipes and of the fitted models, in figures and words.

    Example: cxremb compare 0a1b2c3d 4e5f6a7b
    """
    from dataclasses import asdict

    from cxremb.api.runs import compare as compare_runs
    from cxremb.cli.progress import bar

    found = compare_runs(first, second, shared=shared, label=label, dataset=dataset, root=root, progress=bar)
    if fmt is not PaperFormat.table:
        write(asdict(found), fmt, found.to_arrow().to_pylist(), [figure_table(found)])
    else:
        show_comparison(found)


def show_comparison(found: "Comparison") -> None:
    """What differs in what was requested, the figures with their differences, and the conclusion."""
    from cxremb.cli.screen import say, show_table

    if found.differs:
        rows = [(name.replace("_", " "), *map(words, both)) for name, both in found.differs.items()]
        show_table(Table(["", f"A\n{found.a}", f"B\n{found.b}"], rows, prose=[1, 2]))
        say()
    table = figure_table(found)
    show_table(table)
    say(f"\n{found.conclusion}")
    for note in table.notes:
        say(note)


def figure_table(found: "Comparison") -> Table:
    """The figures of both, with their differences."""
    auroc, *called = found.figures.items()
    units = "studies" if found.called == "study" else "films"
    first = [short(auroc[1].a), short(auroc[1].b)]
    rows = []
    if found.recipes is not None:
        rows.append(["auroc, recipes", *first, gap(found.recipes), p_in_words(found.recipes.p)])
        first = ["", ""]  # the figures of both stand in one row
    if found.over_folds is not None:
        rows.append(["- t over folds", "", "", gap(found.over_folds), p_in_words(found.over_folds.p)])
    fitted = auroc[1].difference
    rows.append(["auroc, these models", *first, gap(fitted), p_in_words(fitted.p)])
    for name, pair in called:
        shown = [short(pair.a), short(pair.b), gap(pair.difference), p_in_words(pair.difference.p)]
        rows.append([f"{name}, {units}", *shown])
    alone = found.mcnemar
    rows.append([f"right alone, {units}", str(alone.only_a), str(alone.only_b), "McNemar", p_in_words(alone.p)])
    return Table(
        ["test", "A", "B", "A - B", "p"],
        rows,
        title=f"Run A {found.a} ({found.arms[0]}) and run B {found.b} ({found.arms[1]}), label {found.label}",
        label=f"compare-{found.a}-{found.b}",
        notes=notes(found),
    )


def notes(found: "Comparison") -> list[str]:
    """On which rows, what the brackets are, why a test is missing, and what must be read beside the figures."""
    lines = [
        f"Label {found.label}; {found.units:,} shared units, {found.studies:,} studies of {found.patients:,} patients; "
        f"left out: {found.left_out[0]:,} that only A has, {found.left_out[1]:,} that only B has",
        *([RECIPES] if found.recipes is not None else [ONE_FOLD]),
        "These models, accuracy and f1: 95% over other test patients alone; each p two-sided, for itself alone",
    ]
    if reason := found.figures["auroc"].difference.reason:
        lines.append(f"No interval: {reason}")
    if found.mcnemar.reason:
        lines.append(f"No McNemar test: {found.mcnemar.reason}")
    return [*lines, *found.caveats]


def gap(found: "Contrast | Difference") -> str:
    """A difference with its interval, or a dash."""
    return span(found.value, found.low, found.high, sign="+")


def p_in_words(p: float | None) -> str:
    """Three decimals, or a dash where there is none."""
    return "-" if p is None else "<.001" if p < 0.001 else bare(p)


def words(value: Any) -> str:
    """A fact of a run in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)
