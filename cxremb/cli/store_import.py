"""`cxremb store import`: vectors that were made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import store
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.datasets.tree import NOT_GIVEN

app = store.app  # `import` stands beside the other commands of `cxremb store`


@app.command("import")
def take_in(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Parquet, .npy or HDF5; or a folder of the first or last.")
    ],
    encoder_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What made them: the same name for each data set makes them comparable."),
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="Of .npy: a text file with one id a line.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The column of ids, if its name does not tell.")
    ] = None,
    vector: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="The column of lists, or columns of numbers: 'f_*'."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the encoder that made them.")] = NOT_GIVEN,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Take in vectors of films that were made elsewhere, by the films' ids. Nothing here can make more of them.

    Such a store is read like any other, and marked wherever it is: what made its vectors, and on whom that was trained,
    is known to nobody here.

    Example: cxremb store import vectors.parquet --encoder-name my_encoder
    """
    from cxremb.api.vectors import import_store
    from cxremb.cli.embed import describe_update, say_next, show
    from cxremb.cli.progress import bar
    from cxremb.store.dataset import open_dataset

    done = import_store(
        file,
        encoder_name=encoder_name,
        ids=ids,
        id_column=id_column,
        vectors=tuple(vector or ()),
        licence=licence,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    if fmt is not Format.table:
        write({**describe_update(done.update), "unknown": done.unknown}, fmt)
        return
    show(done.update)
    say_next(open_dataset(root, dataset))
