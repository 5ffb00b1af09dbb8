"""How long `cxremb demo` takes, with its picture and its table, which the README shows.

    python benchmarks/demo.py [--full] [--root DIR] [--out benchmarks/results/demo.json]

Writes docs/demo.svg and the table of the README as well, unless it is the full demo. A root that is there already gives
the picture and the table again, from what it holds, and then the seconds are not those of a first run.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import write

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MARKS = re.compile(r"(<!-- demo: begin.*?-->\n).*?(<!-- demo: end -->)", re.DOTALL)


def run_demo(root: Path, options: list[str]) -> tuple[str, dict[str, float]]:
    """What the demo printed, and the seconds of the clock and of all processors that it took."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "cxremb", "demo", "--root", str(root), *options]
    columns = {**os.environ, "COLUMNS": "80"}  # a page shows them
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=columns).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {"wall": time.perf_counter() - start, "processor": sum(after[:2]) - sum(before[:2])}
    return printed, {name: round(value, 1) for name, value in spent.items()}


def table_of(printed: str) -> list[str]:
    """The lines of the ablation's table: arms, and below them the controls."""
    lines = printed.splitlines()
    first = next(index for index, line in enumerate(lines) if re.match(r"arm +AUROC", line))
    last = next(index for index, line in enumerate(lines) if index > first and line.startswith("majority"))
    return [line.rstrip() for line in lines[first : last + 1]]


def quote(table: list[str]) -> None:
    """Put the table between the marks of the README."""
    block = "```text\n" + "\n".join(table) + "\n```\n"
    README.write_text(MARKS.sub(lambda found: found[1] + block + found[2], README.read_text("utf-8")), "utf-8")


def main() -> None:
    """Run the demo and write what the README needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all 3,955 studies")
    parser.add_argument("--root", type=Path, help="a store root to keep")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        printed, seconds = run_demo(root, ["--full"] if options.full else [])
        table = table_of(printed)
        if not options.full:
            shutil.copy(root / "demo_1000" / "ablation.svg", ROOT / "docs" / "demo.svg")
            quote(table)
    given = (" --full" if options.full else "") + (" --root DIR" if options.root else "")
    found = {"command": f"python benchmarks/demo.py{given}", "seconds": seconds}
    write(options.out, {**found, "table": table}, ("torch", "openvino", "timm", "transformers"))


if __name__ == "__main__":
    main()
