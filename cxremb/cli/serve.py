"""`cxremb serve` puts a trained run behind HTTP."""

from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, Root, WhereRunsAre

if TYPE_CHECKING:
    from cxremb.api.serve import Served

LIMITS = "How much it takes"


def serve(
    run: Annotated[
        str | None,
        typer.Option(
            help="A run id, or part of it.",
            show_default="the newest that reads films",
            autocompletion=completion.runs,
        ),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest training cases of each film.")] = 5,
    host: Annotated[
        str, typer.Option(help="Where to listen. Beyond this machine, such as 0.0.0.0, every request needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for one that is free.")] = 8000,
    max_mb: Annotated[
        int, typer.Option("--max-mb", min=1, help="Megabytes of a request.", rich_help_panel=LIMITS)
    ] = 64,
    per_minute: Annotated[
        int, typer.Option(min=1, help="Studies of one sender in a minute.", rich_help_panel=LIMITS)
    ] = 600,
    waiting: Annotated[
        int, typer.Option(min=1, help="Studies that may wait; more are turned away.", rich_help_panel=LIMITS)
    ] = 64,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
) -> None:
    """Judge films and reports that are sent over HTTP, as `cxremb predict` does: health, metrics, OpenAPI.

    POST /predict takes a form with `films` and `report_text`. Nothing that is sent is kept or logged. The token is that
    of the environment variable CXREMB_TOKEN; where it is needed and not set, one is made and printed. Ctrl-C ends it.
    Research software, no medical device.

    Example: cxremb serve --run 0a1b2c3d
    """
    from cxremb.api.serve import serve as run_service
    from cxremb.cli.screen import remark
    from cxremb.service.limits import Limits

    remark("loading the run and its encoders ...", "dim")
    limits = Limits(max_mb * 1_000_000, per_minute, waiting)
    run_service(
        run=run,
        neighbours=neighbours,
        host=host,
        port=port,
        limits=limits,
        dataset=dataset,
        root=root,
        listening=show,
    )
    remark("ended")


def show(served: "Served") -> None:
    """Where it listens, by which run, and how to ask."""
    from cxremb.cli.progress import console
    from cxremb.cli.screen import say, say_commands
    from cxremb.inference.results import NOTICE

    model = served.judge.model
    say(f"{served.bound.address} judges by run {model.run.run_id}, {model.run.arm} on {model.dataset.name}", "bold")
    say(f"  {model.chosen}; it reads {' and '.join(model.reads)}")
    if served.made:
        say(f"  token: {served.token}")
        say("  made for this start; to keep one, set CXREMB_TOKEN")
    fields = {"image": "-F films=@film.png", "text": '-F report_text="Clear lungs."'}
    asked = " ".join(fields[what] for what in model.reads)
    bearer = '-H "Authorization: Bearer $CXREMB_TOKEN" ' if served.token else ""
    say_commands([f"curl {bearer}{asked} {served.bound.address}predict"], "  ask: ", "cyan")
    say(f"  {NOTICE}", "yellow")
    console.file.flush()  # in a pipe it would stay until the end
