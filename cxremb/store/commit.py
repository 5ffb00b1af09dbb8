"""A data set's tables as they are written: drafts that grow by rows, published together by dataset.json alone."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError, StoreError, VersionTaken
from cxremb.store import remote
from cxremb.store.dataset import Dataset, read_dataset
from cxremb.store.expected import tame
from cxremb.store.files import LOCK, discard, held, remove_files, replace_text, sha256_of, sync_folder, unwritable
from cxremb.store.layout import TABLES, TABLES_FORMAT, DatasetPaths, is_table, table_file
from cxremb.store.locations import drop_locations

SET_BY_COMMIT = ("format", "name", "created", "tables")  # in dataset.json; all else is the collection's and the labels'
TRIES = 20  # commits of other machines that one may have to begin again for; on one machine a lock makes it wait
BATCH_ROWS = 20_000  # a row group, and all of a table that is in memory: of reports, about 30 MB


class Draft:
    """One table that grows by rows. Nobody reads it before `publish`; raises `StoreError` if the disk fails."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.schema, self.rows = folder, name, TABLES[name], 0
        self.draft = folder / f".{uuid4().hex}.parquet"
        self.pending: list[tuple[Any, ...]] = []
        self.digest: str | None = None
        try:
            self.writer = pq.ParquetWriter(self.draft, self.schema, compression="zstd")
        except OSError as error:
            raise unwritable(self.draft, error) from error

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
            raise unwritable(self.draft, error) from error
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
            raise unwritable(self.draft, error) from error

    def publish(self) -> dict[str, Any]:
        """What dataset.json says of the table, which now has the name that follows from its digest."""
        digest = self.finish()
        path = self.folder / table_file(self.name, digest)
        try:
            remote.in_place(self.draft, path, new=False)
            self.draft.replace(path)
            sync_folder(self.folder)
        except OSError as error:
            raise unwritable(path, error) from error
        return {"file": path.name, "rows": self.rows, "sha256": digest}

    def drop(self) -> None:
        """Close and remove what has not been published."""
        with suppress(OSError):  # a full disk fails again here; the first error says more
            self.writer.close()
        discard(self.draft)


@contextmanager
def writing_tables(paths: DatasetPaths) -> Iterator[None]:
    """Be the only one who writes the tables of this data set: whoever else does has ended, or begins afterwards.

    Nobody who reads waits. Tables that dataset.json names no longer are removed when the next writer has ended, so that
    whoever reads on from before one change still finds them. A new folder in which nothing was committed goes again.
    """
    new_folders = [folder for folder in (paths.folder, *paths.folder.parents) if not folder.exists()]
    with held(paths.folder, fcntl.LOCK_EX, create=True, wait=True) as locked:
        remote.refreshed(paths.folder)
        before = named_tables(paths)
        try:
            yield
            if locked and before is not None:
                with suppress(OSError):
                    remove_files(unnamed_tables(paths, before))
        finally:
            if new_folders and not paths.descriptor.exists():
                discard(paths.folder / LOCK)
                drop_locations(paths)
                with suppress(OSError):  # not empty: somebody else has put something there
                    for folder in new_folders:
                        folder.rmdir()


def again_if_taken(work: Callable[[], Dataset]) -> Dataset:
    """What `work` commits; done again, from what is there then, if another machine has been first."""
    for _ in range(TRIES - 1):
        with suppress(VersionTaken):
            return work()
    return work()


def named_tables(paths: DatasetPaths) -> set[str] | None:
    """The files that dataset.json names; none without one. None if it cannot be read: then any may be needed."""
    if not paths.descriptor.exists():
        return set()
    try:
        dataset = read_dataset(paths.descriptor)
    except StoreError:
        return None
    return {dataset.table_path(name).name for name in dataset.table_names}


def unnamed_tables(paths: DatasetPaths, spared: Iterable[str] = ()) -> list[Path]:
    """Tables that dataset.json does not name, but for those `spared`; none if it cannot be read.

    In object storage, where no lock tells that somebody is about to name one, those that were put there a week ago.
    """
    named = named_tables(paths)
    if named is None:
        return []
    found = [path for name in TABLES for path in paths.folder.glob(f"{name}*.parquet") if is_table(name, path.name)]
    return remote.settled(sorted(path for path in found if path.name not in named | set(spared)))


@contextmanager
def drafting(paths: DatasetPaths, names: Iterable[str] = TABLES) -> Iterator[Mapping[str, Draft]]:
    """A draft of each table named. What is not published when the block ends is removed."""
    drafts: dict[str, Draft] = {}
    try:
        for name in names:
            drafts[name] = Draft(paths.folder, name)
        yield drafts
    finally:
        for draft in drafts.values():
            draft.drop()


def commit_dataset(
    paths: DatasetPaths, drafts: Mapping[str, Draft], about: Mapping[str, Any], *, kept: Mapping[str, Any] | None = None
) -> Dataset:
    """The data set, its drafts published. To be called by whoever holds `writing_tables`.

    kept: what the old dataset.json says of the tables that have no draft. Each table gets a name of its own, and none
    is replaced: that dataset.json is, in one step, is the commit. Before it all is as it was, after it all is new.
    """
    written = {name: draft.publish() for name, draft in drafts.items()}
    descriptor = {
        "format": TABLES_FORMAT,
        "name": paths.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **tame(about),
        "tables": {**(kept or {}), **written},
    }
    replace_text(paths.descriptor, json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n")
    return Dataset(paths, descriptor)
