"""How one run is shown: its epochs, its test figures beside what is reported elsewhere, and where everything lies."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from cxremb.cli.output import Format, write
from cxremb.cli.progress import WIDTH, console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cxremb.training.presets import Preset
    from cxremb.training.runs import Run

FIGURES = ("loss", "accuracy", "precision", "recall", "f1")
LARGE = 10_000  # a loss of a training that diverges: its digits would push those of the others out
PER_LABEL = ("auroc", "average_precision", "f1", "prevalence")
EPOCHS = "Both parts are measured in evaluation mode at the end of each epoch."
STEPS = "An epoch is a step of the L2 path, from the strongest penalty on; each is solved to its end."
BASELINES = {
    "prevalence": "prevalence",
    "majority_accuracy": "majority accuracy",
    "all_positive_f1": "all-positive F1",
}


def write_run(run: "Run", fmt: Format) -> None:
    """All of a run but its predictions as JSON, or its test figures as CSV."""
    found = {
        **run.record.to_dict(),
        "reused": run.reused,
        "folder": str(run.folder),
        "history": run.history.to_pylist(),
    }
    found |= {"test": figures_of(run), "test_by_label": {label: figures_of(run, label) for label in labels_of(run)}}
    write(found, fmt, figure_rows(found["test_by_label"]))


def figure_rows(by_label: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> list[dict[str, Any]]:
    """Figures of labels as rows: label, metric, value, low, high."""
    return [
        {"label": label, "metric": metric, **figure}
        for label, figures in by_label.items()
        for metric, figure in figures.items()
    ]


def figures_of(run: "Run", label: str | None = None) -> dict[str, dict[str, float | None]]:
    """Metric -> value, low, high on the test rows, of a label or of the headline."""
    rows = [row for row in run.metrics.to_pylist() if row["part"] == "test" and row["label"] == (label or run.label)]
    return {row["metric"]: {name: row[name] for name in ("value", "low", "high")} for row in rows}


def labels_of(run: "Run") -> list[str]:
    """The labels that have figures, macro and micro among them."""
    return list(dict.fromkeys(row["label"] for row in run.metrics.to_pylist() if row["part"] == "test"))


def show_run(run: "Run", preset: "Preset | None" = None) -> None:
    """The epoch table of the first model, the test lines, what is reported elsewhere, and where everything lies."""
    record, history = run.record, run.history.to_pylist()
    first = record.members[0]
    own = [row for row in history if all(row[name] == getattr(first, name) for name in ("repeat", "fold", "seed"))]
    if own:
        show_table(epoch_table(own, record.epochs[0]))
    others = f", the first of {len(record.members)} models" if len(record.members) > 1 else ""
    kept = f"; * epoch {record.epochs[0]} kept{others}" if own else ": there is nothing to train"
    typer.echo(f"{record.head}, {record.parameters:,} trainable parameters, preset {record.preset}{kept}")
    if own:
        typer.echo(STEPS if record.spec.get("kind") == "linear" else EPOCHS)
    show_test(run)
    if preset and preset.reported:
        show_reported(run, preset)
    for caveat in run.caveats:
        console.print(f"  {caveat}", style="yellow", highlight=False, soft_wrap=True)
    if record.left_out:
        typer.echo("  left out: " + ", ".join(f"{n:,} {why}" for why, n in record.left_out.items()))
    show_place(run)


def show_test(run: "Run") -> None:
    """The main figures with intervals, what needs no model, and a line per label where there are several."""
    import numpy as np

    record, figures, test = run.record, figures_of(run), run.predictions()
    items, patients = len(np.unique(test.items)), len(np.unique(test.patients))
    which = "folds" if len(record.folds) > 1 else "fold"
    leaky = " (LEAKY)" if record.leaky else ""
    over = f", {run.label} over {len(record.labels)} labels" if len(record.labels) > 1 else ""
    names = {name: words for name, words in BASELINES.items() if name in figures}
    typer.echo(
        f"\nTest, {which} {', '.join(map(str, record.folds))}{leaky}: {items:,} {record.unit} rows of "
        f"{patients:,} patients{over}\n"
        f"  AUROC {span(figures['auroc'])}, accuracy {span(figures['accuracy'])}, F1 {span(figures['f1'])}\n"
        f"  {interval_in_words(run, figures)}; without looking: "
        + ", ".join(f"{words} {number(figures[name]['value'])}" for name, words in names.items())
    )
    if over:
        show_table(label_table(run))


def interval_in_words(run: "Run", figures: Mapping[str, Mapping[str, float | None]]) -> str:
    """What the brackets are, or why there are none."""
    if figures["auroc"]["low"] is not None:
        return "95% patient-cluster bootstrap"
    test = run.predictions()
    reason = test.no_interval()
    label = f"{run.label}: " if len(test.labels) == 1 else ""  # of several the reason names the one it is about
    return f"no interval: {label}{reason}" if reason else "no interval"


def label_table(run: "Run") -> "Table":
    """A line per label."""
    from rich.markup import escape

    table = plain_table(("label", *PER_LABEL))
    for label in labels_of(run):
        figures = figures_of(run, label)
        cells = (number(figures[name]["value"]) if name in figures else "-" for name in PER_LABEL)
        table.add_row(escape(label), *cells)
    return table


def show_reported(run: "Run", preset: "Preset") -> None:
    """The published figures beside ours, and why they are not the same thing."""
    from rich.markup import escape

    figures = figures_of(run)
    table = plain_table(("", "reported", "here, test"))
    for name, value in preset.reported.items():
        table.add_row(name, number(value), escape(span(figures[name])) if name in figures else "-")
    show_table(table)
    typer.echo(f"  reported on: {preset.reported_on}")
    for difference in (*changed(run, preset), *preset.differs):
        typer.echo(f"  differs here: {difference}")


def changed(run: "Run", preset: "Preset") -> list[str]:
    """How this run departs from the recipe that it names."""
    from dataclasses import asdict

    model, recipe = preset.network or preset.head, asdict(preset.options)
    found = [f"{run.record.head} was trained, not {model}"] if run.record.head != model else []
    options = run.record.options
    return found + [f"{name} {options[name]}, not {recipe[name]}" for name in recipe if options[name] != recipe[name]]


def show_place(run: "Run") -> None:
    """Where it came from and where it lies."""
    from cxremb.features import describe_text

    record = run.record
    spent = f"Re-used run of {record.created}" if run.reused else f"Trained in {record.seconds:.1f} s"
    none = "none: from pixels" if record.from_pixels else "none"
    stores, text = ", ".join(record.stores) or none, describe_text(record.text, record.text_role)
    typer.echo(f"\n{spent}; stores {stores}; {text}; split {record.split}")
    typer.echo(f"Run: {run.folder}")
    typer.echo(
        'Ask: cxremb sql "select item_id, label, y_true, y_prob from predictions '
        f"where run_id = '{run.run_id}' and part = 'test'\""
    )


def epoch_table(history: Sequence[Mapping[str, Any]], kept: int) -> "Table":
    """Loss, accuracy, precision, recall and F1 per epoch, train beside val (or test); the kept epoch is marked.

    Of several labels, all but the loss are as `training.losses.figures` averages them.
    """
    phases = (history[0]["phase"], history[1]["phase"])
    table = plain_table(("epoch", *(f"{phase}\n{name}" for phase in phases for name in FIGURES)), right=True)
    for first, second in zip(history[::2], history[1::2], strict=True):
        cells = [number(row[name]) for row in (first, second) for name in FIGURES]
        chosen = first["epoch"] == kept
        table.add_row(f"{'* ' if chosen else ''}{first['epoch']}", *cells, style="bold" if chosen else None)
    return table


def plain_table(headings: Sequence[str], right: bool = False) -> "Table":
    """A table without lines; all but the first column are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place or right else "left")
    return table


def page(least: int = 0) -> "Console":
    """Stdout, as wide as the terminal, or as `WIDTH` in a pipe, which would get 80 columns; `least` or wider."""
    from rich.console import Console

    given = os.environ.get("COLUMNS", "")  # asked now: a console keeps what it found when it was made
    width = int(given) if given.isdigit() else console.width if console.is_terminal else WIDTH
    return Console(width=max(width, least))


def show_table(table: "Table") -> None:
    """A table on stdout; wider than the page if a word or a number would have to be cut."""
    from rich.measure import Measurement

    endless = page(10 * WIDTH)
    page(Measurement.get(endless, endless.options, table).minimum).print(table)


def number(value: float | None) -> str:
    """Four decimals, of a large one three figures and its power of ten, or a dash where undefined."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < LARGE else f"{value:.3g}"


def span(figure: Mapping[str, float | None]) -> str:
    """A value with its interval."""
    interval = "" if figure["low"] is None else f" [{number(figure['low'])}, {number(figure['high'])}]"
    return f"{number(figure['value'])}{interval}"
