"""`cxremb evaluate` says all about one run: figures, calibration, thresholds; or its figures per group of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write

if TYPE_CHECKING:
    from cxremb.calibrated import CalibrationReport, RunEvaluation
    from cxremb.evaluation.bootstrap import Interval
    from cxremb.stratify import Stratified
    from cxremb.training.runs import Run


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a part of it that no other run has.")],
    by: Annotated[
        str | None,
        typer.Option(
            help="view, finding, 'missing section', no-indexing, or SQL over columns of images and studies, "
            "facts (sex, age), reports['findings'], labels['problems']['nodule'].",
            show_default=False,
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Which of several labels to group.", show_default=False)] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Show every test figure of a run, whether its probabilities hold, and thresholds; or, with --by, each group's.

    Example: cxremb evaluate 0a1b2c3d --by "width >= 2500"
    """
    from cxremb.api.runs import evaluate as evaluate_run
    from cxremb.calibrated import RunEvaluation

    found = evaluate_run(run, by=by, label=label, dataset=dataset, root=root)
    if fmt is not Format.table:
        write(whole(found) if isinstance(found, RunEvaluation) else asdict(found), fmt, found.to_arrow().to_pylist())
    elif isinstance(found, RunEvaluation):
        show_whole(found.run, found.calibration, found.stored)
    else:
        show_strata(found)


def whole(found: "RunEvaluation") -> dict[str, Any]:
    """Everything as plain data."""
    from cxremb.cli.run_view import figures_of, labels_of

    report = asdict(found.calibration) | {"reliability": found.calibration.reliability.to_pylist()}
    figures = {label: figures_of(found.run, label) for label in labels_of(found.run)}
    return report | {"stored": found.stored, "caveats": found.run.caveats, "figures": figures}


def show_whole(run: "Run", report: "CalibrationReport", path: str) -> None:
    """All figures, calibration, reliability and thresholds."""
    from rich.markup import escape

    from cxremb.cli.run_view import figures_of, interval_in_words, number, plain_table, show_table, span

    table = plain_table((f"test, {run.label}", f"{run.arm}  {run.run_id}"))
    figures = figures_of(run)
    count = figures.pop("averaged", None)
    for name, one in figures.items():
        table.add_row(name, escape(span(one)))
    show_table(table)
    typer.echo(f"  {interval_in_words(run, figures)}")
    if count and count["value"] is not None:
        typer.echo(f"  macro: the mean over {count['value']:.0f} labels; - where one of them has no such figure")
    show_calibration(report)
    if len(report.labels) == 1:
        bins = plain_table(("reliability", "bin", "rows", "least", "most", "predicted", "observed"))
        for row in report.reliability.to_pylist():
            ends = (number(row[name]) for name in ("low", "high", "predicted", "observed"))
            bins.add_row(row["probability"], str(row["bin"] + 1), f"{row['n']:,}", *ends)
        show_table(bins)
    show_thresholds(report)
    for caveat in run.caveats:
        typer.echo(f"  {caveat}")
    typer.echo(f"Reliability stored: {path}")


def show_calibration(report: "CalibrationReport") -> None:
    """Each label's gaps before and after the temperature."""
    from cxremb.cli.run_view import number, plain_table, show_table

    table = plain_table(("calibration", "ECE", "after", "log loss", "after", "Brier", "after"))
    for one in report.labels:
        after: Mapping[str, float | None] = one.after or {}
        cells = [number(value) for name in one.before for value in (one.before[name], after.get(name))]
        table.add_row(one.label, *cells)
    show_table(table)
    if report.reason:
        typer.echo(f"  no temperature: {report.reason}")
        return
    models = len(report.temperatures)
    whose = f"of each of {models} models" if models > 1 else "of the model"
    typer.echo(
        f"  after: divided by a temperature of {between(report.temperatures, ' to ')}, chosen on the validation rows "
        f"{whose}"
    )


def between(values: Sequence[float], to: str) -> str:
    """The smallest and the largest, or the one that both round to."""
    return to.join(dict.fromkeys(f"{value:.2f}" for value in (min(values), max(values))))


def show_thresholds(report: "CalibrationReport") -> None:
    """What thresholds that were chosen on validation rows do to test rows."""
    from rich.markup import escape

    from cxremb.calibrated import USED
    from cxremb.cli.run_view import plain_table, show_table

    if not report.thresholds:
        return
    several = len(report.labels) > 1
    table = plain_table(("threshold by" + (", label" if several else ""), "at", *USED))
    for one in (one for one in report.thresholds if not one.reason):
        name = f"{one.rule}, {one.label}" if several else one.rule
        table.add_row(name, between(one.thresholds, "-"), *(escape(short(one.figures[metric])) for metric in USED))
    if table.row_count:
        show_table(table)
        typer.echo("  each chosen on the validation rows of its fold, judged on the test rows")
    reasons: dict[str, list[str]] = {}
    for one in report.thresholds:
        if one.reason:
            reasons.setdefault(f"by {one.rule}: {one.reason}", []).append(one.label)
    for reason, labels in reasons.items():
        typer.echo(f"  no threshold for {', '.join(labels)} {reason}")


def show_strata(found: "Stratified") -> None:
    """A line for each group, largest first; the worst, and why some figures are missing."""
    from rich.markup import escape

    from cxremb.cli.run_view import plain_table, show_table

    groups = found.strata.groups
    names = list(groups[0].metrics) if groups else []
    table = plain_table((escape(found.by) if len(found.by) <= 24 else "group", "rows", "pos.", *names))
    for group in groups:
        counts = (f"{count:,}" for count in (group.rows, group.positives))
        table.add_row(escape(group.name), *counts, *(escape(short(group.metrics[name])) for name in names))
    show_table(table)
    if worst := found.strata.worst:
        figure = worst.metrics[found.strata.by]
        typer.echo(f"Worst {found.strata.by}: {worst.name}, {short(figure)}; the worst of several is partly chance")
    else:
        typer.echo(f"No group is the worst: {found.strata.reason}")
    reasons: dict[str, list[str]] = {}
    for group in groups:
        if (reason := group.metrics[found.strata.by].reason) is not None:
            reasons.setdefault(reason, []).append(group.name)
    for reason, where in reasons.items():
        typer.echo(f"Not estimable in {', '.join(where)}: {reason}")
    for note in (*found.notes, *found.caveats):
        typer.echo(note)
    typer.echo(f"Test rows of run {found.run_id}, label {found.label}; brackets: 95% over patients")


def short(found: "Interval") -> str:
    """Three decimals with the interval in two, without zeros before the point: four fit a line of 100. Or a dash."""
    if found.value is None:
        return "-"
    span = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]".replace("0.", ".")
    return f"{found.value:.3f}".replace("0.", ".", 1) + span
