"""The command `cxremb`: errors turned into messages and exit codes, remarks into lines on stderr."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.options import CALLED, DEFAULT_ROOT, Called, remember_root
from cxremb.cli.pasted import addressed, completed
from cxremb.errors import CxrembError
from cxremb.version import VERSION

USAGE: Any = typer.BadParameter.__base__  # the usage error of whichever click typer has
INSTEAD = {  # command and an option that it has not -> what there is
    ("evaluate", "--threshold"): "`cxremb evaluate RUN` shows what thresholds do that were chosen on validation rows; "
    "`cxremb ablate --threshold val` compares arms at them"
}
INTERRUPTED = "Query interrupted"  # what DuckDB makes of a KeyboardInterrupt
STOPPED_CODE = 128 + signal.SIGINT
STOPPED = "stopped: stores and runs that were finished are kept; run the same command to go on"


class Commands(TyperGroup):
    """The commands by their lines of `COMMANDS`; the one that is called is imported. Ctrl-C is answered here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining words of a call. Usage errors name the commands that come close."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, None if listed is None else load_command(listed.name or ""), rest

    def invoke(self, ctx: Any) -> Any:
        """What the command in the context `ctx` returns. A command that has more to say about Ctrl-C says so itself."""
        about = CALLED.set(Called())
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, RuntimeError) as error:
            if isinstance(error, RuntimeError) and str(error) != INTERRUPTED:
                raise
            from cxremb.cli.screen import remark

            remark(STOPPED)
            raise typer.Exit(STOPPED_CODE) from None
        except USAGE as error:
            asked = (error.ctx.info_name if error.ctx else None, getattr(error, "option_name", None))
            error.message += f". {INSTEAD[asked]}" if asked in INSTEAD else ""
            raise
        except CxrembError as error:
            error.hint = completed(addressed(error.hint))
            error.args = (addressed(str(error)),)
            raise
        finally:
            CALLED.reset(about)


app = typer.Typer(
    name="cxremb",
    cls=Commands,
    help="Encode a chest X-ray collection once, then answer every question about it in seconds.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: cxremb demo. Without a command: what is there, what is behind, what to type next.",
)


NO_THREAD = ("can't start new thread", "Failed to launch worker thread")  # as Python says it, and Arrow
TOO_MANY = CxrembError(
    "this machine lets no further thread be started", hint="end other programs, or raise the limit: ulimit -u"
)


def print_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"cxremb {VERSION}")
        raise typer.Exit


class Remarks(logging.Handler):
    """What the library remarks, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one remark, unless it is shown with the result."""
        from cxremb.cli.screen import remark

        if not getattr(record, "shown", False):
            remark(completed(record.getMessage()))


@app.callback()
def options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after any command too.")
    ] = False,
) -> None:
    """Encode a chest X-ray collection once, then answer every question about it in seconds.

    Without a command: what is there, what is behind, and what to type next.
    """
    remarks = logging.getLogger("cxremb")
    if not any(isinstance(handler, Remarks) for handler in remarks.handlers):
        remarks.addHandler(Remarks())
    if ctx.invoked_subcommand is None:
        from cxremb.cli.overview import show_overview

        show_overview(remember_root(Path(os.environ.get("CXREMB_STORES") or DEFAULT_ROOT)))


for listed_name, (_, line) in COMMANDS.items():
    app.command(listed_name, help=line)(lambda: None)


def main() -> None:
    """Run the command line, and end the process.

    Exit code 0: done; 1: the user can mend it; 2: wrong usage; 130: Ctrl-C; 143: SIGTERM, after the same salvage. What
    a batch system ends it so may start again. A signal after the end of the work changes nothing: so the handlers stay.
    """
    told: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        """Stop the work that is under way."""
        told.append(number)
        if is_within(work, frame):
            raise KeyboardInterrupt

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as that of Ctrl-C is in the background of a shell
                signal.signal(number, hear)
        code = work(told)
    except KeyboardInterrupt:  # before a command was reached, or after its end
        code = STOPPED_CODE
    sys.exit(128 + told[0] if told and code == STOPPED_CODE else code)


def is_within(function: Callable[..., object], frame: FrameType | None) -> bool:
    """Whether a call of `function` has led to the frame: unlike a flag, this has no instruction where it is wrong."""
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


def work(told: Sequence[int]) -> int | str | None:
    """Do what the words of the command line say; what `sys.exit` is to be given. told: signals that came before."""
    debug = "--debug" in sys.argv or bool(os.environ.get("CXREMB_DEBUG"))
    sys.argv = [word for word in sys.argv if word != "--debug"]  # so that it may stand anywhere
    if told:
        raise KeyboardInterrupt
    try:
        app()
    except SystemExit as end:
        return end.code
    except (CxrembError, RuntimeError) as error:
        found = TOO_MANY if any(words in str(error) for words in NO_THREAD) else error
        if debug or not isinstance(found, CxrembError):
            raise
        from cxremb.cli.screen import remark

        remark(f"error: {found}", "bold red")
        if found.hint:
            remark(f"hint:  {found.hint}")
        return 1
    return 0
