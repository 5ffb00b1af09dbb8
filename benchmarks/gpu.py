"""One command for a GPU: everything that runs on one, checked and timed in under eight minutes, without a network.

    make gpu                                        # PYTHON=python3 WHEELS=folder RESULTS=file, each may be left out
    python benchmarks/gpu.py --device cpu --quick   # the same steps with tiny networks, on any machine

It takes the Python it is run by, makes no environment and downloads nothing: weights are random, of the real
architectures; films and reports are drawn. Wheels of packages that the machine lacks can lie in a folder: they are
unpacked for this run alone. Each step runs in a process of its own, within a time limit, and the file of results is
written anew after each, so that a step that fails, hangs or crashes the device costs itself and those that rest on it.

A step yields figures and checks. A rate stands beside its limit: what the device copies and multiplies at most, by the
step `machine`, or the bare forward pass of the same network. Checks of vectors and figures against the CPU decide the
exit code; shares of limits are targets, which only say that they were missed. What cannot be done is skipped, with the
reason.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_steps.running import Step, run_step, write_json
from gpu_steps.setting import Setting

HERE = Path(__file__).parent
MINUTES = 7.5  # for all steps: one that begins late gets what is left
STEPS = (
    Step("machine", "gpu_steps.machine:run", 40),
    Step("prepare", "gpu_steps.prepare:run", 90),
    Step("collections", "gpu_steps.prepare:collections", 60, ("prepare",)),
    Step("pixel cache", "gpu_steps.embed:cache", 60, ("collections",)),
    Step("tests of GPUs", "gpu_steps.suite:run", 90),
    Step("out of memory", "gpu_steps.embed:memory", 60, ("collections", "pixel cache")),
    Step("killed", "gpu_steps.embed:killed", 60, ("collections", "pixel cache"), dies=True),
    Step("resumed", "gpu_steps.embed:resumed", 60, ("killed",)),
    Step("embed texts", "gpu_steps.embed:texts", 150, ("prepare",)),
    Step("embed files", "gpu_steps.embed:files", 60, ("collections",)),
    Step("align", "gpu_steps.train:align", 60, ("collections",)),
    Step("network from pixels", "gpu_steps.train:network", 60, ("collections",)),
    Step("fine-tuning", "gpu_steps.train:finetune", 90, ("collections", "pixel cache")),
    Step("heads", "gpu_steps.train:heads", 60),
    Step("grid", "gpu_steps.train:grid", 90),
    Step("embed films", "gpu_steps.embed:films", 150, ("prepare",)),
)


def main() -> None:
    """Run the steps, print a line for each, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda[:n], mps or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few films: to see that every step runs")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels that this machine lacks")
    parser.add_argument(
        "--out", type=Path, help="the file of results, or a folder for it; benchmarks/results if left out"
    )
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="STEP",
        help="these steps, and those they rest on; the others stay in the file as they are",
    )  # fmt: skip
    args = parser.parse_args()
    if args.quick:  # small products: threads would only wait for each other
        os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="cxremb-gpu-") as name:
        folder = Path(name)
        look_into(HERE.parent, folder / "site")  # the package need not be installed; what is brought goes first
        results: dict[str, Any] = {
            "benchmark": "gpu",
            "command": f"python benchmarks/gpu.py {' '.join(sys.argv[1:])}".strip(),
            "commit": commit(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "wheels": install(args.wheels, folder / "site") if args.wheels else {},
            "steps": {},
        }
        run_all(Setting(args.device, args.quick, folder), results, args.out, wanted_steps(args.only))
    sys.exit(1 if bad(results) else 0)


def wanted_steps(only: list[str]) -> list[Step]:
    """All steps, or the named ones with those they rest on; the first three of them always, as the others read them."""
    names = {step.name for step in STEPS} if not only else {"machine", "prepare", "collections", *only}
    if unknown := names - {step.name for step in STEPS}:
        sys.exit(f"no step called {', '.join(sorted(unknown))}; there are {', '.join(step.name for step in STEPS)}")
    for step in reversed(STEPS):
        if step.name in names:
            names |= set(step.needs)
    return [step for step in STEPS if step.name in names]


def run_all(setting: Setting, results: dict[str, Any], out: Path | None, steps: list[Step]) -> None:
    """Each step in turn; `results` grows, and is on disk after each of them."""
    end = time.monotonic() + 60 * MINUTES
    for step in steps:
        lacking = [need for need in step.needs if results["steps"].get(need, {}).get("status") != "done"]
        left = end - time.monotonic()
        if lacking or left < 1:
            reason = f"it rests on {', '.join(lacking)}" if lacking else f"the {MINUTES:g} minutes are over"
            found: dict[str, Any] = {"status": "skipped", "reason": reason}
        else:
            found = run_step(step, setting, min(step.seconds, left))
        results["steps"][step.name] = {**found, "commit": results["commit"]}
        take_limits(setting, found.get("findings", {}))
        path = results_path(out, setting, results)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = json.loads(path.read_text(encoding="utf-8"))["steps"] if path.exists() and steps != list(STEPS) else {}
        write_json(path, {**results, "steps": {**before, **results["steps"]}})
        show(step.name, found)
    print(path)


def take_limits(setting: Setting, findings: dict[str, Any]) -> None:
    """What later steps are compared with: rates of the device."""
    setting.limits.update(findings.get("limits", {}))


def results_path(out: Path | None, setting: Setting, results: dict[str, Any]) -> Path:
    """The file: as named, or after the device."""
    device = results["steps"].get("machine", {}).get("findings", {}).get("device", setting.device)
    name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", device.lower().split("(")[0]).strip("-") + ".json"
    folder = out if out and (out.is_dir() or not out.suffix) else None
    return folder / name if folder else out or HERE / "results" / name


def show(name: str, found: dict[str, Any]) -> None:
    """A step in a line, then what it checked."""
    print(f"{name:<22}{found['status']:<9}{found.get('seconds', 0):6.1f} s  {found.get('reason', '')}", flush=True)
    for check in found.get("checks", []):
        word = "ok" if check["holds"] else "below its target" if check["target"] else "WRONG"
        print(f"    {check['claim']}: {check['value']} ({word})", flush=True)
    for what, value in found.get("findings", {}).items():
        print(f"    {what}: {value}"[:200], flush=True)


def bad(results: dict[str, Any]) -> bool:
    """Whether a step failed, or found something that is not as it should be."""
    steps = results["steps"].values()
    wrong = (not check["holds"] and not check["target"] for step in steps for check in step.get("checks", []))
    return any(step["status"] == "failed" for step in steps) or any(wrong)


def commit() -> str:
    """The commit of the code; of a copy without a repository, what the variable COMMIT says."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    except OSError:  # no git
        return os.environ.get("COMMIT", "unknown")
    return done.stdout.strip() or os.environ.get("COMMIT", "unknown")


def install(wheels: Path, site: Path) -> dict[str, str]:
    """Unpack wheels into a folder that this run alone looks into, without an index: wheel -> what became of it."""
    became = {}
    for wheel in sorted(wheels.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile",
                   "--disable-pip-version-check", "--target", str(site), str(wheel)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        became[wheel.name] = done.stderr.strip()[-300:] if done.returncode else "unpacked"
    return became


def look_into(*folders: Path) -> None:
    """Let this process and those it starts import from these folders first, the last before all others."""
    for folder in map(str, folders):
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    importlib.invalidate_caches()


if __name__ == "__main__":
    main()
