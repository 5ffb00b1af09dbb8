"""The page of benchmarks is that of their results, and says where others are faster."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import readme  # noqa: E402
import side_by_side  # noqa: E402


def test_the_page_is_current() -> None:
    found = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert found == readme.page(BENCHMARKS / "results"), "make it again: python benchmarks/readme.py"


def test_a_rival_that_is_faster_is_named_and_a_limit_is_none(tmp_path: Path) -> None:
    rows = {
        "one": {"times": 1.0, "times_cpu": 1.0},
        "another": {"times": 3.0, "times_cpu": 2.5},
        "by the wall alone": {"times": 3.0, "times_cpu": 0.5},
        "limit: a part": {"times": 9.0, "times_cpu": 9.0},
        "cxremb": {"times": 2.0, "times_cpu": 2.0},
    }
    (tmp_path / "stores.json").write_text(json.dumps({"ways": {"load": rows}, "load": [9, 9, 9]}), encoding="utf-8")
    page = readme.page(tmp_path)
    assert "- stores, load: another\n" in page
    assert re.findall(r"\| (.*) \*\*faster", page) == ["another"]
    assert "load 9 (busy)" in page


def test_results_that_are_being_written_do_not_make_a_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, code = tmp_path / "benchmarks" / "results" / "one.json", tmp_path / "code.py"
    result.parent.mkdir(parents=True)
    monkeypatch.setattr(side_by_side, "HERE", tmp_path / "benchmarks")
    for path in (result, code):
        path.write_text("1")
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for words in (("init", "-q", str(tmp_path)), ("add", ":(top)"), (*who, "commit", "-qm", "one")):
        assert side_by_side.git(*words).returncode == 0
    clean = side_by_side.commit()
    result.write_text("2")
    assert (len(clean) >= 7, side_by_side.commit()) == (True, clean)
    code.write_text("2")
    assert side_by_side.commit() == f"{clean}-dirty"


def test_what_make_bench_runs_is_there() -> None:
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    programs = re.findall(r"benchmarks/(\w+)\.py", made.partition("\nbench:")[2].partition("\nclean:")[0])
    assert len(programs) > 5
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in programs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vector_types", "stores", "embed_films", "bootstrap", "command_line"])
def test_a_quick_run_writes_what_the_page_reads(name: str, tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--out", str(tmp_path / f"{name}.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert found["command"].startswith(f"python benchmarks/{name}.py")
    assert all(row["repeats"] for rows in readme.groups(found).values() for row in rows.values())
    assert f"## {name}" in readme.page(tmp_path)
