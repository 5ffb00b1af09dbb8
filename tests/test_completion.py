"""What a shell offers at Tab, asked for as the shell asks: the command itself, what was typed in the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import desk, made_run
from planted import Planted, plant
from test_architecture import HEAVY
from test_cli import ALL

from cxremb.encoders.table import ENCODERS
from cxremb.training.heads import HEADS
from cxremb.training.presets import PRESETS
from cxremb.training.runs import Run

NAMES = {
    *("dataset", "run", "first", "second", "split", "label_set", "preset", "head", "image_model", "text_model"),
    *("model", "runs"),
}
DRIVER = """
import json, os, sys
from cxremb.cli.main import main
sys.argv = ["cxremb"]
for typed in json.loads(os.environ["TYPED"]):
    os.environ |= {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - (not typed.endswith(" ")))}
    try:
        main()
    except SystemExit as stop:
        assert stop.code == 0
    print("--", flush=True)
print(sorted(set(json.loads(os.environ["HEAVY"])) & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in one of two data sets, one of which has more label sets."""
    root = tmp_path_factory.mktemp("completion") / "stores"
    plant(root, Planted(studies=40), name="another")
    data = plant(root, Planted(studies=150, text=1.0, kinds=1.0), name="wards")
    at = desk(data)
    return made_run(at, at.features.y[:, 0] * 0.5 + 0.2, "given", folds=(0, 1, 2, 3, 4), repeats=(0,), seeds=(0,))


def asked(lines: list[str], root: Path, heavy: set[str] = HEAVY) -> list[list[str]]:
    """What bash is offered for each line, which ends where the cursor is; nothing else is printed, nor loaded."""
    env = {"CXREMB_STORES": str(root), "_CXREMB_COMPLETE": "complete_bash"}
    given = {"TYPED": json.dumps(lines), "HEAVY": json.dumps(sorted(heavy))}
    script = [sys.executable, "-c", DRIVER]
    done = subprocess.run(script, capture_output=True, text=True, check=True, env={**os.environ, **env, **given})
    *offers, loaded = done.stdout.split("--\n")
    assert (loaded, done.stderr) == ("[]\n", "")
    return [one.split() for one in offers]


@pytest.fixture
def root(run: Run) -> Path:
    return run.folder.parents[2]


def test_names_that_need_no_library(run: Run, root: Path) -> None:
    stores = {path.name.partition("@")[0]: path.name for path in root.glob("wards/embeddings/*@*")}
    image, text = stores["efficientnet_b1"], stores["biobert"]
    key = run.run_id.rpartition("-")[2]
    wanted = {
        "cxremb abl": ["ablate"],
        "cxremb data sh": ["show"],
        "cxremb data show ": ["another", "wards"],
        "cxremb data rm w": ["wards"],
        "cxremb evaluate --dataset w": ["wards"],
        "cxremb embed --model bio": [name for name in ENCODERS if name.startswith("bio")],
        "cxremb store show --dataset wards ": ["biobert", "efficientnet_b1", text, image],
        "cxremb ablate --image-model eff": ["efficientnet_b1", image],
        "cxremb train --text-model ": ["biobert", text],
        "cxremb evaluate ": [run.run_id],
        f"cxremb predict --run {key[:3]}": [key],
        f"cxremb compare {run.run_id} ": [run.run_id],
        "cxremb report --dataset another ": [],
        "cxremb audit --split ": ["patient-5fold", "holdout", "image-80-20"],
        "cxremb train --label-set k": ["kind"],
        "cxremb data split x --dataset wards --label-set ": ["normal_abnormal", "kind", "found"],
    }
    assert dict(zip(wanted, asked(list(wanted), root), strict=True)) == wanted


def test_recipes_and_heads(root: Path) -> None:
    light = HEAVY - {"numpy"}
    found = asked(["cxremb train ", "cxremb ablate --preset cnn-"], root, light)
    assert found == [list(HEADS), [name for name in PRESETS if name.startswith("cnn-")]]


def test_an_error_is_no_offer(tmp_path: Path) -> None:
    (tmp_path / "wards").mkdir()
    (tmp_path / "wards" / "dataset.json").write_text("[")
    (tmp_path / "wards" / "runs" / "20260101T000000-0a1b2c3d").mkdir(parents=True)
    (tmp_path / "wards" / "runs" / "20260101T000000-0a1b2c3d" / "run.json").write_bytes(b"\xff")
    lines = ["cxremb train --label-set ", "cxremb runs show ", f"cxremb runs show --root {tmp_path / 'gone'} "]
    assert asked(lines, tmp_path) == [[], [], []]


def test_other_shells_are_told_what_a_word_is(run: Run, root: Path) -> None:
    line = {"_TYPER_COMPLETE_ARGS": "cxremb runs show ", "_CXREMB_COMPLETE": "complete_zsh"}
    env = {**os.environ, **line, "CXREMB_STORES": str(root)}
    script = [sys.executable, "-c", "import sys; sys.argv = ['cxremb']; from cxremb.cli.main import main; main()"]
    said = subprocess.run(script, capture_output=True, text=True, check=True, env=env).stdout
    assert f'"{run.run_id}":"text on normal_abnormal"' in said


def test_every_option_that_takes_a_name_offers_some() -> None:
    lacking = [
        f"{' '.join(words)}: {option.name}"
        for words, command in ALL.items()
        for option in command.params
        if option.name in NAMES and option._custom_shell_complete is None
    ]
    assert lacking == []
