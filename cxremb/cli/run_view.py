"""How one run is shown: its epochs, its test figures beside what is reported elsewhere, and where everything lies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxremb.cli.next_steps import quoted
from cxremb.cli.output import Format, write
from cxremb.cli.pasted import command, completed
from cxremb.cli.screen import say, say_commands, show_table
from cxremb.table import Table, bare

if TYPE_CHECKING:
    from cxremb.training.presets import Preset
    from cxremb.training.runs import Run

FIGURES = {"loss": "loss", "accuracy": "acc.", "precision": "prec.", "recall": "recall", "f1": "F1"}  # of an epoch
PER_LABEL = {"auroc": "AUROC", "average_precision": "average precision", "f1": "F1", "prevalence": "prevalence"}
EPOCHS = "Both parts are measured in evaluation mode at the end of each epoch."
STEPS = "An epoch is a step of the L2 path, from the strongest penalty on; each is solved to its end."
STACK = (
    "One step: logistic regression on val of the logits of an image and a text head, which chose their epochs on rows "
    "of train; val is measured by cross-fitting."
)
SCALES = "Blocks count by what they tell of training and validation rows (leave-one-out ridge regression)"
BASELINES = {
    "prevalence": "prevalence",
    "majority_accuracy": "majority accuracy",
    "all_positive_f1": "all-positive F1",
}


def write_run(run: "Run", fmt: Format) -> None:
    """All of a run but its predictions as JSON, or its test figures as CSV."""
    from cxremb.training.scores import NEW_TEXT

    found = {
        **run.record.to_dict(),
        "reused": run.reused,
        "folder": str(run.folder),
        "history": run.history.to_pylist(),
    }
    found |= {"verbatim": run.verbatim, "test_new_text": figures_of(run, part=NEW_TEXT)}
    found |= {"test": figures_of(run), "test_by_label": {label: figures_of(run, label) for label in labels_of(run)}}
    write(found, fmt, figure_rows(found["test_by_label"]))


def figure_rows(by_label: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> list[dict[str, Any]]:
    """Figures of labels as rows: label, metric, value, low, high."""
    return [
        {"label": label, "metric": metric, **figure}
        for label, figures in by_label.items()
        for metric, figure in figures.items()
    ]


def figures_of(run: "Run", label: str | None = None, part: str = "test") -> dict[str, dict[str, float | None]]:
    """Metric -> value, low, high on the test rows, of a label or of the headline."""
    rows = [row for row in run.metrics.to_pylist() if row["part"] == part and row["label"] == (label or run.label)]
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
    kept = (
        f"; * epoch {record.epochs[0]} kept{others}"
        if own
        else f": trained on {record.trained_on}"
        if record.is_external
        else ": there is nothing to train"
    )
    say(f"{record.head}, {record.parameters:,} trainable parameters, preset {record.preset}{kept}")
    if own:
        show_training(run)
        if said := not_learnt(own):
            say(said, style="yellow")
    show_test(run)
    if preset and preset.reported:
        show_reported(run, preset)
    if run.verbatim:
        say(f"  {run.verbatim}")
    for caveat in run.caveats:
        say(f"  {completed(caveat, record.dataset)}", style="yellow")
    if record.left_out:
        say("  left out: " + ", ".join(f"{n:,} {why}" for why, n in record.left_out.items()))
    show_place(run)


def show_training(run: "Run") -> None:
    """What an epoch of the table is, which loss was trained where another is shown, and how much each block counts."""
    record = run.record
    say({"linear": STEPS, "stacked": STACK}.get(str(record.spec.get("kind")), EPOCHS))
    if said := trained_loss(run):
        say(said)
    if record.scales_in_words:
        say(f"{SCALES}: {record.scales_in_words}")


def trained_loss(run: "Run") -> str:
    """Which loss was trained, where it is not the one that is shown: the mean negative log likelihood of the labels."""
    record, own = run.record, []
    if record.from_pixels and record.task == "binary" and (outputs := int(record.spec["outputs"])) > 2:
        own.append(f"over all {outputs} outputs, of which two count")
    if record.options.get("class_weights"):
        own.append("with each class weighing the same")
    return f"The loss shown is that of the labels; trained was cross entropy {' and '.join(own)}." if own else ""


def not_learnt(history: Sequence[Mapping[str, Any]]) -> str:
    """That the loss on train is no lower after the last epoch than after the first, and what to do; nothing if it is.

    A network on few films makes few steps an epoch, too few for what its batch norms keep: its figures are then noise.
    """
    losses = [row["loss"] for row in history if row["phase"] == "train"]
    if len(losses) < 2 or losses[-1] < losses[0]:
        return ""
    return (
        f"The loss on train did not fall in {len(losses)} epochs, so the figures say little. "
        "Train longer with `--epochs`, or on more rows."
    )


def show_test(run: "Run") -> None:
    """The main figures with intervals, what needs no model, and a line per label where there are several."""
    import numpy as np

    record, figures, test = run.record, figures_of(run), run.predictions()
    items, patients = len(np.unique(test.items)), len(np.unique(test.patients))
    which = "folds" if len(record.folds) > 1 else "fold"
    leaky = " (LEAKY)" if record.leaky else ""
    over = f", {run.label} over {len(record.labels)} labels" if len(record.labels) > 1 else ""
    names = {name: words for name, words in BASELINES.items() if name in figures}
    say(
        f"\nTest, {which} {', '.join(map(str, record.folds))}{leaky}: {items:,} {record.unit} rows of "
        f"{patients:,} patients{over}\n"
        f"  AUROC {span(figures['auroc'])}, accuracy {span(figures['accuracy'])}, F1 {span(figures['f1'])}\n"
        f"  {interval_in_words(run, figures)}; without looking: "
        + ", ".join(f"{words} {number(figures[name]['value'])}" for name, words in names.items())
    )
    if over:
        show_table(label_table(run))
        say_never_called(run)


def interval_in_words(run: "Run", figures: Mapping[str, Mapping[str, float | None]]) -> str:
    """What the brackets are, or why there are none."""
    if figures["auroc"]["low"] is not None:
        several = len(run.record.repeats) * len(run.record.seeds) > 1
        drawn = ", that of the AUROC over the draws of the shuffle too" if several and run.record.shuffled else ""
        return f"95% over patients{drawn}"
    test = run.predictions()
    reason = test.no_interval()
    label = f"{run.label}: " if len(test.labels) == 1 else ""  # of several the reason names the one it is about
    return f"no interval: {label}{reason}" if reason else "no interval"


def say_never_called(run: "Run") -> None:
    """Which of several labels no test row is called: the macro precision is undefined because of them."""
    of_label = {label: figures_of(run, label) for label in run.record.labels} if len(run.record.labels) > 1 else {}
    names = [label for label, own in of_label.items() if own["precision"]["value"] is None]
    if names:
        say(f"  never predicted, so without a precision, and the macro mean without one: {', '.join(names)}")


def label_table(run: "Run") -> Table:
    """A line per label."""
    rows = []
    for label in labels_of(run):
        figures = figures_of(run, label)
        rows.append([label, *(number(figures[name]["value"]) if name in figures else "-" for name in PER_LABEL)])
    return Table(["label", *PER_LABEL.values()], rows)


def show_reported(run: "Run", preset: "Preset") -> None:
    """The published figures beside ours, and why they are not the same thing."""
    figures = figures_of(run)
    rows = [
        (name, number(value), span(figures[name]) if name in figures else "-")
        for name, value in preset.reported.items()
    ]
    show_table(Table(["", "reported", "here, test"], rows))
    say(f"  reported on: {preset.reported_on}")
    for difference in (*changed(run, preset), *preset.differs):
        say(f"  differs here: {difference}")


def changed(run: "Run", preset: "Preset") -> list[str]:
    """How this run departs from the recipe that it names."""
    from dataclasses import asdict

    from cxremb.training.options import Options

    model, recipe = preset.network or preset.head, asdict(preset.options)
    found = [f"{run.record.head} was trained, not {model}"] if run.record.head != model else []
    options = asdict(Options()) | dict(run.record.options)  # older runs lack the newest of them
    return found + [f"{name} {options[name]}, not {recipe[name]}" for name in recipe if options[name] != recipe[name]]


def show_place(run: "Run") -> None:
    """Where it came from and where it lies."""
    from cxremb.caveats import describe_text

    record = run.record
    spent = f"Re-used run of {record.created}" if run.reused else f"Trained in {record.seconds:.1f} s"
    none = "none: from pixels" if record.from_pixels else "none"
    stores, text = ", ".join(record.stores) or none, describe_text(record.text, record.text_role)
    say(f"\n{spent}; stores {stores}; {text}; split {record.split}")
    say(f"Run: {run.folder}")
    rows = f"select item_id, label, y_true, y_prob from predictions where run_id = '{run.run_id}' and part = 'test'"
    say_commands([command(f"sql {quoted(rows)}", run.folder.parents[2])], "Ask: ")


def epoch_table(history: Sequence[Mapping[str, Any]], kept: int) -> Table:
    """Loss, accuracy, precision, recall and F1 per epoch, train beside val (or test); the kept epoch is marked.

    Of several labels, all but the loss are as `training.losses.figures` averages them.
    """
    phases = (history[0]["phase"], history[1]["phase"])
    epochs = [row["epoch"] for row in history[::2]]
    rows = [
        [f"{'* ' if first['epoch'] == kept else '  '}{first['epoch']}"]
        + [number(row[name]) for row in (first, second) for name in FIGURES]
        for first, second in zip(history[::2], history[1::2], strict=True)
    ]
    headings = ["epoch", *(f"{phase}\n{name}" for phase in phases for name in FIGURES.values())]
    return Table(headings, rows, bold=[place for place, epoch in enumerate(epochs) if epoch == kept])


def number(value: float | None) -> str:
    """Four decimals, of a large one as many as six places hold or its power of ten, or a dash where undefined."""
    if value is None:
        return "-"
    decimals = next((n for n in (4, 3, 2, 1) if abs(value) < 10 ** (5 - n)), None)
    return f"{value:.3g}" if decimals is None else bare(value, places=decimals)


def span(figure: Mapping[str, float | None]) -> str:
    """A value with its interval."""
    interval = "" if figure["low"] is None else f" [{number(figure['low'])}, {number(figure['high'])}]"
    return f"{number(figure['value'])}{interval}"
