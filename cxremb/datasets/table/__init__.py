"""Any table of images, reports and labels, CSV or Parquet: one row an image, or a report.

`columns` and `template` say what a cell means, `layout` what a row means, `survey` reads all of them once to check and
count, `read` finds the files and puts it together. The file itself is read by `cxremb.tablefile`.
"""

from cxremb.datasets.table.layout import TableSpec
from cxremb.datasets.table.read import read

__all__ = ["TableSpec", "read"]
