"""`cxremb store`: the vectors that are there, whether they are whole, and the space they take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root, Yes
from cxremb.cli.output import AsFormat, Format, visible, write
from cxremb.cli.pasted import command, completed
from cxremb.errors import count_of

if TYPE_CHECKING:
    from cxremb.store.dataset import Dataset
    from cxremb.store.reader import Store

app = typer.Typer(help="The vectors that are there, whether they are whole, the space they take.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="STORE", help="An encoder, or a store such as biobert@0123456789ab.", autocompletion=completion.stores
    ),
]
AnyName = Annotated[
    str | None,
    typer.Argument(metavar="[STORE]", help="One store; all of them if left out.", autocompletion=completion.stores),
]


@app.command()
def ls(root: Root = DEFAULT_ROOT, dataset: DatasetName = None, fmt: AsFormat = Format.table) -> None:
    """List every store: encoder, version, rows, failures, size, and whether the data set has moved on.

    Example: cxremb store ls
    """
    from cxremb.cli.screen import remark
    from cxremb.store.clean import size_of
    from cxremb.store.dataset import list_datasets, open_dataset
    from cxremb.store.reader import list_stores
    from cxremb.store.sql import query

    shown = "dataset, store, xxxx, imported, version, rows, dim, failed, created, stale"
    rows = query(root, f"select {shown} from stores").to_pylist()
    if dataset:
        name = open_dataset(root, dataset).name
        rows = [row for row in rows if row["dataset"] == name]
    older = {
        (data.name, store.name): store
        for data in list_datasets(root)
        for store in list_stores(data)
        if store.older_decoder
    }
    for row in rows:
        row["older_decoder"] = (row["dataset"], row["store"]) in older
        row["bytes"] = size_of(root / row["dataset"] / "embeddings" / row["store"])
        row["created"] = row["created"].isoformat(sep=" ", timespec="minutes")
    if fmt is not Format.table:
        write(rows, fmt)
        return
    if not rows:
        from cxremb.encoders.weights import suggested

        embed = f"embed --model {suggested('image')}"
        remark(f"{root}: no store yet; make one: `{command(embed, root, dataset)}`")
        return
    show_listing(rows)
    show_older(list(older.values()), root)


def show_listing(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line per store; at the end what is the same for all."""
    from cxremb.cli.screen import say, show_table
    from cxremb.table import Table, shared_columns

    names = ["store", "version", "rows", "failed", "stale", "size", "created", "data set", "note"]
    cells = []
    for row in rows:
        notes = [f"xxxx={row['xxxx']}"] if row["xxxx"] in ("drop", "mask") else []
        notes += ["older decoder"] if row["older_decoder"] else []
        notes += ["imported"] if row["imported"] else []
        numbers = (f"{row[name]:,}" for name in ("version", "rows", "failed"))
        about = ("yes" if row["stale"] else "no", human(row["bytes"]), row["created"][:10], row["dataset"])
        cells.append([row["store"], *numbers, *about, ", ".join(notes)])
    table, same = shared_columns(Table(names, cells, prose=[7, 8]), ["data set", "note"])
    show_table(table)
    if same:
        say(f"all: {same}", style="dim")


def show_older(stores: "Sequence[Store]", root: Path) -> None:
    """What making stores of an older decoder again costs: they stay in use until it is done."""
    from cxremb.cli.embed import duration
    from cxremb.cli.screen import say, say_commands
    from cxremb.store.clean import versions

    for store in stores:
        dataset = store.folder.parent.parent.name
        spent = sum(sum(one.provenance.get("seconds", {}).values()) for one in versions(store.folder))
        took = f"; it took {duration(spent)} in all" if spent else ""
        say(f"older decoder: {store.name} stays; making it again encodes {store.manifest.written:,} films{took}")
        say_commands([command(f"refresh --model {store.encoder}", root, dataset)], "  ")


@app.command()
def show(name: Name, root: Root = DEFAULT_ROOT, dataset: DatasetName = None, fmt: AsFormat = Format.table) -> None:
    """Show one store: what decides its vectors, its versions, how long they took, and what failed.

    Example: cxremb store show biobert
    """
    from dataclasses import asdict

    from cxremb.cli.screen import say
    from cxremb.store.clean import versions
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    store = open_store(open_dataset(root, dataset), name)
    history = versions(store.folder)
    if fmt is not Format.table:
        write([asdict(manifest) for manifest in history], fmt)
        return
    say(store.name, "bold")
    terms = {
        "licence": f"{store.manifest.licence} (encoder)",
        "collection": store.manifest.dataset_licence or "not said: an older version, see `cxremb data show`",
        "cite": store.manifest.dataset_citation or "not said",
    }
    for key, value in {**asdict(store.manifest.recipe), **terms}.items():
        text = ", ".join(value) if isinstance(value, tuple) else json.dumps(value) if isinstance(value, dict) else value
        say(f"  {key:<16}{text}", below=18)
    if store.imported:
        about = store.manifest.provenance.get("imported", {})
        say(f"  imported from {about.get('file')}: what made its vectors is known to nobody here", "yellow")
    for manifest in history:
        spent = ", ".join(f"{stage} {s:.1f} s" for stage, s in manifest.provenance.get("seconds", {}).items())
        say(
            f"version {manifest.version}, {manifest.created[:16].replace('T', ' ')}: {manifest.asked:,} asked = "
            f"{manifest.written:,} written + {manifest.failed:,} failed, {count_of(len(manifest.parts), 'part')}"
            + (f"; {spent}" if spent else "")
        )


@app.command()
def check(
    name: AnyName = None, root: Root = DEFAULT_ROOT, dataset: DatasetName = None, fmt: AsFormat = Format.table
) -> None:
    """Read every byte and vector, and compare them with what was committed. Exit code 1 if something is wrong.

    Nothing is believed, run or written: it is the first thing to do with a folder that came from elsewhere.

    Example: cxremb store check --root from_elsewhere/
    """
    from cxremb.api.check import check as check_all
    from cxremb.cli.progress import bar
    from cxremb.cli.screen import say

    found = check_all(root, dataset, name, progress=bar)
    wrong = [problem for problem in found.problems if not problem.harmless]
    problems = [replace(problem, remedy=completed(problem.remedy, problem.dataset(root))) for problem in found.problems]
    if fmt is not Format.table:
        write([vars(problem) for problem in problems], fmt)
    else:
        for problem in problems:
            mark, style = ("note", "dim") if problem.harmless else ("WRONG", "red")
            say(visible(f"{mark} {problem.where}: {problem.what}"), style)
            say(visible(f"  -> {problem.remedy}"), "dim")
        counts = (
            f"{count_of(found.stores, 'store')}, {count_of(found.rows, 'row')}, {count_of(found.runs, 'run')} checked"
        )
        say(f"{counts}: {len(wrong)} wrong, {count_of(len(problems) - len(wrong), 'note')}")
    if wrong:
        raise typer.Exit(1)


@app.command()
def gc(
    name: AnyName = None,
    keep: Annotated[int, typer.Option(min=1, help="How many versions of a store stay readable.")] = 1,
    yes: Yes = False,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
) -> None:
    """Free the space of older versions, of what stopped jobs left behind, and of caches.

    Parts that a stopped job had finished go too: embed again first if you want to take them up. A training that was
    stopped is kept for a week, so that it can go on.

    Example: cxremb store gc --keep 2 --yes
    """
    from cxremb.store.clean import clear, clear_cache, collect, leftovers, reclaimable, size_of
    from cxremb.store.dataset import open_dataset

    data = open_dataset(root, dataset)
    for store in stores_of(data, name):
        if yes:
            files, size = collect(store.folder, keep)
        else:
            paths = reclaimable(store.folder, keep)
            files, size = len(paths), sum(path.stat().st_size for path in paths)
        typer.echo(f"{store.name}: {count_of(files, 'file')}, {human(size)}")
    if name is None:
        paths = leftovers(data.paths)
        files, size = clear(data.paths) if yes else (len(paths), sum(map(size_of, paths)))
        typer.echo(f"old tables and removed stores: {files:,}, {human(size)}")
    cached = size_of(data.paths.cache)
    typer.echo(f"cache: {human(cached)}")
    if yes:
        clear_cache(data.paths)
    if name is None:
        gc_trainings(data, yes)
    typer.echo("freed" if yes else "nothing was removed; add --yes to free this")


def gc_trainings(data: "Dataset", yes: bool) -> None:
    """What stopped trainings have left: the old ones are freed, the others listed."""
    from cxremb.training.stopped import OLD_DAYS, free, leftovers

    stopped = leftovers(data)
    old = [one for one in stopped if one.old]
    typer.echo(
        f"trainings stopped {OLD_DAYS} days ago or more: {len(old):,}, {human(sum(one.size_bytes for one in old))}"
    )
    for one in old if yes else []:
        free(one)
    for one in stopped:
        if not one.old:
            typer.echo(f"  kept, {human(one.size_bytes)}: train the same again to go on, or remove {one.folder}")


@app.command()
def rm(name: Name, yes: Yes = False, root: Root = DEFAULT_ROOT, dataset: DatasetName = None) -> None:
    """Remove a whole store, all its versions. Runs that were trained on it keep their figures and predictions.

    Example: cxremb store rm biobert@0123456789ab --yes
    """
    from cxremb.errors import StoreError
    from cxremb.store.clean import remove, size_of
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import list_stores, open_store

    data = open_dataset(root, dataset)
    if name in {path.name for path in data.paths.embeddings.glob("[!.]*")}:  # whatever it holds, also nothing good
        folder = data.paths.embeddings / name
    else:
        store = open_store(data, name)
        folder = store.folder
        if name == store.encoder and sum(other.encoder == name for other in list_stores(data)) > 1:
            names = ", ".join(other.name for other in list_stores(data) if other.encoder == name)
            raise StoreError(f"several stores of {name}: {names}", hint="name the one to remove in full")
    if not yes:
        typer.echo(f"{folder.name}: {human(size_of(folder))}; add --yes to remove it")
        return
    typer.echo(f"removed {folder.name}: {human(remove(folder))} freed")


def stores_of(data: "Dataset", name: str | None) -> "Sequence[Store]":
    """The one store that is named, or every one."""
    from cxremb.store.reader import list_stores, open_store

    return [open_store(data, name)] if name else list_stores(data)


def human(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
