"""The README is short, its table and picture are those of the demo; tests/test_docs_commands.py runs its commands."""

import json
import re

from docs_blocks import ROOT, blocks, commands

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_first_steps_is_there() -> None:
    shell = [block.text for block in blocks(ROOT / "README.md") if block.language == "sh"]
    said = {" ".join(words[1:3]) for text in shell for words, _ in commands(text)}
    assert {"data fetch", "audit", "embed --model", "train fusion", "ablate"} <= said


def test_the_table_is_what_the_demo_printed() -> None:
    table = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text(encoding="utf-8"))["table"]
    shown = re.search(r"<!-- demo: begin.*?-->\n```text\n(.*?)```\n<!-- demo: end -->", README, re.DOTALL)
    assert shown
    assert shown[1].splitlines() == table


def test_the_picture_has_the_figures_of_the_table() -> None:
    drawn = (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")
    assert "(docs/demo.svg)" in README
    assert "simulated films" in drawn
    table = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text(encoding="utf-8"))["table"]
    rows = [re.match(r"([\w-]+) +(?:[\d,]+ +)?(\.\d{3}) \[(\.\d{3}), (1?\.\d{3})\]", line) for line in table]
    figures = [found.groups() for found in rows if found]
    assert [name for name, *_ in figures[:3]] == ["image", "text", "fusion"]
    for name, value, low, high in figures:
        assert f"{name} {value} [{low}, {high}]" in drawn


def test_it_is_short_and_says_what_is_simulated() -> None:
    assert len(README.splitlines()) <= 86
    assert "**Its films are simulated**" in README
