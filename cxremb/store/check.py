"""Whether a store holds what its versions say: every byte, every count, every vector."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.errors import StoreError, count_of, name_list, reason
from cxremb.store import remote
from cxremb.store.cached import CachedMatrix, cached_matrices
from cxremb.store.clean import drafts, leftovers, unlisted
from cxremb.store.concepts import own_meanings
from cxremb.store.dataset import Dataset
from cxremb.store.expected import refuse_links
from cxremb.store.files import sha256_of
from cxremb.store.layout import is_embeddings
from cxremb.store.manifest import Manifest, Part, manifest_paths, read_manifest
from cxremb.store.matrices import flat_values, halves
from cxremb.types import Progress, unwatched

IDENTITY = ["item_id", "section", "pooling"]
EXAMPLES = 3
NOT_OF_PARTS = "not the vectors of the store's parts"
INFINITE = 0x7C00  # the bits of an infinite float16; those of what is no number are above it
BELOW_HALF = 0x1FFF  # the bits of a float that float16 does not have


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be. A `harmless` one costs space and nothing else."""

    where: str  # the file or folder
    what: str
    remedy: str
    harmless: bool = False

    def dataset(self, root: Path) -> str | None:
        """The data set in whose folder it is."""
        found = Path(self.where)
        return found.relative_to(root).parts[0] if found.is_relative_to(root) else None


def make_again(folder: Path) -> str:
    """What to do about a store that is damaged: vectors can always be made anew."""
    return f"`cxremb store rm {shlex.quote(folder.name)} --yes`, then embed again"


def check_tables(dataset: Dataset) -> list[Problem]:
    """The data set's tables against the digests of dataset.json, and what lies beside them for nothing."""
    problems = []
    for name in dataset.table_names:
        try:
            getattr(dataset, name)
        except StoreError as error:
            problems.append(Problem(str(dataset.table_path(name)), str(error), error.hint))
    try:
        own_meanings(dataset)
    except StoreError as error:
        problems.append(Problem(str(dataset.paths.concepts), str(error), error.hint))
    if left := leftovers(dataset.paths):
        names = name_list((path.name for path in left), EXAMPLES)
        what = f"{count_of(len(left), 'table')} of before, drafts or removed stores: {names}"
        problems.append(Problem(str(dataset.paths.folder), what, "`cxremb store gc --yes` removes them", harmless=True))
    return problems


def check_store(folder: Path, progress: Progress = unwatched) -> list[Problem]:
    """Everything that is wrong in the folder of one store; reads every part of every version once.

    Nothing in it is believed, so it may be somebody else's: no file outside it is opened, and none is written.
    """
    problems, manifests = check_versions(folder)
    if problems and not manifests:
        return [*problems, Problem(str(folder), "no version that can be read", make_again(folder))]
    if not manifests:  # a job that was killed before its first version, or one that is at work
        what = f"no version yet, {count_of(len(unlisted(folder)), 'finished part')}: its job was stopped or is at work"
        return [Problem(str(folder), what, "embed again, which goes on from there", harmless=True)]
    parts = {part.file: part for manifest in reversed(manifests) for part in manifest.parts}  # those in force first
    cached = cached_matrices(folder, manifests[-1])
    for number, part in enumerate(progress(parts.values(), len(parts), f"check {folder.name}")):
        problems += check_part(folder, part, manifests[-1], cached=cached if number < len(manifests[-1].parts) else ())
    if not problems:
        problems += check_version(folder, manifests[-1])
        others = [one.path for one in cached if not one.is_whole]
        problems += [Problem(str(path), NOT_OF_PARTS, f"remove {path.parent}: it is made again") for path in others]
    what = "no version lists it: a stopped job left it"
    problems += [Problem(str(path), what, "embed again, or `cxremb store gc`", True) for path in unlisted(folder)]
    what = "a draft that was never finished"
    return [*problems, *(Problem(str(path), what, "`cxremb store gc` removes it", True) for path in drafts(folder))]


def check_versions(folder: Path) -> tuple[list[Problem], list[Manifest]]:
    """What is wrong with the versions and the folder, and the versions that can be read."""
    problems: list[Problem] = []
    manifests: list[Manifest] = []
    try:
        refuse_links(folder, folder.parents[1].resolve())
    except StoreError as error:
        return [Problem(str(folder), str(error), error.hint)], []
    for path in manifest_paths(folder):
        try:
            manifests.append(read_manifest(path))
        except StoreError as error:
            problems.append(Problem(str(path), str(error), error.hint))
    return problems, manifests


def check_part(folder: Path, part: Part, manifest: Manifest, *, cached: Sequence[CachedMatrix]) -> list[Problem]:
    """One part: its bytes as the version says, its rows and columns, and vectors that can be vectors.

    cached: matrices that are compared with it, since it is read only once.
    """
    path, remedy = folder / part.file, make_again(folder)
    with suppress(StoreError):
        remote.there(path)
    if not path.is_file():
        return [Problem(str(path), "missing", remedy)]
    if path.stat().st_size != part.size_bytes:
        return [Problem(str(path), f"{path.stat().st_size:,} bytes, should be {part.size_bytes:,}", remedy)]
    if sha256_of(path) != part.sha256:
        return [Problem(str(path), "its bytes have changed since it was written", remedy)]
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        return [Problem(str(path), f"cannot be read ({reason(error)})", remedy)]
    return [Problem(str(path), what, remedy) for what in check_rows(table, part, manifest, cached=cached)]


def check_rows(table: pa.Table, part: Part, manifest: Manifest, *, cached: Sequence[CachedMatrix]) -> Iterator[str]:
    """What is wrong with the rows of a part. cached: as in `check_part`."""
    if table.num_rows != part.rows:
        yield f"{table.num_rows:,} rows, its version says {part.rows:,}"
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if about.get("key") != manifest.recipe.key:
        yield f"written for another key, {about.get('key', 'none')[:12]}"
    if not is_embeddings(table.schema, manifest.recipe.dim):
        yield f"not the columns of vectors of {manifest.recipe.dim} dimensions"
        return
    for column in table.schema.names:
        if table[column].null_count:
            yield f"{table[column].null_count:,} nulls in {column}"
            return
    yield from check_vectors(table, manifest.recipe.dim, cached)


def check_vectors(table: pa.Table, dim: int, cached: Sequence[CachedMatrix]) -> Iterator[str]:
    """Rows whose vectors can be none. cached: as in `check_part`."""
    vectors = halves(table["embedding"], dim)
    for matrix in cached:
        matrix.compare(table, vectors)
    for what, bad in (bad_vectors(vectors) | {"not rounded to float16": unrounded(table)}).items():
        if bad.any():
            ids = table["item_id"].take(pa.array(np.flatnonzero(bad)[:EXAMPLES])).to_pylist()
            yield f"{bad.sum():,} vectors {what}: {', '.join(ids)}"


def unrounded(table: pa.Table) -> NDArray[np.bool_]:
    """(n,) which vectors have a value that float16 does not hold: SQL would see another than what is trained on."""
    dim = table.schema.field("embedding").type.list_size
    bits = [flat.view(np.uint32) for flat in flat_values(table["embedding"]) if flat.dtype == np.float32]
    if not bits:
        return np.zeros(len(table), np.bool_)
    found = [np.bitwise_or.reduce(one.reshape(-1, dim), axis=1) & BELOW_HALF != 0 for one in bits]
    return np.concatenate(found)


def bad_vectors(vectors: NDArray[np.float16]) -> dict[str, NDArray[np.bool_]]:
    """What no vector is -> (n,) which are. Told from the bits: to make float32 of them takes longer than the disk."""
    bits = vectors.view(np.uint16)
    largest = (bits & 0x7FFF).max(axis=1)  # less the sign
    repeated = (bits == bits[:, :1]).all(axis=1) & (bits.shape[1] > 1)
    return {
        "not finite": largest >= INFINITE,
        "all zero": largest == 0,
        "one number repeated": repeated & (largest > 0) & (largest < INFINITE),
    }


def check_version(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """The version in force as a whole: ids once, different contents told apart, failures as counted."""
    tables = [pq.ParquetFile(folder / part.file).read(columns=[*IDENTITY, "content"]) for part in manifest.parts]
    where, remedy = f"{folder} version {manifest.version}", make_again(folder)
    if tables:
        rows = pa.concat_tables(tables)
        once = rows.group_by(IDENTITY).aggregate([]).num_rows
        if once != rows.num_rows:
            yield Problem(where, f"{rows.num_rows - once:,} rows repeat an id", remedy)
        if collapsed(folder, manifest.parts, manifest):
            yield Problem(
                where,
                "different contents all have the same vector: the encoder saw nothing",
                f"check its weights and the range of its input, then {remedy}",
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
        vectors = halves(table["embedding"], manifest.recipe.dim).astype(np.float32)
        contents.update(table["content"].to_pylist())
        first = vectors[:1] if first is None else first
        if (vectors != first).any():
            return False
    return len(contents) > 1
