"""The views of runs that SQL sees: `runs`, the tables beside each run.json, and `external`."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from cxremb.errors import StoreError
from cxremb.store.expected import read_object
from cxremb.store.layout import HISTORY, METRICS, NOT_IN_OLD_RUNS, ONCE_MEANS, ONCE_POOLED, PREDICTIONS, RATES
from cxremb.store.scans import columns, fill, literal, quoted, source, view

RUN_TABLES = {
    "history": (["run_id"], HISTORY),
    "predictions": (["run_id", "dataset"], PREDICTIONS),
    "metrics": (["run_id"], METRICS),
}
# An old file has pooled figures under names that are by now those of figures within folds, and means over folds under
# those of rates on one scale.
RENAMED = f"""(metric || CASE
    WHEN folds IS NULL AND NOT contains(part, 'fold') AND metric IN {ONCE_POOLED} THEN '_pooled'
    WHEN folds > 1 AND metric IN {ONCE_MEANS} AND filename IN (FROM meta.of_before) THEN '_mean'
    ELSE '' END)::VARCHAR AS metric"""
RUN_COLUMNS = {
    "run_id": "VARCHAR",
    "dataset": "VARCHAR",
    "head": "VARCHAR",
    "arm": "VARCHAR",
    "preset": "VARCHAR",
    "label_set": "VARCHAR",
    "split": "VARCHAR",
    "stores": "VARCHAR[]",
    "seeds": "BIGINT[]",
    "seconds": "DOUBLE",
    "created": "TIMESTAMP",
    "text": "VARCHAR",
    "text_role": "VARCHAR",
    "simulated": "BOOLEAN",
    "leaky": "BOOLEAN",
    "note": "VARCHAR",
    "trained_on": "VARCHAR",  # other data sets; null: the one that it lies below
}

# What `cxremb external` judged: figures of models that were trained on other data sets than they are tested on.
EXTERNAL = """
CREATE VIEW external AS
SELECT runs.dataset, trained_on, arm, run_id, runs.stores, label AS concept, metric, value, low, high, created
FROM runs JOIN metrics USING (run_id) WHERE trained_on IS NOT NULL AND part = 'external'
"""


def create_runs(con: duckdb.DuckDBPyConnection, folders: Sequence[Path], *, absent: bool) -> None:
    """`runs` from each run.json, and the tables beside it. Raises `StoreError` if one is there twice."""
    check_copies(folders)
    rows = [run_row(folder) for folder in folders]
    fill(con, "runs", RUN_COLUMNS, rows=rows)
    con.execute(of_before(folders, rows))
    runs: dict[str, list[Path]] = {}
    for folder in folders:
        runs.setdefault(folder.parent.parent.name, []).append(folder)
    for name, (origin, schema) in RUN_TABLES.items():
        found = [
            source((folder / f"{name}.parquet" for folder in own), dataset=dataset) for dataset, own in runs.items()
        ]
        kept = columns(schema)
        if name == "metrics":
            kept = [RENAMED if each.startswith('"metric"') else each for each in kept]
        younger = pa.schema([schema.field(column) for column in NOT_IN_OLD_RUNS.get(name, ())])
        lacks, unread_one = younger if len(younger) else None, absent and name == "predictions"
        con.execute(view(name, origin, kept, sources=found, may_lack=lacks, absent=unread_one))
    con.execute(EXTERNAL)


def of_before(folders: Sequence[Path], rows: Sequence[Sequence[Any]]) -> str:
    """SQL of the view of files whose rates of several folds are means over them. rows: of `runs`, one for each folder.

    A pair of `cxremb external` has every model judge all rows: nothing of it is within folds.
    """
    place = list(RUN_COLUMNS).index("trained_on")
    files = [folder / "metrics.parquet" for folder, row in zip(folders, rows, strict=True) if row[place] is None]
    paths = ", ".join(quoted(literal(path)) for path in files)
    found = f"""SELECT file_name FROM parquet_kv_metadata([{paths}])
        GROUP BY file_name HAVING NOT bool_or(key = '{RATES}')"""
    return f"CREATE VIEW meta.of_before AS {found if files else 'SELECT NULL::VARCHAR WHERE false'}"


def check_copies(folders: Iterable[Path]) -> None:
    """Raises `StoreError` for a run that two data sets have: views are joined by its id, and its rows would double."""
    first: dict[str, Path] = {}
    for folder in folders:
        other = first.setdefault(folder.name, folder)
        if other != folder:
            copies = f"{other.parent.parent.name} and {folder.parent.parent.name}"
            raise StoreError(
                f"data sets {copies} both have run {folder.name}: one is a copy of the other",
                hint=f"move the copy out of {folder.parent.parent.parent}: each of its rows would be counted twice",
            )


def run_row(folder: Path) -> list[Any]:
    """The values of `RUN_COLUMNS` that run.json knows. The folder names the run and the data set, as for its tables."""
    try:
        record = read_object((folder / "run.json").read_text(encoding="utf-8"))
        record |= {"run_id": folder.name, "dataset": folder.parent.parent.name, "created": moment(record["created"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / 'run.json'}: cannot be read ({error})", hint=f"delete the folder {folder}"
        ) from error
    return [record.get(name) for name in RUN_COLUMNS]


def moment(iso: str) -> datetime:
    """A point in time in UTC, as the naive TIMESTAMP that SQL compares."""
    return datetime.fromisoformat(iso).astimezone(UTC).replace(tzinfo=None)
