"""How the calibration of a run is shown by `cxremb evaluate`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cxremb.cli.screen import say, show_table
from cxremb.errors import label_title
from cxremb.table import Table, bare, short, span

if TYPE_CHECKING:
    from cxremb.calibrated import Calibrated, CalibrationReport
    from cxremb.evaluation.bootstrap import Interval
    from cxremb.training.runs import Run


def about(run: "Run") -> str:
    """Which run, on what, in words."""
    record = run.record
    return f"run {run.run_id} ({run.arm}) on {record.dataset}, label {label_title(run.label, record.label_set)}"


def reliability_table(report: "CalibrationReport") -> Table:
    """A line for each bin of probabilities as they are: the curve and its band."""
    from cxremb.calibrated import AS_IS

    rows = []
    for row in report.reliability.to_pylist():
        if row["probability"] == AS_IS:
            observed = span(*(row[name] for name in ("observed", "observed_low", "observed_high")))
            ends = f"{bare(row['low'])} to {bare(row['high'])}"
            rows.append([ends, f"{row['n']:,}", bare(row["predicted"]), observed])
    return Table(["probabilities of", "rows", "predicted", "observed"], rows)


def calibration_table(run: "Run", report: "CalibrationReport") -> Table:
    """How far probabilities are from what happens, as they are and after the temperature."""
    alone = len(report.labels) == 1
    headings, rows = one_label(report.labels[0]) if alone else each_label(report.labels)
    return Table(
        headings,
        rows,
        title=f"Calibration of {about(run)}",
        label=f"calibration-{run.run_id}",
        notes=[*temperature_in_words(report), *chance_in_words(report)],
    )


def one_label(found: "Calibrated") -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each figure."""
    sides = [(found.before, found.agreement)]
    if found.after is not None and found.agreement_after is not None:
        sides.append((found.after, found.agreement_after))
    rows = [
        ["ECE (by chance up to)"] + [f"{short(gaps['ece'])} ({bare(own.ece_by_chance_95)})" for gaps, own in sides],
        ["slope", *(interval(own.slope) for _, own in sides)],
        ["in the large", *(interval(own.in_the_large) for _, own in sides)],
        ["observed / expected", *(interval(own.observed_expected) for _, own in sides)],
        ["log loss", *(span(own.loss.value, own.loss.low, own.loss.high) for _, own in sides)],
        ["Brier", *(span(own.brier.value, own.brier.low, own.brier.high) for _, own in sides)],
    ]
    return ["calibration", "as it is", "after"][: len(sides) + 1], rows


def each_label(labels: "Sequence[Calibrated]") -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each label."""
    rows = []
    for one in labels:
        after: Mapping[str, float | None] = one.after or {}
        pairs = [short(value) for name in one.before for value in (one.before[name], after.get(name))]
        rows.append([one.label, pairs[0], bare(one.agreement.ece_by_chance_95), *pairs[1:]])
    return ["calibration", "ECE", "by chance to", "after", "log loss", "after", "Brier", "after"], rows


def interval(found: "Interval") -> str:
    """Two decimals with the interval."""
    return span(found.value, found.low, found.high, places=2)


def show_calibration(run: "Run", report: "CalibrationReport") -> None:
    """The gaps, and what the temperature is."""
    table = calibration_table(run, report)
    say()
    show_table(table)
    for note in table.notes:
        say(f"  {note}")


def temperature_in_words(report: "CalibrationReport") -> list[str]:
    """What `after` means, or why there is none, and that few rows fit no temperature."""
    from cxremb.calibrated import ENOUGH

    if report.reason:
        return [f"no temperature: {report.reason.removeprefix('no temperature fits: ')}"]
    models = len(report.temperatures)
    whose = f"of each of {models} models" if models > 1 else "of the model"
    temperature = between(report.temperatures, " to ")
    moved = f" and moved by {between(report.offsets, ' to ')}" if report.offsets else ""
    notes = [f"after: divided by a temperature of {temperature}{moved}, chosen on the validation rows {whose}"]
    if min(report.temperatures) < 0:
        notes.append("a temperature below 0 turns scores round: on those validation rows they rank the wrong way")
    if (few := min(report.fitted_on)) < ENOUGH:
        notes.append(f"chosen on {few} rows: with fewer than {ENOUGH} a temperature worsens as often as it helps")
    return notes


def chance_in_words(report: "CalibrationReport") -> list[str]:
    """Where an ECE is no more than right probabilities show, and how far folds differ."""
    alone = len(report.labels) == 1
    notes = []
    if alone and (folds := report.labels[0].agreement.folds_in_the_large):
        cancel = "; they cancel in the mean" if min(folds) < 0 < max(folds) else ""
        notes.append(f"in the large as it is, of single folds: {between(folds, ' to ')}{cancel}")
    within = [one.label for one in report.labels if (one.before["ece"] or 0.0) <= one.agreement.ece_by_chance_95]
    if within:
        names = "" if alone else f" of {', '.join(within)}"
        notes.append(f"ECE{names}: no higher than right probabilities show by chance 95% of the time")
    return notes


def between(values: Sequence[float], to: str) -> str:
    """The smallest and the largest, or the one that both round to."""
    return to.join(dict.fromkeys(bare(value, places=2) for value in (min(values), max(values))))
