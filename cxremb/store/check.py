"""Whether a store holds what its versions say: every byte, every count, every vector."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError
from cxremb.store.clean import drafts, unlisted
from cxremb.store.dataset import Dataset
from cxremb.store.files import sha256_of
from cxremb.store.manifest import Manifest, Part, manifest_paths, read_manifest
from cxremb.store.reader import matrix
from cxremb.types import Progress, unwatched

IDENTITY = ["item_id", "section", "pooling"]
EXAMPLES = 3
DELETE_AND_EMBED = "delete the folder of this store and embed again: vectors can always be made anew"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be. A `harmless` one costs space and nothing else."""

    where: str  # the file or folder
    what: str
    remedy: str
    harmless: bool = False


def check_tables(dataset: Dataset) -> list[Problem]:
    """The data set's tables against the digests of dataset.json."""
    problems = []
    for name in dataset.table_names:
        try:
            getattr(dataset, name)
        except StoreError as error:
            problems.append(Problem(str(dataset.paths.table(name)), str(error), error.hint))
    return problems


def check_store(folder: Path, progress: Progress = unwatched) -> list[Problem]:
    """Everything that is wrong in the folder of one store; reads every part of every version once."""
    problems, manifests = [], []
    for path in manifest_paths(folder):
        try:
            manifests.append(read_manifest(path))
        except StoreError as error:
            problems.append(Problem(str(path), str(error), error.hint))
    if not manifests:
        return [*problems, Problem(str(folder), "no version that can be read", DELETE_AND_EMBED)]
    parts = {part.file: part for manifest in manifests for part in manifest.parts}
    for part in progress(parts.values(), len(parts), f"check {folder.name}"):
        problems += check_part(folder, part, manifests[-1])
    if not problems:
        problems += [*check_version(folder, manifests[-1])]
    for path in unlisted(folder):
        problems.append(
            Problem(str(path), "no version lists it: a stopped job left it", "embed again, or `cxremb store gc`", True)
        )
    for path in drafts(folder):
        problems.append(Problem(str(path), "a draft that was never finished", "`cxremb store gc` removes it", True))
    return problems


def check_part(folder: Path, part: Part, manifest: Manifest) -> list[Problem]:
    """One part: its bytes as the version says, its rows and columns, and vectors that can be vectors."""
    path = folder / part.file
    if not path.is_file():
        return [Problem(str(path), "missing", DELETE_AND_EMBED)]
    if path.stat().st_size != part.size_bytes:
        return [Problem(str(path), f"{path.stat().st_size:,} bytes, should be {part.size_bytes:,}", DELETE_AND_EMBED)]
    if sha256_of(path) != part.sha256:
        return [Problem(str(path), "its bytes have changed since it was written", DELETE_AND_EMBED)]
    table = pq.ParquetFile(path).read()
    found = list(check_rows(table, part, manifest))
    return [Problem(str(path), what, DELETE_AND_EMBED) for what in found]


def check_rows(table: pa.Table, part: Part, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the rows of a part."""
    if table.num_rows != part.rows:
        yield f"{table.num_rows:,} rows, its version says {part.rows:,}"
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if about.get("key") != manifest.recipe.key:
        yield f"written for another key, {about.get('key', 'none')[:12]}"
    for column in table.schema.names:
        if table[column].null_count:
            yield f"{table[column].null_count:,} nulls in {column}"
            return
    vectors = matrix(table["embedding"], manifest.recipe.dim)
    for what, bad in (
        ("not finite", ~np.isfinite(vectors).all(axis=1)),
        ("all zero", ~vectors.any(axis=1)),
        ("one number repeated", (vectors.shape[1] > 1) & (vectors == vectors[:, :1]).all(axis=1) & vectors.any(axis=1)),
    ):
        if bad.any():
            ids = table["item_id"].take(pa.array(np.flatnonzero(bad)[:EXAMPLES])).to_pylist()
            yield f"{bad.sum():,} vectors {what}: {', '.join(ids)}"


def check_version(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """The version in force as a whole: ids once, different contents told apart, failures as counted."""
    tables = [pq.ParquetFile(folder / part.file).read(columns=[*IDENTITY, "content"]) for part in manifest.parts]
    where = f"{folder.name} version {manifest.version}"
    if tables:
        rows = pa.concat_tables(tables)
        once = rows.group_by(IDENTITY).aggregate([]).num_rows
        if once != rows.num_rows:
            yield Problem(where, f"{rows.num_rows - once:,} rows repeat an id", DELETE_AND_EMBED)
        if collapsed(folder, manifest.parts, manifest):
            yield Problem(
                where,
                "different contents all have the same vector: the encoder saw nothing",
                "check its weights and the range of its input, then delete the store and embed again",
            )
    listed = 0
    if manifest.failures:
        path = folder / manifest.failures
        listed = pq.read_metadata(path).num_rows if path.is_file() else -1
    if listed != manifest.failed:
        yield Problem(where, f"{manifest.failed:,} failures counted, its file lists {max(listed, 0):,}", "embed again")


def collapsed(folder: Path, parts: Sequence[Part], manifest: Manifest) -> bool:
    """Whether every row of every part has one and the same vector although the contents differ."""
    first, contents = None, set()
    for part in parts:
        table = pq.ParquetFile(folder / part.file).read(columns=["pooling", "content", "embedding"])
        table = table.filter(pa.compute.equal(table["pooling"], manifest.recipe.poolings[0]))
        vectors = matrix(table["embedding"], manifest.recipe.dim)
        contents.update(table["content"].to_pylist())
        first = vectors[:1] if first is None else first
        if (vectors != first).any():
            return False
    return len(contents) > 1
