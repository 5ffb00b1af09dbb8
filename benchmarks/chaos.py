"""Bad days: every command of the route is killed, stopped, starved and run beside every other; nothing may be lost.

    python benchmarks/chaos.py [--kills 200] [--seed 1] [--only kills,pairs] [--out benchmarks/results/chaos.json]

A root is made in quiet. Then, part by part, the route is gone again with faults. After each fault `cxremb store check`
has to be clean and the command is run again; at the end of each route all tables, vectors, splits, runs and notes must
equal those of the quiet root. The same seed draws the same faults; those by time depend on the machine too.
Needs Linux; the part `full` needs a user who may mount.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import side_by_side
from chaos_steps import parts, place
from chaos_steps.parts import Chaos

PACKAGES = ("duckdb", "numpy", "pyarrow", "safetensors", "torch")


def main() -> None:
    """Print a line for each part, and write the results. Exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=1000, help="of commands: all, if there are fewer")
    parser.add_argument("--most", type=int, default=12, help="changes of a file of each command that fail, in `errors`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(parts.PARTS), help=f"some of {', '.join(parts.PARTS)}")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place.draw(Path(folder) / "collection")
        chaos = Chaos(Path(folder), given.kills, given.pairs, given.most)
        chaos.make_quiet()
        wrong = 0
        for name in given.only.split(","):
            began = time.monotonic()
            chaos.random, chaos.wrong = Random(f"{given.seed} {name}"), []
            found = {**parts.PARTS[name](chaos), "wrong": chaos.wrong, "seconds": round(time.monotonic() - began)}
            print(name, found, flush=True)
            wrong += len(chaos.wrong)
            if given.out:
                command = f"python benchmarks/chaos.py --only {name} --kills {given.kills} --seed {given.seed}"
                side_by_side.write_part(given.out, name, {"command": command, **found}, packages=PACKAGES)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
