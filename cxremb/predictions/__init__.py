"""What models say of rows that they were not trained on: one type, the figures made of it, and its rows in Parquet."""

from cxremb.predictions.judged import Predictions
from cxremb.predictions.labels import LabelAuroc, auroc_by_label
from cxremb.predictions.rows import joined, read_rows, rows_of
from cxremb.predictions.verbatim import Verbatim, verbatim_of

__all__ = ["LabelAuroc", "Predictions", "Verbatim", "auroc_by_label", "joined", "read_rows", "rows_of", "verbatim_of"]
