"""Vectors out of a store: the current version of each, by id."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb import images
from cxremb.errors import StoreError, did_you_mean, name_list, reason
from cxremb.store import remote
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.layout import VALUES, is_embeddings
from cxremb.store.manifest import Manifest, latest_manifest, manifest_paths, read_manifest
from cxremb.store.matrices import Matrix, halves, matrix_path, of_section, read_matrix, with_values, write_matrix
from cxremb.store.scans import quoted
from cxremb.store.texts import KEEP, place, way_of
from cxremb.tabular import Tabular

if TYPE_CHECKING:
    import torch


DECODER = "decoder"  # in the recipe's input of stores of films
IMPORTED = "imported"  # in the recipe's input, and in the provenance, of vectors that were made elsewhere
PROJECTED = "projected_from"  # in the recipe's input of the stores that `align` makes, and of no other


@dataclass(frozen=True, repr=False)
class Store(Tabular):
    """One version of one encoder's vectors over one data set."""

    folder: Path
    manifest: Manifest

    @staticmethod
    def open(root: Path, encoder: str, dataset: str | None = None, *, version: int | None = None) -> "Store":
        """A store under `root`; `dataset` may be left out while there is only one. Raises as `open_store` does."""
        return open_store(open_dataset(root, dataset), encoder, version)

    def shown(self) -> pa.Table:
        """In a notebook: how much there is of what."""
        counts = {"rows": self.rows, "dimensions": self.dim, "failed": self.failed}
        return pa.Table.from_pylist([{"sections": ", ".join(self.sections), **counts, "created": self.created}])

    def heading(self) -> str:
        """Its name and version."""
        return self.title

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
    def projected(self) -> bool:
        """Whether `align` made it of other stores: no encoder can be run to bring it up to date."""
        return PROJECTED in self.manifest.recipe.input

    @property
    def imported(self) -> bool:
        """Whether its vectors were made elsewhere: nothing here can make others like them."""
        return IMPORTED in self.manifest.recipe.input

    @property
    def xxxx(self) -> str:
        """What was done with the marks of removed words in its texts: keep, drop or mask."""
        return way_of(self.manifest.recipe.input)

    @property
    def older_decoder(self) -> bool:
        """Whether its films were decoded in another way than films are today."""
        decoder = self.manifest.recipe.input.get(DECODER)
        return decoder is not None and decoder != images.RECIPE

    @property
    def title(self) -> str:
        """Its name, its version, and that its texts were edited if they were: as runs and captions have it."""
        return f"{self.name} v{self.version}" + ("" if self.xxxx == KEEP else f" xxxx={self.xxxx}")

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
    def sections(self) -> list[str]:
        """What its rows are of: `image`, or the names of texts in the order of a report."""
        return sorted(self.table(["section"])["section"].unique().to_pylist(), key=place)

    @property
    def failed(self) -> int:
        return self.manifest.failed

    @property
    def part_paths(self) -> list[Path]:
        return [self.folder / part.file for part in self.manifest.parts]

    @property
    def failure_path(self) -> Path | None:
        return self.folder / self.manifest.failures if self.manifest.failures else None

    def at(self, version: int) -> "Store":
        """The same store as it was at an earlier version. Raises `StoreError` if that one is not here (any more)."""
        paths = {int(path.stem): path for path in manifest_paths(self.folder)}
        if version not in paths:
            known = ", ".join(map(str, paths))
            raise StoreError(f"{self.name}: no version {version}; it has {known}", hint="name one of them")
        return Store(self.folder, read_manifest(paths[version]))

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """All rows of this version, in the order they were written; vectors as float32, however they lie in the parts.

        Raises `StoreError` if a part is damaged.
        """
        tables = [with_values(part, VALUES["float32"]) for part in self.parts(columns)]
        if not tables:
            raise StoreError(f"{self.name}: holds no vectors", hint='see why: `cxremb sql "from failures"`')
        return pa.concat_tables(tables)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The same, part by part and as it lies there."""
        self.fetch()
        for path, part in zip(self.part_paths, self.manifest.parts, strict=True):
            made = "`cxremb store import FILE`" if self.imported else f"`cxremb embed --model {self.encoder}`"
            again = f"`cxremb store rm {self.name} --yes`, then {made}"
            try:
                file = pq.ParquetFile(path)
                whole = is_embeddings(file.schema_arrow, self.dim) and file.metadata.num_rows == part.rows
                table = file.read(columns=columns)
            except (OSError, pa.ArrowException) as error:
                raise StoreError(f"{path}: cannot be read ({reason(error)})", hint=again) from error
            if not whole:
                raise StoreError(f"{path}: not the {part.rows:,} rows of {self.dim} dimensions of its version", again)
            yield table

    def fetch(self) -> None:
        """Have all parts here, where the root lies in object storage. Raises `StoreError` for one that has changed."""
        remote.all_there({self.folder / part.file: part.sha256 for part in self.manifest.parts})

    def load(self, section: str = "image", pooling: str | None = None) -> Matrix:
        """The vectors of one section and pooling, memory-mapped: read from the parts once, from `cache/` after that."""
        pooling = pooling or self.pooling
        path = matrix_path(self.folder.parent.parent / "cache", self.manifest, section, pooling=pooling)
        if kept := read_matrix(path, self.dim):
            return kept
        rows = of_section(self.table(["item_id", "content", "section", "pooling"]), section, pooling)
        with suppress(StoreError):  # a root that cannot be written costs time and memory and nothing else
            write_matrix(path, rows, self.blocks(section, pooling), dim=self.dim)
        if kept := read_matrix(path, self.dim):
            return kept
        vectors, start = np.empty((len(rows), self.dim), np.float16), 0
        for block in self.blocks(section, pooling):
            vectors[start : start + len(block)] = block
            start += len(block)
        return Matrix(rows["item_id"].combine_chunks(), rows["content"].combine_chunks(), vectors)

    def blocks(self, section: str, pooling: str) -> Iterator[NDArray[np.float16]]:
        """The vectors of one section and pooling, (m, dim) of each part, one part after the other."""
        for part in self.parts(["section", "pooling", "embedding"]):
            yield halves(of_section(part, section, pooling)["embedding"], self.dim)

    def vectors(self, section: str = "image", pooling: str | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """(item ids, vectors of shape (n, dim)) of one section and pooling, in the same order.

        section: of texts, which one, as `sections` lists them; also `findings+impression`. Raises `StoreError` for one
        that the store has no row of.
        """
        found = self.load(section, pooling)
        if not len(found.ids) and self.rows:
            known = self.sections
            raise StoreError(
                f"{self.title}: no vectors of section {section!r}; it has {', '.join(known)}",
                hint=f"name one: vectors({known[0]!r})",
            )
        return found.ids.to_pylist(), found.vectors.astype(np.float32)

    def matrix(self, ids: Sequence[str], section: str = "image", pooling: str | None = None) -> NDArray[np.float32]:
        """(n, dim) in the order of `ids`. Raises `StoreError` naming those that the store does not hold."""
        found = self.load(section, pooling)
        rows = found.rows(ids)
        if (lost := np.flatnonzero(rows < 0)).size:
            named = name_list((ids[int(index)] for index in lost), 3)
            raise StoreError(f"{self.name}: no {section} vector of {len(lost)} ids: {named}", hint="embed again")
        return found.vectors[rows].astype(np.float32)

    def to_torch(self, section: str = "image", pooling: str | None = None) -> "tuple[list[str], torch.Tensor]":
        """(item ids, float32 tensor of shape (n, dim)) of one section and pooling."""
        import torch

        ids, vectors = self.vectors(section, pooling)
        return ids, torch.from_numpy(vectors)

    def to_arrow(self) -> pa.Table:
        """Every row, with the columns of a part."""
        return self.table()

    def sql(self, text: str) -> pa.Table:
        """What one SELECT finds; the table `store` is this version, with `embedding` as a fixed-size list of floats.

        Raises `QueryError` if the statement is wrong, or does more than read.
        """
        from cxremb.store.guard import selected  # here, since a store is read far more often than asked

        self.fetch()
        files = ", ".join(quoted(str(path)) for path in self.part_paths)
        vector = f"embedding::FLOAT[{self.dim}] AS embedding"  # a Parquet list loses its fixed size on reading
        view = f"CREATE VIEW store AS SELECT * REPLACE ({vector}) FROM read_parquet([{files}])"
        return selected(self.folder.resolve(), view, text)


def list_stores(dataset: Dataset) -> list[Store]:
    """Every committed store of a data set, newest first."""
    found = []
    for folder in sorted(dataset.paths.embeddings.glob("[!.]*@*")):
        manifest = latest_manifest(folder)
        if manifest is not None:
            found.append(Store(folder, manifest))
    return sorted(found, key=lambda store: (store.created, store.name), reverse=True)


def open_store(dataset: Dataset, encoder: str, version: int | None = None) -> Store:
    """The newest store of `encoder`, which may also be a full store name such as `biobert@0123456789ab`.

    An encoder's name means its texts as they are written: a store of edited ones is named in full.
    version: an older one, as long as it has not been freed; `biobert:3` says the same. Raises `StoreError`, with the
    name that comes close, if there is none.
    """
    name, _, suffix = encoder.rpartition(":")
    if name and suffix.isdigit():
        encoder, version = name, int(suffix)
    stores = list_stores(dataset)
    for store in stores:
        if encoder == store.name or (encoder == store.encoder and store.xxxx == KEEP):
            return store if version is None else store.at(version)
    known = name_list(store.title for store in stores) or "nothing yet"
    near = did_you_mean(encoder, [name for store in stores for name in (store.encoder, store.name)])
    raise StoreError(
        f"{dataset.name} has no store of {encoder!r}; it has {known}",
        hint=near or "`cxremb store ls` lists the stores, `cxremb models` what could make one",
    )
