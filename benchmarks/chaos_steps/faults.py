"""Faults for a command that is about to start in a process of its own: each is a function to call there first."""

import errno
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from chaos_steps.tables import kind_of

# What changes a file system; `open` counts where it writes. Writes of Arrow itself are not seen, but lie between these.
EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    lambda: PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
    lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    lambda: RuntimeError("a library failed"),
    MemoryError,
)


def on_change(root: Path, act: Callable[[int, str], None]) -> Callable[[], None]:
    """A fault that calls `act` before each change below `root`, with its number from 1 and what it is."""

    def before() -> None:
        number = count(1)
        base = str(root)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event in EVENTS and (path := touched(event, args, base)):
                act(next(number), f"{event} {kind_of(path, root)}")

        sys.addaudithook(hook)

    return before


def touched(event: str, args: tuple[Any, ...], base: str) -> Path | None:
    """The path below `base` that is about to change."""
    if event == "open" and (not isinstance(args[2], int) or not args[2] & WRITING):
        return None
    path = args[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, int) or not str(path).startswith(base):
        return None
    return Path(path)


def counting(root: Path, log: Path) -> Callable[[], None]:
    """No fault: a line in `log` for each change."""

    def act(_: int, what: str) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{what}\n".encode())
        os.close(descriptor)

    return on_change(root, act)


def signal_before(root: Path, n: int, kind: signal.Signals) -> Callable[[], None]:
    """The n-th change meets a signal."""

    def act(number: int, _: str) -> None:
        if number == n:
            os.kill(os.getpid(), kind)

    return on_change(root, act)


def error_at(root: Path, n: int, make: Callable[[], BaseException], *, ever_after: bool) -> Callable[[], None]:
    """The n-th change fails; ever_after: so do all later ones, as on a disk that is full and stays so."""

    def act(number: int, _: str) -> None:
        if number == n or (ever_after and number > n):
            raise make()

    return on_change(root, act)


def clock(random: Random, kind: str) -> Callable[[], None]:
    """A clock that stands a year back, a year ahead, or jumps by days at each look."""
    fixed = {"back": -365.0, "ahead": 365.0}.get(kind)

    def before() -> None:
        import time

        true, draw = time.time, Random(random.random())

        def shift() -> float:
            return 86_400 * (draw.uniform(-3, 3) if fixed is None else fixed)

        class Shifted(datetime):
            """The moments of that clock."""

            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Shifted":  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=shift())  # type: ignore[return-value]

        time.time = lambda: true() + shift()
        for name, module in list(sys.modules.items()):
            if name.startswith("cxremb") and getattr(module, "datetime", None) is datetime:
                module.datetime = Shifted  # type: ignore[attr-defined]

    return before


def few_handles() -> None:
    """Room for 48 files, connections and pipes; a process of Python has about ten open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))


def no_home() -> None:
    """Neither a home nor a place for temporary files, as in a bare container."""
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ.pop(name, None)
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = "/nowhere"
    tempfile.tempdir = None


def little_memory() -> None:
    """Address space for 200 MB more than this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 200 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
