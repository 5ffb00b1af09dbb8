"""Do intervals hold the truth, and does a comparison of equals find nothing? Simulated, so that the truth is known.

    python benchmarks/coverage.py [--quick] [--only STEP ...] [--out benchmarks/results/coverage.json]

Each step is a module of `coverage_steps` that asks one question. The tables they print are those in docs/evaluation.md.
--only leaves the other steps in the file as they are; --quick takes so few data sets that it only shows that they run.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

# Modules of `coverage_steps`, in the order of the file that is written.
STEPS = ("fixed", "figures", "aimed", "calibration", "shuffled_labels", "trained", "units", "interaction")


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few data sets, few resamples")
    parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        step = importlib.import_module(f"coverage_steps.{name}")
        start = time.perf_counter()
        result = step.run(args.quick)
        result["seconds"] = round(time.perf_counter() - start)
        print(*step.table(result), sep="\n", flush=True)
        found = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
        found = {one: {**found, name: result}[one] for one in STEPS if one in {*found, name}}
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
