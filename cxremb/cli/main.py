"""The command `cxremb`: every subcommand in one table, and errors turned into messages and exit codes."""

import logging
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cxremb.errors import CxrembError
from cxremb.version import VERSION

STOPPED = "stopped: stores and runs that were finished are kept; run the same command to go on"

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
    "runs": ("cxremb.cli.runs:app", "What was trained: list, show, remove."),
    "export": (
        "cxremb.cli.export:export",
        "Write a run's models as one ONNX file, checked on real rows before it is put in place.",
    ),
    "ablate": (
        "cxremb.cli.ablate:ablate",
        "Compare arms on all folds of one split: AUROC with intervals, paired differences, p after Holm, controls.",
    ),
    "evaluate": (
        "cxremb.cli.evaluate:evaluate",
        "Show every test figure of a run, whether its probabilities hold, and thresholds; or, with --by, each group's.",
    ),
    "compare": (
        "cxremb.cli.compare:compare",
        "Compare two runs on the test rows that both judge: AUROC by bootstrap and DeLong, accuracy, McNemar, in "
        "words.",
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
    "sql": (
        "cxremb.cli.sql:sql",
        'Query stores, runs and predictions with SQL, read-only. Try: cxremb sql "show tables".',
    ),
    "store": (
        "cxremb.cli.store:app",
        "The vectors that are there, whether they are whole, the space they take.",
    ),
}


class Commands(TyperGroup):
    """The commands by their lines of `COMMANDS`; the one that is called is imported. Ctrl-C is answered here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining words of a call. Usage errors name the commands that come close."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None else load_command(listed.name or ""), rest

    def invoke(self, ctx: Any) -> Any:
        """What the command in the context `ctx` returns. A command that has more to say about Ctrl-C says so itself."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from cxremb.cli.progress import log

            log.print(STOPPED)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="cxremb",
    cls=Commands,
    help="Encode a chest X-ray collection once, then answer every question about it in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: cxremb demo",
)


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


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"cxremb {VERSION}")
        raise typer.Exit


class Remarks(logging.Handler):
    """What the library remarks, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one remark."""
        from cxremb.cli.progress import log

        log.print(record.getMessage(), markup=False)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after any command too.")
    ] = False,
) -> None:
    """Encode a chest X-ray collection once, then answer every question about it in seconds."""
    remarks = logging.getLogger("cxremb")
    if not any(isinstance(handler, Remarks) for handler in remarks.handlers):
        remarks.addHandler(Remarks())


for listed_name, (_, line) in COMMANDS.items():
    app.command(listed_name, help=line)(lambda: None)


def main() -> None:
    """Run the command line. Exit code 0: done; 1: the user can mend it; 2: wrong usage; 130: interrupted."""
    debug = "--debug" in sys.argv or bool(os.environ.get("CXREMB_DEBUG"))
    sys.argv = [word for word in sys.argv if word != "--debug"]  # so that it may stand anywhere
    try:
        app()
    except CxrembError as error:
        if debug:
            raise
        from cxremb.cli.progress import log

        log.print("[bold red]error:[/]", end=" ")
        log.print(str(error), markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            log.print("[bold]hint:[/]", end="  ")
            log.print(error.hint, markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
