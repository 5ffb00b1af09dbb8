"""Work in a process of its own that is killed just before its n-th rename, link or removal."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

MOVES = ("os.rename", "os.link", "os.remove", "os.rmdir")
context = multiprocessing.get_context("forkserver")  # a bare process that has imported the work, and forks
context.set_forkserver_preload(["cxremb.catalog", "cxremb.labels", "cxremb.store.clean"])


def killed(base: Path, work: Callable[[Path], Any], moves: tuple[str, ...] = MOVES) -> Iterator[Path]:
    """For each moment between two of `moves` a copy of `base` in which `work` was killed there; whole at the end."""
    for n in count(1):
        root = shutil.copytree(base, base.with_name(f"{base.name}-{n}"))
        process = context.Process(target=die_before, args=(n, moves, work, root))
        process.start()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        yield root
        if process.exitcode == 0:
            assert n > 1, "nothing moved: the kills were not where they should be"
            return


def die_before(n: int, moves: tuple[str, ...], work: Callable[[Path], Any], root: Path) -> None:
    """Do the work, as far as it comes."""
    left = count(n, -1)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in moves and there(args[0]) and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def there(path: Any) -> bool:
        """Whether it is in the root; a tree is removed by names that are relative to its folders."""
        return not Path(path).is_absolute() or (str(path).startswith(str(root)) and os.path.lexists(path))

    sys.addaudithook(hook)
    work(root)


def at_once(*works: tuple[Callable[..., Any], tuple[Any, ...]]) -> list[int | None]:
    """The exit codes of processes that begin their work at the same moment."""
    start = context.Barrier(len(works))
    processes = [context.Process(target=begin, args=(start, work, args)) for work, args in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def begin(start: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Wait for the others, then work."""
    start.wait()
    work(*args)
