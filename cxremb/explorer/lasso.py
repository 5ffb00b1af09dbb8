"""Which rows lie within a line that was drawn around dots of the map."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.errors import DataError

CORNERS = 200  # at most
FAR = 1e9  # no map is as wide


def corners(text: str) -> tuple[float, ...]:
    """`x,y,x,y,...` as numbers. Raises `DataError` for anything else."""
    if not text:
        return ()
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) % 2 or not 6 <= len(numbers) <= 2 * CORNERS or not all(abs(one) < FAR for one in numbers):
        raise DataError("the lasso of this address is none", hint="draw it again on the map")
    return numbers


def rows_within(con: duckdb.DuckDBPyConnection, lasso: Sequence[float]) -> pa.Table:
    """Column `n`: the rows of `cases` whose dot lies within."""
    xs, ys = lasso[0::2], lasso[1::2]
    box = f"x BETWEEN {min(xs)!r} AND {max(xs)!r} AND y BETWEEN {min(ys)!r} AND {max(ys)!r}"
    near = con.execute(f"SELECT n, x::DOUBLE AS x, y::DOUBLE AS y FROM cases WHERE {box}").fetchnumpy()
    numbers = near["n"][within(near["x"], near["y"], lasso)].astype(np.int64)
    column = pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
    return pa.table({"n": column})


def within(x: NDArray[np.float64], y: NDArray[np.float64], lasso: Sequence[float]) -> NDArray[np.bool_]:
    """(n,) whether each point is inside, by the even-odd rule: a ray to the right crosses an odd number of edges."""
    inside = np.zeros(len(x), np.bool_)
    points = list(zip(lasso[0::2], lasso[1::2], strict=True))
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
