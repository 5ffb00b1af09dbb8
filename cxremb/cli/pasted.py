"""Commands in what is printed, completed so that they work when they are pasted: with the store root and the data set
that are meant here. Messages of the library name neither: they put a command in backquotes, and this adds the rest.
"""

import os
import re
import shlex
from glob import escape
from pathlib import Path

from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.options import CALLED, DEFAULT_ROOT, Called
from cxremb.store.mirror import folder_of
from cxremb.store.remote import name_of

COMMAND = re.compile(r"`cxremb ([^`]+)`")


def completed(text: str, dataset: str | None = None) -> str:
    """The text with the commands that it has in backquotes completed. dataset: as for `here`."""
    return COMMAND.sub(lambda found: f"`{here(found[1], dataset)}`", text)


def addressed(text: str) -> str:
    """The text with the address of a remote root where it names the folder in front of it."""
    root = CALLED.get(Called()).root
    return text if name_of(root) == str(root) else text.replace(str(root), name_of(root))


def here(words: str, dataset: str | None = None) -> str:
    """As `command`, for the store root and, unless another data set is meant, that of the call that is under way."""
    called = CALLED.get(Called())
    return command(words, called.root, dataset or called.dataset or dataset_of_run(called.root, called.run))


def command(words: str, root: Path, dataset: str | None = None) -> str:
    """`cxremb` with these words, and with the options that its user would have to add.

    dataset: named only where there are several, since one that is alone is meant anyway.
    """
    taken = options_of(words)
    sets = {path.parent.name for path in root.glob("*/dataset.json")} if "--dataset" in taken else set()
    added = []
    if dataset in sets and len(sets) > 1 and "--dataset" not in words:
        added += ["--dataset", str(dataset)]
    if (
        root != folder_of(os.environ.get("CXREMB_STORES") or DEFAULT_ROOT)
        and "--root" in taken
        and "--root" not in words
    ):
        added += ["--root", name_of(root)]
    return " ".join(["cxremb", words, *map(shlex.quote, added)])


def options_of(words: str) -> set[str]:
    """The options that a command takes, such as `--root`; of a group or of words that are no command none."""
    name, *rest = words.split()
    if name not in COMMANDS:
        return set()
    found = load_command(name)
    while rest and (further := getattr(found, "commands", {}).get(rest[0])) is not None:
        found, rest = further, rest[1:]
    return {option for one in found.params for option in one.opts}


def dataset_of_run(root: Path, run: str | None) -> str | None:
    """The data set of a run that was named, if it is a run."""
    folders = [] if run is None else [path.parent for path in root.glob(f"*/runs/*{escape(run)}*/run.json")]
    names = {folder.parent.parent.name for folder in folders}
    return names.pop() if len(names) == 1 else None
