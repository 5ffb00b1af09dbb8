"""Ways to do one thing, timed in turns, so that whatever else the machine does slows them all; results as JSON."""

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def take_turns(ways: Mapping[str, tuple[float, Callable[[], object]]], rounds: int) -> dict[str, dict[str, Any]]:
    """What each way takes. A way is (items, a call that does so many); the first is the plain one.

    Each is called once before the clock runs. `times` is the median over rounds of its rate by that of the plain one,
    `times_cpu` the same of processor time, over all threads and child processes; seconds are medians of whole calls,
    and `repeats` has wall and processor seconds of every round.
    """
    for _, run in ways.values():
        run()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, run) in ways.items():
            found[name].append(spent(run))
    return {name: row_of(name, ways, found) for name in ways}


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call by the wall and by the processor."""
    wall, processor = time.perf_counter(), processor_seconds()
    run()
    return time.perf_counter() - wall, processor_seconds() - processor


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def row_of(
    name: str, ways: Mapping[str, tuple[float, object]], found: Mapping[str, list[tuple[float, float]]]
) -> dict[str, Any]:
    """One way's line, beside the first."""
    plain = next(iter(ways))
    items, own, share = ways[name][0], found[name], ways[name][0] / ways[plain][0]
    wall, cpu = (statistics.median(one[kind] for one in own) for kind in range(2))
    times = [
        statistics.median(
            first[kind] * share / max(one[kind], 1e-6) for one, first in zip(own, found[plain], strict=True)
        )
        for kind in range(2)
    ]
    row = {
        "per_second": round(items / wall, 2),
        "seconds": round(wall, 4),
        "cpu_seconds": round(cpu, 4),
        "times": round(times[0], 2),
        "times_cpu": round(times[1], 2),
        "repeats": [[round(value, 4) for value in one] for one in own],
    }
    print(f"{name:<44} {wall:9.3f} s, {cpu:9.3f} s of processor, {times[0]:7.2f} times the first", flush=True)
    return row


def about(packages: tuple[str, ...]) -> dict[str, Any]:
    """What is needed to make sense of findings: machine, how busy it is, versions and commit."""
    return {
        "machine": {"processor": processor(), "system": platform.system(), "cores": os.cpu_count()},
        "load": [round(load, 1) for load in os.getloadavg()],  # of one, five and fifteen minutes, our own work included
        "busy": os.getloadavg()[1] > (os.cpu_count() or 1),  # more wanted to run than there are cores: believe ratios
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in packages}},
        "commit": commit(),
    }


def commit() -> str:
    """The commit that is checked out; with -dirty if a file differs from it that is no result."""
    said = git("describe", "--always").stdout.strip()
    same = git("diff", "--quiet", "HEAD", "--", ":(top)", ":(top,exclude)benchmarks/results").returncode == 0
    return said if same else f"{said}-dirty"


def git(*words: str) -> "subprocess.CompletedProcess[str]":
    """What git says here."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=HERE)


def write(path: Path, found: Mapping[str, object], packages: tuple[str, ...]) -> None:
    """The findings, with what is needed to make sense of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**found, **about(packages)}, indent=2) + "\n", encoding="utf-8")
    print(path)


def write_part(path: Path, name: str, found: Mapping[str, object], *, packages: tuple[str, ...]) -> None:
    """One part of the findings in the file of all; those that were not run stay as they are, each with its commit."""
    parts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write(path, found, packages)
    parts[name] = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")


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
