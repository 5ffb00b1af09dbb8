"""Every block of commands, Python and SQL in the documents runs, page by page, in a folder where what they name is."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from docs_blocks import FILES, PAGES, RUN, SHOWN, Block, blocks, commands
from docs_place import furnish

from cxremb import sql
from cxremb.cli.main import main
from cxremb.datasets import openi
from cxremb.datasets.openi import OPENI_URL, download_archive
from cxremb.encoders import table
from cxremb.store.dataset import list_datasets, open_dataset
from cxremb.training.runs import list_runs

NOT_RUN = 35  # blocks; each has its reason in the page. One more is a decision: change the number with it
# pages that begin without a store
BARE = {"tutorial.md", "cluster.md", "hospital.md", "pseudonyms.md", "iu_xray.md", "python.md"}
BY_SECTION = {"datasets.md"}  # each section is of another collection, and begins without a store
STORED = {"Label sets", "Concepts"}  # but for this one
BY_LINE = {"commands.md"}  # each line is an example of its own
BEFORE = {  # a page, or words of a line -> what was done in a bare folder before it
    "tutorial.md": "demo --limit 300",
    "--readings chexpert": "data add mimic_cxr physionet.org/files/mimic-cxr-jpg/2.1.0 --reports mimic-cxr-reports.zip",
}
ALSO = {  # how an example of one line begins -> what was done before it beside what all have
    "cxremb ablate --encoders": ["embed --model resnet50"],
    "cxremb external": [
        "data add kermany chest_xray",
        "data add folder films --name films --patient-pattern (p[0-9]+)_",
        "embed --model efficientnet_b1 --dataset kermany",
        "embed --model efficientnet_b1 --dataset films",
    ],
}
TINY = {
    "efficientnet_b1": "tiny",
    "resnet50": "tiny",
    "efficientnet_lite1": "tiny",
    "biobert": "tiny_text",
    "medsiglip": "tiny_towers",
}
MADE = (
    "data add iu_xray --images images --reports indiana_reports.csv --projections indiana_projections.csv",
    "embed --model efficientnet_b1",
    "embed --model biobert",
    "ablate",
)


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    """Networks whose weights are not here are fixed projections, under their own names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in TINY.items():
            patch.setitem(table.ENCODERS, name, table.ENCODERS[stand_in])
        patch.delenv("CXREMB_STORES", raising=False)
        yield


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages name, without a store."""
    folder = tmp_path_factory.mktemp("docs") / "bare"
    furnish(folder)
    return folder


@pytest.fixture(scope="module")
def made(bare: Path, patched: None) -> Path:
    """The same with a store of two encoders, and the runs of an ablation."""
    folder = bare.parent / "made"
    shutil.copytree(bare, folder, copy_function=os.link)
    with contextlib.chdir(folder):
        for words in MADE:
            cxremb(words.split())
        shutil.copytree("stores", "from_elsewhere")
    return folder


@pytest.fixture
def served(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Open-i's archives from a server of our own."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(bare))) as live:
        thread = Thread(target=live.serve_forever)
        thread.start()
        here = f"http://127.0.0.1:{live.server_port}/"
        fetch = lambda url, *more: download_archive(url.replace(OPENI_URL, here), *more)  # noqa: E731
        monkeypatch.setattr(openi, "download_archive", fetch)
        yield
        live.shutdown()
        thread.join()


def cxremb(words: list[str], allowed: tuple[int, ...] = (0,)) -> str:
    """What a command printed. Fails where it ended with another exit code than those allowed."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["cxremb", *words])
        patch.setattr(sys, "stdin", io.StringIO("from stores"))  # what somebody types into `cxremb sql`
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert code in allowed, f"cxremb {' '.join(words)}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue() + err.getvalue()


def names_of(made: Path) -> dict[str, str]:
    """What pages call a run or a store -> what it is called in the folder that was made for them."""
    data = open_dataset(made / "stores", "iu_xray")
    fusion, image = (next(run.run_id for run in list_runs(data) if run.arm == arm) for arm in ("fusion", "image"))
    stores = {path.name.partition("@")[0]: path.name for path in data.paths.embeddings.iterdir()}
    return {
        "20261121T101500-0a1b2c3d": fusion,
        "0a1b2c3d": fusion.rpartition("-")[2],
        "4e5f6a7b": image.rpartition("-")[2],
        **{f"{encoder}@0123456789ab": name for encoder, name in stores.items()},
    }


def newest_run() -> dict[str, str]:
    """What a page that begins without a store calls the run that it has just made."""
    runs = list_runs(*list_datasets(Path("stores")))
    return {"0a1b2c3d": runs[0].run_id.rpartition("-")[2]} if runs else {}


def run_shell(block: Block, text: str) -> str:
    """What the lines of a block printed."""
    printed = ""
    for words, comment in commands(text):
        if words[0] == "cxremb":
            assert not set(words) & {"|", "&&", ";", "<"}, f"{block.place}: one command a line"
            target = Path(words[words.index(">") + 1]) if ">" in words else None
            ends = (0, 1) if "code 1" in comment or "--strict" in words else (0,)
            said = cxremb(words[1 : words.index(">")] if target else words[1:], ends)
            if target:
                target.write_text(said, encoding="utf-8")
        else:
            done = subprocess.run(["bash", "-ec", " ".join(words)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block.place}: {words}\n{done.stdout}{done.stderr}"
            said = done.stdout
        printed += said
    return printed


def run_block(block: Block, variables: dict[str, Any], names: dict[str, str]) -> str:
    """What a block printed. variables: those of the page's Python so far."""
    text = block.text
    for said, real in names.items():
        text = text.replace(said, real)
    if block.language == "sh":
        return run_shell(block, text)
    if block.language == "sql":
        return str(sql(text).to_arrow_table())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, block.place, "exec"), variables)
    return out.getvalue()


def compare(block: Block, printed: str) -> None:
    """Every line of what a page shows was printed, spaces aside; `…` stands for anything."""
    said = [" ".join(line.split()) for line in printed.splitlines()]
    for line in filter(None, (" ".join(line.split()) for line in block.text.splitlines())):
        pattern = ".*".join(re.escape(piece) for piece in line.split("…"))
        assert any(re.fullmatch(pattern, one) for one in said), f"{block.place}: not printed: {line}\n{printed}"


def python_page(names: dict[str, Any]) -> None:
    """What docs/python.md promises of its variables, on films of which one class is brighter."""
    assert names["added"].counts["patients"] == 60
    assert names["vectors"].shape == (120, 32)
    assert names["arms"]["auroc"].min() > 0.9  # what was drawn is found
    assert names["wrong"].to_arrow_table().num_rows == 5
    assert names["predicted"].prob.shape == (120, 1)
    assert min(names["scores"]) > 0.9
    assert names["run"].run_id in {path.name for path in Path("stores/films/runs").iterdir()}


def readme_page(names: dict[str, Any]) -> None:
    assert [row.arm for row in names["table"].rows] == ["image", "text", "fusion"]
    assert "label recovery" in " ".join(names["table"].caption)


PROMISES = {"python.md": python_page, "README.md": readme_page}


def steps(path: Path) -> Iterator[tuple[Block, bool]]:
    """The blocks of a page, and whether each begins in a folder of its own."""
    before = None
    for block in blocks(path):
        lines = block.text.splitlines() if path.name in BY_LINE else [block.text]
        for line in lines:
            alone = path.name in BY_LINE or (path.name in BY_SECTION and block.section != before)
            yield replace(block, text=line), before is None or alone
            before = block.section


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_shows_runs(
    path: Path, bare: Path, made: Path, served: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables: dict[str, Any] = {}
    names, printed = names_of(made), None
    for number, (block, anew) in enumerate(steps(path)):
        if anew:
            first = next((words for mark, words in BEFORE.items() if mark in f"{path.name} {block.text}"), "")
            empty = first or path.name in BARE or (path.name in BY_SECTION and block.section not in STORED)
            shutil.copytree(bare if empty else made, tmp_path / str(number), copy_function=os.link)
            monkeypatch.chdir(tmp_path / str(number))
            also = (more for mark, more in ALSO.items() if path.name in BY_LINE and block.text.startswith(mark))
            for words in [first] if first else next(also, []):
                cxremb(words.split())
        if block.file:
            Path(block.file).write_text(f"{block.text}\n", encoding="utf-8")
        elif block.reason is None and block.language in RUN:
            printed = run_block(block, variables, newest_run() if path.name in BARE else names)
        elif block.reason is None and block.language == SHOWN:
            assert printed is not None, block.place
            compare(block, printed)
    if path.name in PROMISES:
        PROMISES[path.name](variables)


def test_what_is_not_run_has_a_reason_and_is_counted() -> None:
    found = [block for path in PAGES for block in blocks(path)]
    unknown = {block.place for block in found if block.language not in {*RUN, *FILES, SHOWN} and block.reason is None}
    assert not unknown
    places = [block.place for block in found if block.language in RUN and block.reason]
    assert len(places) == NOT_RUN, places
