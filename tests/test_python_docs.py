"""docs/python.md is short where it must be, and names what there is; tests/test_docs_commands.py runs it."""

import re

from docs_blocks import ROOT, blocks

import cxremb

PAGE = ROOT / "docs" / "python.md"


def python_of(name: str) -> list[list[str]]:
    """The lines of each block of Python in a page."""
    return [block.text.splitlines() for block in blocks(ROOT / name) if block.language == "python"]


def test_the_first_block_is_25_lines_at_most() -> None:
    assert len(python_of("docs/python.md")[0]) <= 25


def test_that_of_the_readme_is_eight() -> None:
    (lines,) = python_of("README.md")
    assert len(list(filter(None, lines))) <= 8


def test_the_table_of_results_names_what_there_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == set(cxremb.__all__) - {"__version__", "CxrembError", "HeadClassifier"}
