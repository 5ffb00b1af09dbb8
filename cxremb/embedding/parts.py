"""Blocks of vectors into immutable part files, by a thread beside the network."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.embedding.encode import Block, Log
from cxremb.embedding.plan import Group, Item, StorePlan, rows_of
from cxremb.encoders.base import Vectors
from cxremb.store import remote
from cxremb.store.dataset import terms_of_collection
from cxremb.store.files import read_part, replace_table
from cxremb.store.layout import VALUES, embedding_schema
from cxremb.store.manifest import Recipe, latest_manifest
from cxremb.store.matrices import halves, with_values

AHEAD = 8  # blocks that may wait for the writer; more would let memory grow on a slow disk


NO_VECTOR = "the encoder gave a vector that is not finite in float16, or all zero"


def as_stored(vectors: Vectors) -> tuple[dict[str, NDArray[np.float16]], NDArray[np.bool_]]:
    """(pooling -> (n, dim) as a store holds them, (n,) whether each can be held in every pooling)."""
    with np.errstate(over="ignore"):
        stored = {pooling: values.astype(np.float16) for pooling, values in vectors.items()}
    there = np.all([np.isfinite(values).all(1) & values.any(1) for values in stored.values()], axis=0)
    return stored, there


def values_of(folder: Path) -> pa.DataType:
    """How vectors lie in the parts of a store: in one that is there as they do, so that its files can be read as one.

    Raises `StoreError` for a manifest that is damaged.
    """
    manifest = latest_manifest(folder)
    listed = [folder / part.file for part in manifest.parts] if manifest else []
    for path in listed or sorted(folder.glob("part-*.parquet"))[:1]:
        with suppress(OSError, KeyError, pa.ArrowException):  # one that is gone or damaged: who reads it says so
            return pq.read_schema(path).field("embedding").type.value_type
    return VALUES["float32"]


@dataclass
class PartWriter:
    """Gathers blocks and writes a part each time `part_items` items are there."""

    folder: Path
    recipe: Recipe
    licence: str
    part_items: int
    log: Log
    waiting: list[tuple[Item, Mapping[str, NDArray[np.float16]]]] = field(default_factory=list)

    def add(self, groups: Sequence[Group], vectors: Vectors) -> None:
        """Take a block in. A vector that float16 cannot hold, or that is all zero, is a failure and not a row."""
        stored, there = as_stored(vectors)
        for index, group in enumerate(groups):
            if there[index]:
                row = {pooling: values[index] for pooling, values in stored.items()}
                self.waiting.extend((item, row) for item in group)
            else:
                self.log.fail(group, "forward", NO_VECTOR)
        if len(self.waiting) >= self.part_items:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as one part."""
        if self.waiting:
            self.write(self.table())
            self.waiting.clear()

    def write(self, table: pa.Table) -> None:
        """Put a table of rows into a part of its own."""
        if table.num_rows:
            rows = with_values(table, self.values).cast(self.schema)
            remote.uploaded(replace_table(self.folder / f"part-{uuid4().hex}.parquet", rows))

    def table(self) -> pa.Table:
        """The waiting rows: one per item and pooling."""
        rows = [(item, pooling, vectors[pooling]) for item, vectors in self.waiting for pooling in self.recipe.poolings]
        flat = pa.array(np.concatenate([vector for _, _, vector in rows]).astype(self.values.to_pandas_dtype()))
        columns = [
            *([getattr(item, name) for item, _, _ in rows] for name in ("item_id", "study_id", "section")),
            [pooling for _, pooling, _ in rows],
            [item.content for item, _, _ in rows],
            pa.FixedSizeListArray.from_arrays(flat, type=self.schema.field("embedding").type),
        ]
        return pa.Table.from_arrays([pa.array(c) if isinstance(c, list) else c for c in columns], schema=self.schema)

    @cached_property
    def values(self) -> pa.DataType:
        """How vectors lie in its parts."""
        return values_of(self.folder)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns, and as the file's metadata what made the vectors and under whose terms they stand."""
        about = {
            "encoder": self.recipe.model,
            "key": self.recipe.key,
            "dim": str(self.recipe.dim),
            "licence": self.licence,
            **terms_of_collection(self.folder),
        }
        return embedding_schema(self.recipe.dim, about, self.values)


@contextmanager
def written_beside(writer: PartWriter) -> Iterator[Callable[[Sequence[Group], Vectors], None]]:
    """A function that hands a block to the writer, which runs in a thread: the network does not wait for the disk.

    It raises what went wrong with an earlier block. Whatever ends the work, what is finished is written.
    """
    waiting: deque[Future[None]] = deque()
    errors: list[Exception] = []

    def attempt(write: Callable[..., None], *block: Any) -> None:
        if not errors:  # one draft that could not be written is enough: what is open takes room even when it is removed
            try:
                write(*block)
            except Exception as error:  # raised below, where the blocks come from
                errors.append(error)

    with ThreadPoolExecutor(1, "part writer") as thread:

        def put(groups: Sequence[Group], vectors: Vectors) -> None:
            if errors:
                raise errors[0]
            waiting.append(thread.submit(attempt, writer.add, groups, vectors))
            if len(waiting) > AHEAD:
                waiting.popleft().result()

        try:
            yield put
        finally:
            thread.submit(attempt, writer.flush)
    if errors:
        raise errors[0]


def salvage(plan: StorePlan, writer: PartWriter) -> None:
    """Write the wanted rows of mixed files as parts of their own, each row once."""
    missing = {item.key: (item.content, item.study_id) for item in plan.todo}
    for path in plan.mixed:
        rows = rows_of(read_part(path), missing)
        writer.write(rows)
        for key in zip(rows["item_id"].to_pylist(), rows["section"].to_pylist(), strict=True):
            missing.pop(key, None)


def known_blocks(paths: Sequence[Path], groups: Sequence[Group], *, poolings: Sequence[str]) -> Iterator[Block]:
    """A block of each file, of the groups whose content the store holds under another id, or of another study.

    Each file is gone through once, and its vectors are read only if one of them is wanted.
    """
    by_content = {group[0].content: group for group in groups}
    for path in paths if groups else ():
        columns = (read_part(path, [name])[name].to_pylist() for name in ("content", "pooling"))
        first: dict[str, dict[str, int]] = {}  # content -> pooling -> its first row
        for row, (content, pooling) in enumerate(zip(*columns, strict=True)):
            if content in by_content:
                first.setdefault(content, {}).setdefault(pooling, row)
        if not first:
            continue
        embedding = read_part(path, ["embedding"])["embedding"]
        vectors = {}
        for pooling in poolings:
            own = embedding.take(pa.array([rows[pooling] for rows in first.values()]))
            vectors[pooling] = halves(own, own.type.list_size).astype(np.float32)
        yield [by_content.pop(content) for content in first], vectors
