"""Items in, blocks of vectors out: films decoded ahead of the network, texts sorted by length."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cxremb import images
from cxremb.embedding.decode import FEW, Answer, Decoders, Refusal, Task
from cxremb.embedding.pixels import PixelCache, open_pixels
from cxremb.embedding.plan import Item
from cxremb.encoders.base import ImageEncoder, TextEncoder, Vectors
from cxremb.encoders.batches import token_batches
from cxremb.errors import EncoderError
from cxremb.types import Progress, unwatched

Group = tuple[Item, ...]  # items of equal content: encoded once, stored for each
TEXTS_AT_ONCE = 4096  # tokenised together to learn their lengths
NO_WORD = "no word is left to encode: the text holds nothing beside the marks of removed words"


@dataclass(frozen=True)
class Options:
    """WHERE-side settings: none of them changes a vector."""

    batch_size: int = 8  # on a CPU; a larger one falls out of its caches and runs at little more than half the speed
    workers: int = 2  # processes that decode
    token_budget: int = 1024  # tokens in one batch of texts, padding included
    part_items: int = 4096  # groups in one part: what a stopped run can lose at most
    keep_pixels: bool = False  # keep decoded films under `cache/` for the next encoder


@dataclass(frozen=True)
class Failure:
    """Why an item has no vector."""

    item: Item
    stage: str
    message: str


@dataclass
class Clock:
    """Seconds by stage, and counts that the manifest keeps."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

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

    def waiting_for(self) -> str:
        """The stage that has taken most of the time so far; the others wait for it."""
        return max(self.seconds, key=lambda stage: self.seconds[stage]) if self.seconds else "start"


@dataclass(frozen=True)
class Work:
    """How a job goes about it, and who watches."""

    options: Options
    clock: Clock
    cache: Path  # the data set's folder of derived files
    progress: Progress = unwatched


@dataclass(frozen=True)
class Block:
    """Vectors of some groups, in their order, and the items that failed on the way."""

    groups: Sequence[Group]
    vectors: Vectors
    failures: Sequence[Failure] = ()


def encode_films(groups: Sequence[Group], encoder: ImageEncoder, work: Work) -> Iterator[Block]:
    """Blocks of at most `batch_size` groups. A film that cannot be decoded fails alone."""
    clock, size = work.clock, work.options.batch_size
    with closing(films_of(groups, encoder.frame, work)) as films:
        watched = work.progress(films, len(groups), lambda: f"encoding images, waiting for {clock.waiting_for()}")
        while True:
            with clock.measure("decode"):  # time spent waiting for it
                batch = list(islice(watched, size))
            if not batch:
                return
            good = [(group, film) for group, film in batch if not isinstance(film, Refusal)]
            failures = [
                Failure(item, film.stage, film.message)
                for group, film in batch
                if isinstance(film, Refusal)
                for item in group
            ]
            with clock.measure("forward"):
                vectors, size = forward(encoder.encode, [film for _, film in good], np.stack, size)
            if size < work.options.batch_size:
                clock.counts["batch_size_that_fits"] = size
            yield Block([group for group, _ in good], vectors, failures)


def films_of(groups: Sequence[Group], frame: images.Frame, work: Work) -> Generator[tuple[Group, Answer], None, None]:
    """Each group with its film, in order: from the pixel cache where it is there, else decoded, and kept if asked."""
    kept = open_pixels(work.cache, frame)
    missing = [group for group in groups if group[0].content not in kept]
    work.clock.count("films_from_pixel_cache", len(groups) - len(missing))
    workers = work.options.workers
    decoders = Decoders(frame, workers, processes=len(missing) >= FEW)
    try:
        tasks = (Task([(item.source, item.content) for item in group]) for group in missing)
        answers = decoders.run(tasks, limit=4 * max(work.options.batch_size, workers))
        for group in groups:
            content = group[0].content
            answer = kept.film(content) if content in kept else next(answers)
            if work.options.keep_pixels and not isinstance(answer, Refusal):
                keep(kept, content, answer)
            yield group, answer
        kept.flush()
    finally:
        decoders.close()


def keep(cache: PixelCache, content: str, film: images.Grey) -> None:
    """Put a film into the cache, unless it came from there."""
    if content not in cache:
        cache.keep(content, film)


def encode_texts(groups: Sequence[Group], encoder: TextEncoder, work: Work) -> Iterator[Block]:
    """Blocks under the token budget, longest texts last, so that next to nothing is padding.

    A text of no tokens is a failure: it has no vector, as if it were not there, and is counted.
    """
    clock = work.clock
    with clock.measure("tokenise"):
        full = [
            length
            for start in range(0, len(groups), TEXTS_AT_ONCE)
            for length in encoder.lengths([group[0].source for group in groups[start : start + TEXTS_AT_ONCE]])
        ]
    lengths = [min(length, encoder.max_tokens) for length in full]
    clock.count("truncated", sum(length > encoder.max_tokens for length in full))
    if wordless := [group for group, length in zip(groups, full, strict=True) if not length]:
        yield Block([], {}, [Failure(item, "text", NO_WORD) for group in wordless for item in group])
    there = [index for index, length in enumerate(full) if length]
    order = sorted(there, key=lambda index: (lengths[index], groups[index][0].content))
    watched = work.progress(order, len(order), lambda: "encoding texts")
    for batch in token_batches(watched, lengths, work.options.token_budget):
        clock.count("tokens", sum(lengths[index] for index in batch))
        clock.count("tokens_forwarded", len(batch) * lengths[batch[-1]])
        with clock.measure("forward"):
            vectors, _ = forward(encoder.encode, [groups[index][0].source for index in batch], list, len(batch))
        yield Block([groups[index] for index in batch], vectors)


def forward(
    encode: Callable[[Any], Vectors], batch: Sequence[Any], pack: Callable[[Sequence[Any]], Any], size: int
) -> tuple[Vectors, int]:
    """(vectors of the batch, the batch size to go on with), in halves if the device runs out of memory.

    Raises `EncoderError` if it cannot hold a single one.
    """
    if not batch:
        return {}, size
    vectors: list[Vectors] = []
    start = 0
    while start < len(batch):
        try:
            vectors.append(encode(pack(batch[start : start + size])))
            start += size
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which only a job that uses torch has imported
                raise
            if size == 1:
                raise EncoderError(
                    "the device has not enough memory for one item", hint="choose a smaller model, or --device cpu"
                ) from error
            size //= 2
    return {name: np.concatenate([part[name] for part in vectors]) for name in vectors[0]}, size
