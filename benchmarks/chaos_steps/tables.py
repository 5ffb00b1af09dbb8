"""All that a store root holds, to compare two of them by: without times, ids of runs and names of files."""

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import LOCKS
from cxremb.store.mirror import LOCATIONS
from cxremb.store.notes import notes_path
from cxremb.store.reader import list_stores
from cxremb.training.runs import list_runs

RANDOM = re.compile(r"[0-9a-f]{8,}|\d{8}T\d{6}")  # digests, random names, moments


def digest(rows: Iterable[object]) -> str:
    """A digest of rows, in no order."""
    return hashlib.sha256("\n".join(sorted(map(str, rows))).encode()).hexdigest()[:16]


def of_table(table: pa.Table) -> str:
    """A digest of a table; columns that are younger than its file are null, and left out as all nulls are."""
    return digest({name: value for name, value in row.items() if value is not None} for row in table.to_pylist())


def final_tables(root: Path) -> dict[str, Any]:
    """Name -> digest of all that the data set `small` has: tables, vectors, splits, runs, notes, the last audit."""
    dataset = open_dataset(root, "small")
    found: dict[str, Any] = {f"table {name}": of_table(getattr(dataset, name)) for name in dataset.table_names}
    found["label sets"] = sorted(dataset.descriptor["label_sets"])
    for store in list_stores(dataset):
        parts = [pq.ParquetFile(path).read() for path in store.part_paths]
        found[f"store {store.name}"] = digest(row for part in parts for row in part.to_pylist())
        found[f"failures of {store.name}"] = store.manifest.failed
    for path in sorted(dataset.paths.splits.glob("[!.]*.parquet")):
        found[f"split {path.stem}"] = of_table(pq.ParquetFile(path).read())
    found |= runs_of(dataset)
    notes = [row for path in notes_path(dataset) for row in pq.ParquetFile(path).read().to_pylist()]
    found["notes"] = sorted((row["author"], row["study_id"], row["text"]) for row in notes)
    audits = sorted(dataset.paths.audits.glob("[!.]*.parquet"))
    found["audit"] = audit_of(audits[-1]) if audits else ""
    return found


def audit_of(path: Path) -> str:
    """A digest of an audit, without its moment and what it says of the newest run: two may be of one second."""
    rows = pq.ParquetFile(path).read().drop_columns(["created"]).to_pylist()
    return digest(row for row in rows if row["name"] != "suspected labels")


def runs_of(dataset: Dataset) -> dict[str, Any]:
    """Key -> what a run says. The same run twice would be two runs of one key."""
    runs = list_runs(dataset)
    found: dict[str, Any] = {}
    for run in runs:
        weights = {name: {key: one.tobytes() for key, one in own.items()} for name, own in run.weights().items()}
        tables = [of_table(table) for table in (run.metrics, run.prediction_rows, run.history)]
        found[f"run {run.record.key[:12]} {run.arm}"] = digest([tables, weights])
    found["runs"] = len(runs)
    return found


def left_behind(root: Path) -> dict[str, int]:
    """Kinds of files with a dot, which no reader looks at, that are no locks: what stopped writers left."""
    found = (path for path in root.rglob("*") if is_hidden(path.relative_to(root)) and path.is_file())
    return dict(Counter(kind_of(path, root) for path in found if path.name not in LOCKS))


def is_hidden(path: Path) -> bool:
    """Whether a path below the root has a dot somewhere, and is not of the folder that says where films lie."""
    return any(one.startswith(".") for one in path.parts) and path.parts[0] != LOCATIONS


def aged(root: Path) -> None:
    """What writers left is of last week."""
    week = time.time() - 8 * 86_400
    for path in root.rglob("*"):
        if is_hidden(path.relative_to(root)):
            os.utime(path, (week, week))


def kind_of(path: Path, root: Path) -> str:
    """A path below the root with what is random in it as *."""
    return RANDOM.sub("*", str(path.relative_to(root)))
