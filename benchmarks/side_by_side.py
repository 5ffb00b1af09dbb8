"""Ways to do one thing, timed in turns, so that whatever else the machine does slows them all; results as JSON."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent


def take_turns(ways: Mapping[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, dict[str, float]]:
    """Rates and ratios by way. A way is (items, a call that does so many); the first is the plain one.

    Each is called once before the clock runs. `times` is the median over rounds of its rate by that of the plain one.
    """
    for _, run in ways.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (items, run) in ways.items():
            start = time.perf_counter()
            run()
            rates[name].append(items / (time.perf_counter() - start))
    plain = rates[next(iter(ways))]
    rows = {}
    for name, found in rates.items():
        times = statistics.median(rate / first for rate, first in zip(found, plain, strict=True))
        rows[name] = {"best_per_second": round(max(found), 2), "times": round(times, 2)}
        print(f"{name:<28} {max(found):8.1f} a second, {times:5.2f} times the plain way", flush=True)
    return rows


def write(path: Path, found: Mapping[str, object], packages: tuple[str, ...]) -> None:
    """The findings, with what is needed to make sense of them."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=HERE
    ).stdout.strip()
    about = {
        "machine": {"processor": processor(), "system": platform.system(), "cores": os.cpu_count()},
        "load": [round(load, 1) for load in os.getloadavg()],  # of one, five and fifteen minutes: who else was at work
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in packages}},
        "commit": commit,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**found, **about}, indent=2) + "\n", encoding="utf-8")
    print(path)


def processor() -> str:
    """The processor's name and which of the instructions that matter here it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = {"amx_bf16", "avx512_bf16", "avx512f", "avx2"} & set(fields.get("flags", "").split())
    return f"{fields.get('model name', platform.machine())} ({', '.join(sorted(flags))})"


def installed(package: str) -> str:
    """A package's version, or that it is not here."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
