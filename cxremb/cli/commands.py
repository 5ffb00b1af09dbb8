"""Every subcommand in one table, and how one is loaded."""

from importlib import import_module
from typing import Any

import typer

# Name -> where it is, and its line in `cxremb --help`: the first line of its own help, which a test compares. A module
# is imported when its command is used, so that the list costs no more than this table.
COMMANDS = {
    "demo": (
        "cxremb.cli.demo:demo",
        "Run the whole route on real reports and simulated films: add, embed, train, ablate, query, report.",
    ),
    "doctor": ("cxremb.cli.doctor:doctor", "Check versions, devices, precision, weights and the store root."),
    "data": ("cxremb.cli.data:app", "Bring a collection in, and see what is there."),
    "models": (
        "cxremb.cli.models:models",
        "List the encoders: what they read, their licence and source, and which weights are on this machine.",
    ),
    "embed": (
        "cxremb.cli.embed:embed",
        "Encode every image or report text once, into a versioned Parquet store.",
    ),
    "refresh": (
        "cxremb.cli.refresh:refresh",
        "Bring stores up to date with their data set, each asked for as it was made: what is new or changed is "
        "encoded.",
    ),
    "train": (
        "cxremb.cli.train:train",
        "Train a head on stored embeddings, or a network from pixels: one fold, test figures with intervals.",
    ),
    "presets": (
        "cxremb.cli.presets:presets",
        "List the recipes: model, parameters, settings, the figures they are reported to reach, what differs here.",
    ),
    "align": (
        "cxremb.cli.align:align",
        "Project stored image and text vectors into one space, and store what comes out as align_image and align_text.",
    ),
    "runs": ("cxremb.cli.runs:app", "What was trained: list, show, fill a checklist, remove."),
    "export": (
        "cxremb.cli.export:export",
        "Write a run's models as one ONNX file, checked on real rows before it is put in place.",
    ),
    "ablate": (
        "cxremb.cli.ablate:ablate",
        "Compare arms on all folds of one split: AUROC with intervals, differences that hold together, controls.",
    ),
    "external": (
        "cxremb.cli.external:external",
        "Train on each collection and test on the others, by shared concepts: AUROC, drop, thresholds, calibration.",
    ),
    "evaluate": (
        "cxremb.cli.evaluate:evaluate",
        "Show every test figure of a run, whether its probabilities hold, and thresholds; or, with --by, each group's.",
    ),
    "compare": (
        "cxremb.cli.compare:compare",
        "Compare two runs on the test rows that both judge: of recipes and of the fitted models, in figures and words.",
    ),
    "report": (
        "cxremb.cli.report:report",
        "Write one HTML page about an ablation or some runs: tables and figures, which opens without a network.",
    ),
    "audit": (
        "cxremb.cli.audit:audit",
        "Look for leaks between the parts of a split, look-ups that give the label away, and bad labels and films.",
    ),
    "reproduce": (
        "cxremb.cli.reproduce:reproduce",
        "Recover the confusion matrix behind printed accuracy, precision, recall and F1: then specificity, MCC, "
        "intervals.",
    ),
    "predict": (
        "cxremb.cli.predict:predict",
        "Judge films and reports that you bring by a trained run: probability, threshold, nearest training cases.",
    ),
    "serve": (
        "cxremb.cli.serve:serve",
        "Judge films and reports that are sent over HTTP, as `cxremb predict` does: health, metrics, OpenAPI.",
    ),
    "similar": (
        "cxremb.cli.similar:similar",
        "List the films or texts nearest to a film, a study or a text, of every data set that has the same store.",
    ),
    "explore": (
        "cxremb.cli.explore:explore",
        "Walk through films, reports, predictions and errors in a browser; on this machine alone, until Ctrl-C.",
    ),
    "sql": (
        "cxremb.cli.sql:sql",
        'Query stores, runs and predictions with SQL, read-only. Try: cxremb sql "show tables".',
    ),
    "store": (
        "cxremb.cli.store_import:app",
        "The vectors that are there, whether they are whole, the space they take.",
    ),
}


def load_command(name: str) -> Any:
    """The command or group of this name, with its options."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    one = typer.Typer()
    if isinstance(found, typer.Typer):
        one.add_typer(found, name=name)
    else:
        one.command(name)(found)
    return typer.main.get_group(one).commands[name]
