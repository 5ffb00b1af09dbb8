"""What every step is given, and the few words that steps share: a figure, a check, a reason to skip."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What a step yields: the name of a part of its findings and what was found, or a check.
Findings = Iterator["tuple[str, Any] | Check"]


class Skip(Exception):
    """A step, or the rest of it, cannot be done here; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything: enough to fill a large GPU for some seconds, or as little as shows that a step runs."""

    films: int = 12_288  # of the network's own size, with a report and a label each
    large: int = 1_500  # films of each file format, as large as those of a collection
    large_shape: tuple[int, int] = (624, 512)
    compared: int = 64  # vectors that the CPU computes too
    film_batch: int = 256
    token_budget: int = 65_536
    part_items: int = 1_024  # small, so that a job that is killed leaves some behind
    head_rows: int = 5_972  # training rows of the published fusion system; a tenth of them is watched
    head_epochs: int = 40
    grid_members: int = 25  # 5 repeats of 5 folds, of each of the arms
    tests: bool = True


QUICK = Sizes(
    films=60, large=8, large_shape=(120, 100), compared=4, film_batch=8, token_budget=512, part_items=8, head_rows=200,
    head_epochs=2, grid_members=2, tests=False,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Where a step runs. folder: what the step `prepare` made lies there, for all the others."""

    device: str
    quick: bool
    folder: Path
    limits: dict[str, float] = field(default_factory=dict)  # what this device can do at most, as the first step found

    @property
    def sizes(self) -> Sizes:
        return QUICK if self.quick else Sizes()

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those to try. fp16 is not for CPUs."""
        return ("fp32", "bf16") if self.device == "cpu" else ("fp32", "bf16", "fp16")

    def wait(self) -> None:
        """Until the device has done what it was given."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()

    def seconds(self, call: Callable[[], object], least: float = 0.5) -> float:
        """Seconds of one call, the median of several; called once before, for nothing to be built while it is timed."""
        call()
        self.wait()
        spent: list[float] = []
        while not spent or (sum(spent) < (0.0 if self.quick else least) and len(spent) < 200):
            start = time.perf_counter()
            call()
            self.wait()
            spent.append(time.perf_counter() - start)
        return sorted(spent)[len(spent) // 2]

    def share(self, rate: float, limit: str) -> float | None:
        """A rate as a share of one of the limits; None if that was not measured."""
        return rounded(rate / self.limits[limit]) if self.limits.get(limit) else None


@dataclass(frozen=True)
class Check:
    """A claim and the figure that bears it out or does not. A target is hoped for; only a claim can fail the run."""

    claim: str
    value: float | bool | None
    least: float | bool = True
    target: bool = False

    @property
    def holds(self) -> bool:
        return self.value is not None and bool(self.value >= self.least)


def rounded(value: float) -> float:
    """To four digits that count."""
    return float(f"{value:.4g}")


def need(*packages: str) -> None:
    """Raises `Skip` if one of these packages is not installed."""
    from importlib.util import find_spec

    if lacking := [name for name in packages if find_spec(name) is None]:
        raise Skip(f"{', '.join(lacking)} not installed: bring a wheel (WHEELS=folder)")


def not_compiled(setting: "Setting") -> str:
    """Why nothing is compiled here; empty if it is. Also for a GPU the compiler builds a launcher in C."""
    from importlib.util import find_spec
    from shutil import which

    if setting.quick:
        return "compiling takes a minute, and --quick has none"
    if setting.device.startswith("cuda") and not find_spec("triton"):
        return "triton, which compiles for a GPU, is not installed"
    return "" if which("gcc") or which("clang") or which("cc") else "no C compiler on the PATH"
