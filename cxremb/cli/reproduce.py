"""`cxremb reproduce` recovers the confusion matrix behind a printed row of figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.screen import say, show_table
from cxremb.table import Table

if TYPE_CHECKING:
    from cxremb.evaluation.confusion import Confusion
    from cxremb.evaluation.reproduce import Recovered

SHOWN = 10  # matrices or sizes: more is no help on a screen; --format json has them all
BESIDE = {"specificity": "spec", "balanced_accuracy": "balanced", "mcc": "MCC"}  # what a table adds to each row

Figure = Annotated[str | None, typer.Option(help="As printed, trailing zeros too: 0.6827 or 68.27%.")]


def reproduce(
    accuracy: Figure = None,
    precision: Figure = None,
    recall: Figure = None,
    f1: Figure = None,
    specificity: Figure = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Rows of the evaluation set, if known.")] = None,
    positives: Annotated[int | None, typer.Option(min=0, help="Positive rows among them, if known.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV with columns accuracy, precision, recall, f1 and maybe epoch; rows of one evaluation set."
        ),
    ] = None,
    largest_n: Annotated[int, typer.Option("--max-n", min=1, help="How far to look where n is not known.")] = 5000,
    cut_off: Annotated[
        bool | None,
        typer.Option("--cut-off/--rounded", help="How decimals were shortened.", show_default="what fits"),
    ] = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Recover the confusion matrix behind printed accuracy, precision, recall and F1: then specificity, MCC, intervals.

    Example: cxremb reproduce --accuracy 0.6827 --precision 0.7349 --recall 0.7944 --f1 0.7635 --n 1494
    """
    from cxremb.evaluation.published import published, read_table
    from cxremb.evaluation.reproduce import reproduce as recover_all

    texts = {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1, "specificity": specificity}
    if (table is None) == (not any(texts.values())):
        raise typer.BadParameter("give either figures, such as --accuracy 0.6827, or --table FILE")
    rows = [published(texts)] if table is None else read_table(table)
    result = recover_all(rows, range(n, n + 1) if n else range(1, largest_n + 1), positives, cut_off=cut_off)
    if fmt is not Format.table:
        found = as_data(result)
        write(found, fmt, [{"row": row["row"], **one} for row in found["rows"] for one in row["matrices"]])
    elif len(result.rows) > 1:
        show_rows(result)
    elif len(result.matrices[0]) > 1:
        show_many(result)
    else:
        show_one(result)


def as_data(result: "Recovered") -> dict[str, Any]:
    """The result as plain data."""
    from dataclasses import asdict

    from cxremb.evaluation.confusion import figures, intervals, remarks

    def full(matrix: "Confusion") -> dict[str, Any]:
        return {"n": matrix.n, **asdict(matrix), **figures(matrix), "intervals": intervals(matrix)}

    rows = [
        {
            "row": row.name,
            "printed": {name: str(value) for name, value in row.figures.items()},
            "count": len(matrices),
            "shared": shared(matrices),
            "remarks": remarks(matrices),
            "matrices": [{**full(matrix), "rounding": row.roundings(matrix)} for matrix in matrices],
        }
        for row, matrices in zip(result.rows, result.matrices, strict=True)
    ]
    pairs = [{"n": n, "positives": positives} for n, positives in result.pairs]
    return {"cut_off": result.cut_off, "n": result.sizes, "pairs": pairs, "rows": rows}


def shared(matrices: Sequence["Confusion"]) -> dict[str, tuple[float, float]]:
    """Figure -> smallest and largest over the matrices, where all of them have it."""
    from cxremb.evaluation.confusion import figures

    columns = [figures(matrix) for matrix in matrices]
    found = {name: [value for column in columns if (value := column[name]) is not None] for name in columns[0]}
    return {name: (min(values), max(values)) for name, values in found.items() if len(values) == len(matrices)}


def show_one(result: "Recovered") -> None:
    """The only matrix: its cells, then its figures."""
    from cxremb.evaluation.confusion import remarks

    row, matrix = result.rows[0], result.matrices[0][0]
    rules = row.roundings(matrix)
    say(f"One matrix fits (figures {'cut off' if result.cut_off else 'rounded'}: {' or '.join(rules) or 'ties vary'}).")
    show_table(cells(matrix))
    say()
    show_table(figure_table(matrix))
    say("Wilson 95% intervals; they take rows as independent, and several images of one patient are not.")
    warn(remarks([matrix]))


def show_many(result: "Recovered") -> None:
    """How many fit, the sizes they have, what they share, and the first of them."""
    from cxremb.evaluation.confusion import remarks, spread

    matrices = result.matrices[0]
    say(f"{len(matrices):,} matrices fit, {'cut off' if result.cut_off else 'rounded'}. {describe_sizes(result)}")
    rows = [
        (figure_words(name), f"{low:.4f}", "same" if spread([low, high]) == f"{low:.4f}" else f"{high:.4f}")
        for name, (low, high) in shared(matrices).items()
    ]
    show_table(Table(["in all of them", "lowest", "highest"], rows))
    say()
    found = [(*counts(matrix), *beside(matrix), f"{result.rows[0].misfit(matrix):.2f}") for matrix in matrices[:SHOWN]]
    show_table(Table(["n", "TP", "FN", "FP", "TN", *BESIDE.values(), "farthest"], found))
    if len(matrices) > SHOWN:
        say(f"and {len(matrices) - SHOWN:,} more: --format json lists all.")
    say("By n, then by the farthest figure: its distance from the printed one, in last decimals. Not by likelihood.")
    warn([f"in all {len(matrices):,}: {remark}" for remark in remarks(matrices)])


def show_rows(result: "Recovered") -> None:
    """The rows of a table: the matrix of each where there is one, else how many."""
    from cxremb.evaluation.confusion import remarks

    say(f"{len(result.rows)} rows of one evaluation set, {'cut off' if result.cut_off else 'rounded'}.")
    say(describe_sizes(result))
    rows = [
        (row.name, f"{len(matrices):,}", *counts(matrices[0]), *beside(matrices[0]))
        for row, matrices in zip(result.rows, result.matrices, strict=True)
    ]
    show_table(Table(["row", "matrices", "n", "TP", "FN", "FP", "TN", *BESIDE.values()], rows))
    if any(len(matrices) > 1 for matrices in result.matrices):
        say("Of several matrices that of the smallest n is shown; multiples of a matrix have the same figures.")
    for row, matrices in zip(result.rows, result.matrices, strict=True):
        warn([f"{row.name}: {remark}" for remark in remarks(matrices)])


def describe_sizes(result: "Recovered") -> str:
    """The possible n and numbers of positives."""
    sizes, positives = result.sizes, sorted({positives for _, positives in result.pairs})
    if len(sizes) > SHOWN:
        first = ", ".join(f"{n:,}" for n in sizes[:SHOWN])
        return f"n is one of {len(sizes):,} from {sizes[0]:,} to {sizes[-1]:,}: {first}, ..."
    what = f"n is {' or '.join(f'{n:,}' for n in sizes)}"
    shown = " or ".join(f"{p:,}" for p in positives) if len(positives) <= SHOWN else f"one of {len(positives):,}"
    return f"{what}; the number of positives is {shown}."


def cells(matrix: "Confusion") -> Table:
    """The four cells with their sums."""
    called = matrix.tp + matrix.fp
    rows = [
        ("positive", f"TP {matrix.tp:,}", f"FN {matrix.fn:,}", f"{matrix.positives:,}"),
        ("negative", f"FP {matrix.fp:,}", f"TN {matrix.tn:,}", f"{matrix.n - matrix.positives:,}"),
        ("all", f"{called:,}", f"{matrix.n - called:,}", f"{matrix.n:,}"),
    ]
    return Table(["", "called positive", "called negative", "all"], rows)


def figure_table(matrix: "Confusion") -> Table:
    """Every figure, with its interval where it has one."""
    from cxremb.evaluation.confusion import figures, intervals

    spans = intervals(matrix)
    rows = []
    for name, value in figures(matrix).items():
        ends = [f"{end:.4f}" for end in spans.get(name, ())] or ["", ""]
        rows.append([figure_words(name), "-" if value is None else f"{value:.4f}", *ends])
    return Table(["", "value", "low", "high"], rows)


def counts(matrix: "Confusion") -> list[str]:
    """The cells n, TP, FN, FP, TN as text."""
    return [f"{count:,}" for count in (matrix.n, matrix.tp, matrix.fn, matrix.fp, matrix.tn)]


def beside(matrix: "Confusion") -> list[str]:
    """The figures of `BESIDE` as text."""
    from cxremb.evaluation.confusion import figures

    found = figures(matrix)
    return ["-" if found[name] is None else f"{found[name]:.4f}" for name in BESIDE]


def figure_words(name: str) -> str:
    """A figure's name in words."""
    known = {"recall": "recall (sensitivity)", "f1": "F1", "mcc": "MCC", "all_positive_f1": "all-positive F1"}
    return known.get(name, name.replace("_", " "))


def warn(lines: Sequence[str]) -> None:
    """What a reader must not miss."""
    for line in lines:
        say(line, "yellow")
