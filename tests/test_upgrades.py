"""Each format that was ever written has a store in tests/golden; one of the next format is refused in words."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cxremb.store.layout import FORMAT_VERSION, TABLES_FORMAT

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
NEWEST_GOLDEN = GOLDEN / f"format{TABLES_FORMAT}"
PLACES = {"dataset.json": "*/dataset.json", "a manifest": "*/embeddings/tiny@*/*.json", "run.json": "*/runs/*/run.json"}
NEWEST = {"dataset.json": TABLES_FORMAT, "a manifest": FORMAT_VERSION, "run.json": FORMAT_VERSION}
COMMANDS = {"dataset.json": ("data show", "refresh"), "a manifest": ("store ls", "refresh"), "run.json": ("runs ls",)}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `make chaos` compares roots by."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("chaos_steps.tables")
    for name in [name for name in sys.modules if name.startswith("chaos_steps")]:
        del sys.modules[name]


@pytest.mark.parametrize("what", PLACES)
def test_every_format_has_a_golden_store(what: str) -> None:
    found = {json.loads(path.read_text())["format"] for path in GOLDEN.glob(f"format*/{PLACES[what]}")}
    assert found == {*range(1, NEWEST[what] + 1)}, "keep a store of the format that is left, made by its own code"


@pytest.mark.parametrize("number", range(2, TABLES_FORMAT + 1))
def test_a_store_of_a_format_answers_as_it_did(tables: Any, tmp_path: Path, cxremb: Any, number: int) -> None:
    root = Path(shutil.copytree(GOLDEN / f"format{number}", tmp_path / "root"))
    then = json.loads((GOLDEN / f"format{number}.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(tables.final_tables(root))) == then
    checked = cxremb("store", "check", "--root", root)
    assert checked.code == 0, checked.out


@pytest.mark.parametrize("what", PLACES)
def test_the_next_format_is_refused_with_what_to_do(tmp_path: Path, cxremb: Any, what: str) -> None:
    root = Path(shutil.copytree(NEWEST_GOLDEN, tmp_path / "root"))
    (path,) = root.glob(PLACES[what])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": NEWEST[what] + 1}))
    before = {one: one.read_bytes() for one in root.rglob("*") if one.is_file()}
    for words in (*COMMANDS[what], "store check"):
        done = cxremb(*words.split(), "--root", root)
        said = done.out + done.err
        assert done.code == 1, (words, said)
        assert f"format {NEWEST[what] + 1}, this cxremb (" in said, (words, said)
        assert "pip install --upgrade cxremb" in said, (words, said)
        assert "Traceback" not in said
    assert {one: one.read_bytes() for one in root.rglob("*") if one.is_file() and one in before} == before


@pytest.mark.parametrize("what", PLACES)
@pytest.mark.parametrize("format_", [0, -1, "2", None, 1.5, [], {}])
def test_what_is_no_format_is_refused_as_foreign(tmp_path: Path, cxremb: Any, what: str, format_: object) -> None:
    root = Path(shutil.copytree(NEWEST_GOLDEN, tmp_path / "root"))
    (path,) = root.glob(PLACES[what])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": format_}))
    done = cxremb("store", "check", "--root", root)
    assert done.code == 1, done.out + done.err
    assert "Traceback" not in done.err
    assert "pip install" not in done.out + done.err
