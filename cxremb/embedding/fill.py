"""Write vectors for what is missing, as parts that no version lists yet. It commits nothing, so it can run anywhere."""

import queue
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import pyarrow.parquet as pq

from cxremb.embedding.encode import Block, Clock, Failure, Group, Work, encode_films, encode_texts
from cxremb.embedding.parts import PartWriter, known_blocks
from cxremb.embedding.plan import Item, Plan, rows_of
from cxremb.encoders.base import ImageEncoder, TextEncoder
from cxremb.errors import StoreError

AHEAD = 8  # blocks that may wait for the writer; more would let memory grow on a slow disk


@dataclass(frozen=True)
class Shard:
    """One of `of` shares of the work, told apart by content: equal contents are in one share."""

    number: int = 0
    of: int = 1

    def holds(self, item: Item) -> bool:
        """Whether an item is in this share."""
        return int(item.content[:8], 16) % self.of == self.number


WHOLE = Shard()


@dataclass(frozen=True)
class Filled:
    """What was done: items that failed, contents that went through the network, and what it took."""

    failures: Sequence[Failure] = ()
    encoded: int = 0
    clock: Clock = field(default_factory=Clock)
    notes: Sequence[str] = ()  # of encoders in other processes


def salvage(plan: Plan, writer: PartWriter) -> None:
    """Write the wanted rows of mixed files as parts of their own, each row once."""
    missing = {item.key: item.content for item in plan.todo}
    for path in plan.mixed:
        rows = rows_of(pq.ParquetFile(path).read(), missing)
        writer.write(rows)
        for key in zip(rows["item_id"].to_pylist(), rows["section"].to_pylist(), strict=True):
            missing.pop(key, None)


def fill(folder: Path, plan: Plan, encoder: ImageEncoder | TextEncoder, work: Work, shard: Shard = WHOLE) -> Filled:
    """Parts for the plan's `todo`, or for the share of it that is in `shard`.

    A content that the store holds under another id is copied. Interrupted, it writes what is finished before it goes.
    """
    groups = group_by_content([item for item in plan.todo if shard.holds(item)])
    writer = PartWriter(folder, encoder.recipe, encoder.licence, work.options.part_items)
    known: set[str] = set()
    for block in known_blocks(folder, plan.parts, groups, encoder.recipe.poolings):
        writer.add(block)
        known.update(group[0].content for group in block.groups)
    fresh = [group for group in groups if group[0].content not in known]
    with Behind(writer) as behind:
        for block in encode_blocks(fresh, encoder, work):
            with work.clock.measure("write"):  # time spent waiting for it
                behind.put(block)
    return Filled(tuple(writer.failures), len(fresh), work.clock, tuple(encoder.notes))


def encode_blocks(groups: Sequence[Group], encoder: ImageEncoder | TextEncoder, work: Work) -> Iterable[Block]:
    """The blocks of either kind of encoder; none, and no network built, when there is nothing to do."""
    if not groups:
        return ()
    if encoder.recipe.modality == "image":
        return encode_films(groups, cast(ImageEncoder, encoder), work)
    return encode_texts(groups, cast(TextEncoder, encoder), work)


def group_by_content(items: Sequence[Item]) -> list[Group]:
    """Items of equal content together, in the order of their first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.content, []).append(item)
    return [tuple(group) for group in groups.values()]


class Behind:
    """A part writer in a thread of its own, so that the network does not wait for the disk."""

    def __init__(self, writer: PartWriter) -> None:
        self.writer = writer
        self.blocks: queue.Queue[Block | None] = queue.Queue(AHEAD)
        self.error: StoreError | None = None
        self.thread = threading.Thread(target=self.run, name="part writer", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def put(self, block: Block) -> None:
        """Hand a block over. Raises what went wrong with an earlier one."""
        if self.error:
            raise self.error
        self.blocks.put(block)

    def run(self) -> None:
        """Write until the end is announced; after an error, only empty the queue, so that nobody waits for ever."""
        while (block := self.blocks.get()) is not None:
            if self.error is None:
                self.attempt(block)
        if self.error is None:
            self.attempt(None)

    def attempt(self, block: Block | None) -> None:
        """Write a block, or what is left at the end."""
        try:
            self.writer.add(block) if block else self.writer.flush()
        except StoreError as error:
            self.error = error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is finished, whatever ended the work."""
        with suppress(KeyboardInterrupt):  # a second Ctrl-C while the last part is written
            self.blocks.put(None)
        self.thread.join()
        if self.error and error is None:
            raise self.error
