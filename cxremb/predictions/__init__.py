"""What models say of rows that they were not trained on: one type, the figures made of it, and its rows in Parquet."""

from cxremb.predictions.judged import Predictions
from cxremb.predictions.rows import joined, read_rows, rows_of

__all__ = ["Predictions", "joined", "read_rows", "rows_of"]
