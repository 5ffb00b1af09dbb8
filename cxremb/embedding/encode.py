"""Items in, blocks of vectors out: films decoded ahead of the network, texts sorted by length."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from cxremb import images
from cxremb.embedding.decode import FEW, Answer, Decoders
from cxremb.embedding.pixels import open_pixels
from cxremb.embedding.plan import Group, Item
from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder, Vectors, start_encoding
from cxremb.errors import EncoderError, ImageError
from cxremb.types import Progress, unwatched

Block = tuple[Sequence[Group], Vectors]  # some groups and their vectors, in the same order
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
        """The stage that has taken most of the time so far; the others wait for it."""
        return max(self.seconds, key=lambda stage: self.seconds[stage]) if self.seconds else "start"

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
        watched = log.progress(films, len(groups), lambda: f"encoding images, waiting for {log.waiting_for()}")
        yield from finished(start_films(watched, encoder, machine, log=log), machine, log)


def start_films(
    films: Iterator[tuple[Group, Answer]], encoder: ImageEncoder, machine: Machine, *, log: Log
) -> Iterator[Started]:
    """Each batch as it is started. It is smaller from where the device has run out of memory."""
    size = machine.batch_size
    while True:
        with log.measure("decode"):  # time spent waiting for it
            batch = list(islice(films, size))
        if not batch:
            return
        good = [(group, film) for group, film in batch if not isinstance(film, ImageError)]
        for group, film in batch:
            if isinstance(film, ImageError):
                log.fail(group, film.stage, str(film))
            else:
                log.note(group, film.notes)
        with log.measure("forward"):
            waiting, size = start_batch(encoder, [film.pixels for _, film in good], np.stack, size=size)
        if size < machine.batch_size:
            log.counts["batch_size_that_fits"] = size
        yield [group for group, _ in good], waiting


def films_of(
    groups: Sequence[Group], frame: images.Frame, machine: Machine, *, log: Log, cache: Path
) -> Generator[tuple[Group, Answer], None, None]:
    """Each group with its film, in order: from the pixel cache where it is there, else decoded, and kept if asked."""
    kept = open_pixels(cache, frame)
    missing = [group for group in groups if group[0].content not in kept]
    log.count("films_from_pixel_cache", len(groups) - len(missing))
    decoders = Decoders(frame, machine.workers, processes=len(missing) >= FEW)
    try:
        files = ([(item.source, item.content) for item in group] for group in missing)
        answers = decoders.run(files, limit=4 * max(machine.batch_size, machine.workers))
        for group in groups:
            content = group[0].content
            there = content in kept
            answer = images.Film(kept.film(content), content) if there else next(answers)
            if machine.keep_pixels and not there and not isinstance(answer, ImageError):
                kept.keep(content, answer.pixels)
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
                waiting, _ = start_batch(encoder, [groups[index][0].source for index in batch], list, size=len(batch))
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
    encoder: ImageEncoder | TextEncoder, batch: Sequence[Any], pack: Callable[[Sequence[Any]], Any], *, size: int
) -> tuple[list[Callable[[], Vectors]], int]:
    """(what waits for the vectors of the batch, the batch size to go on with), in halves if the device lacks memory.

    Raises `EncoderError` if it cannot hold a single one.
    """
    waiting: list[Callable[[], Vectors]] = []
    start = 0
    while start < len(batch):
        try:
            waiting.append(start_encoding(encoder, pack(batch[start : start + size])))
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
