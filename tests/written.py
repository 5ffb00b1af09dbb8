"""A data set written from tables, as `add_collection` would write it from a collection."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cxremb.store.dataset import Dataset, commit_dataset, drafting
from cxremb.store.layout import TABLES, DatasetPaths


def write_dataset(paths: DatasetPaths, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> Dataset:
    """The data set as written.

    tables: by names of `TABLES`; one that is left out is empty.
    about: licence, citation, source, notes, simulated, label_sets.
    """
    with drafting(paths) as drafts:
        for name, table in tables.items():
            drafts[name].extend(table.cast(TABLES[name]))
        return commit_dataset(paths, drafts, about)
