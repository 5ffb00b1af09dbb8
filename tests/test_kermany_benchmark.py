"""Fine-tuning on real films: the docs quote what was measured, and the benchmark still runs."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BENCHMARK = ROOT / "benchmarks" / "kermany.py"


def test_the_docs_quote_the_file() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "kermany.json").read_text(encoding="utf-8"))["fine_tuning"]
    docs = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    assert "\n".join(runpy.run_path(str(BENCHMARK))["table"](found)) in docs
    docs = " ".join(docs.split())  # as one line
    rows, patients, pair = found["rows"], found["patients"], found["fine-tuned minus frozen"]
    assert f"{rows['train']:,} films of {patients['train']:,} patients" in docs
    assert f"{rows['val']:,} films of {patients['val']:,}" in docs
    assert f"{pair['studies']:,} test films of {pair['patients']:,} patients" in docs
    assert "two epochs" in docs
    assert found["plan"]["options"]["epochs"] == len(found["history"]) // 2 == 2
    assert found["films_without_a_vector"] == 0


def test_it_runs_on_few_films(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    out.write_text('{"benchmark": "kermany", "arms": {}}', encoding="utf-8")
    films = real_data / "kermany_224" / "chest_xray"
    options = ["--finetune", "--subset", "60", "--epochs", "1", "--out", out]
    done = subprocess.run([sys.executable, BENCHMARK, films, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text(encoding="utf-8"))
    found = told["fine_tuning"]
    assert told["arms"] == {}  # the other part stays
    assert found["again does nothing"]
    # on so few films the start is best: it stays, no store is made, and nobody was seen
    assert found["epoch"] == 0
    assert found["stores"][0] == found["stores"][1]
    assert found["another split is refused"] == ""
    assert found["frozen + linear"]["rows"] == found["fine-tuned + linear"]["rows"]
    assert found["fine-tuned minus frozen"]["patients"] > 10
