"""The main route with the network watched in every process: nobody is called, and no name is looked up."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import collection

from cxremb.catalog import add_collection

HOOK = """
import os, sys, socket

def watch(event, args):
    away = event == "socket.connect" and args[0].family != socket.AF_UNIX
    if away or event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        with open(os.environ["WATCHED"], "a") as file:
            print(os.getpid(), event, args[1:], file=file)

sys.addaudithook(watch)
"""
ROUTE = (
    "embed --model tiny --workers 2",
    "embed --model tiny_text",
    "audit",
    "train image --image-model tiny --epochs 2",
    "ablate --image-model tiny --text-model tiny_text --text findings --no-controls",
    "evaluate RUN",
    "report --output report.html --figures figures",
    "sql 'select count(*) from predictions'",
    "similar 3_Frontal --model tiny",
    "predict films/3_Frontal.png --run RUN",
    "export RUN",
    "store check",
    "doctor",
)


def run(words: list[str], folder: Path, watched: Path) -> str:
    """What a command prints, with the hook in it and in all processes that it starts."""
    paths = os.pathsep.join([str(folder / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "WATCHED": str(watched)}
    environment |= {"HF_HOME": str(folder / "hub"), "CXREMB_STORES": str(folder / "stores"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.slow
def test_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    watched = tmp_path / "watched"
    call = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    run(["-c", f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {call!r}])"], tmp_path, watched)
    assert "socket.connect" in watched.read_text()  # so a call is seen, of a process of a process too
    watched.unlink()
    root = add_collection(collection(tmp_path / "films", 60), tmp_path / "stores").dataset.paths
    for line in ROUTE:
        first = min((path.name for path in root.runs.glob("[!.]*")), default="")  # of `train`
        words = [first if word == "RUN" else word for word in shlex.split(line)]
        run(["-m", "cxremb", *words], tmp_path, watched)
        assert not watched.exists(), (line, watched.read_text())
    assert (tmp_path / "report.html").stat().st_size > 10_000
