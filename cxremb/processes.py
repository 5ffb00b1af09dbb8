"""Worker processes that start fresh: no forked locks, and nothing of the caller's script."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from threading import Lock
from types import ModuleType
from typing import Any

MAIN_LOCK = Lock()  # held while the main module is out of sight


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes: a fork would copy the locks of torch's threads, or a device that is in use.

    A spawned process would first import the main script, of which the work of this package needs nothing. A script
    without the usual guard would so start itself over, which multiprocessing refuses, and no worker would come up. As
    in an interactive session, there is no script to import here.
    """

    def __init__(self, workers: int, initializer: Callable[[], None] | None = None) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), initializer)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As any executor's. It is on being given work that a pool starts its processes."""
        with MAIN_LOCK:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                sys.modules["__main__"] = main
