"""The figures of a run's test rows as a table: pooled over folds, averaged over repeats and seeds, and one by one."""

import numpy as np
import pyarrow as pa

from cxremb.predictions import Predictions
from cxremb.store.layout import METRICS

INTERVALS = ("auroc", "accuracy", "f1")


def metrics_table(predictions: Predictions) -> pa.Table:
    """Columns `layout.METRICS`.

    Part `test` pools the folds of each repeat and seed, and is the mean over these, with patient-cluster intervals of
    `INTERVALS` under the headline; `test.fold0` and such are one model, `test.repeat0.seed0` one pool of several.
    Validation figures are left to SQL: the epoch was chosen on them.
    """
    rows = []
    for part, judged in parts_judged(predictions.of_part("test")).items():
        spans = judged.interval(INTERVALS) if part == "test" else {}
        for label, figures in judged.figures().items():
            for metric, value in figures.items():
                span = spans.get(metric) if label == judged.headline else None
                low, high = (span.low, span.high) if span else (None, None)
                row = {"part": part, "label": label, "metric": metric, "value": value, "low": low, "high": high}
                rows.append(row)
    return pa.Table.from_pylist(rows, schema=METRICS)


def parts_judged(test: Predictions) -> dict[str, Predictions]:
    """Part -> what its figures are of."""
    pools = {f"test.repeat{pool.repeat[0]}.seed{pool.seed[0]}": pool for pool in test.pools}
    folds = {name: np.unique(pool.fold).tolist() for name, pool in pools.items()}
    parts = {"test": test} | (pools if len(pools) > 1 else {})
    if any(len(found) > 1 for found in folds.values()):
        for name, pool in pools.items():
            _, repeat, seed = name.split(".")
            for fold in folds[name]:
                place = f"fold{fold}" if len(pools) == 1 else f"{repeat}.fold{fold}.{seed}"
                parts[f"test.{place}"] = pool.take(pool.fold == fold)
    return parts
