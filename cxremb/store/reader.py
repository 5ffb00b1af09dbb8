"""Vectors out of a store: the current version of each, by id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset
from cxremb.store.manifest import Manifest, latest_manifest


@dataclass(frozen=True)
class Store:
    """One version of one encoder's vectors over one data set."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.recipe.store

    @property
    def encoder(self) -> str:
        return self.manifest.recipe.encoder

    @property
    def modality(self) -> str:
        return self.manifest.recipe.modality

    @property
    def dim(self) -> int:
        return self.manifest.recipe.dim

    @property
    def pooling(self) -> str:
        return self.manifest.recipe.poolings[0]

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def created(self) -> str:
        return self.manifest.created

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.manifest.parts)

    @property
    def failed(self) -> int:
        return self.manifest.failed

    @property
    def part_paths(self) -> list[Path]:
        return [self.folder / part.file for part in self.manifest.parts]

    @property
    def failure_path(self) -> Path | None:
        return self.folder / self.manifest.failures if self.manifest.failures else None

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """All rows of this version, in the order they were written. Raises `StoreError` if a part is damaged."""
        tables = []
        for path, part in zip(self.part_paths, self.manifest.parts, strict=True):
            try:
                table = pq.ParquetFile(path).read(columns=columns)
            except (OSError, pa.ArrowException) as error:
                raise StoreError(
                    f"{path}: cannot be read ({str(error).splitlines()[0]})",
                    hint=f"delete the folder {self.folder} and embed again with --model {self.encoder}",
                ) from error
            if table.num_rows != part.rows:
                raise StoreError(f"{path}: {table.num_rows} rows, its manifest says {part.rows}", hint="embed again")
            tables.append(table)
        if not tables:
            raise StoreError(f"{self.name}: holds no vectors", hint='see why: cxremb sql "from failures"')
        return pa.concat_tables(tables)

    def vectors(self, section: str = "image", pooling: str | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """(item ids, vectors of shape (n, dim)) of one section and pooling, in the same order."""
        table = self.table()
        kept = table.filter(
            pc.and_(pc.equal(table["section"], section), pc.equal(table["pooling"], pooling or self.pooling))
        )
        return kept["item_id"].to_pylist(), matrix(kept["embedding"], self.dim)


def matrix(column: pa.ChunkedArray, dim: int) -> NDArray[np.float32]:
    """An embedding column as float32 of shape (n, dim)."""
    values = [np.asarray(chunk.flatten()) for chunk in column.chunks]  # no nulls: the schema forbids them
    flat = np.concatenate(values) if values else np.empty(0, np.float16)
    return flat.astype(np.float32).reshape(-1, dim)


def list_stores(dataset: Dataset) -> list[Store]:
    """Every committed store of a data set, newest first."""
    found = []
    for folder in sorted(dataset.paths.embeddings.glob("*@*")):
        manifest = latest_manifest(folder)
        if manifest is not None:
            found.append(Store(folder, manifest))
    return sorted(found, key=lambda store: (store.created, store.name), reverse=True)


def open_store(dataset: Dataset, encoder: str) -> Store:
    """The newest store of `encoder`, which may also be a full store name such as `biobert@0123456789ab`.

    Raises `StoreError`, with the command that makes one, if there is none.
    """
    stores = list_stores(dataset)
    for store in stores:
        if encoder in (store.encoder, store.name):
            return store
    known = ", ".join(store.name for store in stores) or "nothing yet"
    raise StoreError(
        f"{dataset.name} has no store of {encoder!r}; it has {known}",
        hint=f"run `cxremb embed --model {encoder.split('@', maxsplit=1)[0]}`",
    )
