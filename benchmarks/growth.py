"""How time and memory grow: each step at 1, 10 and 50 times the size of IU X-ray, in a process of its own.

    python benchmarks/growth.py --folder DIR [--sizes 1 10 50] [--only load features]

The root is made up: half as many studies as films, of which one has 11, two studies a patient, a store of films with
1,280 numbers and one of texts with 768 in which the label shifts a direction. What is measured is processor seconds
and wall seconds of the step alone (what it imports is loaded before), the process' peak of memory, and that less what
it held before the step. Exponents are of processor seconds, fitted over all sizes and between the two largest: 1 is
linear. Run again with --sizes or --only, what is measured takes the place of what the file has.
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from growth_steps import STEPS
from side_by_side import HERE, write

FILMS = 7470  # of IU X-ray
PACKAGES = ("numpy", "pyarrow", "duckdb", "torch", "scikit-learn")


def main() -> None:
    """Make the roots, take the steps one after another, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the roots lie; 2 GB at 50 times")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--only", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--step", nargs=2, metavar=("NAME", "ROOT"), help="for itself: one step, in this process")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "growth.json")
    args = parser.parse_args()
    if args.step:
        print(json.dumps(measured(STEPS[args.step[0]], Path(args.step[1]))))
        return
    steps = json.loads(args.out.read_text(encoding="utf-8"))["steps"] if args.out.exists() else {}
    for size in args.sizes:
        root = args.folder / f"{size}x"
        if not root.is_dir():
            subprocess.run([sys.executable, "-c", MAKE, str(root), str(size * FILMS)], check=True, cwd=HERE)
        for name in args.only:
            steps.setdefault(name, {})[f"{size}x"] = apart(name, root)
            print(f"{size:>3}x {name:<24}", steps[name][f"{size}x"], flush=True)
            whole = {name: {**own, **exponents(own)} for name in STEPS if (own := steps.get(name))}
            write(args.out, {"benchmark": "growth", "films": FILMS, "steps": whole}, PACKAGES)


def table(steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The findings as lines of a table, as docs/scale.md has them; a test compares the two."""
    sizes = sorted({key for own in steps.values() for key in own if key.endswith("x")}, key=lambda key: int(key[:-1]))
    heads = [f"{int(size[:-1]) * FILMS:,} films" for size in sizes]
    lines = [f"| processor seconds | {' | '.join(heads)} | exponent | peak, GB |", "| --- " * (len(sizes) + 3) + "|"]
    for name, own in steps.items():
        seconds = [two_digits(own[size]["cpu_s"]) if size in own else "" for size in sizes]
        peak = max(own[size]["peak_mb"] for size in sizes if size in own) / 1000
        grown = f"{own['exponent_last']:.2f}" if "exponent_last" in own else ""
        lines.append(f"| {name} | {' | '.join(seconds)} | {grown} | {peak:.1f} |")
    return lines


def two_digits(value: float) -> str:
    """190, 41 or 0.25."""
    return f"{float(f'{value:.2g}'):g}"


def exponents(step: Mapping[str, Any]) -> dict[str, float]:
    """The power of the size that seconds grow with: fitted over all sizes, and between the two largest."""
    found = {int(key[:-1]): max(own["cpu_s"], 1e-3) for key, own in step.items() if key.endswith("x")}
    seconds = dict(sorted(found.items()))
    if len(seconds) < 2:
        return {}
    sizes, logs = np.log(list(seconds)), np.log(list(seconds.values()))
    last = (logs[-1] - logs[-2]) / (sizes[-1] - sizes[-2])
    return {"exponent": round(float(np.polyfit(sizes, logs, 1)[0]), 2), "exponent_last": round(float(last), 2)}


def apart(name: str, root: Path) -> dict[str, float]:
    """A step in a process of its own."""
    words = [sys.executable, __file__, "--folder", str(root.parent), "--step", name, str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {root}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


MAKE = """
import sys
from pathlib import Path
from growth_root import make_root
make_root(Path(sys.argv[1]), int(sys.argv[2]))
"""


def measured(step: Callable[[Path], Callable[[], object]], root: Path) -> dict[str, float]:
    """What a step costs. It is prepared first: what it needs is imported and opened."""
    run = step(root)
    gc.collect()
    held = peak()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {
        "cpu_s": round(time.process_time() - cpu, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
        "peak_mb": round(peak()),
        "more_mb": round(peak() - held),
    }


def peak() -> float:
    """The most resident memory so far, in MB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
