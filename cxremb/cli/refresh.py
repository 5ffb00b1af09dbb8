"""`cxremb refresh`: encode again what the data set has changed since."""

from typing import Annotated

import typer

from cxremb.cli.embed import show
from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root
from cxremb.cli.progress import bar, console, log


def refresh(
    model: Annotated[str | None, typer.Option(help="One encoder or store; every encoder's newest if left out.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:n] or mps; several: cuda:0,cuda:1.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode images.")] = 2,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    as_json: AsJson = False,
) -> None:
    """Bring stores up to date with their data set, each asked for as it was made: what is new or changed is encoded.

    If the weights have changed since, or this cxremb decodes in another way, a new store is made and the old one stays.

    Example: cxremb refresh --model efficientnet_b1
    """
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import list_stores, open_store

    data = open_dataset(root, dataset)
    from cxremb.embed.start import Where, asked_for, newest_of_each, run

    stores = [open_store(data, model)] if model else newest_of_each(list_stores(data))
    if not stores:
        log.print(f"{data.name}: no store yet; make one with `cxremb embed --model efficientnet_b1`", markup=False)
        raise typer.Exit(1)
    where = Where(devices=tuple(device.split(",")), workers=workers)
    for store in stores:
        outcome = run(data, asked_for(store), where, bar)
        show(outcome, as_json)
        if outcome.store.name != store.name and not as_json:
            console.print(
                f"  [yellow]a new store: something that decides the vectors differs from {store.name}, which stays[/]"
            )
