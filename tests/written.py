"""A data set written from tables, as `add_collection` would write it from a collection."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cxremb.store.commit import commit_dataset, drafting, writing_tables
from cxremb.store.dataset import Dataset
from cxremb.store.layout import TABLES, DatasetPaths

UNSAID: Mapping[str, Any] = {"licence": "none", "citation": "none", "source": {}, "notes": []}


def write_dataset(paths: DatasetPaths, tables: Mapping[str, pa.Table], about: Mapping[str, Any]) -> Dataset:
    """The data set as written.

    tables: by names of `TABLES`; one that is left out is empty.
    about: simulated, label_sets; licence, citation, source, notes if there is anything to say.
    """
    with writing_tables(paths), drafting(paths) as drafts:
        for name, table in tables.items():
            drafts[name].extend(table.cast(TABLES[name]))
        return commit_dataset(paths, drafts, {**UNSAID, **about})
