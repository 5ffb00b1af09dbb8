"""The benchmarks of the encoders run, and write what they claim to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(("name", "plain"), [("embed_images", "timm"), ("embed_texts", "transformers")])
def test_a_quick_run_writes_its_findings(name: str, plain: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--out", tmp_path / "found.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    first, *others = found["ways"].items()
    assert first[0].startswith(plain)
    assert first[1]["times"] == 1.0
    assert [way for way, _ in others if way.startswith("cxremb")] == ["cxremb, auto"]
    assert min(found["least_cosine_to_plain"].values()) > 0.999
    assert found["versions"]["torch"]
    if name == "embed_texts":
        assert 1.0 <= found["tokens"]["ratio"] <= 1.05
