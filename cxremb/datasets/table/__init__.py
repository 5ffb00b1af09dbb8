"""Any table of images, reports and labels, CSV or Parquet: one row an image, or a report.

`rows` reads the file, `columns` and `text` say what a cell means, `layout` what a row means, `survey` reads all of
them once to check and count, `films` finds the files, `read` puts it together.
"""

from cxremb.datasets.table.layout import TableSpec
from cxremb.datasets.table.read import read

__all__ = ["TableSpec", "read"]
