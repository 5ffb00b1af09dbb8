"""Blocks of vectors into immutable part files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.embedding.encode import Block, Failure, Group
from cxremb.embedding.plan import Item, describe_part
from cxremb.encoders.base import Vectors
from cxremb.store.files import replace_table
from cxremb.store.layout import embedding_schema
from cxremb.store.manifest import Part, Recipe


@dataclass
class PartWriter:
    """Gathers blocks and writes a part each time `part_items` items are there."""

    folder: Path
    recipe: Recipe
    licence: str
    part_items: int
    parts: list[Part] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    waiting: list[tuple[Item, Mapping[str, NDArray[np.float16]]]] = field(default_factory=list)

    def add(self, block: Block) -> None:
        """Take a block in. A vector that float16 cannot hold, or that is all zero, is a failure and not a row."""
        self.failures.extend(block.failures)
        with np.errstate(over="ignore"):
            stored = {pooling: values.astype(np.float16) for pooling, values in block.vectors.items()}
        for index, group in enumerate(block.groups):
            vectors = {pooling: values[index] for pooling, values in stored.items()}
            if all(np.isfinite(vector).all() and vector.any() for vector in vectors.values()):
                self.waiting.extend((item, vectors) for item in group)
            else:
                message = "the encoder gave a vector that is not finite in float16, or all zero"
                self.failures.extend(Failure(item, "forward", message) for item in group)
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
            path = replace_table(self.folder / f"part-{uuid4().hex}.parquet", table.cast(self.schema))
            self.parts.append(describe_part(path))

    def table(self) -> pa.Table:
        """The waiting rows: one per item and pooling."""
        rows = [(item, pooling, vectors[pooling]) for item, vectors in self.waiting for pooling in self.recipe.poolings]
        flat = pa.array(np.concatenate([vector for _, _, vector in rows]))
        columns = [
            *([getattr(item, name) for item, _, _ in rows] for name in ("item_id", "study_id", "section")),
            [pooling for _, pooling, _ in rows],
            [item.content for item, _, _ in rows],
            pa.FixedSizeListArray.from_arrays(flat, type=self.schema.field("embedding").type),
        ]
        return pa.Table.from_arrays([pa.array(c) if isinstance(c, list) else c for c in columns], schema=self.schema)

    @property
    def schema(self) -> pa.Schema:
        about = {
            "encoder": self.recipe.model,
            "key": self.recipe.key,
            "dim": str(self.recipe.dim),
            "licence": self.licence,
        }
        return embedding_schema(self.recipe.dim, about)


def known_blocks(
    folder: Path, parts: Sequence[Part], groups: Sequence[Group], poolings: Sequence[str]
) -> Iterator[Block]:
    """Blocks for those groups whose content the store holds already under another id."""
    by_content = {group[0].content: group for group in groups}
    for part in parts:
        path = folder / part.file
        contents = pq.ParquetFile(path).read(columns=["content"])["content"]
        if not pc.any(pc.is_in(contents, pa.array(by_content, pa.string()))).as_py():
            continue
        table = pq.ParquetFile(path).read()
        for content in {*contents.to_pylist()} & set(by_content):
            rows = table.filter(pc.equal(table["content"], content))
            yield Block([by_content.pop(content)], first_vectors(rows, poolings))


def first_vectors(rows: pa.Table, poolings: Sequence[str]) -> Vectors:
    """The first row of each pooling, as (1, dim)."""
    vectors = {}
    for pooling in poolings:
        row = rows.filter(pc.equal(rows["pooling"], pooling))["embedding"][0]
        vectors[pooling] = np.asarray(row.values).astype(np.float32)[None]
    return vectors
