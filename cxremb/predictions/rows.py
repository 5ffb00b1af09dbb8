"""Predictions as rows of Parquet: one for each item and label, in the columns of `layout.PREDICTIONS`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.predictions.judged import COLUMNS, NOT_ALWAYS, Predictions
from cxremb.store.layout import PREDICTIONS


def rows_of(predictions: Predictions) -> pa.Table:
    """Columns `layout.PREDICTIONS`: items in order, of each item the labels in order.

    A label that is missing is null in y_true; its prediction is there all the same.
    """
    n, k = predictions.prob.shape
    columns = {
        "unit": np.repeat(predictions.unit, n),
        "item_id": predictions.items,
        "study_id": predictions.studies,
        "patient_id": predictions.patients,
        "part": predictions.part,
        "repeat": predictions.repeat,
        "fold": predictions.fold,
        "seed": predictions.seed,
    }
    if predictions.text_in_train is not None:
        columns["text_in_train"] = predictions.text_in_train
    columns = {name: np.repeat(values, k) for name, values in columns.items()}
    columns |= {
        "label": np.tile(np.array(predictions.labels, dtype=np.str_), n),
        "y_true": predictions.y.ravel(),
        "y_prob": predictions.prob.ravel(),
        "y_logit": predictions.logit.ravel(),
    }
    nulls = {"y_true"}  # NaN there is a missing label; elsewhere it would be a mistake that must show
    arrays = {name: pa.array(column, from_pandas=name in nulls) for name, column in columns.items()}
    arrays.setdefault("text_in_train", pa.nulls(n * k, pa.bool_()))
    return pa.table(arrays).select(PREDICTIONS.names).cast(PREDICTIONS)


def read_rows(table: pa.Table, *, run: str, dataset: str, unit: str, task: str, labels: Sequence[str]) -> Predictions:
    """The predictions that `rows_of` wrote, in the order of the table."""
    k = len(labels)
    ids = {
        name: np.array(table[name].to_pylist()[::k], dtype=np.str_) for name in ("item_id", "study_id", "patient_id")
    }
    places = {name: table[name].to_numpy()[::k].astype(np.int64) for name in ("repeat", "fold", "seed")}
    values = {name: table[name].to_numpy().astype(np.float64) for name in ("y_true", "y_prob", "y_logit")}
    y, prob, logit = (column.reshape(-1, k) for column in values.values())
    seen = table["text_in_train"]
    return Predictions(
        run=run,
        dataset=dataset,
        unit=unit,
        task=task,
        labels=tuple(labels),
        part=np.array(table["part"].to_pylist()[::k], dtype=np.str_),
        items=ids["item_id"],
        studies=ids["study_id"],
        patients=ids["patient_id"],
        **places,
        y=y,
        prob=prob,
        logit=logit,
        text_in_train=None if seen.null_count else np.array(seen.to_pylist()[::k], dtype=np.bool_),
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The rows of several as one, in their order. They are of one run."""
    names = (*COLUMNS, *(name for name in NOT_ALWAYS if np.ndim(getattr(parts[0], name))))
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **columns)
