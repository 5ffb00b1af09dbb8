"""`cxremb explore` serves pages over a data set."""

from typing import Annotated

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.screen import remark, say


def explore(
    port: Annotated[
        int | None, typer.Option("--port", help="Where to listen; one that is free if left out.", show_default=False)
    ] = None,
    author: Annotated[
        str | None,
        typer.Option("--author", help="Whose notes these are; who is logged in if left out.", show_default=False),
    ] = None,
    make_map: Annotated[
        bool,
        typer.Option("--map/--no-map", help="Make a map, and distances to training, where there are none."),
    ] = True,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
) -> None:
    """Walk through films, reports, predictions and errors in a browser; on this machine alone, until Ctrl-C.

    Needs the extra `web`. The address holds a token that is new each time.

    Example: cxremb explore
    """
    from cxremb.api.pages import explore as serve_pages

    stages: set[str] = set()

    def watched(words: str) -> None:
        """A line for each stage: the page counts within one."""
        stage = words.partition(":")[0]
        if stage not in stages:
            stages.add(stage)
            remark(f"in the background: {stage}")

    def listening(address: str) -> None:
        say(f"Open {address}", "bold")
        say("Ctrl-C ends it.")

    serve_pages(
        port=port, author=author, make_map=make_map, root=root, dataset=dataset, listening=listening, progress=watched
    )
