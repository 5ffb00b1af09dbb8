"""The intervals hold, the docs quote what was measured, and the benchmark still runs."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARK = ROOT / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def stored():
    return json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8"))


def test_what_was_measured_holds(stored):
    assert stored["data_sets"] >= 1000
    for row in stored["coverage"].values():
        assert 0.93 <= row["patients"] <= 0.97
        assert row["rows"] < 0.90
    for row in stored["rejection"].values():
        assert 0.035 <= row["patients"] <= 0.065
        assert row["rows"] > 0.10


def test_the_docs_quote_the_file(stored):
    docs = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    about = f"{stored['data_sets']:,} data sets of {stored['patients']} patients"
    words = " ".join(docs.split())
    assert about in words
    assert f"share {stored['shared_variance']:.0%} of their variance" in words
    lines = runpy.run_path(str(BENCHMARK))["table"](stored)
    assert len(lines) == 8
    assert "\n".join(lines) in docs


def test_it_runs_and_finds_the_same_within_chance(stored, tmp_path):
    out = tmp_path / "coverage.json"
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--quick", "--out", out], capture_output=True, text=True, check=True
    )
    found = json.loads(out.read_text(encoding="utf-8"))
    assert done.stdout.splitlines() == runpy.run_path(str(BENCHMARK))["table"](found)
    assert (found["data_sets"], found["truth"]) == (100, stored["truth"])
    for kind in ("coverage", "rejection"):
        for figure, row in stored[kind].items():
            for clusters, share in row.items():
                # of 100 data sets, a share s has a standard deviation of sqrt(s (1 - s) / 100); four of these and a bit
                near = pytest.approx(share, abs=0.02 + 0.4 * (share * (1 - share)) ** 0.5)
                assert found[kind][figure][clusters] == near
