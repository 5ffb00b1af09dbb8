"""A wheel holds all that is needed: installed alone and run outside the checkout, it has its jobs, queries and demo."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "cxremb", "embed_jobs", "stores/queries")

pytestmark = pytest.mark.slow


def run(*words: object, folder: Path, code: int = 0) -> str:
    """What a call prints, in an environment that does not name the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cxremb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has the wheel, beside the libraries of this one, and no checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in SOURCES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source, folder=folder)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, folder=folder)
    here = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    (Path(here) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # without their own .pth files
    assert str(here) in run(python, "-c", "import cxremb; print(cxremb.__file__)", folder=folder)
    return folder / "venv" / "bin" / "cxremb"


def test_the_demo_a_job_and_a_query_by_their_names(cxremb: Path, tmp_path: Path) -> None:
    assert "Start with: cxremb demo" in run(cxremb, "--help", folder=tmp_path)
    assert "Done in" in run(cxremb, "demo", "--limit", "100", "--root", "r", folder=tmp_path)
    assert (tmp_path / "r" / "demo_100" / "report.html").stat().st_size > 10_000
    again = run(cxremb, "embed", "--job", "demo", "--dataset", "demo_100", "--root", "r", folder=tmp_path)
    assert "minilm@" in again
    assert "fusion" in run(cxremb, "sql", "--file", "arms", "--format", "csv", "--root", "r", folder=tmp_path)


def test_a_name_that_is_not_there_gets_those_that_are(cxremb: Path, tmp_path: Path) -> None:
    unknown = run(cxremb, "embed", "--job", "nonsense", "--root", "r", folder=tmp_path, code=1)
    assert "demo, example, iu_xray, kermany, medmnist, mimic_cxr" in unknown
    assert (ROOT / "embed_jobs" / "example.toml").is_file()
