"""The house keeps its shape: imports go one way, and the command line starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "cxremb"
# A room may import from its own storey and from those below it.
STOREYS = [
    {"errors", "types", "processes", "shipped", "tabular", "version"},
    {"images", "tablefile", "datasets", "encoders", "store"},
    {"catalog", "labels", "splits", "features", "evaluation", "predictions", "embedding", "doctor"},
    {"training", "alignment"},
    {"ablation", "audit", "comparison", "stratify", "calibrated", "export"},
    {"report"},
    {"api"},
    {"cli"},
]
HEAVY = {"torch", "timm", "transformers", "sklearn", "pandas", "duckdb", "pyarrow", "numpy", "PIL", "polars"}
FILES = sorted(path for path in SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here in {"__init__", "__main__"}:
        return
    storey = next(index for index, rooms in enumerate(STOREYS) if here in rooms)
    for name in imports(path):
        if name.startswith("cxremb.") and (there := name.split(".")[1]):
            level = next(index for index, rooms in enumerate(STOREYS) if there in rooms)
            assert level <= storey, f"{here} imports {name}"


def test_every_room_has_its_storey() -> None:
    assert {room(path) for path in FILES} - {"__init__", "__main__"} == set().union(*STOREYS)


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
