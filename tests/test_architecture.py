"""The house keeps its shape: imports go down, none goes round, a class name means one thing, `--help` starts light."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "cxremb"
# A room may import from its own storey and from those below it.
STOREYS = [
    {
        "errors",
        "types",
        "buckets",
        "busy",
        "processes",
        "shipped",
        "table",
        "tabular",
        "cells",
        "mistaken",
        "shards",
        "tablefile",
        "ids",
        "version",
    },
    {"images"},
    {"store"},
    {"datasets", "encoders"},
    {"catalog", "labels", "concepts", "splits", "features", "caveats"}
    | {"evaluation", "predictions", "embedding", "doctor"},
    {"training", "alignment"},
    {
        "ablation",
        "audit",
        "comparison",
        "stratify",
        "grouping",
        "calibrated",
        "checklists",
        "export",
        "similarity",
        "inference",
        "transfer",
        "zeroshot",
    },
    {"reporting", "web"},
    {"explorer", "service"},
    {"api"},
    {"cli"},
]
HEAVY = {"torch", "timm", "transformers", "sklearn", "pandas", "duckdb", "pyarrow", "numpy", "PIL", "polars"}
FILES = sorted(path for path in SOURCE.rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
SHARED = set[str]()  # class names that two modules still have: to be emptied, never to grow


def imported(module: str) -> Iterator[str]:
    """The modules of the package that `module` imports: at its top, inside functions and under TYPE_CHECKING."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if found := next((one for one in (name, name.rpartition(".")[0]) if one in MODULES), None):
                yield found


def storey(module: str) -> int:
    """The number of the storey that a module is on."""
    return next(number for number, rooms in enumerate(STOREYS) if module.split(".")[1] in rooms)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"cxremb", "cxremb.__main__"}))
def test_imports_go_down(module: str) -> None:
    for name in set(imported(module)) - {"cxremb"}:
        assert storey(name) <= storey(module), f"{module} imports {name}"


def test_every_room_has_its_storey() -> None:
    rooms = {module.split(".")[1] for module in MODULES if module != "cxremb"} - {"__main__"}
    assert rooms == set().union(*STOREYS)


def test_no_imports_go_round() -> None:
    graph = {module: set(imported(module)) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    shared = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert set(shared) == SHARED, shared


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_command_line_starts_without_heavy_imports() -> None:
    script = (
        "import sys; sys.argv = ['cxremb', '--help']\n"
        "from cxremb.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Start with: cxremb demo" in done.stdout
