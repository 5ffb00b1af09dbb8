"""What each control of an ablation costs beside the arms, in processor time: a cold `cxremb ablate` on made-up vectors.

    python benchmarks/controls.py [--films 7470] [--out benchmarks/results/controls.json]

The root is that of `growth.py`, as large as IU X-ray: image, text and fusion on five folds. Vectors lie in the cache
already; nothing is trained yet. `fits` says how many models a step trains. What is left of the whole are intervals,
features and the table. Believe the processor time.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growth_root import make_root
from side_by_side import HERE, processor_seconds, write

import cxremb
from cxremb.ablation import controls, run
from cxremb.training import loop

FITS = {"image, text and fusion": 15, "label-shuffle": 10, "text-shuffle": 5, "image-shuffle": 5}


def timed(spent: dict[str, float], work: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
    """The same work, whose processor seconds are added to those of its name."""

    def run_timed(*words: Any, **options: Any) -> Any:
        start, name = processor_seconds(), name_of(*words)
        try:
            return work(*words, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + processor_seconds() - start

    return run_timed


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=7470)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "controls.json")
    options = parser.parse_args()
    spent: dict[str, float] = {}
    run.runs_of = timed(spent, run.runs_of, lambda *_: "image, text and fusion")
    controls.one_control = timed(spent, controls.one_control, lambda _, control, *__: control.name)
    run.fusings = timed(spent, run.fusings, lambda *_: "does it fuse?")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_root(root, options.films)
        cxremb.ablate("text", root=root, text="findings")  # reads both stores into the cache
        shutil.rmtree(root / "made_up" / "runs")
        spent.clear()
        loop.torch.ones(1)  # torch is there
        start, wall = processor_seconds(), time.perf_counter()
        cxremb.ablate(root=root, text="findings")
        whole, seconds = processor_seconds() - start, time.perf_counter() - wall
    steps = {
        name: {"cpu_seconds": round(one, 2), "share": round(one / whole, 3), "fits": FITS.get(name, 0)}
        for name, one in spent.items()
    }
    for name, row in steps.items():
        print(f"{name:<24} {row['cpu_seconds']:6.2f} s  {row['share']:6.1%}  {row['fits']} fits")
    found = {
        "benchmark": "controls",
        "command": f"python benchmarks/controls.py --films {options.films}",
        "cpu_seconds": round(whole, 2),
        "wall_seconds": round(seconds, 2),
        "steps": steps,
    }
    write(options.out, found, ("torch", "numpy", "scikit-learn"))


if __name__ == "__main__":
    main()
