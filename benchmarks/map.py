"""What the map of `cxremb explore` costs: principal components, then UMAP, as the process beside the pages makes it.

    python benchmarks/map.py [--films 373500] [--dim 1280] [--out FILE]

Vectors are made up: 60 groups, each spread along the same 200 directions, and noise. Processor seconds of each stage
(one thread, as the job has) and the most memory so far are printed as they come, and written at the end.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from side_by_side import write

from cxremb.explorer.mapping import placed

GROUPS, DIRECTIONS = 60, 200
BLOCK_ROWS = 8192


def vectors(films: int, dim: int) -> NDArray[np.float16]:
    """(films, dim) of known structure."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((GROUPS, dim), dtype=np.float32)
    along = 2 * rng.standard_normal((DIRECTIONS, dim), dtype=np.float32) / DIRECTIONS**0.5
    made = np.empty((films, dim), np.float16)
    for start in range(0, films, BLOCK_ROWS):
        n = min(BLOCK_ROWS, films - start)
        noise = 0.3 * rng.standard_normal((n, dim), dtype=np.float32)
        made[start : start + n] = (
            centres[rng.integers(GROUPS, size=n)]
            + rng.standard_normal((n, DIRECTIONS), dtype=np.float32) @ along
            + noise
        )
    return made


class Stages:
    """Processor seconds and the most memory of each stage that the job names."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self.name, self.began = "", time.process_time()

    def say(self, words: str) -> None:
        """What the job says: `principal components: 4,096 of 373,500 rows`."""
        name, _, more = words.partition(":")
        name = f"{name}, rounds" if more.endswith("rounds") else f"{name}, neighbours" if more else name
        name = "principal components" if name.startswith("principal") else name
        if name != self.name:
            self.end()
            self.name, self.began = name, time.process_time()

    def end(self) -> None:
        """The stage that was under way is over."""
        if self.name:
            spent = time.process_time() - self.began
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            self.rows[self.name] = {"cpu_seconds": round(spent, 1), "peak_gb_so_far": round(memory, 2)}
            print(f"{self.name}: {spent:.1f} s, {memory:.2f} GB", flush=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=373_500)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "map.json")
    options = parser.parse_args()
    sys.path.remove(
        str(Path(__file__).parent)
    )  # UMAP's compiler asks for the package coverage, not for the program here
    made, stages = vectors(options.films, options.dim), Stages()
    began = time.process_time()
    points, method = placed(made, stages.say)
    stages.end()
    spent = time.process_time() - began
    print(f"{method} of {len(points):,} rows: {spent:.0f} s of one core")
    write(
        options.out,
        {
            "command": f"python benchmarks/map.py --films {options.films} --dim {options.dim}",
            "method": method,
            "rows": len(points),
            "vectors_gb": round(made.nbytes / 1e9, 2),
            "stages": stages.rows,
            "cpu_seconds": round(spent, 1),
        },
        ("numpy", "umap-learn", "numba"),
    )


if __name__ == "__main__":
    main()
