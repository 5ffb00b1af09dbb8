"""A data set written from tables, as `add_collection` would write it from a collection."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cxremb.store.dataset import Dataset, commit_dataset, drafting
from cxremb.store.layout import TABLES, DatasetPaths


def write_dataset(paths: DatasetPaths, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> Dataset:
    """The data set as written.

    tables: one per name in `TABLES`. about: licence, citation, source, notes, simulated, label_sets.
    """
    with drafting(paths) as drafts:
        for name, schema in TABLES.items():
            drafts[name].extend(tables[name].cast(schema))
        return commit_dataset(paths, drafts, about)
