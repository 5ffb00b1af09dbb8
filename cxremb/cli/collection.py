"""What was added, on the screen: counts, guesses, what did not pair, what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxremb.cli.options import DEFAULT_ROOT
from cxremb.cli.output import Format, write

if TYPE_CHECKING:
    from cxremb.catalog import Added

SHOWN = 3  # examples of a note: the pattern; `data show` has them all


def show(added: "Added", root: Path, fmt: Format) -> None:
    """What happened."""
    if fmt is Format.table:
        show_added(added, root)
        return
    from cxremb.store.tables import text_counts

    facts: dict[str, Any] = {"name": added.dataset.name, "counts": dict(added.counts)}
    facts |= {"texts": text_counts(added.dataset), "changes": dict(added.changes)}
    write(facts | {key: added.dataset.descriptor[key] for key in ("source", "notes")}, fmt)


def show_added(added: "Added", root: Path) -> None:
    """What was added, what was guessed, what did not pair, and what to type next."""
    from cxremb.store.tables import text_counts

    about = added.dataset.descriptor
    show_counts(added.dataset.name, added.counts, text_counts(added.dataset))
    changes = ", ".join(f"{what} {n:,}" for what, n in added.changes.items())
    line(f"changes     {changes or 'none: everything was there already, nothing was written'}")
    for key, value in about["source"].items():
        if value.endswith(" (guessed)"):
            line(f"guessed     {key} = {value.removesuffix(' (guessed)')}", style="cyan")
    for name, label_set in about["label_sets"].items():
        line(f"labels      {name}: {label_set['task']}, {label_set['means']}")
    show_notes(about["notes"], SHOWN)
    line(f"licence     {about['licence']}")
    line(f"next        {next_command(added, root)}", style="bold")


def next_command(added: "Added", root: Path) -> str:
    """What to type next: encode the images, else the texts, else look at what there is."""
    from cxremb.encoders.weights import suggested
    from cxremb.store.dataset import list_datasets

    name = added.dataset.name
    chosen = [] if root == DEFAULT_ROOT else ["--root", str(root)]
    if not added.counts["images_present"] and not added.dataset.reports.num_rows:
        return shlex.join(["cxremb", "data", "show", name, *chosen])
    model = suggested("image" if added.counts["images_present"] else "text")
    several = ["--dataset", name] if len(list_datasets(root)) > 1 else []
    return shlex.join(["cxremb", "embed", "--model", model, *several, *chosen])


def show_counts(name: str, counts: Mapping[str, int], texts: Mapping[str, int]) -> None:
    """Counts under the name; texts: section -> studies that have it."""
    line(name, style="bold")
    line(
        f"studies     {counts['studies']:,} of {counts['patients']:,} patients, "
        f"{counts['reports_with_text']:,} with findings or impression"
    )
    if texts:
        line("texts       " + ", ".join(f"{section} {n:,}" for section, n in texts.items()))
    line(f"images      {counts['images']:,} listed, {counts['images_present']:,} present")


def show_notes(notes: Sequence[Mapping[str, Any]], shown: int) -> None:
    """What did not pair: count, first examples, remedy."""
    for note in notes:
        line(f"note        {note['what']}: {note['count']:,}", style="yellow")
        if note["examples"]:
            more = ", ..." if note["count"] > min(shown, len(note["examples"])) else ""
            line(f"              {', '.join(note['examples'][:shown])}{more}")
        if note["hint"]:
            line(f"              {note['hint']}", style="dim")


def line(text: str, style: str = "") -> None:
    """One line on stdout, as it is: paths and terms may hold brackets."""
    from cxremb.cli.progress import console

    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
