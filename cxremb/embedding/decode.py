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
Files = Sequence[tuple[str, str]]  # the files that hold one content, each with the SHA-256 it had when it was added
Answer = images.Film | ImageError  # a film in its frame, or why it could not be decoded


def decode(files: Files, frame: images.Frame) -> Answer:
    """The first of the files that decodes and still is what was added; else what is wrong with the first."""
    errors = []
    for path, content in files:
        try:
            film = images.decode_file(Path(path), frame)
            if film.sha256 == content:
                return film
            errors.append(ImageError(f"{path}: changed since it was added", stage="read"))
        except ImageError as error:
            errors.append(ImageError(str(error), error.hint, error.stage))  # without what raised it, and its memory
    return errors[0]


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

    def run(self, films: Iterable[Files], limit: int) -> Iterator[Answer]:
        """The answer for each film, in order; at most `limit` are under way or waiting, so memory stays flat."""
        waiting: deque[tuple[Files, Future[Answer]]] = deque()
        for files in films:
            waiting.append((files, self.submit(files)))
            if len(waiting) >= limit:
                yield self.answer(waiting)
        while waiting:
            yield self.answer(waiting)

    def submit(self, files: Files) -> Future[Answer]:
        """The files under way; in a new pool if the old one has broken."""
        work = partial(decode, files, self.frame)
        try:
            return self.pool.submit(work)
        except BrokenProcessPool:
            self.pool = self.start(self.workers)
            return self.pool.submit(work)

    def answer(self, waiting: deque[tuple[Files, Future[Answer]]]) -> Answer:
        """The oldest answer. If its worker was killed it is decoded alone, and the others are handed out again."""
        files, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            again = [(other, self.submit(other) if lost(old) else old) for other, old in waiting]
            waiting.clear()
            waiting.extend(again)
            return self.alone(files)

    def alone(self, files: Files) -> Answer:
        """The answer of a process of its own. If that one dies too, the film is to blame."""
        with self.start(1) as pool:
            try:
                return pool.submit(decode, files, self.frame).result()
            except BrokenProcessPool:
                reason = "the process that decoded it was killed; memory may have run out, or the file is malicious"
                return ImageError(f"{files[0][0]}: {reason}")

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
