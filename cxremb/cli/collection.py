"""What was added, on the screen: counts, guesses, what did not pair, what to type next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cxremb.cli.next_steps import next_steps
from cxremb.cli.output import Format, write
from cxremb.cli.pasted import command
from cxremb.cli.screen import say, say_commands
from cxremb.errors import count_of

if TYPE_CHECKING:
    from cxremb.catalog import Added

SHOWN = 3  # examples of a note: the pattern; `data show` has them all


def show(added: "Added", fmt: Format) -> None:
    """What happened."""
    if fmt is Format.table:
        show_added(added)
        return
    from cxremb.store.tables import text_counts

    facts: dict[str, Any] = {"name": added.dataset.name, "counts": dict(added.counts)}
    facts |= {"texts": text_counts(added.dataset), "changes": dict(added.changes)}
    write(facts | {"source": added.dataset.descriptor["source"], "notes": list(map(asdict, added.notes))}, fmt)


def show_added(added: "Added") -> None:
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
    show_notes(list(map(asdict, added.notes)), SHOWN)
    line(f"licence     {about['licence']}")
    say_commands([*renewal(added), *next_steps(added.dataset)[:1]], f"{'next':<12}", "bold")


def renewal(added: "Added") -> list[str]:
    """The command that brings stores up to date, if what was added puts some behind; or finds what is damaged."""
    from cxremb.errors import StoreError
    from cxremb.store.outdated import stale_stores

    data = added.dataset
    try:
        behind = added.changes and any(not store.projected and not store.imported for store in stale_stores(data))
    except StoreError:  # the adding is done: a damaged store does not make it a failure
        return [command("store check", data.paths.root, data.name)]
    return [command("refresh", data.paths.root, data.name)] if behind else []


def show_counts(name: str, counts: Mapping[str, int], texts: Mapping[str, int]) -> None:
    """Counts under the name; texts: section -> studies that have it."""
    line(name, style="bold")
    line(
        f"studies     {counts['studies']:,} of {count_of(counts['patients'], 'patient')}, "
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
            hidden = note["count"] - min(shown, len(note["examples"]))
            more = f" and {hidden:,} more" if hidden > 0 else ""
            line(f"              {', '.join(note['examples'][:shown])}{more}")
        if note["hint"]:
            line(f"              {note['hint']}", style="dim")


def line(text: str, style: str = "") -> None:
    """A line on stdout, which goes on below what it says, not below its name."""
    start = len(text) - len(text.lstrip())  # of an example or a hint, which stand further to the right
    say(text, style, below=max(start, len("changes     ")))
