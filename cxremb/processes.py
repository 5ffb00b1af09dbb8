"""Work done beside: processes that start fresh, and threads that read a bounded number of files ahead."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from types import ModuleType
from typing import Any, TypeVar

READERS = 8  # threads: hashing leaves the interpreter lock, and a network disk answers slowly
AHEAD = 16 * READERS  # files that are read or wait for it: enough to keep every reader busy past a slow one
MAIN_LOCK = Lock()  # held while the main module is out of sight

T = TypeVar("T")
Answer = TypeVar("Answer")


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers(ProcessPoolExecutor):
    """A pool of spawned processes: a fork would copy the locks of torch's threads, or a device that is in use.

    A spawned process would first import the main script, of which the work of this package needs nothing. A script
    without the usual guard would so start itself over, which multiprocessing refuses, and no worker would come up. As
    in an interactive session, there is no script to import here.
    """

    def __init__(self, workers: int, initializer: Callable[[], None] | None = None) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), begin, (initializer,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As any executor's. It is on being given work that a pool starts its processes."""
        with MAIN_LOCK:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                sys.modules["__main__"] = main


def begin(initializer: Callable[[], None] | None) -> None:
    """What a worker does first: it takes SIGTERM, which a batch system sends to all, for Ctrl-C, and ends with its
    parent. A parent that is killed tells nobody; its workers would wait for work for ever.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if (parent := multiprocessing.parent_process()) is not None:
        Thread(target=end_with, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer()


def end_with(parent: BaseProcess) -> None:
    """Wait for the end of the parent, and end this process."""
    parent.join()
    os._exit(1)


def in_order(
    function: Callable[[T], Answer], items: Iterable[T], *, readers: int | None = None, ahead: int | None = None
) -> Generator[tuple[T, Answer], None, None]:
    """Each item with its answer, in order; `function` runs in threads, at most `ahead` items before their turn."""
    waiting: deque[tuple[T, Future[Answer]]] = deque()
    with ThreadPoolExecutor(readers or READERS) as threads:
        try:
            for item in items:
                waiting.append((item, threads.submit(function, item)))
                if len(waiting) >= (ahead or AHEAD):
                    first, answer = waiting.popleft()
                    yield first, answer.result()
            for last, answer in waiting:
                yield last, answer.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # after an error nobody waits for what was to come
