"""How time and memory grow: each step at 1, 10 and 50 times the size of IU X-ray, in a process of its own.

    python benchmarks/growth.py --folder DIR [--sizes 1 10 50] [--only load features]

The root is made up: half as many studies as films, two studies a patient, a store of films with 1,280 numbers and one
of texts with 768 in which the label shifts a direction. What is measured is processor seconds
and wall seconds of the step alone (what it imports is loaded before), and the process' peak of memory less what it held
before the step. The exponent is of processor seconds between the two largest sizes: 1 is linear.
"""

import argparse
import gc
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import HERE, write

FILMS = 7470  # of IU X-ray
PACKAGES = ("numpy", "pyarrow", "duckdb", "torch", "scikit-learn")
NAME = "made_up"


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
    steps: dict[str, dict[str, Any]] = {name: {} for name in args.only}
    for size in args.sizes:
        root = args.folder / f"{size}x"
        if not root.is_dir():
            subprocess.run([sys.executable, "-c", MAKE, str(root), str(size * FILMS)], check=True, cwd=HERE)
        for name in args.only:
            steps[name][f"{size}x"] = apart(name, root)
            print(f"{size:>3}x {name:<24}", steps[name][f"{size}x"], flush=True)
    if len(args.sizes) > 1:
        *_, before, last = sorted(args.sizes)
        for found in steps.values():
            grown = found[f"{last}x"]["cpu_s"] / max(found[f"{before}x"]["cpu_s"], 1e-3)
            found["exponent"] = round(math.log(grown) / math.log(last / before), 2)
    write(args.out, {"benchmark": "growth", "films": FILMS, "steps": steps}, PACKAGES)


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


def load_cold(root: Path) -> Callable[[], object]:
    """The vectors of one section from the parts."""
    shutil.rmtree(root / NAME / "cache", ignore_errors=True)
    return load(root)


def load(root: Path) -> Callable[[], object]:
    """The same, as another process left them in `cache/`."""
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    store = open_store(open_dataset(root, NAME), "efficientnet_b1")
    return store.load


def features(root: Path) -> Callable[[], object]:
    """Rows of two stores with their labels."""
    from cxremb.features import Inputs, load_features
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    return lambda: load_features(dataset, ["image", "text"], Inputs(text="findings"))


def similar(root: Path) -> Callable[[], object]:
    """The ten films nearest to one."""
    import cxremb

    cxremb.similar  # noqa: B018 - its imports are not the step
    return lambda: cxremb.similar("f000100", limit=10, root=root)


def nearest(root: Path) -> Callable[[], object]:
    """The ten nearest of all vectors to one: no table, no labels."""
    from cxremb.similarity.find import nearest as find
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    matrix = open_store(open_dataset(root, NAME), "efficientnet_b1").load()
    find(matrix, matrix.vectors[100:101], np.arange(len(matrix.vectors)), limit=10)  # the file is in memory now
    return lambda: find(matrix, matrix.vectors[100:101], np.arange(len(matrix.vectors)), limit=10)


def train(root: Path) -> Callable[[], object]:
    """A fusion head, one fold, one seed."""
    import cxremb
    from cxremb.training import stack  # noqa: F401

    cxremb.train  # noqa: B018
    shutil.rmtree(root / NAME / "runs", ignore_errors=True)
    return lambda: cxremb.train("fusion", root=root, fold=0, text="findings")


def split(root: Path) -> Callable[[], object]:
    """Five folds of patients."""
    from cxremb.splits import choose_split
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    shutil.rmtree(dataset.paths.splits, ignore_errors=True)
    return lambda: choose_split(dataset, None)


STEPS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "split": split,
    "load, cold": load_cold,
    "load, warm": load,
    "features, warm": features,
    "nearest, warm": nearest,
    "similar": similar,
    "train fusion, one fold": train,
}

if __name__ == "__main__":
    main()
