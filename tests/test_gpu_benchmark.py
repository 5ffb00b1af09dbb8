"""`make gpu` before there is a GPU: every step runs on the CPU with tiny networks, and no step can stop the others."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SKIPPED = {"tests of GPUs", "out of memory"}  # what a CPU cannot do
TRIAL = """
import time
from gpu_steps.setting import Check, Skip

def good(setting):
    yield "limits", {"bytes": 5.0}
    yield Check("as wanted", 1.0, 0.5)
    yield Check("slower than hoped for", 0.1, 0.5, target=True)

def wrong(setting):
    yield Check("not as wanted", 0.1, 0.5)

def failing(setting):
    yield "before", 1
    raise ValueError("the device is on fire")

def late(setting):
    yield "before", 1
    time.sleep(60)

def dying(setting):
    import os, signal
    yield "before", 1
    os.killpg(0, signal.SIGKILL)

def skipping(setting):
    raise Skip("nothing to do it with")
    yield
"""


def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = (sys.executable, *words)
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
    )


def test_every_step_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = call(BENCHMARKS / "gpu.py", "--device", "cpu", "--quick", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    steps = found["steps"]
    assert {name for name, step in steps.items() if step["status"] == "skipped"} == SKIPPED
    assert {step["status"] for name, step in steps.items() if name not in SKIPPED} == {"done"}
    assert all(steps[name]["reason"] for name in SKIPPED)
    for name in ("embed films", "embed texts"):  # nothing is compiled in a hurry
        assert "takes a minute" in steps[name]["findings"]["compiled bf16"]["skipped"]
    checks = [check for step in steps.values() for check in step.get("checks", []) if not check["target"]]
    assert len(checks) >= 16
    assert all(check["holds"] for check in checks)
    agreements = {check["claim"]: check for check in checks if "least cosine" in check["claim"]}
    assert {check["least"] for claim, check in agreements.items() if "bf16:" not in claim} == {0.9999}
    assert {check["least"] for claim, check in agreements.items() if "bf16:" in claim} == {0.999}
    for name in ("embed films", "embed texts"):  # vectors of two items are further apart than those of two devices
        assert steps[name]["findings"]["largest cosine between two items"] < 0.99
    assert steps["resumed"]["findings"]["job"]["taken up"] > 0
    machine = steps["machine"]["findings"]
    assert machine["packages"]["torch"]
    assert machine["limits"]["fp32_operations"] > 0
    assert found["commit"]


def test_a_step_that_fails_hangs_or_dies_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "trial.py").write_text(TRIAL, encoding="utf-8")
    (tmp_path / "run.py").write_text(
        "import json, sys\n"
        f"sys.path[:0] = [{str(BENCHMARKS)!r}, {str(tmp_path)!r}]\n"
        "from pathlib import Path\n"
        "import gpu\nfrom gpu_steps.running import Step\nfrom gpu_steps.setting import Setting\n"
        "if __name__ == '__main__':\n"
        "    steps = [Step(name, f'trial:{name}', 1 if name == 'late' else 60)\n"
        "             for name in ('good', 'wrong', 'failing', 'late', 'dying', 'skipping')]\n"
        "    steps += [Step('killed', 'trial:dying', 60, dies=True), Step('resting', 'trial:good', 60, ('failing',))]\n"
        f"    results, setting = {{'commit': 'abc', 'steps': {{}}}}, Setting('cpu', True, Path({str(tmp_path)!r}))\n"
        "    gpu.run_all(setting, results, Path('found.json'), steps)\n"
        "    assert setting.limits == {'bytes': 5.0}\n"
        "    print(gpu.bad(results), gpu.bad({'steps': {'good': results['steps']['good']}}))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "run.py"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True False"  # what is only hoped for fails nothing
    steps = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["steps"]
    assert {name: step["status"] for name, step in steps.items()} == {
        "good": "done", "wrong": "done", "failing": "failed", "late": "failed", "dying": "failed",
        "skipping": "skipped", "killed": "done", "resting": "skipped",
    }  # fmt: skip
    assert steps["failing"]["reason"] == "ValueError: the device is on fire"
    assert "trial.py" in steps["failing"]["traceback"]
    assert steps["late"]["reason"] == "stopped at its limit of 1 s"
    assert steps["dying"]["reason"] == "its process ended with -9"
    assert all(
        steps[name]["findings"] == {"before": 1} for name in ("failing", "late", "dying")
    )  # what there was stays
    assert steps["skipping"]["reason"] == "nothing to do it with"
    assert steps["resting"]["reason"] == "it rests on failing"
    assert {step["commit"] for step in steps.values()} == {"abc"}


def test_an_unknown_step_is_refused() -> None:
    done = call(BENCHMARKS / "gpu.py", "--only", "flying")
    assert done.returncode == 1
    assert "no step called flying; there are machine, prepare" in done.stderr


def test_make_gpu_takes_the_python_it_is_given_and_makes_no_environment() -> None:
    project = BENCHMARKS.parent
    words = ["make", "--no-print-directory", "-n", "gpu", "PYTHON=some python", "WHEELS=my wheels"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=project)
    assert done.stdout.split("\n")[0].rstrip() == 'some python benchmarks/gpu.py --wheels "my wheels"'


def test_what_is_brought_goes_before_the_package_and_both_before_what_is_installed() -> None:
    code = (
        "import os, sys; from pathlib import Path; import gpu\n"
        "gpu.look_into(Path('package'), Path('brought'))\n"
        "print(sys.path[:2], os.environ['PYTHONPATH'])"
    )
    done = call("-c", code, PYTHONPATH=str(BENCHMARKS))
    assert done.stdout.strip() == f"['brought', 'package'] brought{os.pathsep}package{os.pathsep}{BENCHMARKS}"


def test_the_documents_give_the_figures_of_the_file() -> None:
    steps = json.loads((BENCHMARKS / "results" / "gpu-nvidia-h200.json").read_text(encoding="utf-8"))["steps"]
    text = " ".join((BENCHMARKS.parent / "docs" / "embedding.md").read_text(encoding="utf-8").split())
    ways = ("fp32", "bf16", "fp16", "compiled bf16")
    for name in ("films", "texts"):
        found, checks = steps[f"embed {name}"]["findings"], steps[f"embed {name}"]["checks"]
        jobs = [found[f"{way}, job"] for way in ways]
        cosines = {check["claim"]: check["value"] for check in checks}
        least = [cosines[f"{name}, {way}: least cosine of what is stored"] for way in ways]
        for form, values in (
            ("{:,.0f}", [job["a_second"] for job in jobs]),
            ("{:.2f}", [job["of_forward"] for job in jobs]),
            ("{:.6f}", least),
        ):
            assert f"| {' | '.join(map(form.format, values))} |" in text
    fits = steps["grid"]["findings"]["175 fits, seconds"]
    assert f"{fits['stopping']:.1f} s with" in text and f"({fits['whole']:.0f} s without)" in text  # noqa: PT018
    assert f"{fits['reference'] / 3600:.1f} hours" in text
    for kind in ("jpeg", "png"):
        assert f"{steps['embed files']['findings'][kind]['of_limit']:.2f}" in text
