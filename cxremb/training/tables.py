"""What a finished training leaves as tables: its history, and its predictions with one row per (item, label)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.features import Features
from cxremb.store.layout import HISTORY, PREDICTIONS
from cxremb.training.plan import Place

if TYPE_CHECKING:
    from cxremb.training.data import Epoch

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Fitted:
    """One model of a run: what was kept of it, and what it says of the m rows that it was not trained on."""

    place: Place
    epoch: int  # the one kept
    weights: Mapping[str, Array]
    history: "Sequence[Epoch]"
    rows: NDArray[np.int64]  # (m,) of the features
    parts: NDArray[np.str_]  # (m,) val or test
    prob: NDArray[np.float64]  # (m, k)
    logit: NDArray[np.float64]  # (m, k)
    diverged: int | None = None  # the epoch whose loss was no number, and which was its last


def history_table(fitted: Sequence[Fitted]) -> pa.Table:
    """Columns `layout.HISTORY`."""
    rows = [asdict(one.place) | asdict(epoch) for one in fitted for epoch in one.history]
    return pa.Table.from_pylist(rows, schema=HISTORY)


def prediction_table(features: Features, fitted: Sequence[Fitted]) -> pa.Table:
    """Columns `layout.PREDICTIONS`: models in order, in each the items in order, of each item the labels in order.

    A label that is missing is null in y_true; its prediction is there all the same.
    """
    return pa.concat_tables([predictions_of(features, one) for one in fitted])


def predictions_of(features: Features, one: Fitted) -> pa.Table:
    """The predictions of one model."""
    m, k = one.prob.shape
    columns = {
        "unit": np.repeat(features.unit, m),
        "item_id": features.item_ids[one.rows],
        "study_id": features.study_ids[one.rows],
        "patient_id": features.patient_ids[one.rows],
        "part": one.parts,
        **{name: np.repeat(number, m) for name, number in asdict(one.place).items()},
    }
    columns = {name: np.repeat(values, k) for name, values in columns.items()}
    columns |= {
        "label": np.tile(np.array(features.labels, dtype=np.str_), m),
        "y_true": features.y[one.rows].ravel(),
        "y_prob": one.prob.ravel(),
        "y_logit": one.logit.ravel(),
    }
    nulls = {"y_true"}  # NaN there is a missing label; elsewhere it would be a mistake that must show
    arrays = {name: pa.array(columns[name], from_pandas=name in nulls) for name in PREDICTIONS.names}
    return pa.table(arrays).cast(PREDICTIONS)
