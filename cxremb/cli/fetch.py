"""`cxremb data fetch`: download a collection that may be downloaded, and add it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli.collection import show
from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import AsFormat, Format

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cxremb.datasets.download import OnBytes


IU_XRAY = "iu_xray"
SMALLEST = 28  # pixels per side: what MedMNIST gives if nobody asks


def fetch(
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="iu_xray, or a MedMNIST set: pneumoniamnist, organcmnist, ...")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the downloads.", show_default="ROOT/downloads")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where IU X-ray's archives lie, if not at Open-i.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels per side of a MedMNIST set: 28, 64, 128 or 224.", show_default="28")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the data set, if not the collection's.")] = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Download a collection, unpack it and add it. IU X-ray is 1.3 GB: an interrupted download resumes.

    Example: cxremb data fetch iu_xray --output downloads
    """
    from cxremb.api.data import add
    from cxremb.cli.progress import bar
    from cxremb.datasets.medmnist import fetch as download
    from cxremb.datasets.medmnist import published_sets
    from cxremb.datasets.openi import OPENI_URL, obtain
    from cxremb.errors import FetchError

    known = (IU_XRAY, *published_sets())
    if collection not in known:
        raise FetchError(f"{collection!r} is not a collection to fetch", hint=f"name one of: {', '.join(known)}")
    if collection == IU_XRAY and size is not None:
        raise typer.BadParameter(f"{IU_XRAY} has one size", param_hint="--size")
    if collection != IU_XRAY and base_url is not None:
        raise typer.BadParameter(f"{collection} comes from its own package; leave it out", param_hint="--base-url")
    folder = output or root / "downloads" / collection
    with byte_bar() as progress:
        if collection == IU_XRAY:
            images, reports = obtain(folder, base_url or OPENI_URL, progress)
        else:
            packed = download(collection, folder, SMALLEST if size is None else size, progress=progress)
    if collection == IU_XRAY:
        added = add(collection, reports, images=images, name=name, root=root, progress=bar)
    else:
        added = add("medmnist", packed, name=name, root=root, progress=bar)
    show(added, fmt)


@contextmanager
def byte_bar() -> "Iterator[OnBytes]":
    """A bar on stderr with bytes, rate and time left, one for each file; in a file, a line now and then."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cxremb.cli.progress import EVERY, log

    if not log.is_terminal:
        last = time.monotonic()

        def note(done: int, total: int | None, name: str) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY or done == total:
                last = time.monotonic()
                of = "" if total is None else f" of {total / 1e6:,.1f}"
                log.print(f"{name}: {done / 1e6:,.1f}{of} MB", markup=False, highlight=False, soft_wrap=True)

        yield note
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log) as bars:
        tasks: dict[str, TaskID] = {}

        def show(done: int, total: int | None, name: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show
