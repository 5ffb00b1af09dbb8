"""Items in, blocks of vectors out: films decoded ahead of the network, texts sorted by length."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from cxremb import images
from cxremb.embed.plan import Item
from cxremb.encoders.base import ImageEncoder, TextEncoder, Vectors
from cxremb.errors import ImageError
from cxremb.types import Progress

In = TypeVar("In")
Out = TypeVar("Out")
Group = tuple[Item, ...]  # items of equal content: encoded once, stored for each


@dataclass(frozen=True)
class Options:
    """WHERE-side settings: none of them changes a vector."""

    batch_size: int = 8  # on a CPU; a larger one falls out of its caches and runs at little more than half the speed
    workers: int = 2  # decoding threads; Pillow and pydicom release the interpreter lock
    token_budget: int = 8192  # tokens in one batch of texts, padding included
    part_items: int = 4096  # groups in one part: what a stopped run can lose at most


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


@dataclass(frozen=True)
class Block:
    """Vectors of some groups, in their order, and the items that failed on the way."""

    groups: Sequence[Group]
    vectors: Vectors
    failures: Sequence[Failure] = ()


def encode_films(
    groups: Sequence[Group], encoder: ImageEncoder, options: Options, clock: Clock, progress: Progress
) -> Iterator[Block]:
    """Blocks of at most `batch_size` groups. A film that cannot be decoded fails alone."""

    def decode(group: Group) -> images.Grey | ImageError:
        return decode_group(group, encoder.side)

    with ThreadPoolExecutor(options.workers) as pool:
        decoded = ahead(pool, decode, groups, options.batch_size * 4)
        watched = progress(zip(groups, decoded, strict=True), len(groups), "encoding images")
        while True:
            with clock.measure("decode"):  # time spent waiting for it
                batch = list(islice(watched, options.batch_size))
            if not batch:
                return
            good = [(group, film) for group, film in batch if not isinstance(film, ImageError)]
            failures = [
                Failure(item, film.stage, str(film))
                for group, film in batch
                if isinstance(film, ImageError)
                for item in group
            ]
            with clock.measure("forward"):
                vectors = encoder.encode(np.stack([film for _, film in good])) if good else {}
            yield Block([group for group, _ in good], vectors, failures)


def decode_group(group: Group, side: int) -> images.Grey | ImageError:
    """The first of the group's files that decodes and still is what was added; else the error of the first."""
    errors = []
    for item in group:
        try:
            film = images.decode_file(Path(item.source))
            if film.sha256 != item.content:
                raise ImageError(
                    f"{item.source}: changed since it was added", "run the same `cxremb data add` again", "read"
                )
            return images.squash(film.pixels, side)
        except ImageError as error:
            errors.append(error)
    return errors[0]


def encode_texts(
    groups: Sequence[Group], encoder: TextEncoder, options: Options, clock: Clock, progress: Progress
) -> Iterator[Block]:
    """Blocks under the token budget, longest texts last, so that next to nothing is padding."""
    with clock.measure("tokenise"):
        full = encoder.lengths([group[0].source for group in groups])
    lengths = [min(length, encoder.max_tokens) for length in full]
    clock.count("truncated", sum(length > encoder.max_tokens for length in full))
    order = sorted(range(len(groups)), key=lambda index: (lengths[index], groups[index][0].content))
    watched = progress(order, len(order), "encoding texts")
    for batch in budgeted(watched, lengths, options):
        clock.count("tokens", sum(lengths[index] for index in batch))
        clock.count("tokens_forwarded", len(batch) * lengths[batch[-1]])
        with clock.measure("forward"):
            vectors = encoder.encode([groups[index][0].source for index in batch])
        yield Block([groups[index] for index in batch], vectors)


def budgeted(order: Iterable[int], lengths: Sequence[int], options: Options) -> Iterator[list[int]]:
    """`order` (ascending lengths) cut into batches whose padded size stays within the token budget."""
    batch: list[int] = []
    for index in order:
        if batch and lengths[index] * (len(batch) + 1) > options.token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def ahead(pool: ThreadPoolExecutor, work: Callable[[In], Out], items: Iterable[In], limit: int) -> Iterator[Out]:
    """`work` of each item, in order, with at most `limit` of them under way or waiting: memory stays flat."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= limit:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()
