"""One step in a process of its own: it cannot take the others with it, whatever it does."""

import importlib
import json
import os
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpu_steps.setting import Check, Setting, Skip

HEAVY = ("torch", "timm", "transformers", "sklearn.linear_model", "pyarrow.parquet", "duckdb", "cxremb.embedding.job",
         "cxremb.encoders.hf", "cxremb.training.loop")  # fmt: skip
TAIL = 3000  # characters of what a step that failed printed last


@dataclass(frozen=True)
class Step:
    """What is called ("module:function"), for so many seconds at most, after those it rests on."""

    name: str
    call: str
    seconds: float
    needs: tuple[str, ...] = ()
    dies: bool = False  # it is to be killed by a signal, and that is what it checks


def run_step(step: Step, setting: Setting, seconds: float) -> dict[str, Any]:
    """What became of a step: status (done, skipped or failed), the reason for the latter two, seconds, findings."""
    # All steps share one import of torch: they are forks of a process that has it and never uses the device.
    context = get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    answer, log = setting.folder / f"{step.call}.json", setting.folder / f"{step.call}.log"
    start = time.perf_counter()
    process = context.Process(target=child, args=(step.call, setting, answer, log))
    process.start()
    process.join(seconds)
    late = process.is_alive()
    end_group(process.pid or 0)
    process.join()
    found = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {"findings": {}, "checks": []}
    spent = {"seconds": round(time.perf_counter() - start, 1)}
    if late:
        return {"status": "failed", "reason": f"stopped at its limit of {seconds:.0f} s", **spent, **found}
    if process.exitcode and not (step.dies and process.exitcode == -signal.SIGKILL):
        printed = log.read_text(encoding="utf-8", errors="replace")[-TAIL:] if log.exists() else ""
        return {
            "status": "failed",
            "reason": f"its process ended with {process.exitcode}",
            "log": printed,
            **spent,
            **found,
        }
    return {"status": "done", **spent, **found}


def end_group(group: int) -> None:
    """Kill what a step has left running: it leads a process group of its own."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def child(call: str, setting: Setting, answer: Path, log: Path) -> None:
    """Run one step and write what it finds as it comes; in a process of its own."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    found: dict[str, Any] = {"findings": {}, "checks": []}
    module, function = call.split(":")
    try:
        for one in getattr(importlib.import_module(module), function)(setting):
            if isinstance(one, Check):
                found["checks"].append(described(one))
            else:
                found["findings"][one[0]] = one[1]
            write_json(answer, found)
    except Skip as reason:
        write_json(answer, {**found, "status": "skipped", "reason": str(reason)})
    except Exception as error:  # whatever it is, it is this step's and not the next one's
        told = f"{type(error).__name__}: {error} {getattr(error, 'hint', '')}".strip()
        write_json(
            answer, {**found, "status": "failed", "reason": told[:500], "traceback": traceback.format_exc()[-TAIL:]}
        )


def described(check: Check) -> dict[str, Any]:
    """A check as it is written."""
    value = float(f"{check.value:.6g}") if isinstance(check.value, float) else check.value
    return {"claim": check.claim, "value": value, "least": check.least, "target": check.target, "holds": check.holds}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Put it in place whole."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    draft.replace(path)
