"""Texts into batches that are nearly all text and hardly any padding."""

from collections.abc import Iterable, Iterator, Sequence

WASTE = 1.05  # tokens forwarded / real tokens, at most, in any batch


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
