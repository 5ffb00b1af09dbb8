"""The views that SQL sees: each one a `read_parquet` over the files of the current versions, read when it is asked."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset, list_datasets
from cxremb.store.layout import (
    AUDIT,
    BEFORE_READING,
    FAILURES,
    HISTORY,
    JOINED,
    METRICS,
    PRE_READ,
    PREDICTIONS,
    SPLITS,
    TABLES,
)
from cxremb.store.reader import Store, list_stores
from cxremb.store.texts import KEEP, PLACES, REPORT

TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.timestamp("s", "UTC"): "TIMESTAMP",
}

# Where a file lies says whose it is: these are folders of its path, counted from the end.
DATASET_OF_TABLE = "parse_path(filename)[-2] AS dataset"  # <dataset>/images.parquet
DATASET_OF_FOLDER = "parse_path(filename)[-3] AS dataset"  # <dataset>/splits/x.parquet, <dataset>/audits/x.parquet
DATASET_OF_DEEP = "parse_path(filename)[-4] AS dataset"  # <dataset>/runs/<run_id>/x.parquet, or a store's part
STORE = "parse_path(filename)[-2] AS store"
RUN = "parse_path(filename)[-2] AS run_id"

STORE_COLUMNS = {
    "dataset": "VARCHAR",
    "store": "VARCHAR",
    "encoder": "VARCHAR",
    "modality": "VARCHAR",
    "version": "INTEGER",
    "rows": "BIGINT",
    "dim": "INTEGER",
    "failed": "BIGINT",
    "created": "TIMESTAMP",
    "xxxx": "VARCHAR",
}
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
}


def joined(name: str, condition: str) -> str:
    """SQL of the text `name`: the sections of each study for which `condition` holds, joined as `store.texts` does."""
    places = f"nullif(list_position({list(PLACES)}, section), 0)"
    return f"""
    SELECT dataset, study_id, '{name}', string_agg(text, ' ' ORDER BY {places} NULLS LAST, section)
    FROM reports WHERE text <> '' AND {condition} GROUP BY dataset, study_id"""


# Stale: encoding again would add or drop vectors. Compared are (item, section, content), as the embed plan does it;
# what failed counts as seen. Written as one set difference each way, so that it costs nothing unless it is asked for.
STALE = f"""
CREATE VIEW meta.texts AS
    SELECT dataset, study_id, section, text FROM reports WHERE text <> ''
    UNION ALL {joined(REPORT, f"section IN {JOINED}")}
    UNION ALL {joined(PRE_READ, f"role = '{BEFORE_READING}'")};

CREATE VIEW meta.wanted AS
WITH items AS (
    SELECT dataset, 'image' AS modality, image_id AS item_id, 'image' AS section, sha256 AS content
    FROM images WHERE path IS NOT NULL
    UNION ALL
    SELECT dataset, 'text', study_id, section, sha256(text) FROM meta.texts
)
SELECT dataset, store, item_id, section, content
FROM items JOIN meta.stores USING (dataset, modality)
ANTI JOIN failures USING (dataset, store, item_id, section);

CREATE VIEW stores AS
SELECT *, (dataset, store) IN (
    SELECT (dataset, store) FROM (FROM meta.wanted EXCEPT FROM meta.held)
    UNION ALL
    SELECT (dataset, store) FROM (FROM meta.held EXCEPT FROM meta.wanted)
) AS stale FROM meta.stores;
"""


@dataclass(frozen=True)
class Holdings:
    """What lies under a store root now."""

    datasets: Sequence[Dataset]
    stores: Sequence[tuple[str, Store]]  # with the name of the data set
    runs: Sequence[Path]  # folders with a run.json


def survey(root: Path) -> Holdings:
    """The data sets, the current version of each store and the finished runs. Raises `StoreError` on a damaged one."""
    datasets = list_datasets(root)
    stores = [(dataset.name, store) for dataset in datasets for store in list_stores(dataset)]
    found = (path.parent for dataset in datasets for path in sorted(dataset.paths.runs.glob("[!.]*/run.json")))
    return Holdings(datasets, stores, list(found))


def create_views(con: duckdb.DuckDBPyConnection, held: Holdings) -> None:
    """Every view of docs/sql.md in `con`. Those without a file yet are empty, with their columns."""
    con.execute("CREATE SCHEMA meta")  # what the views need and nobody asks for
    for name, schema in TABLES.items():
        files = (dataset.paths.table(name) for dataset in held.datasets if name in dataset.table_names)
        con.execute(view(name, [DATASET_OF_TABLE], columns(schema), files=files, may_lack=schema))
    splits, audits = (
        [path for dataset in held.datasets for path in sorted(getattr(dataset.paths, kind).glob("[!.]*.parquet"))]
        for kind in ("splits", "audits")
    )
    con.execute(view("splits", [DATASET_OF_FOLDER], columns(SPLITS), files=splits))
    con.execute(view("audits", [DATASET_OF_FOLDER], columns(AUDIT), files=audits))
    failures = (store.failure_path for _, store in held.stores if store.failure_path)
    con.execute(view("failures", [DATASET_OF_DEEP, STORE], columns(FAILURES), files=failures))
    create_vectors(con, held.stores)
    create_stores(con, held.stores)
    create_runs(con, held.runs)


def view(
    name: str, origin: Sequence[str], kept: Sequence[str], *, files: Iterable[Path], may_lack: pa.Schema | None = None
) -> str:
    """SQL that makes the view `name`: what the path tells (`origin`), then the columns, each as `x::TYPE AS x`.

    may_lack: columns that are younger than some files; they are null there.
    """
    paths = [quoted(literal(path)) for path in files]
    if paths:
        chosen, source = [*origin, *kept], f"read_parquet([{', '.join(paths)}], filename=true, union_by_name=true)"
        if may_lack:
            nulls = ", ".join(f'NULL::{TYPES[field.type]} AS "{field.name}"' for field in may_lack)
            source = f"(FROM {source} UNION ALL BY NAME SELECT {nulls} WHERE false)"
    else:
        empty = [f"NULL::{cast.rpartition('::')[2]}" for cast in kept]
        chosen, source = (
            [*(f"NULL::VARCHAR AS {text.rpartition(' ')[2]}" for text in origin), *empty],
            "(SELECT 1) WHERE false",
        )
    return f'CREATE VIEW "{name}" AS SELECT {", ".join(chosen)} FROM {source}'


def columns(schema: pa.Schema) -> list[str]:
    """The columns of a layout table as SQL, each cast to its type."""
    return [f'{source(field)}::{TYPES[field.type]} AS "{field.name}"' for field in schema]


def source(field: pa.Field) -> str:
    """A column as SQL reads it: quoted, and a point in time in UTC, where a plain cast would give the time of here."""
    return f'make_timestamp(epoch_us("{field.name}"))' if pa.types.is_timestamp(field.type) else f'"{field.name}"'


def literal(path: Path) -> str:
    """`path` as a pattern that matches it alone: DuckDB would read `data [1]` as the folder `data 1`."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def quoted(value: str) -> str:
    """`value` as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def create_vectors(con: duckdb.DuckDBPyConnection, stores: Sequence[tuple[str, Store]]) -> None:
    """`embeddings`, and a view per encoder; its edited texts have one of their own, such as `biobert_drop`.

    For `nearest`, `meta` has one per store.
    """
    by_view: dict[str, list[Store]] = {}
    for _, store in stores:
        suffix = "" if store.xxxx == KEEP else f"_{store.xxxx}"
        by_view.setdefault(encoder_view(store.encoder + suffix), []).append(store)
    con.execute(vectors_view("embeddings", [store for _, store in stores], "FLOAT[]"))
    for name, members in by_view.items():
        dims = {store.dim for store in members}
        con.execute(vectors_view(name, members, f"FLOAT[{dims.pop()}]" if len(dims) == 1 else "FLOAT[]"))
    for name in {store.name for _, store in stores}:
        members = [store for _, store in stores if store.name == name]  # data sets may share a recipe
        con.execute(vectors_view(name, members, "FLOAT[]").replace(f'"{name}"', f'meta."{name}"'))
    held = [text("item_id"), text("section"), text("content")]
    con.execute(
        view("held", [DATASET_OF_DEEP, STORE], held, files=parts(s for _, s in stores)).replace('"held"', "meta.held")
    )


def vectors_view(name: str, stores: Sequence[Store], kind: str) -> str:
    """SQL of a view over all parts of `stores`. Fixed-size lists read as FLOAT[]: only a cast tells their size."""
    kept = [text("item_id"), text("study_id"), text("section"), text("pooling"), f"embedding::{kind} AS embedding"]
    return view(name, [DATASET_OF_DEEP, STORE], kept, files=parts(stores))


def text(name: str) -> str:
    """A text column as SQL."""
    return f"{name}::VARCHAR AS {name}"


def parts(stores: Iterable[Store]) -> list[Path]:
    """The part files of `stores`."""
    return [path for store in stores for path in store.part_paths]


def encoder_view(encoder: str) -> str:
    """A name for the encoder's view that needs no quotes and hides no other view."""
    name = re.sub(r"\W", "_", encoder.lower())
    taken = {*TABLES, "splits", "audits", "stores", "embeddings", "failures"}
    taken |= {"runs", "history", "predictions", "metrics"}
    return f"encoder_{name}" if name in taken or name[:1].isdigit() else name


def create_stores(con: duckdb.DuckDBPyConnection, stores: Sequence[tuple[str, Store]]) -> None:
    """`stores`, from the manifests."""
    rows = [
        (dataset, s.name, s.encoder, s.modality, s.version, s.rows, s.dim, s.failed, moment(s.created), xxxx)
        for dataset, s in stores
        for xxxx in [s.xxxx if s.modality == "text" else None]
    ]
    fill(con, "meta.stores", STORE_COLUMNS, rows=rows)
    con.execute(STALE)


def create_runs(con: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """`runs` from each run.json, and the tables beside it."""
    fill(con, "runs", RUN_COLUMNS, rows=[run_row(folder) for folder in folders])
    con.execute(view("history", [RUN], columns(HISTORY), files=(folder / "history.parquet" for folder in folders)))
    predictions = (folder / "predictions.parquet" for folder in folders)
    con.execute(view("predictions", [RUN, DATASET_OF_DEEP], columns(PREDICTIONS), files=predictions))
    con.execute(view("metrics", [RUN], columns(METRICS), files=(folder / "metrics.parquet" for folder in folders)))


def run_row(folder: Path) -> list[Any]:
    """The values of `RUN_COLUMNS` that run.json knows. The folder names the run and the data set, as for its tables."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        record |= {"run_id": folder.name, "dataset": folder.parent.parent.name, "created": moment(record["created"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / 'run.json'}: cannot be read ({error})", hint=f"delete the folder {folder}"
        ) from error
    return [record.get(name) for name in RUN_COLUMNS]


def moment(iso: str) -> datetime:
    """A point in time in UTC, as the naive TIMESTAMP that SQL compares."""
    return datetime.fromisoformat(iso).astimezone(UTC).replace(tzinfo=None)


def fill(con: duckdb.DuckDBPyConnection, name: str, kinds: dict[str, str], *, rows: Sequence[Sequence[Any]]) -> None:
    """A small table in memory."""
    con.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in kinds.items())})")
    if rows:
        con.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(kinds))})", rows)
