"""The views that SQL sees: each one a `read_parquet` over the files of the current versions, read when it is asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from cxremb.store.concepts import COLUMNS as CONCEPTS
from cxremb.store.concepts import meanings_of
from cxremb.store.dataset import Dataset, list_datasets
from cxremb.store.layout import (
    AUDIT,
    BEFORE_READING,
    FAILURES,
    JOINED,
    PRE_READ,
    SPLITS,
    TABLES,
)
from cxremb.store.maps import DISTANCES, MAPS, distance_paths, map_path
from cxremb.store.needed import encoder_view, unread
from cxremb.store.notes import NOTES, notes_path
from cxremb.store.patients import patients_view, prior_view
from cxremb.store.prompts import prompt_views
from cxremb.store.reader import Store, list_stores
from cxremb.store.run_views import create_runs, moment
from cxremb.store.scans import Source, columns, fill, identifier, source, view
from cxremb.store.texts import KEEP, PLACES, REPORT

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
    "imported": "BOOLEAN",
    "first_pooling": "VARCHAR",  # which one `nearest` compares
}


def joined(name: str, condition: str) -> str:
    """SQL of the text `name`: the sections of each study for which `condition` holds, joined as `store.texts` does."""
    places = f"nullif(list_position({list(PLACES)}, section), 0)"
    return f"""
    SELECT dataset, study_id, '{name}', string_agg(text, ' ' ORDER BY {places} NULLS LAST, section)
    FROM reports WHERE text <> '' AND {condition} GROUP BY dataset, study_id"""


# Stale: encoding again would add, drop or rewrite vectors. Compared are item, section, content and study, as the embed
# plan does it; what failed and is as it was counts as seen. Written as one set difference each way, so that it costs
# nothing unless it is asked for.
STALE = f"""
CREATE VIEW meta.texts AS
    SELECT dataset, study_id, section, text FROM reports WHERE text <> ''
    UNION ALL {joined(REPORT, f"section IN {JOINED}")}
    UNION ALL {joined(PRE_READ, f"role = '{BEFORE_READING}'")};

CREATE VIEW meta.wanted AS
WITH items AS (
    SELECT dataset, if(path IS NULL, 'absent image', 'image') AS kind, image_id AS item_id, study_id,
        'image' AS section, coalesce(sha256, sha256('id ' || image_id)) AS content
    FROM images
    UNION ALL
    SELECT dataset, 'text', study_id, study_id, section, sha256(text) FROM meta.texts
),
takers AS (
    SELECT dataset, store, modality AS kind FROM meta.stores
    UNION ALL
    SELECT dataset, store, 'absent image' FROM meta.stores WHERE imported AND modality = 'image'
),
asked AS (FROM items JOIN takers USING (dataset, kind))
SELECT dataset, store, item_id, study_id, section, content FROM asked
ANTI JOIN failures AS failed ON asked.dataset = failed.dataset AND asked.store = failed.store
    AND asked.item_id = failed.item_id AND asked.section = failed.section
    AND coalesce(failed.content, asked.content) = asked.content;

CREATE VIEW stores AS
SELECT * EXCLUDE (first_pooling), (dataset, store) IN (
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


def create_views(con: duckdb.DuckDBPyConnection, held: Holdings, text: str | None = None) -> None:
    """Every view of docs/sql.md in `con`. Those without a file yet are empty, with their columns.

    text: the one query that will be asked. Of a root in object storage views that it does not name may not be readable.
    """
    absent = unread(held.stores, held.runs, text)
    con.execute("CREATE SCHEMA meta")  # what the views need and nobody asks for
    for name, schema in TABLES.items():
        found = [source([d.table_path(name)], dataset=d.name) for d in held.datasets if name in d.table_names]
        con.execute(view(name, ["dataset"], columns(schema), sources=found, may_lack=schema))
    for name, schema in {"splits": SPLITS, "audits": AUDIT}.items():
        found = [source(getattr(d.paths, name).glob("[!.]*.parquet"), dataset=d.name) for d in held.datasets]
        con.execute(view(name, ["dataset"], columns(schema), sources=found))
    con.execute(patients_view([d.name for d in held.datasets]))
    con.execute(prior_view([d.name for d in held.datasets]))
    con.execute(notes_view(held.datasets))
    meanings = [(d.name, *(getattr(row, name) for name in CONCEPTS)) for d in held.datasets for row in meanings_of(d)]
    fill(con, "concepts", dict.fromkeys(("dataset", *CONCEPTS), "VARCHAR"), rows=meanings)
    by_name = {dataset.name: dataset for dataset in held.datasets}
    places = [(name, store, map_path(by_name[name], store)) for name, store in held.stores]
    found = [source([path], dataset=name, store=store.name) for name, store, path in places if path.is_file()]
    con.execute(view("maps", ["dataset", "store"], columns(MAPS), sources=found))
    found = [source(distance_paths(by_name[name], one), dataset=name, store=one.name) for name, one in held.stores]
    con.execute(view("distances", ["dataset", "store"], columns(DISTANCES), sources=found))
    failures = [source([s.failure_path], dataset=name, store=s.name) for name, s in held.stores if s.failure_path]
    con.execute(view("failures", ["dataset", "store"], columns(FAILURES), sources=failures, may_lack=FAILURES))
    create_vectors(con, held.stores, absent="vectors" in absent)
    for statement in prompt_views(held.stores, absent="vectors" in absent):
        con.execute(statement)
    create_stores(con, held.stores)
    create_runs(con, held.runs, absent="predictions" in absent)


def notes_view(datasets: Sequence[Dataset]) -> str:
    """SQL of the view `notes`, of the versions in force now."""
    found = [source(notes_path(dataset), dataset=dataset.name) for dataset in datasets]
    return view("notes", ["dataset"], columns(NOTES), sources=found)


def create_vectors(con: duckdb.DuckDBPyConnection, stores: Sequence[tuple[str, Store]], *, absent: bool) -> None:
    """`embeddings`, and a view per encoder; its edited texts have one of their own, such as `biobert_drop`.

    For `nearest`, `meta` has one per store.
    """
    by_view: dict[str, list[tuple[str, Store]]] = {}
    for dataset, store in stores:
        suffix = "" if store.xxxx == KEEP else f"_{store.xxxx}"
        by_view.setdefault(encoder_view(store.encoder + suffix), []).append((dataset, store))
    con.execute(vectors_view("embeddings", stores, "FLOAT[]", absent=absent))
    for name, members in by_view.items():
        dims = {store.dim for _, store in members}
        kind = f"FLOAT[{dims.pop()}]" if len(dims) == 1 else "FLOAT[]"
        con.execute(vectors_view(identifier(name), members, kind, absent=absent))
    for name in {store.name for _, store in stores}:
        members = [member for member in stores if member[1].name == name]  # data sets may share a recipe
        con.execute(vectors_view(f"meta.{identifier(name)}", members, "FLOAT[]", absent=absent))
    held = [text(name) for name in ("item_id", "study_id", "section", "content")]
    con.execute(view("meta.held", ["dataset", "store"], held, sources=parts(stores), absent=absent))


def vectors_view(name: str, stores: Sequence[tuple[str, Store]], kind: str, *, absent: bool) -> str:
    """SQL of a view over all parts of `stores`. Fixed-size lists read as FLOAT[]: only a cast tells their size."""
    kept = [text("item_id"), text("study_id"), text("section"), text("pooling"), f"embedding::{kind} AS embedding"]
    return view(name, ["dataset", "store"], kept, sources=parts(stores), absent=absent)


def text(name: str) -> str:
    """A text column as SQL."""
    return f"{name}::VARCHAR AS {name}"


def parts(stores: Iterable[tuple[str, Store]]) -> list[Source]:
    """The part files of `stores`."""
    return [source(store.part_paths, dataset=dataset, store=store.name) for dataset, store in stores]


def create_stores(con: duckdb.DuckDBPyConnection, stores: Sequence[tuple[str, Store]]) -> None:
    """`stores`, from the manifests."""
    rows = [
        (dataset, s.name, s.encoder, s.modality, s.version, s.rows, s.dim, s.failed, moment(s.created), *how)
        for dataset, s in stores
        for how in [(s.xxxx if s.modality == "text" else None, s.imported, s.pooling)]
    ]
    fill(con, "meta.stores", STORE_COLUMNS, rows=rows)
    con.execute(STALE)
