"""`cxremb` alone: where one is, and a step that works, from an empty folder to the report and a changed collection."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result, collection
from test_architecture import HEAVY
from test_next_steps import TINY, reworded

from cxremb.catalog import add_collection
from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.overview import FIRST
from cxremb.encoders.weights import suggested

QUICK = {"train": ["--epochs", "2"], "ablate": ["--no-controls"]}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXREMB_STORES", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "stores"


def lines(said: Result) -> dict[str, str]:
    """What stands behind each name."""
    assert said.code == 0, said.err
    found = re.findall(r"^  (data|stores|stale|runs|next) +(.*)$", said.out, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_nothing_there_yet(root: Path, cxremb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = cxremb()
    assert said.code == 0
    assert "cxremb --help lists every command" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    for words, _ in FIRST:
        assert f"  {words} " in said.out
        assert load_command(words.split()[1]) is not None
        assert words.split()[1] in COMMANDS
    assert not root.exists()


def test_each_step_leads_to_the_next(root: Path, tmp_path: Path, cxremb) -> None:
    whole = collection(tmp_path / "films", n=45, name="wards")
    add_collection(whole, root)
    seen = lines(cxremb())
    assert seen["data"] == "45 studies, 90 films"
    assert (seen["stores"], seen["runs"]) == ("none yet", "none yet")
    for modality in ("image", "text"):
        assert lines(cxremb())["next"] == f"cxremb embed --model {suggested(modality)}"
        assert cxremb("embed", "--model", TINY[modality]).code == 0
    assert re.fullmatch(r"tiny_text@\w{12} \(\d+ rows\), tiny@\w{12} \(90 rows\)", lines(cxremb())["stores"])
    for words in ("train fusion", "ablate", "report"):
        step = shlex.split(lines(cxremb())["next"])
        assert step == ["cxremb", *words.split()]
        done = cxremb(*step[1:], *QUICK.get(step[1], []))
        assert done.code == 0, done.err
    seen = lines(cxremb())
    assert seen["next"] == "cxremb report"  # again: it follows what is there now
    assert re.search(r"^ {11}cxremb explore$", cxremb().out, re.MULTILINE)
    assert re.fullmatch(r"4, the newest \d{8}T\d{6}-\w{8}: \w+ on normal_abnormal", seen["runs"])
    assert "stale" not in seen

    add_collection(reworded(whole), root)
    seen = lines(cxremb())
    assert re.fullmatch(r"tiny_text@\w{12}: the data set has changed since", seen["stale"])
    assert seen["next"] == "cxremb refresh"
    assert cxremb("refresh").code == 0
    assert "stale" not in lines(cxremb())

    add_collection(replace(whole, name="another"), root)
    steps = re.findall(r"^  next +(.*)$", cxremb().out, re.MULTILINE)
    assert steps == [f"cxremb embed --model {suggested('image')} --dataset another", "cxremb report --dataset wards"]


def test_a_projection_that_is_behind_is_learned_again(root: Path, tmp_path: Path, cxremb) -> None:
    whole = collection(tmp_path / "films", n=45, name="wards")
    add_collection(whole, root)
    for model in TINY.values():
        assert cxremb("embed", "--model", model).code == 0
    assert cxremb("align", "--dim", "4", "--epochs", "2", "--text", "findings").code == 0
    add_collection(reworded(whole), root)
    assert lines(cxremb())["next"] == "cxremb refresh"
    assert cxremb("refresh").code == 0
    seen = lines(cxremb())
    assert seen["stale"].startswith("align_text@")
    assert seen["next"] == "cxremb align"


def test_what_is_damaged_is_an_error_with_what_to_do(root: Path, tmp_path: Path, cxremb) -> None:
    dataset = add_collection(collection(tmp_path / "films"), root).dataset
    (dataset.paths.runs / "20261127T101010-0a1b2c3d").mkdir(parents=True)
    (dataset.paths.runs / "20261127T101010-0a1b2c3d" / "run.json").write_text("{}")
    said = cxremb()
    assert said.code == 1
    assert "20261127T101010-0a1b2c3d" in said.err
    assert "`cxremb store check`" in said.err


def test_it_loads_no_network_and_nothing_to_train_with(root: Path, tmp_path: Path) -> None:
    add_collection(collection(tmp_path / "films"), root)
    slow = HEAVY - {"pyarrow", "numpy", "duckdb", "PIL"} | {"scipy"}
    script = (
        "import sys; sys.argv = ['cxremb']\nfrom cxremb.cli.main import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "next" in done.stdout
