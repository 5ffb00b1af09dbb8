"""Items in, blocks of vectors out: films decoded ahead of the network, texts sorted by length."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cxremb import images
from cxremb.embedding.decode import FEW, Answer, Decoders, all_failed, decode
from cxremb.embedding.pixels import files_of, known_films, open_pixels
from cxremb.embedding.plan import Group, Item
from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder, Vectors, start_encoding
from cxremb.errors import EncoderError
from cxremb.types import Progress, unwatched

Block = tuple[Sequence[Group], Vectors]  # some groups and their vectors, in the same order
Stacked = tuple[Sequence[Group], NDArray[np.uint8]]  # groups, and their films (n, side, side)
Started = tuple[Sequence[Group], Sequence[Callable[[], Vectors]]]  # groups, and what waits for their vectors, in parts
TEXTS_AT_ONCE = 4096  # tokenised together to learn their lengths
WASTE = 1.05  # tokens forwarded / real tokens, at most, in any batch
NO_WORD = "no word is left to encode: the text holds nothing beside the marks of removed words"


@dataclass(frozen=True)
class Failure:
    """Why an item has no vector."""

    item: Item
    stage: str
    message: str


@dataclass
class Log:
    """What a job has done so far, and who watches it."""

    progress: Progress = unwatched
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    counts: dict[str, int] = field(default_factory=dict)  # that the manifest keeps
    failures: list[Failure] = field(default_factory=list)
    encoded: int = 0  # contents that went through the network
    notes: list[str] = field(default_factory=list)  # of encoders in other processes
    film_notes: dict[str, list[str]] = field(default_factory=dict)  # what was noted of films -> the ids of these

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def count(self, what: str, n: int) -> None:
        """Add `n` to the count of `what`."""
        self.counts[what] = self.counts.get(what, 0) + n

    def fail(self, group: Group, stage: str, message: str) -> None:
        """A failure of each item of a group."""
        self.failures.extend(Failure(item, stage, message) for item in group)

    def note(self, group: Group, notes: Sequence[str]) -> None:
        """What was noted of the film of a group."""
        for text in notes:
            self.film_notes.setdefault(text, []).extend(item.item_id for item in group)

    def waiting_for(self) -> str:
        """`, waiting for` the stage that has taken most of the time so far; nothing before any has taken some."""
        return f", waiting for {max(self.seconds, key=lambda stage: self.seconds[stage])}" if self.seconds else ""

    def add(self, other: "Log") -> None:
        """Take up what another process did. Seconds are summed over workers: they are work, not waiting."""
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        for what, n in other.counts.items():
            self.count(what, n)
        for text, items in other.film_notes.items():
            self.film_notes.setdefault(text, []).extend(items)
        self.failures.extend(other.failures)
        self.encoded += other.encoded
        self.notes = list(dict.fromkeys((*self.notes, *other.notes)))


def encode_groups(
    groups: Sequence[Group], encoder: ImageEncoder | TextEncoder, machine: Machine, *, log: Log, cache: Path
) -> Iterable[Block]:
    """The blocks of either kind of encoder; none, and no network built, when there is nothing to do."""
    if not groups:
        return ()
    if encoder.recipe.modality == "image":
        return encode_films(groups, cast(ImageEncoder, encoder), machine, log=log, cache=cache)
    return encode_texts(groups, cast(TextEncoder, encoder), machine, log=log)


def encode_films(
    groups: Sequence[Group], encoder: ImageEncoder, machine: Machine, *, log: Log, cache: Path
) -> Iterator[Block]:
    """Blocks of at most `batch_size` groups. A film that cannot be decoded fails alone.

    cache: the data set's folder of derived files.
    """
    with closing(films_of(groups, encoder.frame, machine, log=log, cache=cache)) as films:
        watched = log.progress(films, len(groups), lambda: f"encoding images{log.waiting_for()}")
        with closing(ready_ahead(stacked(watched, machine.batch_size, log), machine)) as batches:
            yield from finished(start_films(batches, encoder, machine, log=log), machine, log)


def stacked(films: Iterator[tuple[Group, Answer]], size: int, log: Log) -> Generator[Stacked, None, None]:
    """The films in batches of at most `size`, each in one array, without those that failed."""
    while batch := list(islice(films, size)):
        good = [(group, film) for group, film in batch if isinstance(film, images.Film)]
        for group, film in batch:
            if isinstance(film, images.Film):
                log.note(group, film.notes)
            else:
                for item, error in zip(group, film, strict=True):  # each says what is wrong with its own file
                    log.fail((item,), error.stage, str(error))
        if good:
            yield [group for group, _ in good], np.stack([film.pixels for _, film in good])


def ready_ahead(batches: Generator[Stacked, None, None], machine: Machine) -> Generator[Stacked, None, None]:
    """The batches; on CUDA each is made ready by a thread while the one before it is started."""
    if not machine.device.startswith("cuda"):
        with closing(batches):
            yield from batches
        return
    with closing(batches), ThreadPoolExecutor(1, "batches") as thread:
        coming = thread.submit(next, batches, None)
        while batch := coming.result():
            coming = thread.submit(next, batches, None)
            yield batch


def start_films(batches: Iterator[Stacked], encoder: ImageEncoder, machine: Machine, *, log: Log) -> Iterator[Started]:
    """Each batch as it is started. It is started in smaller parts from where the device has run out of memory."""
    size = machine.batch_size
    while True:
        with log.measure("decode"):  # time spent waiting for it
            batch = next(batches, None)
        if batch is None:
            return
        groups, films = batch
        with log.measure("forward"):
            waiting, size = start_batch(encoder, films, size=size)
        if size < machine.batch_size:
            log.counts["batch_size_that_fits"] = size
        yield groups, waiting


def films_of(
    groups: Sequence[Group], frame: images.Frame, machine: Machine, *, log: Log, cache: Path
) -> Generator[tuple[Group, Answer], None, None]:
    """Each group with its film, in order: pixels from the cache where they are, else decoded, and kept if asked.

    A film whose file is gone or altered is none in either case: the cache saves time and changes nothing else.
    """
    kept = open_pixels(cache, frame)
    known = [group[0].content in kept for group in groups]
    log.count("films_from_pixel_cache", sum(known))
    work = partial(decode, frame=frame)
    decoders = Decoders(work, all_failed, machine.workers, processes=known.count(False) >= FEW)
    limit = 4 * max(machine.batch_size, machine.workers)
    try:
        decoded = decoders.run(
            (files_of(group) for group, there in zip(groups, known, strict=True) if not there), limit
        )
        looked_at = known_films([group for group, there in zip(groups, known, strict=True) if there], kept)
        for group, there in zip(groups, known, strict=True):
            answer = next(looked_at if there else decoded)
            if machine.keep_pixels and not there and isinstance(answer, images.Film):
                kept.keep(answer)
            yield group, answer
        kept.flush()
    finally:
        decoders.close()


def encode_texts(groups: Sequence[Group], encoder: TextEncoder, machine: Machine, *, log: Log) -> Iterator[Block]:
    """Blocks under the token budget, longest texts last, so that next to nothing is padding.

    A text of no tokens is a failure: it has no vector, as if it were not there, and is counted.
    """
    with log.measure("tokenise"):
        full = [
            length
            for start in range(0, len(groups), TEXTS_AT_ONCE)
            for length in encoder.lengths([group[0].source for group in groups[start : start + TEXTS_AT_ONCE]])
        ]
    lengths = [min(length, encoder.max_tokens) for length in full]
    log.count("truncated", sum(length > encoder.max_tokens for length in full))
    for group, length in zip(groups, full, strict=True):
        if not length:
            log.fail(group, "text", NO_WORD)
    there = [index for index, length in enumerate(full) if length]
    order = sorted(there, key=lambda index: (lengths[index], groups[index][0].content))
    watched = log.progress(order, len(order), lambda: "encoding texts")

    def started() -> Iterator[Started]:
        """Each batch as it is started."""
        for batch in token_batches(watched, lengths, machine.token_budget):
            log.count("tokens", sum(lengths[index] for index in batch))
            log.count("tokens_forwarded", len(batch) * lengths[batch[-1]])
            with log.measure("forward"):
                waiting, _ = start_batch(encoder, [groups[index][0].source for index in batch], size=len(batch))
            yield [groups[index] for index in batch], waiting

    yield from finished(started(), machine, log)


def token_batches(order: Iterable[int], lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """`order` (indices of texts, ascending by length) cut into batches, each index once.

    A batch is padded to its longest text. Its padded size stays within `budget` tokens, unless it is a single text,
    and within `WASTE` times its real tokens, so that a job cannot waste more than that either.
    """
    batch: list[int] = []
    real = 0
    for index in order:
        padded = lengths[index] * (len(batch) + 1)
        if batch and (padded > budget or padded > WASTE * (real + lengths[index])):
            yield batch
            batch, real = [], 0
        batch.append(index)
        real += lengths[index]
    if batch:
        yield batch


def start_batch(
    encoder: ImageEncoder | TextEncoder, batch: NDArray[np.uint8] | list[str], *, size: int
) -> tuple[list[Callable[[], Vectors]], int]:
    """(what waits for the vectors of the batch, the batch size to go on with), in halves if the device lacks memory.

    Raises `EncoderError` if it cannot hold a single one.
    """
    waiting: list[Callable[[], Vectors]] = []
    start = 0
    while start < len(batch):
        try:
            waiting.append(start_encoding(encoder, batch[start : start + size]))
            start += size
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which only a job that uses torch has imported
                raise
            if size == 1:
                raise EncoderError(
                    "the device has not enough memory for one item", hint="choose a smaller model, or --device cpu"
                ) from error
            size //= 2
    return waiting, size


def finished(batches: Iterable[Started], machine: Machine, log: Log) -> Iterator[Block]:
    """The blocks, in order. On CUDA the next batch is started before one is waited for, so two are under way at most.

    Elsewhere a batch is done when it has been started, and goes on at once: what is stopped then loses least.
    """
    ahead = 1 if machine.device.startswith("cuda") else 0
    under_way: deque[Started] = deque()

    def oldest() -> Block:
        """The block that was started first."""
        groups, waiting = under_way.popleft()
        with log.measure("forward"):
            parts = [wait() for wait in waiting]
            return groups, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    for started in batches:
        under_way.append(started)
        if len(under_way) > ahead:
            yield oldest()
    while under_way:
        yield oldest()
