"""Figures of a run of before, made again of its predictions.

It ranked the rows of all folds as one, or took the mean over folds of a rate at a given rate.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.evaluation.metrics import POOLED
from cxremb.predictions import Predictions
from cxremb.store.files import replace_table, replace_text
from cxremb.store.layout import METRICS, ONCE_POOLED
from cxremb.training.card import model_card
from cxremb.training.record import RunRecord
from cxremb.training.scores import IN_TRAIN, NEW_TEXT, metrics_table


def is_of_before(folder: Path, record: RunRecord, metrics: pa.Table) -> bool:
    """Whether figures of several folds were made in another way than today. metrics: what the file of the run holds."""
    if metrics["folds"].null_count:
        return True
    said = pq.read_schema(folder / "metrics.parquet").metadata or {}
    several = pc.max(metrics["folds"]).as_py() != 1 and not record.is_external
    return several and not METRICS.metadata.items() <= said.items()


def made_again(folder: Path, record: RunRecord, test: Predictions, *, old: pa.Table) -> pa.Table:
    """Columns `layout.METRICS`. The table and the card take the place of the old ones, where that can be."""
    found = metrics_again(test, old, shuffles=record.shuffled or None)
    card = model_card(record, found.to_pylist()).replace("RUN_ID", record.run_id)
    try:
        replace_text(folder / "README.md", card)
        replace_table(folder / "metrics.parquet", found)  # last: it is what says that this was done
    except OSError:  # a store that may only be read: they are made again the next time
        return found
    return found


def metrics_again(test: Predictions, old: pa.Table, *, shuffles: str | None = None) -> pa.Table:
    """As `metrics_table`, for a run whose table `old` has figures of the rows of all folds as one.

    Where the run did not keep which texts stand in train, its figures of them stay, under the names of pooled ones.
    """
    found = metrics_table(test, shuffles=shuffles)
    known = {(row["part"], row["metric"]) for row in found.to_pylist()}
    kept = [
        row | {"metric": f"{row['metric']}{POOLED}" if row["metric"] in ONCE_POOLED else row["metric"]}
        for row in old.to_pylist()
        if (row["part"], row["metric"]) not in known and (row["part"] == NEW_TEXT or row["metric"] == IN_TRAIN)
    ]
    kept = [row | {"folds": len(test.models)} for row in kept]
    return pa.concat_tables([found, pa.Table.from_pylist(kept, schema=METRICS)])
