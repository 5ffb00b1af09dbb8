"""Tables on their way: written a batch at a time beside their final names, and committed together."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError
from cxremb.store.files import discard, sha256_of, sync_folder, unwritable
from cxremb.store.layout import TABLES, DatasetPaths

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
    made = [folder for folder in (paths.folder, *paths.folder.parents) if not folder.exists()]
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
            for folder in made:
                folder.rmdir()
