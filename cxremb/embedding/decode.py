"""Films decoded ahead of the network: in order, by worker processes, never more than a bounded number at once."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cxremb import images
from cxremb.errors import ImageError
from cxremb.processes import Workers

FEW = 200  # films below which starting processes costs more than it saves


@dataclass(frozen=True)
class Task:
    """One content: the files that hold it, each with the SHA-256 it had when it was added."""

    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Refusal:
    """Why a film could not be decoded: the stage (read, decode, content) and the message."""

    stage: str
    message: str


Answer = images.Grey | Refusal


def decode(task: Task, frame: images.Frame) -> Answer:
    """The first of the task's files that decodes and still is what was added; else what is wrong with the first."""
    refusals = []
    for path, content in task.files:
        try:
            film = images.decode_file(Path(path), frame.least)
            if film.sha256 == content:
                return images.fit(film.pixels, frame)
            refusals.append(Refusal("read", f"{path}: changed since it was added"))
        except ImageError as error:
            refusals.append(Refusal(error.stage, str(error)))
    return refusals[0]


@dataclass
class Decoders:
    """Workers that decode. A worker that dies takes no other film with it: what was under way is done again."""

    frame: images.Frame
    workers: int
    processes: bool
    pool: Executor = field(init=False)

    def __post_init__(self) -> None:
        self.pool = self.start(self.workers)

    def start(self, workers: int) -> Executor:
        """A pool."""
        return Workers(workers, step_back) if self.processes else ThreadPoolExecutor(workers)

    def run(self, tasks: Iterable[Task], limit: int) -> Iterator[Answer]:
        """The answer to each task, in order; at most `limit` are under way or waiting, so memory stays flat."""
        waiting: deque[tuple[Task, Future[Answer]]] = deque()
        for task in tasks:
            waiting.append((task, self.submit(task)))
            if len(waiting) >= limit:
                yield self.answer(waiting)
        while waiting:
            yield self.answer(waiting)

    def submit(self, task: Task) -> Future[Answer]:
        """The task under way; in a new pool if the old one has broken."""
        work = partial(decode, task, self.frame)
        try:
            return self.pool.submit(work)
        except BrokenProcessPool:
            self.pool = self.start(self.workers)
            return self.pool.submit(work)

    def answer(self, waiting: deque[tuple[Task, Future[Answer]]]) -> Answer:
        """The oldest answer. If its worker was killed it is decoded alone, and the others are handed out again."""
        task, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            again = [(other, self.submit(other) if lost(old) else old) for other, old in waiting]
            waiting.clear()
            waiting.extend(again)
            return self.alone(task)

    def alone(self, task: Task) -> Answer:
        """The answer of a process of its own. If that one dies too, the film is to blame."""
        with self.start(1) as pool:
            try:
                return pool.submit(decode, task, self.frame).result()
            except BrokenProcessPool:
                reason = "the process that decoded it was killed; memory may have run out, or the file is malicious"
                return Refusal("decode", f"{task.files[0][0]}: {reason}")

    def close(self) -> None:
        """Stop the workers; what nobody has asked for yet is dropped."""
        self.pool.shutdown(wait=True, cancel_futures=True)


def lost(future: Future[Answer]) -> bool:
    """Whether the pool died before it could answer."""
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


def step_back() -> None:
    """Let the network have the processor first where both want it, and leave Ctrl-C to the parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(5)
