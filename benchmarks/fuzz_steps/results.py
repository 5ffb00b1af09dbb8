"""What came of fuzzing, over all its runs: an hour of a target may be run in parts, on several days and commits."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import side_by_side

CHECKS = Path(__file__).with_name("targets.py")
PACKAGES = ("atheris", "pillow", "pydicom", "opencv-python-headless", "simplejpeg", "duckdb", "numpy")


def checks() -> str:
    """The sum of what is done with an input: runs that did the same are added up."""
    return hashlib.sha256(CHECKS.read_bytes()).hexdigest()[:12]


def earlier_runs(path: Path | None, target: str) -> list[dict[str, Any]]:
    """The runs of a target in a file of results that checked their inputs as is done now."""
    if path is None or not path.is_file():
        return []
    runs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")).get(target, {}).get("runs", [])
    return [one for one in runs if one["checks"] == checks()]


def add_run(path: Path, target: str, run: Mapping[str, Any]) -> None:
    """One more run of a target, with its commit and machine, after the earlier ones; what they come to is in front."""
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    runs = [*earlier_runs(path, target), {**run, "checks": checks(), **side_by_side.about(PACKAGES)}]
    parts[target] = {**totals(runs), "runs": runs}
    path.write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")


def totals(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Executions, minutes, ends of the process and places of findings, over the runs."""
    return {
        "executions": sum(one["executions"] for one in runs),
        "minutes": round(sum(one["minutes"] for one in runs), 2),
        "ends": sum(sum(one["ends"].values()) for one in runs),
        "found": sorted({where for one in runs for where in one["found"]}),
        "commits": list(dict.fromkeys(one["commit"] for one in runs)),
    }
