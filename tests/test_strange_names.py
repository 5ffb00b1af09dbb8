"""Names that are orders to a terminal: no command prints one, and none keeps a data set from being read again."""

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import save_film
from terminal import raw

from cxremb.api.data import add
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.store.dataset import open_dataset

ORDER = "\x1b]0;owned\x07\x9b31m\u202e"  # a title, a colour in one byte, and a turn of the direction
ORDERS = ("\x1b]", "\x07", "\x9b", "\u202e")
LINES = (
    "data show",
    "data ls",
    "embed --model tiny",
    "embed --model tiny_text",
    "sql 'from images'",
    "sql 'from failures'",
    "sql 'from reports'",
    "sql 'from facts'",
    "sql 'select 1 as NAME'",
    "similar NAME3 --model tiny",
    "similar NAMEnone --model tiny",
    "data show NAME",
    "store check",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = []
    for n in range(8):
        name = f"{ORDER}{n}.png"
        save_film(tmp_path / "films" / name, n)
        ids = {"path": name, "patient": f"{ORDER}p{n}", "study": f"{ORDER}s{n}"}
        rows.append({**ids, "lab": n % 2, "words": f"text {ORDER} {n}", f"{ORDER}fact": ORDER})
    (tmp_path / "films" / f"{ORDER}0.png").write_bytes(b"no film")
    rows.append({**rows[0], "path": f"{ORDER}gone.png", "study": "gone"})
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        written = csv.DictWriter(file, rows[0])
        written.writeheader()
        written.writerows(rows)
    return tmp_path


def words(place: Path) -> list[Any]:
    given = ["--name", "t", "--table", place / "t.csv", "--images", place / "films", "--licence", ORDER]
    columns = [f"--column={one}={one}" for one in ("path", "patient", "study")]
    return ["data", "add", "table", *given, *columns, "--label", "lab", "--text", "findings=words"]


def test_no_command_prints_an_order(place: Path, cxremb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREMB_STORES", str(place / "stores"))
    for line in (words(place), words(place), *map(shlex.split, LINES)):  # added again: it can be read
        done = cxremb(*[str(word).replace("NAME", f'"{ORDER}"' if "select" in str(word) else ORDER) for word in line])
        said = done.out + done.err
        assert not [one for one in ORDERS if one in said], (line, said)
        assert "Traceback" not in said
        assert done.code == (1 if line[-1] == "NAME" or line[1] == "NAMEnone" else 0), (line, said)


def test_ids_have_no_such_letters_and_what_is_told_is_kept(place: Path) -> None:
    dataset = add(
        "table",
        place / "t.csv",
        name="t",
        root=place / "stores",
        images=place / "films",
        columns={"path": "path", "patient": "patient", "study": "study"},
        labels=("lab",),
    ).dataset
    images = open_dataset(place / "stores").images
    assert images["image_id"].to_pylist()[:2] == ["]0;owned31m0", "]0;owned31m1"]
    assert Path(images["path"][1].as_py()).name == f"{ORDER}1.png"
    assert clean_id(f"{ORDER}7\u00a0") == "]0;owned31m7"
    assert clean_id("a\tb\nc") == "a\tb\nc"
    assert {row["text"] for row in dataset.facts.to_pylist() if row["name"].endswith("fact")} == {ORDER}
    assert "\x1b" not in json.dumps(json.loads(dataset.paths.descriptor.read_text()), ensure_ascii=False)
    with pytest.raises(DataError, match=r"the label '.x1b.*' holds control characters"):
        add("table", place / "t.csv", name="u", root=place / "stores", images=place / "films", labels=(f"{ORDER}fact",))


def test_a_terminal_gets_no_order_and_a_pipe_all_letters(place: Path, cxremb: Any) -> None:
    root = ["--root", str(place / "stores")]
    assert cxremb(*words(place), *root).code == 0
    query = ["sql", "select text from reports limit 1", "--format", "csv", *root]
    assert ORDER in cxremb(*query).out
    for more in (query, ["data", "show", "--format", "json", *root]):
        code, said = raw([sys.executable, "-m", "cxremb", *more], 80)
        assert code == 0
        assert not [one for one in ORDERS if one in said], said
