"""How long `cxremb --help` takes, beside what the libraries that draw it take to import.

    python benchmarks/command_line.py [--rounds 40] [--out benchmarks/results/command_line.json]

Both are new processes, in turns; `times` is the ratio of the medians of wall time and of processor time.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import write

LIMIT = 1.25  # times what importing typer and rich takes: what this project allows itself
WAYS = {
    "import typer and rich": ["-c", "import typer, rich.console, typer.rich_utils"],
    "cxremb --help": ["-m", "cxremb", "--help"],
}


def spent(words: list[str]) -> tuple[float, float]:
    """Seconds of wall time and of processor time that one call takes."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, sum(after[:2]) - sum(before[:2])


def main() -> None:
    """Time both in turns and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/command_line.json"))
    options = parser.parse_args()
    for words in WAYS.values():  # the first call compiles and reads the disk
        spent(words)
    rounds = [{name: spent(words) for name, words in WAYS.items()} for _ in range(options.rounds)]
    middle = {
        name: [round(statistics.median(one[name][kind] for one in rounds), 4) for kind in range(2)] for name in WAYS
    }
    plain, ours = middle.values()
    times = {kind: round(ours[index] / plain[index], 3) for index, kind in enumerate(("wall", "processor"))}
    print(times)
    found = {
        "command": "python benchmarks/command_line.py",
        "seconds": {name: {"wall": wall, "processor": processor} for name, (wall, processor) in middle.items()},
        "times": times,
        "limit": LIMIT,
    }
    write(options.out, found, ("typer", "rich"))


if __name__ == "__main__":
    main()
