"""Prompts that a store's encoder has read, with their vectors: rows beside the films that they are compared with."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError, reason
from cxremb.store.expected import refuse_links
from cxremb.store.files import replace_table
from cxremb.store.layout import VALUES, DatasetPaths, vector_type
from cxremb.store.manifest import Recipe
from cxremb.store.matrices import with_values
from cxremb.store.reader import Store
from cxremb.store.scans import columns, source, view

TEXT_TOWER = "text_tower"  # in the `input` of a recipe: how an encoder of two towers reads texts
PROMPTS = pa.schema(
    [
        ("prompts", pa.string()),  # the set: an arm reads one, or several joined by +
        ("label_set", pa.string()),
        ("label", pa.string()),
        ("class", pa.int8()),  # 1: whoever has the label; 0: whoever has it not
        ("template", pa.string()),  # as its file has it
        ("prompt", pa.string()),  # as the encoder reads it
        ("digest", pa.string()),  # SHA-256 of that
    ]
)
OF = b"key"  # in its metadata: the full key of the store whose space the vectors are in
# What a film is scored by: the mean cosine to the prompts of class 1, less that to those of class 0, if there are any.
ZERO_SHOT = """
CREATE VIEW zero_shot AS
SELECT dataset, store, prompts, label_set, label, item_id, study_id,
    avg(cosine) FILTER (class = 1) - coalesce(avg(cosine) FILTER (class = 0), 0) AS score
FROM (
    SELECT dataset, store, asked.prompts, asked.label_set, asked.label, asked.class, film.item_id, film.study_id,
        list_cosine_similarity(film.embedding::DOUBLE[], asked.embedding::DOUBLE[]) AS cosine
    FROM meta.asked AS asked JOIN meta.joint AS film USING (dataset, store)
)
GROUP BY ALL
"""


def has_two_towers(recipe: Recipe) -> bool:
    """Whether texts can be brought into the space of the films that it is of."""
    return TEXT_TOWER in recipe.input


def prompt_path(store: Store) -> Path:
    """Where the prompts of a store lie, or would. Raises `StoreError` for a link that leads out of the data set."""
    folder = store.folder.parent.parent
    path = DatasetPaths(folder.parent, folder.name).prompts / f"{store.name}.parquet"
    refuse_links(path.parent, folder.resolve())
    return path


def prompt_schema(dim: int) -> pa.Schema:
    """The columns of such a file: `PROMPTS` and the vector, as the store has those of films."""
    return PROMPTS.append(pa.field("embedding", vector_type(VALUES["float32"], dim), nullable=False))


def read_prompt_rows(store: Store) -> pa.Table:
    """Columns `prompt_schema`; no row where nothing was asked yet. Raises `StoreError` for a file of something else."""
    path, schema = prompt_path(store), prompt_schema(store.dim)
    if not path.is_file():
        return schema.empty_table()
    try:
        found = pq.ParquetFile(path).read()
        if (found.schema.metadata or {}).get(OF) == store.manifest.key.encode():
            return with_values(found, VALUES["float32"]).cast(schema)
        why = f"not of {store.name}"
    except (OSError, ValueError, pa.ArrowException) as error:
        why = reason(error)
    raise StoreError(f"{path}: {why}", hint="delete the file: prompts are encoded again when they are asked")


def write_prompt_rows(store: Store, rows: pa.Table) -> Path:
    """The file, replaced in one step. rows: columns `prompt_schema`. Raises `StoreError` if it cannot be written."""
    marked = rows.cast(prompt_schema(store.dim)).replace_schema_metadata({OF: store.manifest.key.encode()})
    return replace_table(prompt_path(store), marked)


def prompt_views(stores: Sequence[tuple[str, Store]], *, absent: bool = False) -> list[str]:
    """SQL of the views `prompts` and `zero_shot`. stores: each with the name of its data set. absent: as for `view`."""
    asked = [(dataset, store, prompt_path(store)) for dataset, store in stores]
    there = [(dataset, store, path) for dataset, store, path in asked if path.is_file()]
    files = [source([path], dataset=dataset, store=store.name) for dataset, store, path in there]
    films = [source(store.part_paths, dataset=dataset, store=store.name) for dataset, store, _ in there]
    place, vector = ["dataset", "store"], "embedding::FLOAT[] AS embedding"
    film = [f"{name}::VARCHAR AS {name}" for name in ("item_id", "study_id")]
    return [
        view("prompts", place, columns(PROMPTS), sources=files),
        view("meta.asked", place, [*columns(PROMPTS), vector], sources=files),
        view("meta.joint", place, [*film, vector], sources=films, absent=absent),
        ZERO_SHOT,
    ]
