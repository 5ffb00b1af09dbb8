"""Nothing is wider than the screen or broken within a word: in a terminal of 80 columns, and in a pipe."""

import json
import os
import random
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from planted import Planted, plant, write_store
from terminal import shown

from cxremb.cli.collection import show_notes
from cxremb.cli.screen import drawn, folded, say_commands
from cxremb.store.dataset import Dataset
from cxremb.table import Table, shared_columns

NAME = "opacity_of_the_left_costophrenic_angle_and_adjacent_pleura"
DRIVER = """
import json, sys
from cxremb.cli.main import main
for words in json.loads(sys.argv[1]):
    print(">>", words[0], flush=True)
    sys.argv = ["cxremb", *words]
    try:
        main()
    except SystemExit as stop:
        if stop.code and words[:2] != ["store", "check"]: raise  # planted parts do not name their key
"""


@pytest.mark.parametrize("seed", range(40))
def test_a_table_of_any_width_fits_and_loses_nothing(seed: int) -> None:
    rng = random.Random(seed)
    columns = rng.choice([40, 60, 80, 100, 200])
    figures = rng.randint(1, 14)
    names = ["x" * rng.randint(1, 38) for _ in range(4)]
    rows = [[name, *(f"{rng.random():.{rng.randint(1, 20)}f}" for _ in range(figures))] for name in names]
    prose = [1] if rng.random() < 0.5 else []
    for row in rows if prose else []:
        row[1] = " ".join("w" * rng.randint(1, 12) for _ in range(rng.randint(1, 20)))
    table = Table(["name", *(f"h{place}" for place in range(figures))], rows, prose=prose)
    lines = [line for line, _ in drawn(table, columns)]
    assert max(map(len, lines)) <= columns
    words = " ".join(lines).split()
    for row in rows:
        for cell in row:
            assert all(word in words for word in cell.split())


def test_a_second_table_lists_no_names_at_its_end_that_it_says_nothing_of() -> None:
    wide = "9" * 30
    rows = [["image", wide, wide, wide], ["between", wide, wide, ""], ["text", wide, wide, wide]]
    controls = [["Controls:", "", "", ""], ["majority", wide, wide, ""]]
    lines = [line.strip() for line, _ in drawn(Table(["arm", "a", "b", "c"], [*rows, *controls], lines=[3]), 80)]
    second = lines[lines.index("") + 1 :]
    assert lines.count("Controls:") == 1
    assert [line.split()[0] for line in second if line[0] not in "─━"] == ["arm", "image", "between", "text"]
    assert sum(line[0] in "─━" for line in second) == 1, "the line below the headings alone"


def test_a_long_name_stands_above_its_figures() -> None:
    table = Table(["arm", "AUROC", "acc"], [["image", ".912 [.901, .922]", ".850"], [NAME, ".5 [.4, .6]", ".700"]])
    assert [line for line, _ in drawn(table, 60)] == [
        "arm   AUROC              acc",
        "────────────────────────────",
        "image .912 [.901, .922] .850",
        NAME,
        "      .5 [.4, .6]       .700",
    ]


def test_a_sentence_is_broken_between_words_and_an_interval_is_not() -> None:
    line = "  AUROC 0.9727 [0.9231, 1.0000], accuracy 0.8958 [0.8085, 0.9792], F1 0.9254 [0.8364, 0.9855]"
    parts = folded(line, 80)
    assert [len(part) <= 80 for part in parts] == [True, True]
    assert "0.9254 [0.8364, 0.9855]" in parts[1]
    assert parts[1].startswith("    ")
    assert folded("short", 80) == ["short"]
    path = "/a/" + "b" * 100
    assert folded(f"Run: {path}", 80) == ["Run:", f"  {path}"]


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_a_command_in_several_lines_is_one_for_a_shell(columns, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    sql = "select arm, value from metrics where label = 'No  Indexing of it' and dataset = 'demo' order by value"
    commands = [f'cxremb sql "{sql}" --root {shlex.quote("/a  folder/of mine")}', "cxremb ablate --text-only --split x"]
    say_commands(commands, "next: ")
    said = capsys.readouterr().out
    assert said.startswith("next: cxremb sql")
    found = subprocess.run(
        ["bash", "-c", said.replace("next:", "", 1).replace("cxremb ", "printf '%s\\n' ")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = [" ".join(line.split()) if line.startswith("select") else line for line in unfolded(found)]
    assert words == [
        "sql",
        " ".join(sql.split()),
        "--root",
        "/a  folder/of mine",
        "ablate",
        "--text-only",
        "--split",
        "x",
    ]
    assert "'No  Indexing of it'" in found


def unfolded(printed: str) -> list[str]:
    """The words that were printed, a line each; lines that are set in belong to the one before."""
    words: list[str] = []
    for line in printed.splitlines():
        if line.startswith("        "):
            words[-1] += line
        else:
            words.append(line)
    return words


def test_a_column_that_says_the_same_in_all_rows_is_said_once() -> None:
    table = Table(["run", "labels", "split"], [["a", "x", "s"], ["b", "x", "t"]])
    short, said = shared_columns(table, ["labels", "split"])
    assert said == "labels x"
    assert short.headings == ["run", "split"]
    assert short.rows == [["a", "s"], ["b", "t"]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Several labels, many with long names, and a store whose name is long."""
    made = plant(tmp_path_factory.mktemp("screen"), Planted(studies=300, image=1.0, text=1.5, kinds=1.0))
    ids = [f"i{i}" for i in range(900)]
    write_store(made, "an_encoder_of_a_vendor_v2_large_384", "image", ids, np.ones((900, 2), np.float32))
    return made


@pytest.fixture(scope="module")
def calls(dataset: Dataset) -> list[list[str]]:
    """Every command that prints a table, on data with long names."""
    values = " union all ".join(
        f"select study_id, '{NAME}_{n}' as label, (hash(study_id, {n}) % 3 = 0)::int as value from studies"
        for n in range(14)
    )
    arms = "image,text,fusion[head=gated],fusion[train-fraction=0.5]"
    models = ["--image-model", "efficientnet_b1", "--text-model", "biobert"]
    long = "case when width > 2 then 'a group with a name' else 'films of a size that nobody has seen' end"
    listed = [
        ["data", "label", "many", "--sql", values, "--means", "which of fourteen findings a reader would see " * 3],
        ["data", "ls"],
        ["data", "show"],
        ["data", "split", "own", "--repeats", "2", "--label-set", "many"],
        ["models"],
        ["presets"],
        ["doctor"],
        ["store", "ls"],
        ["store", "show", "biobert"],
        ["store", "check"],
        ["store", "gc"],
        ["train", "fusion", *models, "--label-set", "normal_abnormal"],
        ["train", "linear-text", "--label-set", "many"],
        ["ablate", "--arms", arms, *models, "--label-set", "normal_abnormal", "--seconds"],
        ["runs", "ls"],
        ["runs", "ls", "--controls"],
        ["audit", "--no-pixels", "--label-set", "normal_abnormal"],
        ["align", *models, "--epochs", "2", "--label-set", "normal_abnormal"],
    ]
    root = ["--root", str(dataset.paths.root)]
    without = {"models", "presets"}
    calls = [[*words, *([] if words[0] in without else root)] for words in listed]
    script = [
        sys.executable,
        "-c",
        DRIVER,
        json.dumps([*calls[:1], *calls[11:14], ["runs", "ls", "--format", "json", *root]]),
    ]
    said = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    runs = json.loads(said[said.rindex(">> runs") + len(">> runs") :])
    by = {(run["arm"], run["label_set"], len(run["members"])): run["run_id"] for run in runs}
    image, text = by["image", "normal_abnormal", 5], by["text", "normal_abnormal", 5]
    many = next(run["run_id"] for run in runs if run["label_set"] == "many")
    shown = [
        ["runs", "show", image],
        ["evaluate", image],
        ["evaluate", image, "--prevalence", "0.05"],
        ["evaluate", many],
        ["evaluate", image, "--by", long],
    ]
    calls.extend([*words, *root] for words in shown)
    calls.append(["compare", image, text, *root])
    calls.append(["reproduce", "--accuracy", "0.6827", "--precision", "0.7349", "--recall", "0.7944", "--n", "1494"])
    return [*calls, ["reproduce", "--accuracy", "0.68", "--recall", "0.79", "--max-n", "100"]]


def piped(calls: list[list[str]]) -> str:
    """What the calls print into a pipe, for somebody who has said nothing of columns."""
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    script = [sys.executable, "-c", DRIVER, json.dumps(calls)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_table_fits_80_columns_in_a_pipe(calls: list[list[str]]) -> None:
    check(piped(calls).splitlines(), calls)


def test_every_table_fits_80_columns_in_a_terminal_and_bars_end_clean(calls: list[list[str]]) -> None:
    code, lines = shown([sys.executable, "-c", DRIVER, json.dumps(calls)], 80)
    assert code == 0, "\n".join(lines[-20:])
    check([line.rstrip() for line in lines], calls)
    assert not [line for line in lines if re.search(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏━]", line)]


def check(lines: list[str], calls: list[list[str]]) -> None:
    """No line is wider than 80 columns, unless it is one word, such as a path; and none ends within a word."""
    assert [line for line in lines if line.startswith(">> ")] == [f">> {words[0]}" for words in calls]
    assert not [line for line in lines if len(line) > 80 and len(line.split()) > 1]
    assert not [line for line in lines if "…" in line]
    words = set(" ".join(lines).split())
    assert {f"{NAME}_{n}" for n in range(14)} <= words
    assert "fusion[train-fraction=0.5]" in words


def test_a_note_goes_on_below_what_it_says(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    hint = "they stay listed; a path is relative to --images, else to the table; a name may be anywhere"
    show_notes([{"what": "listed images", "count": 1, "examples": ["a.png"], "hint": hint}], 3)
    first, example, *rest = capsys.readouterr().out.splitlines()
    assert first == "note        listed images: 1"
    assert len(rest) > 1
    assert {len(line) - len(line.lstrip()) for line in (example, *rest)} == {14}
    assert " ".join(line.strip() for line in rest) == hint
