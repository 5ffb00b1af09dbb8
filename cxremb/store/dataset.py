"""A data set's tables: written a batch at a time as drafts, published together by dataset.json, read back as Arrow."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError, StoreError, did_you_mean, name_list
from cxremb.store.files import discard, replace_text, sha256_of, sync_folder, unwritable
from cxremb.store.layout import FORMAT_VERSION, TABLES, YOUNGER, DatasetPaths

BATCH_ROWS = 20_000  # a row group, and all of a table that is in memory: of reports, about 30 MB


class Draft:
    """One table that grows by rows. It replaces nothing until `publish`; raises `StoreError` if the disk fails."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self.draft = path.parent / f".{uuid4().hex}{path.suffix}"
        self.pending: list[tuple[Any, ...]] = []
        self.digest: str | None = None
        try:
            self.writer = pq.ParquetWriter(self.draft, schema, compression="zstd")
        except OSError as error:
            raise unwritable(path, error) from error

    def add(self, *row: Any) -> None:
        """One row, in the order of the columns."""
        self.pending.append(row)
        if len(self.pending) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """The rows that wait, written as one row group. Raises `DataError` for text that is not Unicode."""
        if not self.pending:
            return
        columns = zip(*self.pending, strict=True)
        try:
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        except UnicodeEncodeError as error:  # a file name or a text in another encoding, carried as surrogates
            raise DataError(
                f"{error.object!r} is not valid Unicode: it cannot be stored",
                hint="rename that file, or save the table it comes from in UTF-8",
            ) from error
        self.pending = []
        self.extend(pa.table(arrays, schema=self.schema))

    def extend(self, table: pa.Table) -> None:
        """All rows of `table`, after those that wait."""
        self.flush()
        try:
            self.writer.write_table(table)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.rows += table.num_rows

    def finish(self) -> str:
        """The SHA-256 of the finished draft, which is on the disk and not only on its way there. No row may follow."""
        if self.digest is not None:
            return self.digest
        self.flush()
        try:
            self.writer.close()
            with self.draft.open("rb") as file:
                os.fsync(file.fileno())
            self.digest = sha256_of(self.draft)
            return self.digest
        except OSError as error:
            raise unwritable(self.path, error) from error

    def publish(self) -> None:
        """The draft under its final name, in one step; the table that was there is gone."""
        try:
            self.draft.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def drop(self) -> None:
        """Close and remove what has not been published."""
        with suppress(OSError):  # a full disk fails again here; the first error says more
            self.writer.close()
        discard(self.draft)


@contextmanager
def drafting(paths: DatasetPaths, names: Iterable[str] = TABLES) -> Iterator[Mapping[str, Draft]]:
    """A draft of each table named. What is not published when the block ends is removed, and so are new folders."""
    new_folders = [folder for folder in (paths.folder, *paths.folder.parents) if not folder.exists()]
    drafts: dict[str, Draft] = {}
    try:
        try:
            paths.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(paths.folder, error) from error
        for name in names:
            drafts[name] = Draft(paths.table(name), TABLES[name])
        yield drafts
    finally:
        for draft in drafts.values():
            draft.drop()
        with suppress(OSError):  # not empty: something was published
            for folder in new_folders:
                folder.rmdir()


@dataclass(frozen=True)
class Dataset:
    """One collection under the store root. Tables are read on first use."""

    paths: DatasetPaths
    descriptor: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def simulated(self) -> bool:
        return bool(self.descriptor["simulated"])

    @cached_property
    def studies(self) -> pa.Table:
        return read_table(self, "studies")

    @cached_property
    def images(self) -> pa.Table:
        return read_table(self, "images")

    @cached_property
    def reports(self) -> pa.Table:
        return read_table(self, "reports")

    @cached_property
    def labels(self) -> pa.Table:
        return read_table(self, "labels")

    @cached_property
    def facts(self) -> pa.Table:
        return read_table(self, "facts") if "facts" in self.table_names else TABLES["facts"].empty_table()

    @property
    def table_names(self) -> list[str]:
        """The tables it has; one that an earlier cxremb wrote lacks those of `YOUNGER`."""
        return [name for name in TABLES if name not in YOUNGER or name in self.descriptor["tables"]]


def commit_dataset(
    paths: DatasetPaths, drafts: Mapping[str, Draft], about: Mapping[str, Any], *, kept: Mapping[str, Any] | None = None
) -> Dataset:
    """The data set, its drafts published. dataset.json goes last and names each table's digest: it is the commit.

    kept: what the old dataset.json says of the tables that have no draft. All drafts are on the disk before the first
    takes its name, so that only an interruption between these few renames is left, and a digest tells it.
    """
    digests = {name: draft.finish() for name, draft in drafts.items()}
    written = {name: {"rows": draft.rows, "sha256": digests[name]} for name, draft in drafts.items()}
    for draft in drafts.values():
        draft.publish()
    descriptor = {
        "format": FORMAT_VERSION,
        "name": paths.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "tables": {**(kept or {}), **written},
    }
    replace_text(paths.descriptor, json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n")
    return Dataset(paths, descriptor)


def list_datasets(root: Path) -> list[Dataset]:
    """Every data set under `root`, by name."""
    return [read_dataset(path) for path in sorted(root.glob("*/dataset.json"))]


def open_dataset(root: Path, name: str | None = None) -> Dataset:
    """The data set called `name`, or the only one there is.

    Raises `DataError` when there is none, or several and no name.
    """
    names = [path.parent.name for path in sorted(root.glob("*/dataset.json"))]
    if name is None and len(names) > 1:
        raise DataError(f"{root} holds several data sets: {', '.join(names)}", hint="choose one with --dataset NAME")
    if not names or (name is not None and name not in names):
        wanted = f"no data set called {name!r}" if name else "no data set"
        known = f"; it holds {name_list(names)}" if names else ""
        raise DataError(
            f"{root}: {wanted}{known}",
            hint=did_you_mean(name or "", names)
            + "add one with `cxremb data add`, or name another store root with --root or CXREMB_STORES",
        )
    return read_dataset(DatasetPaths(root, name or names[0]).descriptor)


def read_dataset(path: Path) -> Dataset:
    """The data set that `path`, a dataset.json, describes. Raises `StoreError` if it cannot be read."""
    try:
        descriptor = json.loads(path.read_text(encoding="utf-8"))
        found = descriptor["format"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error})", hint="add the data set again with `cxremb data add`"
        ) from error
    if found != FORMAT_VERSION:
        raise StoreError(
            f"{path}: format {found}, this cxremb reads {FORMAT_VERSION}", hint="use the cxremb that wrote it"
        )
    return Dataset(DatasetPaths(path.parent.parent, path.parent.name), descriptor)


def terms_of_collection(folder: Path) -> dict[str, str]:
    """`dataset_licence` and `dataset_citation` of the collection whose store lies in `folder`; "" where none is said.

    They go wherever its vectors go: a part that somebody copied still says whose films it was made of.
    """
    descriptor = folder.parent.parent / "dataset.json"
    about = read_dataset(descriptor).descriptor if descriptor.is_file() else {}
    return {f"dataset_{name}": str(about.get(name) or "") for name in ("licence", "citation")}


def read_table(dataset: Dataset, name: str) -> pa.Table:
    """One of the data set's tables; columns that are younger than its file are null.

    Raises `StoreError` if it is not the file that dataset.json names.
    """
    table = pq.read_table(verified(dataset, name))
    for field in TABLES[name]:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def verified(dataset: Dataset, name: str) -> Path:
    """The path of one table. Raises `StoreError` if it is not the file that dataset.json names."""
    path = dataset.paths.table(name)
    if not path.is_file() or sha256_of(path) != dataset.descriptor["tables"][name]["sha256"]:
        raise StoreError(
            f"{path}: missing, or not the file that dataset.json names (was an earlier `data add` interrupted?)",
            hint="run the same `cxremb data add` again",
        )
    return path
