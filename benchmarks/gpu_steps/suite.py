"""The tests of the suite that compare a GPU with the CPU."""

import re
import subprocess
import sys
from pathlib import Path

from gpu_steps.setting import Check, Findings, Setting, Skip

PROJECT = Path(__file__).parent.parent.parent
TESTS = "a_gpu_gives_what_the_cpu_gives"


def run(setting: Setting) -> Findings:
    """How many of them pass. Files that cannot be read on this machine, for a package it lacks, are passed over."""
    if not setting.device.startswith("cuda"):
        raise Skip(f"they compare a CUDA GPU with the CPU; this is {setting.device}")
    files = sorted(path for path in (PROJECT / "tests").glob("test_*.py") if TESTS in path.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pytest", "-q", "-k", TESTS, "-p", "no:cacheprovider",
               "--continue-on-collection-errors", *map(str, files)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    yield "tests", counts
    if done.returncode:
        yield "output", done.stdout[-3000:]
    yield Check("all of them pass, and none is skipped", bool(counts.get("passed")) and set(counts) == {"passed"})
