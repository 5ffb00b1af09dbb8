"""What is derived of a store's vectors for SQL: a map of them, and how far test items lie from training items.

Each is a file that is written whole, by the job of `explore`, and says in its metadata of which vectors it is.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table
from cxremb.store.reader import Store

# Where each item of a store lies on its map.
MAPS = pa.schema(
    [
        ("item_id", pa.string()),
        ("study_id", pa.string()),
        ("section", pa.string()),
        ("method", pa.string()),  # umap or pca
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)
# How far each item lies from what the model was trained on that tested it.
DISTANCES = pa.schema(
    [
        ("item_id", pa.string()),
        ("study_id", pa.string()),
        ("section", pa.string()),
        ("split", pa.string()),  # name@key
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("distance", pa.float32()),  # 1 - cosine to the 10th nearest training vector
    ]
)
PARTS = b"parts"  # in its metadata: of which vectors it is


def map_path(dataset: Dataset, store: Store) -> Path:
    """Where the map of a store lies, or would."""
    return dataset.paths.maps / f"{store.name}.parquet"


def has_map(dataset: Dataset, store: Store) -> bool:
    """Whether there is a map of the vectors that the store has now."""
    return is_of(map_path(dataset, store), store)


def write_map(dataset: Dataset, store: Store, table: pa.Table) -> Path:
    """Its path, replaced in one step. table: the columns of `MAPS`. Raises `StoreError` if it cannot be written."""
    return replace_table(map_path(dataset, store), marked(table.cast(MAPS), store))


def distance_path(dataset: Dataset, store: Store, split: str) -> Path:
    """Where the distances in a store and a split, as `name@key`, lie, or would."""
    return dataset.paths.distances / f"{store.name}~{split}.parquet"


def distance_paths(dataset: Dataset, store: Store) -> list[Path]:
    """Those of all splits that there are."""
    return sorted(dataset.paths.distances.glob(f"{store.name}~*.parquet"))


def has_distances(dataset: Dataset, store: Store, split: str) -> bool:
    """Whether there are those of the vectors that the store has now."""
    return is_of(distance_path(dataset, store, split), store)


def write_distances(dataset: Dataset, store: Store, split: str, *, table: pa.Table) -> Path:
    """Its path, replaced in one step. table: the columns of `DISTANCES`. Raises as `write_map`."""
    return replace_table(distance_path(dataset, store, split), marked(table.cast(DISTANCES), store))


def is_of(path: Path, store: Store) -> bool:
    """Whether a file is there, and of the vectors that the store has now."""
    return path.is_file() and (pq.read_schema(path).metadata or {}).get(PARTS) == digests(store).encode()


def marked(table: pa.Table, store: Store) -> pa.Table:
    """The table, which says of which vectors it is."""
    return table.replace_schema_metadata({PARTS: digests(store).encode()})


def digests(store: Store) -> str:
    """What its vectors are known by."""
    return ",".join(sorted(part.sha256 for part in store.manifest.parts))
