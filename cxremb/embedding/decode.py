"""Films decoded ahead of the network: in order, by worker processes, never more than a bounded number at once."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from cxremb import images
from cxremb.errors import ImageError, StoreError
from cxremb.processes import Workers

FEW = 200  # films below which starting processes costs more than it saves
Files = Sequence[images.FilmFile]  # the files that hold one content
Failed = tuple[ImageError, ...]  # why none of these files gives a film: an error for each, in their order
Answer = images.Film | Failed  # a film in its frame, or why there is none
Found = TypeVar("Found")
SECONDS = 60.0  # for a file; the largest films take one
KILLED = "the process that decoded it was killed; memory may have run out, or the file is damaged or malicious"


def decode(files: Files, frame: images.Frame) -> Answer:
    """The first of the files that decodes and still is what was added."""
    return first_good(files, partial(images.decode_file, frame=frame))


def look(files: Files) -> Answer:
    """A film without pixels, for who has them already, if one of the files still is what was added."""
    return first_good(files, digested)


def digested(path: Path, fetched: images.Fetched | None = None) -> images.Film:
    """A film without pixels."""
    return images.Film(np.empty((0, 0), np.uint8), images.digest_file(path, fetched))


def first_good(files: Files, read: Callable[..., images.Film]) -> Answer:
    """The film of the first file that can be read and is what was added; else what is wrong with each."""
    errors = []
    for path, content, fetched in files:
        try:
            stamp = fetched.stamp if fetched else images.stamp_of(path)
            film = read(Path(path), fetched=fetched)
            if film.sha256 == content:
                return film._replace(stamp=stamp)
            errors.append(changed(path))
        except ImageError as error:
            # that it is another file says more than what is wrong with that one; else the error without what raised it
            plain = ImageError(str(error), error.hint, error.stage)
            errors.append(changed(path) if is_another(path, content, fetched) else plain)
    return tuple(errors)


def all_failed(files: Files, why: str) -> Answer:
    """The answer where no file was decoded, for one reason."""
    return tuple(ImageError(f"{file.path}: {why}") for file in files)


def is_another(path: str, content: str, fetched: images.Fetched | None) -> bool:
    """Whether a file that can be read is not what was added."""
    try:
        return images.digest_file(Path(path), fetched) != content
    except ImageError:
        return False


def changed(path: str) -> ImageError:
    """The error for a file that is not what was added, whether or not a film can be read from it now."""
    return ImageError(f"{path}: changed since it was added", stage="read")


@dataclass
class Decoders(Generic[Found]):
    """Workers that read films, each in a time. One that dies takes no other film with it: what was under way is redone.

    Of a few films, those that no codec touches which may crash are read by threads: a process takes a second to start.
    """

    work: Callable[[Files], Found]
    died: Callable[[Files, str], Found]  # what is said of films whose process died, with the reason
    workers: int
    processes: bool  # for all of them
    seconds: float = SECONDS
    threads: ThreadPoolExecutor = field(init=False)
    pool: Workers = field(init=False)

    def __post_init__(self) -> None:
        if not self.processes:
            images.load_codecs()  # before a thread does, beside the start of a process
        self.threads = ThreadPoolExecutor(self.workers)  # either starts nothing before it has work
        self.pool = self.start(self.workers)

    def start(self, workers: int) -> Workers:
        """A pool of processes."""
        return Workers(workers, step_back)

    def run(self, films: Iterable[Files], limit: int) -> Iterator[Found]:
        """The answer for each film, in order; at most `limit` are under way or waiting, so memory stays flat.

        Raises `StoreError` at the first film whose server cannot be asked, when those before it have been answered.
        """
        waiting: deque[tuple[Files, Future[Found]]] = deque()
        stopped: StoreError | None = None
        with closing(images.with_bytes(films)) as coming:
            try:
                for files in coming:
                    waiting.append((files, self.submit(files)))
                    if len(waiting) >= limit:
                        yield self.answer(waiting)
            except StoreError as error:
                stopped = error
        while waiting:
            yield self.answer(waiting)
        if stopped:
            raise stopped

    def submit(self, files: Files) -> Future[Found]:
        """The files under way; in a new pool if the old one has broken."""
        if not self.processes and all(images.is_tame(Path(file.path), file.fetched) for file in files):
            return self.threads.submit(self.work, files)
        try:
            return self.pool.submit(in_time, self.work, files, self.seconds)
        except BrokenProcessPool:
            self.pool = self.start(self.workers)
            return self.pool.submit(in_time, self.work, files, self.seconds)

    def answer(self, waiting: deque[tuple[Files, Future[Found]]]) -> Found:
        """The oldest answer. If its worker was killed it is decoded alone, and the others are handed out again."""
        files, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            again = [(other, self.submit(other) if lost(old) else old) for other, old in waiting]
            waiting.clear()
            waiting.extend(again)
            return self.alone(files)

    def alone(self, files: Files) -> Found:
        """The answer of a process of its own. If that one dies too, the film is to blame."""
        begin = time.monotonic()
        with self.start(1) as pool:
            try:
                answer: Found = pool.submit(in_time, self.work, files, self.seconds).result()
                return answer
            except BrokenProcessPool:
                if time.monotonic() - begin >= self.seconds:
                    return self.died(files, f"not decoded in {self.seconds:.0f} seconds, which no film takes")
                return self.died(files, KILLED)

    def close(self) -> None:
        """Stop the workers; what nobody has asked for yet is dropped."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.pool.shutdown(wait=True, cancel_futures=True)


def in_time(work: Callable[[Files], Found], files: Files, seconds: float) -> Found:
    """What `work` makes of the files. Past so many seconds a file the kernel ends this process, whatever it is in."""
    import signal

    signal.setitimer(signal.ITIMER_REAL, seconds * len(files))
    try:
        return work(files)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def lost(future: Future[Any]) -> bool:
    """Whether the pool died before it could answer."""
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


def step_back() -> None:
    """Let the network have the processor first where both want it, and leave Ctrl-C and SIGTERM to the parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        os.nice(5)
