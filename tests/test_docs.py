"""Documents are easy to read beside code, and their tables are those of the files of results."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RELIABILITY = ROOT / "docs" / "reliability.md"
LONGEST = 120
GENERATED = {"docs/commands.md"}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in (ROOT, ROOT / "docs", ROOT / "stores")
    for path in folder.glob("*.md")
    if str(path.relative_to(ROOT)) not in GENERATED
)


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    lines = enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1)
    long = [number for number, line in lines if len(line) > LONGEST and not line.startswith("|")]  # no table can wrap
    assert not long, f"{page}: lines {long}"


def test_the_table_of_small_fusions_is_its_file() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "small_fusion.json").read_text(encoding="utf-8"))["rows"]
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert {(row["n"], row["other modality"]) for row in rows} >= {(7000, "weak"), (200, "noise")}
    for row in rows:
        fusion = row["fusion"]
        figures = f"{row['best single arm']:.3f} | {fusion['auroc']:.3f} | {fusion['difference']:+.3f}"
        assert f"| {row['n']:,} | {row['seeds']} | {row['other modality']} | {figures} (" in text
        assert fusion["difference"] >= -0.005


@pytest.mark.parametrize("page", PAGES)
def test_a_list_has_a_blank_line_before_it(page: str) -> None:
    """GitHub shows a list without one, the site does not."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    starts = [at for at in range(1, len(lines)) if re.match(r"(- |1\. )", lines[at])]
    glued = [at + 1 for at in starts if lines[at - 1] and not re.match(r"(- |\d+\. |  )", lines[at - 1])]
    assert not glued, f"{page}: lines {glued}"


def test_every_promise_names_tests_that_there_are() -> None:
    text = re.sub(r"<!-- (chaos|fuzz): begin.*?end -->", "", RELIABILITY.read_text(encoding="utf-8"), flags=re.DOTALL)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, test)


def test_figures_of_bad_days_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = importlib.import_module("chaos_steps.page")
    text, results = RELIABILITY.read_text(encoding="utf-8"), ROOT / "benchmarks" / "results"
    for name, lines in (("chaos", page.chaos_lines), ("fuzz", page.fuzz_lines)):
        found = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        written = re.search(rf"<!-- {name}: begin;.*?-->\n(.*?)\n<!-- {name}: end -->", text, re.DOTALL)
        assert written
        assert written[1] == "\n".join(lines(found)), "run: python -m chaos_steps.page in benchmarks"
