"""`cxremb data split` makes a split, or takes over one that somebody else made, and shows who is in which part."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.next_steps import next_steps
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.table import Table

if TYPE_CHECKING:
    from cxremb.splits import StoredSplit
    from cxremb.store.dataset import Dataset

LABELS_SHOWN = 4


def split(
    name: Annotated[str, typer.Argument(help="What `--split` will call it; patient-5fold and holdout are there.")],
    label_set: Annotated[
        str | None,
        typer.Option(
            help="Whose labels are spread evenly over the parts.",
            show_default=OWN_LABELS,
            autocompletion=completion.label_sets,
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Each fold tests one of so many equal shares.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How often all studies are shared out anew.")] = 1,
    holdout: Annotated[bool, typer.Option("--holdout", help="One fold only: 70:10:20 with five shares.")] = False,
    group: Annotated[
        str, typer.Option(help="What keeps studies in one part: patient, report (copies), both, none.")
    ] = ("patient,report"),
    seed: Annotated[int, typer.Option(help="Decides who comes into which part.")] = 0,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take over a list: annotation.json, or a CSV with ids and a column split."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Make a split of your own, or import a published one; show its parts and whether it keeps patients apart.

    Example: cxremb data split published --from split.csv
    """
    from cxremb.splits import SplitSpec, fold_rows, import_split, new_split
    from cxremb.store.dataset import open_dataset

    collection = open_dataset(root, dataset)
    if source is not None:
        stored = import_split(collection, name, source)
        sets = [key for key, its in collection.descriptor.get("label_sets", {}).items() if its["task"] != "terms"]
        preferred = label_set or collection.descriptor.get("default_label_set")
        shown = preferred if preferred in sets else next(iter(sets), None)
    else:
        links = tuple(link for part in group.split(",") if (link := part.strip()) and link != "none")
        kind = "holdout" if holdout else "kfold"
        stored = new_split(collection, label_set, SplitSpec(name, kind, folds, repeats, links, seed))
        shown = stored.label_set
    rows = fold_rows(collection, stored, shown)
    if fmt is not Format.table:
        write(about(stored) | {"parts": rows}, fmt)
    else:
        show(collection, stored, rows, shown=shown)


def about(stored: "StoredSplit") -> dict[str, Any]:
    """The split without its rows, as plain data."""
    from dataclasses import asdict

    facts = {name: getattr(stored, name) for name in ("name", "key", "means", "leaky", "by_image", "label_set")}
    return facts | {
        "path": str(stored.path),
        "groups": stored.more.get("groups"),
        "notes": list(map(asdict, stored.notes)),
    }


def show(data: "Dataset", stored: "StoredSplit", rows: list[dict[str, Any]], *, shown: str | None) -> None:
    """One line for each part, with the least and the most over the folds; then what there is to know."""
    from cxremb.cli.screen import say, say_commands, show_table
    from cxremb.splits import shared_patients

    counts = [name for name in ("images", "studies", "patients") if any(row[name] for row in rows)]
    labels = [label for label, share in rows[0]["prevalence"].items() if share is not None][:LABELS_SHOWN]
    cells = []
    for part in dict.fromkeys(row["part"] for row in rows):
        found = [row for row in rows if row["part"] == part]
        sizes = [span([f"{n:,}" for n in sorted(row[name] for row in found)]) for name in counts]
        shares = [sorted(s for row in found if (s := row["prevalence"][label]) is not None) for label in labels]
        cells.append([part, *sizes, *(span([f"{share:.1%}" for share in per_fold]) for per_fold in shares)])
    show_table(Table(["part", *counts, *labels], cells))
    say(f"{stored.title}: {stored.means}")
    if stored.more.get("groups"):
        say(f"groups that stay whole: {stored.more['groups']:,}")
    for note in stored.notes:
        say(f"{note.what}: {note.count:,} ({', '.join(note.examples)})")
    if stored.leaky:
        share = f"{shared_patients(stored.table):.1%} of test rows are of patients in train; use needs --allow-leaky"
        say(f"LEAKY: {share}", "yellow")
    else:
        say("No patient is in two parts of a fold.")
    use = f"--split {shlex.quote(stored.name)}{' --allow-leaky' * stored.leaky}"
    say(f"use it: {use}", "bold")
    say_commands(next_steps(data, label_set=shown, more=f" {use}"), "next: ", "bold")


def span(values: list[str]) -> str:
    """The first and the last of sorted values, or the one there is."""
    return "-" if not values else values[0] if values[0] == values[-1] else f"{values[0]}–{values[-1]}"
