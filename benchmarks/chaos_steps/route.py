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

TABLE = "--label ill --text findings --pre-read indication --images {films} --table"
ODD = "select study_id, 'odd' as label, length(study_id) % 2 as value from studies where dataset = 'small'"


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
        places |= {"{concepts}": folder / "concepts.csv"}
        places |= {"{film}": folder / "films" / "film49.png", "{run}": removed(root), "{odd}": ODD}
        sys.argv = ["cxremb", *(str(places.get(word, word)) for word in self.words.split()), "--root", str(root)]
        main()
        sys.exit(0)


def removed(root: Path) -> str:
    """The run that `runs rm` is to remove, and `evaluate` to judge: the newest of the arm `text`."""
    found = list(root.glob("small/dataset.json")) and [
        one.run_id for one in list_runs(open_dataset(root, "small")) if one.arm == "text"
    ]
    return found[0] if found else "none"


def write_note(root: Path) -> None:
    """A note, unless it is there."""
    dataset = open_dataset(root, "small")
    there = [row for path in notes_path(dataset) for row in read_part(path).to_pylist()]
    for number in range(1, 4):
        if f"note {number}" not in {row["text"] for row in there}:
            add_note(dataset, StoredNote("reader", f"s{number}", text=f"note {number}"))


OF = "--dataset small"  # in pairs there is another
TRAINED = f"--split three --label-set ill --epochs 3 {OF}"
STEPS = (
    Step("data add", f"data add table --name small {TABLE} {{first}}"),
    Step("data label", f"data label second --sql {{odd}} {OF}"),
    Step("embed films", f"embed --model tiny {OF}"),
    Step("embed texts", f"embed --model tiny_text {OF}"),
    Step("data split", f"data split three --folds 3 --label-set ill {OF}"),
    Step("train", f"train fusion {TRAINED}"),
    Step("ablate", f"ablate --split three --label-set ill --arms image,text,fusion --no-controls {OF}"),
    Step("align", f"align --split three --label-set ill {OF}"),
    Step("audit", f"audit --split three --label-set ill {OF}"),
    Step("notes", work=write_note),
    Step("data add, later", f"data add table --name small {TABLE} {{later}}"),
    Step("refresh", f"refresh {OF}"),
    Step("train, later", f"train image {TRAINED}"),
    Step("predict", f"predict {{film}} --format json {OF}"),
    Step("runs rm", f"runs rm {{run}} --yes {OF}", done=("no run",)),
    Step("store rm", f"store rm align_text --yes {OF}", done=("no store", "several stores")),
    Step("store gc", f"store gc --yes {OF}"),
)
OTHER = (  # another data set, for `external`
    Step("other: data add", f"data add table --name other {TABLE} {{first}}"),
    Step("other: embed", "embed --model tiny --dataset other"),
    *(Step(f"{name}: data concepts", f"data concepts {name} --file {{concepts}}") for name in ("small", "other")),
)
BESIDE = (  # what is run beside the steps of the route, and beside each other
    Step("evaluate", f"evaluate {{run}} --by view {OF}"),
    Step("external", "external small:ill other:ill --allow-overlap"),
)
CHECK = Step("store check", "store check")


def whole(folder: Path, root: Path, steps: Sequence[Step] = STEPS) -> None:
    """Every step in quiet, in processes of their own."""
    from chaos_steps.forked import forked

    for step in steps:
        done = forked(lambda one=step: one.run(folder, root))
        assert done.code == 0, f"{step.name}: exit code {done.code}\n{done.err}"
