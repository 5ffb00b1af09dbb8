"""`cxremb` alone: what lies under the store root, what is behind, and what to type next. It imports nothing slow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxremb.cli.next_steps import what_next
from cxremb.cli.screen import say, say_commands
from cxremb.errors import StoreError, count_of
from cxremb.store.expected import read_object
from cxremb.version import VERSION

if TYPE_CHECKING:
    from cxremb.store.dataset import Dataset

WIDE = 9  # columns of the words before the figures
FIRST = (
    ("cxremb demo", "the whole route on 1,000 real reports and simulated films, in minutes"),
    ("cxremb data fetch iu_xray", "IU X-ray: 1.3 GB of films with reports"),
    ("cxremb data add --help", "a collection that you have: a folder, a table, DICOM, MIMIC-CXR"),
    ("cxremb doctor", "what this machine has: devices, weights, optional parts"),
)
HELP = "cxremb --help lists every command, cxremb COMMAND --help its options"


def show_overview(root: Path) -> None:
    """Each data set with its stores and runs, or what a newcomer types first. Raises `StoreError` for a damaged one."""
    from cxremb.store.dataset import list_datasets

    say(f"cxremb {VERSION}, store root {root}", "bold")
    found = list_datasets(root)
    for data in found:
        show_data_set(data)
    if not found:
        say("No data set is there yet. Begin with one of:")
        width = max(len(words) for words, _ in FIRST) + 4
        for words, why in FIRST:
            say(f"  {words:<{width - 2}}{why}", below=width)
    say(f"\n{HELP}", "dim")


def show_data_set(data: "Dataset") -> None:
    """One data set, in a line for each kind of thing it has."""
    from cxremb.store.outdated import stale_stores
    from cxremb.store.reader import list_stores

    rows = {name: about["rows"] for name, about in data.descriptor["tables"].items()}
    films = "simulated film" if data.simulated else "film"
    say(f"\n{data.name}", "bold")
    line("data", f"{count_of(rows['studies'], 'study')}, {count_of(rows['images'], films)}")
    stores = list_stores(data)
    stale = stale_stores(data)
    line("stores", ", ".join(f"{store.name} ({count_of(store.rows, 'row')})" for store in stores) or "none yet")
    if stale:
        line("stale", f"{', '.join(store.name for store in stale)}: the data set has changed since", "yellow")
    runs = read_runs(data)
    line("runs", in_words(runs))
    say_commands(what_next(data, stale=stale, runs=runs), f"  {'next':<{WIDE}}", "cyan")


def line(name: str, text: str, style: str = "") -> None:
    """A line below a data set."""
    say(f"  {name:<{WIDE}}{text}", style, below=WIDE + 2)


def read_runs(data: "Dataset") -> list[Mapping[str, Any]]:
    """The run.json of each run that is no control, newest first: read as JSON, since `training.runs` takes a second.

    Raises `StoreError` for one that cannot be read.
    """
    records: list[Mapping[str, Any]] = []
    for path in sorted(data.paths.runs.glob("[!.]*/run.json"), reverse=True):
        try:
            record = read_object(path.read_text(encoding="utf-8"))
            control = record["arm"].startswith("control:")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error})", hint="see what is wrong: `cxremb store check`"
            ) from error
        if not control:
            records.append({**record, "run_id": path.parent.name})
    return records


def in_words(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, and the newest."""
    if not runs:
        return "none yet"
    newest = runs[0]
    leaky = ", LEAKY" if newest.get("leaky") else ""
    return f"{len(runs):,}, the newest {newest['run_id']}: {newest['arm']} on {newest['label_set']}{leaky}"
