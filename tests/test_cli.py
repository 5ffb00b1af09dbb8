"""The commands as a user types them: what they print, how they fail, and that every one is documented."""

import json
import re
import runpy
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from conftest import Result, collection, save_film
from rich.text import Text

from cxremb.catalog import add_collection
from cxremb.cli.commands import COMMANDS, load_command
from cxremb.store.dataset import Dataset

ROOT = Path(__file__).parent.parent
REPORTS = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
PROJECTIONS = "uid,filename,projection\n"


COMMANDS_PAGE = runpy.run_path(str(ROOT / "docs" / "commands.py"))
ALL = COMMANDS_PAGE["every_command"]()


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...], cxremb: object) -> None:
    result = cxremb(*words, "--help")  # type: ignore[operator]
    assert result.code == 0
    assert f"cxremb {' '.join(words)}" in result.out.split("Example:")[1]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_help_loses_its_brackets_to_markup(words: tuple[str, ...]) -> None:
    command = ALL[words]
    for text in (command.help, *(getattr(option, "help", None) for option in command.params)):
        assert Text.from_markup(text or "").plain == (text or "").replace("\\[", "[")


def test_the_help_shows_an_arm_in_brackets(cxremb: object) -> None:
    said = cxremb("ablate", "--help").out  # type: ignore[operator]
    assert 'cxremb ablate --arms "image,text,fusion[head=mlp|gated|late],fusion[train-fraction=' in " ".join(
        said.split()
    )
    assert "fusion[head=late]" in said


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "words", [("ablate",), ("train", "text"), ("audit",), ("data", "show"), ("demo",), ("reproduce", "--f1", "0.5")]
)
def test_ctrl_c_says_what_is_kept(
    words: tuple[str, ...], small: Dataset, cxremb: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("api.places", "api.data", "api.runs"):  # one that is first imported now would keep the interrupt
        import_module(f"cxremb.{room}")
    seams = ("store.dataset.open_dataset", "api.places.open_dataset", "catalog.add_collection")
    for place in (*seams, "evaluation.published.published"):
        monkeypatch.setattr(f"cxremb.{place}", interrupt)
    result = cxremb(*words, *(() if words[0] == "reproduce" else ("--root", small.paths.root)))  # type: ignore[operator]
    assert result.code == 130
    assert "stopped: stores and runs that were finished are kept" in " ".join(result.err.split())
    assert "Traceback" not in result.err


def test_ctrl_c_is_told_once(small: Dataset, cxremb: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxremb.embedding.start.run", interrupt)
    result = cxremb("embed", "--model", "tiny", "--root", small.paths.root)  # type: ignore[operator]
    assert (result.code, result.err.count("stopped")) == (130, 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str, cxremb: object) -> None:
    line = COMMANDS[name][1]
    assert line == COMMANDS_PAGE["what_it_does"](load_command(name))
    shown = " ".join(cxremb("--help").out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())  # type: ignore[operator]
    assert f" {name} {line}" in shown


def test_the_page_of_commands_is_what_the_command_line_says() -> None:
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == COMMANDS_PAGE["page"](), "run: python docs/commands.py"
    assert all(f"| `cxremb {' '.join(words)}` |" in written for words in ALL)


def test_a_word_that_is_no_command_gets_the_nearest(cxremb: object) -> None:
    result = cxremb("tran")  # type: ignore[operator]
    assert result.code == 2
    assert "'train'" in result.err


def documented() -> list[str]:
    """Every command line in a code block of the README and the docs."""
    lines = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"^```\w*\n(.*?)^```|((?:^    .*\n)+)", path.read_text(encoding="utf-8"), re.M | re.S):
            text = re.sub(r"\s*\\\n\s*", " ", "".join(block))
            lines += [
                re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.strip().startswith("cxremb ")
            ]
    return lines


@pytest.mark.parametrize("line", documented())
def test_documented_command_lines_parse(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]  # the rest is the shell's business
    name = next(key for key in ALL if tuple(words[: len(key)]) == key)
    ALL[name].make_context(" ".join(name), words[len(name) :], resilient_parsing=False)


def write_kaggle(folder: Path, reports: str, projections: str = "1,1_IM-0001-4001.dcm.png,Frontal\n") -> list[str]:
    """A tiny collection in the Kaggle layout, as options of `data add iu_xray`."""
    save_film(folder / "images" / "1_IM-0001-4001.dcm.png", 1)
    (folder / "reports.csv").write_text(reports)
    (folder / "projections.csv").write_text(PROJECTIONS + projections)
    files = {"--images": "images", "--reports": "reports.csv", "--projections": "projections.csv"}
    return [word for option, name in files.items() for word in (option, str(folder / name))]


def check_failure(result: Result, words: str) -> None:
    """One clear message, a hint, no traceback, exit code 1."""
    assert result.code == 1, result.out + result.err
    assert re.search(words, re.sub(r"\s+", " ", result.err)), result.err
    assert "hint:" in result.err
    assert "Traceback" not in result.err


ROW = "1,normal,normal,x,pain,None.,Clear lungs.,Normal.\n"


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ("", r"reports\.csv.*empty"),
        (REPORTS, r"reports\.csv"),
        ("uid,findings\n1,Clear\n", r"reports\.csv.*(lacks|no column|column)"),
        (REPORTS + ROW + ROW.replace("Clear lungs", "Opacity"), "two studies with one id|1"),
    ],
    ids=["empty", "no rows", "no column", "two studies with one id"],
)
def test_bad_reports(reports: str, words: str, tmp_path: Path, cxremb: object) -> None:
    options = write_kaggle(tmp_path, reports)
    check_failure(cxremb("data", "add", "iu_xray", *options, "--root", tmp_path / "root"), words)  # type: ignore[operator]
    assert not (tmp_path / "root").exists() or not any((tmp_path / "root").iterdir())


def test_a_missing_folder(tmp_path: Path, cxremb: object) -> None:
    options = write_kaggle(tmp_path, REPORTS + ROW)
    options[1] = str(tmp_path / "nowhere")
    check_failure(cxremb("data", "add", "iu_xray", *options, "--root", tmp_path / "root"), "nowhere")  # type: ignore[operator]


def test_a_root_that_cannot_be_written(tmp_path: Path, cxremb: object) -> None:
    (tmp_path / "file").write_text("in the way")
    options = write_kaggle(tmp_path, REPORTS + ROW)
    result = cxremb("data", "add", "iu_xray", *options, "--root", tmp_path / "file" / "root")  # type: ignore[operator]
    check_failure(result, "cannot be written")


def test_add_embed_and_ask(tmp_path: Path, cxremb: object) -> None:
    root = ["--root", str(tmp_path / "root")]
    options = write_kaggle(tmp_path, REPORTS + ROW + "2,Opacity,Opacity,x,,,,\n")
    assert cxremb("data", "add", "iu_xray", *options, *root).code == 0  # type: ignore[operator]
    done = json.loads(cxremb("embed", "--model", "tiny", "--format", "json", *root).out)  # type: ignore[operator]
    assert (done["asked"], done["added"], done["failed"], done["version"]) == (1, 1, 0, 1)
    again = cxremb("embed", "--model", "tiny", *root)  # type: ignore[operator]
    assert "nothing to do" in again.out
    sql = "select item_id, len(embedding) as dim from tiny"
    assert cxremb("sql", sql, "--format", "csv", *root).out.split() == ["item_id,dim", "1_IM-0001-4001,32"]  # type: ignore[operator]


def test_what_is_wrong_before_training(small: Dataset, cxremb: object) -> None:
    root = ["--root", small.paths.root]
    check_failure(cxremb("train", "fusion", *root), "cxremb embed --model")  # type: ignore[operator]
    assert cxremb("embed", "--model", "tiny", *root).code == 0  # type: ignore[operator]
    check_failure(cxremb("train", "fusion", *root), "text")  # type: ignore[operator]
    check_failure(cxremb("embed", "--model", "resnet18", *root), "unknown model 'resnet18'")  # type: ignore[operator]
    check_failure(cxremb("train", "image", "--label-set", "nonsense", *root), "nonsense")  # type: ignore[operator]
    check_failure(cxremb("embed", "--model", "tiny", "--dataset", "other", *root), "no data set called 'other'")  # type: ignore[operator]
    check_failure(cxremb("sql", "select nonsense from images", *root), "nonsense")  # type: ignore[operator]


def test_an_empty_root_and_two_data_sets(tmp_path: Path, cxremb: object) -> None:
    root = tmp_path / "root"
    check_failure(cxremb("embed", "--model", "tiny", "--root", root), "no data set")  # type: ignore[operator]
    for name in ("one", "two"):
        add_collection(collection(tmp_path / name, name=name), root)
    check_failure(cxremb("embed", "--model", "tiny", "--root", root), "several data sets: one, two")  # type: ignore[operator]


def test_failures_are_told_and_the_job_goes_on(tmp_path: Path, cxremb: object) -> None:
    whole = collection(tmp_path / "films")
    whole.images[2].path.write_bytes(b"zero no image")  # type: ignore[union-attr]
    add_collection(whole, tmp_path / "root")
    result = cxremb("embed", "--model", "tiny", "--root", tmp_path / "root")  # type: ignore[operator]
    assert result.code == 0
    assert "1 failed" in result.out
    assert whole.images[2].path.name in result.out  # type: ignore[union-attr]


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path, cxremb: object) -> None:
    with pytest.raises(Exception, match="no data set"):
        cxremb("embed", "--model", "tiny", "--root", tmp_path, "--debug")  # type: ignore[operator]


def test_wrong_usage_is_exit_code_two(cxremb: object) -> None:
    assert cxremb("embed").code == 2  # type: ignore[operator]
    assert cxremb("embed", "--nonsense").code == 2  # type: ignore[operator]


def test_doctor_says_what_is_here(tmp_path: Path, cxremb: object) -> None:
    findings = json.loads(cxremb("doctor", "--format", "json", "--root", tmp_path).out)  # type: ignore[operator]
    by_name = {finding["what"]: finding for finding in findings}
    assert by_name["weights minilm"]["ok"]
    assert by_name["torch"]["found"]
    assert not by_name["data sets"]["ok"]
    assert all(finding["ok"] or finding["remedy"] for finding in findings)
