"""`cxremb train` fits one head and shows how it went; `cxremb presets` lists the recipes."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root

if TYPE_CHECKING:
    from rich.table import Table

    from cxremb.train.runs import Run

LabelSet = Annotated[str, typer.Option(help="What to predict.")]
ImageModel = Annotated[str | None, typer.Option(help="Image encoder or store; the newest if left out.")]
TextModel = Annotated[str | None, typer.Option(help="Text encoder or store; the newest if left out.")]
Text = Annotated[
    str,
    typer.Option(help="A section, findings+impression, or pre-read: what was known before the film was read."),
]
SplitName = Annotated[
    str,
    typer.Option("--split", help="grouped-5fold, holdout, image-80-20, one of `cxremb data split`, or NAME@KEY."),
]
AllowLeaky = Annotated[
    bool, typer.Option("--allow-leaky", help="Use a split that shares patients; all it gives is marked leaky.")
]
Repeat = Annotated[int, typer.Option(help="Which repeat of the split, if it has several.")]
PresetName = Annotated[str, typer.Option("--preset", help="A recipe of `cxremb presets`.")]
Seed = Annotated[int, typer.Option(help="Decides initial weights, order and dropout.")]

WIDTH = 100  # columns that a table may take
FIGURES = ("loss", "accuracy", "precision", "recall", "f1")


def train(
    head: Annotated[str, typer.Argument(help="fusion, image or text.")],
    preset: PresetName = "default",
    split: SplitName = "grouped-5fold",
    fold: Annotated[int, typer.Option(help="Which fold of the split to leave out for testing.")] = 0,
    repeat: Repeat = 0,
    allow_leaky: AllowLeaky = False,
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the preset's.")] = None,
    label_set: LabelSet = "normal_abnormal",
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Text = "findings+impression",
    seed: Seed = 0,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    as_json: AsJson = False,
) -> None:
    """Train a head on stored embeddings: one fold, every epoch shown, test figures with intervals.

    Example: cxremb train fusion --preset cnn-llm/as-documented
    """
    from dataclasses import replace

    from cxremb.cli.progress import bar, log
    from cxremb.features import load_features
    from cxremb.splits import choose_split
    from cxremb.store.dataset import open_dataset
    from cxremb.train.fit import Plan, fit_run
    from cxremb.train.heads import find_head
    from cxremb.train.presets import find_preset

    blocks, options = find_head(head).blocks, find_preset(preset).options
    if epochs is not None:
        options = replace(options, epochs=epochs)
    collection = open_dataset(root, dataset)
    features = load_features(collection, label_set, blocks, image_model, text_model, text)
    folds = choose_split(collection, label_set, split, allow_leaky=allow_leaky)
    for note in (*features.notes, *(f"{note.what}: {note.count:,}" for note in folds.notes)):
        log.print(note)
    run = fit_run(collection, features, folds, Plan(head, preset, options, (fold,), repeat, seed), bar)
    if as_json:
        show_json({**run.record, "reused": run.reused, "history": run.history.to_pylist(), "test": figures_of(run)})
    else:
        show_run(run)


def presets(as_json: AsJson = False) -> None:
    """List the recipes: head, parameters, settings, the figures they are reported to reach, what differs here.

    Example: cxremb presets
    """
    from dataclasses import asdict

    from cxremb.train.heads import find_head
    from cxremb.train.presets import PRESETS

    listing: list[dict[str, Any]] = [
        {**asdict(preset), "parameters": find_head(preset.head).parameters(preset.dims)} for preset in PRESETS.values()
    ]
    if as_json:
        show_json(listing)
    else:
        show_presets(listing)


def show_json(value: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def figures_of(run: "Run") -> dict[str, dict[str, float | None]]:
    """Metric -> value, low, high on the test rows."""
    rows = [row for row in run.metrics.to_pylist() if row["part"] == "test"]
    return {row["metric"]: {name: row[name] for name in ("value", "low", "high")} for row in rows}


def show_run(run: "Run") -> None:
    """The epoch table, then the test line and where everything lies."""
    from rich.console import Console

    from cxremb.cli.progress import console
    from cxremb.features import text_told

    record = run.record
    table = epoch_table(run.history.to_pylist(), record["epochs"][0])
    Console(width=max(console.width, WIDTH)).print(table)  # a pipe would get 80 columns
    typer.echo(
        f"{record['head']} head, {record['parameters']:,} trainable parameters, preset {record['preset']}; "
        f"* epoch {record['epochs'][0]} kept\nBoth parts are measured in evaluation mode at the end of each epoch."
    )
    tests = [row for row in run.predictions.to_pylist() if row["part"] == "test"]
    patients, figures = len({row["patient_id"] for row in tests}), figures_of(run)
    leaky = " (LEAKY)" if record["leaky"] else ""
    baselines = {
        name: number(figures[name]["value"]) for name in ("prevalence", "majority_accuracy", "all_positive_f1")
    }
    typer.echo(
        f"\nTest, fold {record['folds'][0]}{leaky}: {len(tests):,} {record['unit']} rows of {patients:,} patients\n"
        f"  AUROC {span(figures['auroc'])}, accuracy {span(figures['accuracy'])}, F1 {span(figures['f1'])}\n"
        "  95% patient-cluster bootstrap; without looking: prevalence {prevalence}, majority accuracy "
        "{majority_accuracy}, all-positive F1 {all_positive_f1}".format(**baselines)
    )
    for caveat in run.caveats:
        console.print(f"  {caveat}", style="yellow", highlight=False, soft_wrap=True)
    if record["left_out"]:
        typer.echo("  left out: " + ", ".join(f"{n:,} {why}" for why, n in record["left_out"].items()))
    spent = f"Re-used run of {record['created']}" if run.reused else f"Trained in {record['seconds']:.1f} s"
    stores, text = ", ".join(record["stores"]), text_told(record["text"], record["text_role"])
    typer.echo(f"\n{spent}; stores {stores}; {text}; split {record['split']}")
    typer.echo(f"Run: {run.folder}")
    typer.echo(f"Ask: cxremb sql \"select * from predictions where run_id = '{run.run_id}' and part = 'test'\"")


def epoch_table(history: Sequence[Mapping[str, Any]], kept: int) -> "Table":
    """Loss, accuracy, precision, recall and F1 per epoch, train beside val (or test); the kept epoch is marked."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("epoch", justify="right")
    for phase in (history[0]["phase"], history[1]["phase"]):
        for name in FIGURES:
            table.add_column(f"{phase}\n{name}", justify="right")
    for first, second in zip(history[::2], history[1::2], strict=True):
        cells = [number(row[name]) for row in (first, second) for name in FIGURES]
        chosen = first["epoch"] == kept
        table.add_row(f"{'* ' if chosen else ''}{first['epoch']}", *cells, style="bold" if chosen else None)
    return table


def show_presets(listing: Sequence[Mapping[str, Any]]) -> None:
    """One paragraph per preset."""
    from cxremb.cli.progress import console

    for preset in listing:
        options = preset["options"]
        stop = f", stop after {options['patience']} epochs without gain" if options["patience"] else ""
        inputs = "standardised" if options["standardise"] else "as stored"
        console.print(f"[bold]{preset['name']}[/bold]: {preset['summary']}", highlight=False, soft_wrap=True)
        widths = " + ".join(str(width) for width in preset["dims"].values())
        typer.echo(f"  head {preset['head']} on {widths}: {preset['parameters']:,} parameters")
        typer.echo(
            f"  Adam, learning rate {options['learning_rate']:g}, batch {options['batch_size']}, "
            f"{options['epochs']} epochs, {options['select']} epoch{stop}; inputs {inputs}"
        )
        if preset["reported"]:
            told = ", ".join(f"{name} {value:.4f}" for name, value in preset["reported"].items())
            typer.echo(f"  reported: {told}\n    ({preset['reported_on']})")
        for difference in preset["differs"]:
            typer.echo(f"  differs here: {difference}")
    typer.echo("Use one: cxremb train fusion --preset NAME")


def number(value: float | None) -> str:
    """Four decimals, or a dash where undefined."""
    return "-" if value is None else f"{value:.4f}"


def span(figure: Mapping[str, float | None]) -> str:
    """A value with its interval."""
    interval = "" if figure["low"] is None else f" [{number(figure['low'])}, {number(figure['high'])}]"
    return f"{number(figure['value'])}{interval}"
