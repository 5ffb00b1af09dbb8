"""The route: the commands that are killed, each with a name; and a root in which all have been run in quiet."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxremb.cli.main import main
from cxremb.errors import CxrembError
from cxremb.store.dataset import open_dataset
from cxremb.store.files import read_part
from cxremb.store.notes import StoredNote, add_note, notes_path
from cxremb.training.runs import list_runs

TABLE = "--name small --label ill --text findings --pre-read indication --images {films} --table"
ODD = "select study_id, 'odd' as label, length(study_id) % 2 as value from studies"
TRAINED = "--split three --label-set ill --epochs 3"


@dataclass(frozen=True)
class Step:
    """One command, or what only a page of `cxremb explore` does."""

    name: str
    words: str = ""
    work: Callable[[Path], None] | None = None
    done: tuple[
        str, ...
    ] = ()  # what a command says, with exit code 1, whose work is done already, or by half of a pair

    def run(self, folder: Path, root: Path) -> None:
        """Do it in this process. folder: where the collection lies. Raises `SystemExit` with the exit code."""
        if self.work is not None:
            try:
                self.work(root)
            except CxrembError as error:
                print(error, file=sys.stderr)
                sys.exit(1)
            sys.exit(0)
        places = {"{films}": folder / "films", "{first}": folder / "first.csv", "{later}": folder / "later.csv"}
        places |= {"{film}": folder / "films" / "film49.png", "{run}": removed(root), "{odd}": ODD}
        sys.argv = ["cxremb", *(str(places.get(word, word)) for word in self.words.split()), "--root", str(root)]
        main()
        sys.exit(0)


def removed(root: Path) -> str:
    """The run that `runs rm` is to remove: the newest of the arm `text`."""
    found = list(root.glob("small/dataset.json")) and [
        one.run_id for one in list_runs(open_dataset(root)) if one.arm == "text"
    ]
    return found[0] if found else "none"


def write_note(root: Path) -> None:
    """A note, unless it is there."""
    dataset = open_dataset(root)
    there = [row for path in notes_path(dataset) for row in read_part(path).to_pylist()]
    for number in range(1, 4):
        if f"note {number}" not in {row["text"] for row in there}:
            add_note(dataset, StoredNote("reader", f"s{number}", text=f"note {number}"))


STEPS = (
    Step("data add", f"data add table {TABLE} {{first}}"),
    Step("data label", "data label second --sql {odd}"),
    Step("embed films", "embed --model tiny"),
    Step("embed texts", "embed --model tiny_text"),
    Step("data split", "data split three --folds 3 --label-set ill"),
    Step("train", f"train fusion {TRAINED}"),
    Step("ablate", "ablate --split three --label-set ill --arms image,text,fusion --no-controls"),
    Step("align", "align --split three --label-set ill"),
    Step("audit", "audit --split three --label-set ill"),
    Step("notes", work=write_note),
    Step("data add, later", f"data add table {TABLE} {{later}}"),
    Step("refresh", "refresh"),
    Step("train, later", f"train image {TRAINED}"),
    Step("predict", "predict {film} --format json"),
    Step("runs rm", "runs rm {run} --yes", done=("no run",)),
    Step("store rm", "store rm align_text --yes", done=("no store", "several stores")),
    Step("store gc", "store gc --yes"),
)
CHECK = Step("store check", "store check")


def whole(folder: Path, root: Path, steps: Sequence[Step] = STEPS) -> None:
    """Every step in quiet, in processes of their own."""
    from chaos_steps.forked import forked

    for step in steps:
        done = forked(lambda one=step: one.run(folder, root))
        assert done.code == 0, f"{step.name}: exit code {done.code}\n{done.err}"
