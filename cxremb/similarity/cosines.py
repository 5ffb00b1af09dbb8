"""Cosines of stored vectors to a few, and distances to the k-th nearest: exact, in blocks, no index."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cxremb.processes import usable_cores
from cxremb.store.matrices import let_go

Halves = NDArray[np.float16]
Doubles = NDArray[np.float64]

BLOCK_ROWS = 4096  # rows as float64 at once: 42 MB of 1,280 columns
DIGITS = 9  # of a cosine that count: the last ones depend on where in a block a row stands, and would order ties
QUERIES = 256  # compared with a block at once
ROUGH_ROWS = 512  # rows as float32 at once: 2.6 MB of 1,280 columns, which stay in a cache
LET_GO = 16  # blocks of them that are read from a mapped file before its pages are let go
NOTHING = -np.inf  # the cosine to a vector of zeros, which no store holds that cxremb wrote


def unit(vectors: NDArray[np.float16] | NDArray[np.float32] | Doubles) -> Doubles:
    """(n, dim) as float64, of length 1; a row of zeros stays as it is."""
    found = np.asarray(vectors, dtype=np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", found, found))[:, None]
    return np.asarray(found / np.where(length > 0, length, 1.0))


def cosines(vectors: Halves, queries: Halves, rows: NDArray[np.int64] | None = None) -> Doubles:
    """(m,) the cosine of each of `rows` to that of the queries which it is nearest to, to `DIGITS` digits.

    vectors: (n, dim), read from disk as they are used. queries: (q, dim). rows: (m,) all of them if left out.
    """
    wanted = np.arange(len(vectors)) if rows is None else rows
    towards, found = unit(queries), np.empty(len(wanted))
    for start in range(0, len(wanted), BLOCK_ROWS):
        block = np.asarray(vectors[wanted[start : start + BLOCK_ROWS]], dtype=np.float64)
        length = np.sqrt(np.einsum("ij,ij->i", block, block))
        nearest = (block @ towards.T).max(axis=1)
        found[start : start + BLOCK_ROWS] = np.where(length > 0, nearest / np.where(length > 0, length, 1.0), NOTHING)
    return np.round(found, DIGITS)


def candidates(vectors: Halves, queries: Halves, rows: NDArray[np.int64], *, count: int) -> NDArray[np.int64]:
    """Those of `rows` that can be among the `count` nearest, or as near as the last of them, in the order of `rows`.

    Told from cosines in float32, which take far less time than `cosines`, on all processors. They are off by at most
    `dim * eps` or so (a sum of `dim` products, and two lengths), so who is four times that behind is out.
    """
    if count >= len(rows):
        return rows
    rough = rough_cosines(vectors, unit(queries).astype(np.float32), rows)
    margin = 4 * vectors.shape[1] * np.finfo(np.float32).eps
    last = np.partition(rough, len(rows) - count)[len(rows) - count]
    return np.asarray(rows[rough >= last - margin])


def rough_cosines(vectors: Halves, towards: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(m,) the cosine of each of `rows`, which ascend, to the nearest of `towards`, in float32 throughout.

    towards: (q, dim) of length 1.
    """
    found = np.empty(len(rows), np.float32)

    def some(starts: range) -> None:
        block = np.empty((ROUGH_ROWS, vectors.shape[1]), np.float32)
        for start in starts:
            here = rows[start : start + ROUGH_ROWS]
            values = block[: len(here)]
            follow = here[-1] - here[0] == len(here) - 1  # a slice of the file is not copied first
            np.copyto(values, vectors[here[0] : here[-1] + 1] if follow else vectors[here])
            length = np.sqrt(np.einsum("ij,ij->i", values, values))
            near = (values @ towards.T).max(axis=1)
            found[start : start + ROUGH_ROWS] = np.where(length > 0, near / np.where(length > 0, length, 1), NOTHING)
            if start // ROUGH_ROWS % LET_GO == 0:
                let_go(vectors)
        let_go(vectors)

    workers = usable_cores()
    share = ROUGH_ROWS * max(1, -(-len(rows) // (ROUGH_ROWS * workers)))  # each reads one stretch of the file
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:  # else the threads of each product wait busily
        shares = [range(first, min(first + share, len(rows)), ROUGH_ROWS) for first in range(0, len(rows), share)]
        list(pool.map(some, shares))
    return found


def cosines_to(vectors: Halves, queries: Halves, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(q, m) the cosine of each query to each of `rows`, in float32, to six digits. For a few queries."""
    towards = unit(queries).astype(np.float32)
    found = np.empty((len(queries), len(rows)), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        found[:, start : start + BLOCK_ROWS] = six_digits(vectors[rows[start : start + BLOCK_ROWS]], towards)
    return found


def six_digits(block: Halves, towards: NDArray[np.float32]) -> NDArray[np.float32]:
    """(q, m) the cosine of each of `towards`, which have length 1, to each vector of a block."""
    return np.asarray(np.round(towards @ unit(block).astype(np.float32).T, 6))


def nearest_rows(
    vectors: Halves, queries: Halves, rows: NDArray[np.int64], *, count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(cosines (q, count), rows (q, count)) of the nearest of `rows` to each query, the nearest first.

    In float32, to six digits; of equal ones the first row comes first. With fewer than `count` rows there are fewer
    columns.
    """
    count = min(count, len(rows))
    best = np.full((len(queries), count), NOTHING, np.float32)
    where = np.full((len(queries), count), -1, np.int64)
    for first in range(0, len(queries), QUERIES):
        towards = unit(queries[first : first + QUERIES]).astype(np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            near = six_digits(vectors[block], towards)
            let_go(vectors)
            both = np.hstack([best[first : first + QUERIES], near])
            places = np.hstack([where[first : first + QUERIES], np.broadcast_to(block, near.shape)])
            order = np.lexsort((places, -both), axis=1)[:, :count]
            best[first : first + QUERIES] = np.take_along_axis(both, order, axis=1)
            where[first : first + QUERIES] = np.take_along_axis(places, order, axis=1)
    return best, where
