"""What an image's file says of it: digest and size, read by threads, a bounded number of files ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cxremb.errors import ImageError
from cxremb.images import image_size
from cxremb.store.files import sha256_of
from cxremb.types import Image

READERS = 8  # threads: hashing leaves the interpreter lock, and a network disk answers slowly
AHEAD = 16 * READERS  # files that are read or wait for it: enough to keep every reader busy past a slow one

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Facts = tuple[str | None, str | None, int | None, int | None]  # absolute path, SHA-256, width, height


def in_order(function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[tuple[Item, Answer]]:
    """Each item with its answer, in order; `function` runs in threads, at most `AHEAD` items before their turn."""
    waiting: deque[tuple[Item, Future[Answer]]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        for item in items:
            waiting.append((item, readers.submit(function, item)))
            if len(waiting) >= AHEAD:
                first, answer = waiting.popleft()
                yield first, answer.result()
        for last, answer in waiting:
            yield last, answer.result()


def file_facts(image: Image) -> Facts:
    """(absolute path, SHA-256, width, height) of an image's file; null for what cannot be read."""
    if image.path is None:
        return None, None, None, None
    path = image.path.resolve()
    try:
        digest = sha256_of(path)
    except OSError:
        return str(path), None, None, None
    try:
        return str(path), digest, *image_size(path)
    except ImageError:
        return str(path), digest, None, None
