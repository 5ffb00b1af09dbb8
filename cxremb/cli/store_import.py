"""`cxremb store import` and `convert`: vectors that were made elsewhere, and vectors in another type."""

from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import store
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.datasets.tree import NOT_GIVEN

app = store.app  # both stand beside the other commands of `cxremb store`


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
    from cxremb.cli.screen import say
    from cxremb.embedding.choose import usual_stores
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
    data = open_dataset(root, dataset)
    if (read := usual_stores(data, "image"))[0].name != done.update.store.name:
        say(f"  commands go on reading {read[0].name}, which was encoded here; name this one with --image-model")
    say_next(data)


@app.command()
def convert(
    name: store.Name,
    dtype: Annotated[str, typer.Option(help="float32, as new stores have it, or float16, as older ones do.")],
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Write the parts of a store anew with its vectors in another type; no number changes and nothing is encoded.

    New stores lie in float32. One that an older cxremb made lies in float16, which Spark does not read. A store keeps
    its type when it grows. Runs stay valid; the version of before stays until `cxremb store gc`.

    Example: cxremb store convert biobert --dtype float32
    """
    from cxremb.cli.progress import bar
    from cxremb.embedding.convert import convert as convert_store
    from cxremb.errors import StoreError
    from cxremb.store.dataset import open_dataset
    from cxremb.store.layout import VALUES
    from cxremb.store.reader import open_store

    if dtype not in VALUES:
        raise StoreError(f"--dtype {dtype}: vectors lie in {' or '.join(VALUES)}", hint="name one of them")
    before = open_store(open_dataset(root, dataset), name)
    after = convert_store(before, VALUES[dtype], progress=bar)
    sizes = [sum(part.size_bytes for part in one.manifest.parts) for one in (before, after)]
    if fmt is not Format.table:
        versions = {"version_before": before.version, "version": after.version}
        bytes_of = {"size_bytes_before": sizes[0], "size_bytes": sizes[1]}
        write({"store": after.name, "dtype": dtype, **versions, **bytes_of}, fmt)
    elif after.version == before.version:
        typer.echo(f"{before.title}: its vectors lie in {dtype} already")
    else:
        words = f"{store.human(sizes[0])} before, {store.human(sizes[1])} now"
        typer.echo(f"{after.title}: its vectors lie in {dtype}; {words}")
