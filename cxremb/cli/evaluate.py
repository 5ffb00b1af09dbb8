"""`cxremb evaluate` says all about one run: figures, calibration, thresholds; or its figures per group of rows."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.calibration_view import about, between, calibration_table, reliability_table, show_calibration
from cxremb.cli.group_view import group_tables, short, show_strata
from cxremb.cli.options import DEFAULT_ROOT, Root, RunId, WhereRunsAre
from cxremb.cli.output import AsPaperFormat, PaperFormat, write
from cxremb.cli.pasted import completed
from cxremb.cli.screen import say, show_table
from cxremb.table import Table, span

if TYPE_CHECKING:
    from cxremb.calibrated import CalibrationReport, RunEvaluation, ThresholdFigures
    from cxremb.training.runs import Run


IN_CALIBRATION = ("loss", "brier", "ece", "calibration_slope", "calibration_intercept")


def evaluate(
    run: RunId,
    by: Annotated[
        str | None,
        typer.Option(
            help="view, finding, 'missing section', no-indexing, or SQL over columns of images and studies, "
            "facts (sex, age), reports['findings'], labels['problems']['nodule'].",
            show_default=False,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of patients who have it where the model is used, such as 0.05.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Which of several labels.", show_default=False)] = None,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsPaperFormat = PaperFormat.table,
) -> None:
    """Show every test figure of a run, whether its probabilities hold, and thresholds; or, with --by, each group's.

    With --prevalence: predictive values, likelihood ratios, flags per true positive and net benefit of its thresholds
    where such a share has the finding, and a decision curve, which --format csv and json give in full.

    Example: cxremb evaluate 0a1b2c3d --by "width >= 2500"

    Example: cxremb evaluate 0a1b2c3d --prevalence 0.05
    """
    from cxremb.api.runs import evaluate as evaluate_run
    from cxremb.calibrated import Decisions, RunEvaluation
    from cxremb.cli import decision_view
    from cxremb.cli.progress import bar

    found = evaluate_run(run, by=by, prevalence=prevalence, label=label, dataset=dataset, root=root, progress=bar)
    rows = found.to_arrow().to_pylist()
    if isinstance(found, Decisions):
        if fmt is PaperFormat.table:
            decision_view.show_decisions(found)
        else:
            write(asdict(found), fmt, rows, decision_view.tables_of(found))
    elif isinstance(found, RunEvaluation):
        if fmt is PaperFormat.table:
            show_whole(found.run, found.calibration, found.stored)
        else:
            write(whole(found), fmt, rows, tables_of(found))
    elif fmt is PaperFormat.table:
        show_strata(found)
    else:
        write(asdict(found), fmt, rows, group_tables(found))


def whole(found: "RunEvaluation") -> dict[str, Any]:
    """Everything as plain data."""
    from cxremb.cli.run_view import figures_of, labels_of

    report = asdict(found.calibration) | {"reliability": found.calibration.reliability.to_pylist()}
    figures = {label: figures_of(found.run, label) for label in labels_of(found.run)}
    figures[found.run.label] = headline_figures(found.run)
    return report | {
        "stored": found.stored,
        "caveats": found.run.caveats,
        "verbatim": found.run.verbatim,
        "figures": figures,
    }


def tables_of(found: "RunEvaluation") -> list[Table]:
    """The tables of a paper: all figures, calibration, thresholds."""
    from cxremb.cli.run_view import figures_of, interval_in_words

    notes = (f"brackets: {interval_in_words(found.run, figures_of(found.run))}", *found.run.caveats)
    tables = [
        figure_table(found.run),
        calibration_table(found.run, found.calibration),
        threshold_table(found.run, found.calibration),
    ]
    return [replace(table, notes=(*table.notes, *notes)) for table in tables if table.rows]


def show_whole(run: "Run", report: "CalibrationReport", path: str) -> None:
    """All figures, calibration, reliability and thresholds."""
    from cxremb.cli.run_view import figures_of, interval_in_words, say_never_called

    figures = figures_of(run)
    say(f"{run.arm}  {run.run_id}, test rows, label {run.label}", style="bold")
    show_table(figure_table(run))
    say(f"  {interval_in_words(run, figures)}")
    count = figures.get("averaged", {}).get("value")
    if count is not None:
        say(f"  macro: the mean over {count:.0f} labels; - where one of them has no such figure")
        say_never_called(run)
    show_calibration(run, report)
    if len(report.labels) == 1:
        say()
        show_table(reliability_table(report))
    show_thresholds(run, report)
    for line in filter(None, (run.verbatim, *run.caveats)):
        say(f"  {completed(line, run.record.dataset)}")
    say(f"Reliability stored: {path}")


def figure_table(run: "Run") -> Table:
    """A line for each figure of all folds; those of calibration have a table of their own where there is one label."""
    from cxremb.evaluation.metrics import POOLED

    hidden = {"averaged", *(IN_CALIBRATION if len(run.record.labels) == 1 else ())}
    rows = [
        (name, span(*(one[end] for end in ("value", "low", "high"))))
        for name, one in headline_figures(run).items()
        if name not in hidden and not name.endswith(POOLED)
    ]
    return Table(["metric", "value"], rows, title=f"Test figures of {about(run)}", label=f"figures-{run.run_id}")


def headline_figures(run: "Run") -> dict[str, dict[str, float | None]]:
    """Metric -> value, low, high under the headline: with the intervals that the run does not keep."""
    from cxremb.cli.progress import bar
    from cxremb.cli.run_view import figures_of
    from cxremb.evaluation.arrays import MULTICLASS
    from cxremb.evaluation.bootstrap import METRICS, watched

    figures = figures_of(run)
    without = ("mcc", "prevalence") if run.record.task == MULTICLASS else ()
    names = [name for name in METRICS if name in figures and name not in without and figures[name]["low"] is None]
    with watched(bar, "figures of other patients") as resampling:
        for name, one in run.predictions().interval(names, resampling).items():
            figures[name] |= {"low": one.low, "high": one.high}
    return figures


def threshold_table(run: "Run", report: "CalibrationReport") -> Table:
    """What thresholds that were chosen on validation rows do to test rows."""
    from cxremb.calibrated import USED

    several = len(report.labels) > 1
    rows = []
    for one in (one for one in report.thresholds if not one.reason):
        name = f"{one.rule}, {one.label}" if several else one.rule
        rows.append([name, between(one.thresholds, "–"), *(short(one.figures[metric]) for metric in USED)])
    return Table(
        ["threshold by" + (", label" if several else ""), "at", *USED],
        rows,
        title=f"Thresholds of {about(run)}",
        label=f"thresholds-{run.run_id}",
        notes=threshold_notes(report),
    )


def threshold_notes(report: "CalibrationReport") -> list[str]:
    """On what thresholds were chosen, and what a sensitivity that is aimed at is likely to be."""
    notes = ["chosen on validation rows, judged on test rows; brackets: 95% over patients, chosen again in each draw"]
    aimed: dict[str, list[ThresholdFigures]] = {}
    for one in report.thresholds:
        if one.expected is not None:
            aimed.setdefault(one.rule, []).append(one)
    for rule, found in aimed.items():
        counts = {count for one in found for count in one.positives}
        patients = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
        few = shortfall(rule, found, len(report.labels))
        notes.append(f"{rule} in sensitivity: on {patients} positive validation patients{few}")
    return notes


ROUNDING = 1e-9  # the mean of fifteen .95 is a little less


def shortfall(rule: str, found: "Sequence[ThresholdFigures]", labels: int) -> str:
    """That so few positives reach no such sensitivity, and of which of several labels."""
    from cxremb.calibrated import RULES

    few = [one for one in found if one.expected is not None and one.expected < RULES[rule][1] - ROUNDING]
    if not few:
        return ""
    expected = between([one.expected or 0.0 for one in few], " to ")
    names = f" of {', '.join(one.label for one in few)}" if labels > 1 else ""
    return f"; too few{names}: the lowest is taken, which finds {expected} of other positives on average"


def show_thresholds(run: "Run", report: "CalibrationReport") -> None:
    """The thresholds, and why some rule gives none."""
    table = threshold_table(run, report)
    if table.rows:
        say()
        show_table(table)
        for note in table.notes:
            say(f"  {note}")
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in report.thresholds:
        if one.reason:
            reasons.setdefault((one.rule, one.reason), []).append(one.label)
    for (rule, reason), labels in reasons.items():
        say(f"  no threshold ({rule}) for {', '.join(labels)}: {reason}")
