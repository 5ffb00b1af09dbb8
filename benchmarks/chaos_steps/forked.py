"""Work in a process that is forked from this one, which has imported everything: a command starts in milliseconds.

This process itself must start no threads, so it calls nothing of cxremb but in such children.
"""

import ctypes
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2  # noqa: F401 - all these are imported once, here
import duckdb  # noqa: F401
import matplotlib.figure  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch  # noqa: F401

import cxremb.cli.train  # noqa: F401

PATIENCE = 300.0  # seconds for a command that takes two: longer and it hangs
PR_SET_PDEATHSIG = 1
ENDING = 30.0  # seconds in which its workers end after it


@dataclass
class Done:
    """How a process ended. code: below zero for a signal."""

    code: int
    out: str
    err: str
    seconds: float
    survivors: int = 0  # processes of its own that lived on


@dataclass
class Running:
    """A process under way."""

    pid: int
    out: Path
    began: float

    def end(self, patience: float = PATIENCE) -> Done:
        """Wait for it and for its workers. One that hangs is killed, and its exit code is that of a hang: -99."""
        status = waited(self.pid, patience)
        seconds = time.monotonic() - self.began
        if status is None:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        code = -99 if status is None else os.waitstatus_to_exitcode(status)
        survivors = left_of(self.pid)
        out, err = (Path(f"{self.out}.{name}") for name in ("out", "err"))
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        for path in (out, err):
            path.unlink()
        return Done(code, *texts, seconds, survivors)


def waited(pid: int, patience: float) -> int | None:
    """The status of a child that ends in that time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    return None


def left_of(session: int) -> int:
    """How many processes of a session do not end in `ENDING` seconds; they are killed then."""
    end = time.monotonic() + ENDING
    while there := members(session):
        if time.monotonic() > end:
            for pid in there:
                os.kill(pid, signal.SIGKILL)
            return len(there)
        time.sleep(0.02)
    return 0


def members(session: int) -> list[int]:
    """The processes of a session that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def start(work: Callable[[], Any], before: Callable[[], None] | None = None) -> Running:
    """`work` under way in a session of its own, after `before`, its fault. Its output goes to files."""
    out = Path(tempfile.gettempdir()) / f"chaos-{os.getpid()}-{time.monotonic_ns()}"
    for name in ("out", "err"):  # before it starts: a signal may come before its first instruction
        Path(f"{out}.{name}").touch(mode=0o600)
    began = time.monotonic()
    pid = os.fork()
    if pid:
        return Running(pid, out, began)
    code = 70
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever stops the program stops what it started
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{out}.{name}", os.O_WRONLY), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if before is not None:
            before()
        code = code_of(work)
    finally:
        flush()
        os._exit(code)


def code_of(work: Callable[[], Any]) -> int:
    """The exit code of a program that is `work`."""
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def flush() -> None:
    """What was printed, into the files."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def forked(work: Callable[[], Any], before: Callable[[], None] | None = None) -> Done:
    """How `work` ended in a process of its own."""
    return start(work, before).end()


def asked(work: Callable[..., Any], *given: Any) -> Any:
    """What `work` gives, which is called in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        done = forked(lambda: answer.write_bytes(pickle.dumps(work(*given))))
        assert done.code == 0, done.err
        return pickle.loads(answer.read_bytes())
