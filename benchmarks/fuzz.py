"""Coverage-guided fuzzing of all that reads bytes from elsewhere: films, records of a store, tables, XML and SQL.

    python benchmarks/fuzz.py [--minutes 10] [--targets png,sql] [--out benchmarks/results/fuzz.json] [--keep FOLDER]

Each target gets so many minutes in a process of its own, which starts anew after a crash. Needs `pip install atheris`
(Linux x86-64). Run again with the same --out it searches with another seed, and with the same --keep from the inputs
that the last run came to; what was run before stays in the results and is added up, if inputs are checked as then.
What is found is printed and left in --keep; put it under tests/fuzzed/TARGET when it is mended, where
tests/test_fuzzed.py tries it ever after.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos_steps import place, route
from fuzz_steps.results import add_run, earlier_runs

from cxremb.images import is_tame

HERE = Path(__file__).parent
TARGETS = ("png", "jpeg", "tiff", "dicom", "npy", "npz", "manifest", "dataset", "run", "csv", "xml", "sql")
RECORDS = ("manifest", "dataset", "run", "sql")  # these need a store root
LEAST = 3.0  # seconds that are worth another start


def tried(target: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """What came of one target: executions, minutes, how its process ended before its time, and what was found where."""
    executions, spent, found, began = 0, 0.0, {}, time.monotonic()
    ends: list[str] = []
    while (left := seconds - (time.monotonic() - began)) > LEAST:
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        words = [sys.executable, "-m", "fuzz_steps.worker", target, str(folder), f"{left:.0f}", str(seed)]
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False, errors="replace")
        if not report.exists():
            raise SystemExit(f"{target} did not start:\n{done.stderr[-2000:]}")
        about = json.loads(report.read_text())
        executions, spent, found = executions + about["executions"], spent + about["seconds"], found | about["found"]
        if done.returncode:
            said = [line.partition("libFuzzer: ")[2] for line in done.stderr.splitlines() if "ERROR: libFuzzer" in line]
            ends.append(said[0] if said else done.stderr[-300:])
    return {
        "seed": seed,
        "executions": executions,
        "minutes": round(spent / 60, 2),
        "ends": dict(Counter(ends)),  # of its process: a crash of a library of C, a hang, too much memory
        "contained": all(map(is_contained, folder.glob("*-*"))),
        "found": sorted(found),
        "corpus": len([*(folder / "corpus").iterdir()]),
    }


def is_contained(path: Path) -> bool:
    """Whether an input that ended the process is a film that commands decode in a process of its own."""
    return path.name.partition("-")[0] not in {"crash", "oom", "timeout"} or not is_tame(path)


def main() -> None:
    """Print a line for each target, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each target")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="where inputs are left that found something; corpora too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = (given.keep or Path(temporary)).absolute()
        chosen = given.targets.split(",")
        if set(chosen) & set(RECORDS):
            shutil.rmtree(base / "made", ignore_errors=True)
            place.draw(base / "made" / "collection")
            route.whole(base / "made" / "collection", base / "made" / "root", route.STEPS[:9])
        results = {}
        for target in chosen:
            folder = base / target
            folder.mkdir(parents=True, exist_ok=True)
            if target in RECORDS:
                shutil.rmtree(folder / "root", ignore_errors=True)
                shutil.copytree(base / "made" / "root", folder / "root")
            seed = 1 + len(earlier_runs(given.out, target))  # another search than before
            results[target] = tried(target, folder, 60 * given.minutes, seed)
            print(target, json.dumps(results[target]), flush=True)
            if given.out:
                add_run(given.out, target, results[target])
    sys.exit(1 if any(one["found"] or not one["contained"] for one in results.values()) else 0)


if __name__ == "__main__":
    main()
