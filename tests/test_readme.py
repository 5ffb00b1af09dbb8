"""The README does what it says: its commands run on a small store, its table and picture are those of the demo."""

import json
import re
import shlex
from pathlib import Path

import pytest

from cxremb.catalog import add_collection
from cxremb.datasets.demo import demo_collection

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = 100
PACKAGED = {"efficientnet_b1": "efficientnet_lite1", "biobert": "minilm"}  # whose weights are here
ELSEWHERE = ("data", "fetch")  # downloads 1.3 GB: test_fetch has it, against a server of its own


def commands() -> list[list[str]]:
    """The words of each command line, after `cxremb`, in the order of the page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = re.sub(r"\s*\\\n\s*", " ", "\n".join(blocks)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("cxremb ")]


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(cxremb: object, tmp_path: Path) -> None:
    root = tmp_path / "root"
    add_collection(demo_collection("iu_xray", tmp_path / "films", STUDIES), root)
    ran = 0
    for words in commands():
        if tuple(words[:2]) == ELSEWHERE:
            continue
        result = cxremb(*(PACKAGED.get(word, word) for word in words), "--root", root)  # type: ignore[operator]
        assert result.code == 0, (words, result.out, result.err)
        ran += 1
    assert ran >= 7


def test_every_command_of_the_first_steps_is_there() -> None:
    said = {" ".join(words[:2]) for words in commands()}
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
    rows = [re.match(r"([\w-]+) +[\d,]+ +(\.\d{3}) \[(\.\d{3}), (1?\.\d{3})\]", line) for line in table]
    figures = [found.groups() for found in rows if found]
    assert [name for name, *_ in figures[:3]] == ["image", "text", "fusion"]
    for name, value, low, high in figures:
        assert f"{name} 0{value} (0{low} to 0{high})" in drawn


def test_it_is_short_and_says_what_is_simulated() -> None:
    assert len(README.splitlines()) <= 86
    assert "**Its films are simulated**" in README
