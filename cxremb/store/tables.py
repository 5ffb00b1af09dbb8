"""The tables of one data set, asked in SQL: any number of rows in bounded memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from cxremb.errors import StoreError
from cxremb.store.views import literal, quoted

SETTINGS = {
    "memory_limit": "512MB",  # what sorting and grouping may take before they spill to the disk
    "threads": "4",  # each holds a row group or two
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}


@contextmanager
def opened(files: Mapping[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with one view per name in `files`. Raises `StoreError` if DuckDB cannot read or spill."""
    folder = next(iter(files.values())).parent
    with duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(folder / ".spill")}) as con:
        try:
            for name, path in files.items():
                con.execute(f'CREATE VIEW "{name}" AS FROM read_parquet({quoted(literal(path))})')
            yield con
        except duckdb.Error as error:
            raise StoreError(f"{folder}: {error}", hint="run the same `cxremb data add` again") from error
