"""The command `cxremb`: every subcommand in one table, and errors turned into messages and exit codes."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cxremb import __version__
from cxremb.cli import (
    ablate,
    align,
    audit,
    compare,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    export,
    models,
    presets,
    refresh,
    reproduce,
    runs,
    sql,
    store,
    train,
)
from cxremb.cli.progress import log
from cxremb.errors import CxrembError

STOPPED = "stopped: stores and runs that were finished are kept; run the same command to go on"


class Commands(TyperGroup):
    """The commands, where Ctrl-C is answered: a command that has more to say about it says so itself."""

    def invoke(self, ctx: Any) -> Any:
        """What the command in the context `ctx` returns."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            log.print(STOPPED)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="cxremb",
    cls=Commands,
    help="Encode a chest X-ray collection once, then answer every question about it in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: cxremb demo --limit 300",
)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.command()(models.models)
app.command()(embed.embed)
app.command()(refresh.refresh)
app.command()(train.train)
app.command()(presets.presets)
app.command()(align.align)
runs.app.command("compare")(compare.compare)
app.add_typer(runs.app, name="runs")
app.command()(export.export)
app.command()(ablate.ablate)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(audit.audit)
app.command()(reproduce.reproduce)
app.command()(sql.sql)
app.add_typer(store.app, name="store")


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"cxremb {__version__}")
        raise typer.Exit


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


def main() -> None:
    """Run the command line. Exit code 0: done; 1: the user can mend it; 2: wrong usage; 130: interrupted."""
    debug = "--debug" in sys.argv or bool(os.environ.get("CXREMB_DEBUG"))
    sys.argv = [word for word in sys.argv if word != "--debug"]  # so that it may stand anywhere
    try:
        app()
    except CxrembError as error:
        if debug:
            raise
        log.print("[bold red]error:[/]", end=" ")
        log.print(str(error), markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            log.print("[bold]hint:[/]", end="  ")
            log.print(error.hint, markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
