"""Pairs that are nearly the same, without comparing everything with everything where that can be helped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cxremb.store.matrices import Matrix, let_go

Numbers = NDArray[np.int64]
Pairs = NDArray[np.int64]  # (p, 2) rows, the smaller number first, no pair twice

ROWS, COLUMNS = 512, 4096  # similarities held at once, 8 MB: they stay in a processor's caches
PAIRS_AT_ONCE = 100_000
PARTNERS = 50  # kept of each row: whether one of them is in train needs no more

BANDS, DEPTH = 20, 4  # a pair of Jaccard 0.8 meets in some band with probability 1 - (1 - 0.8**4)**20 = 0.99997
NEIGHBOURS = 20  # of one bucket that each text is compared with: a stock phrase fills buckets with thousands


@dataclass(frozen=True)
class Centred:
    """Vectors of a store less their mean, since all films share most of their vector; read as they are used."""

    matrix: Matrix
    places: Numbers  # (n,) rows of the matrix
    mean: NDArray[np.float32]  # (dim,)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Numbers) -> NDArray[np.float32]:
        """(m, dim) of some rows."""
        found = self.matrix.vectors[self.places[rows]].astype(np.float32) - self.mean
        found[~found.any(axis=1)] = 1e-6  # the mean itself has no direction
        let_go(self.matrix.vectors)
        return found


def centred(matrix: Matrix, places: Numbers) -> Centred:
    """Some vectors of a store. Of a single one no mean is taken off."""
    whole = Centred(matrix, places, np.zeros(matrix.vectors.shape[1], np.float32))
    if len(places) < 2:
        return whole
    blocks = (whole[np.arange(start, min(start + COLUMNS, len(places)))] for start in range(0, len(places), COLUMNS))
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(places)
    return replace(whole, mean=np.asarray(mean, np.float32))


def cosine_pairs(vectors: NDArray[np.float32] | Centred, least: float, queries: Numbers) -> Pairs:
    """Pairs of rows with a cosine of `least` or more, at least one of them in `queries`.

    vectors: (n, dim), not zero. Exact, in blocks that are read once: n x queries x dim multiplications. Of a query with
    more than `PARTNERS` partners the nearest are kept.
    """
    asked = [queries[start : start + ROWS] for start in range(0, len(queries), ROWS)]
    towards = [unit(vectors[some]) for some in asked]
    found = [Close(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))]
    for start in range(0, len(vectors), COLUMNS):
        rows = np.arange(start, min(start + COLUMNS, len(vectors)))
        block = unit(vectors[rows]).T
        for some, directions in zip(asked, towards, strict=True):
            cosine = directions @ block
            if cosine.max() >= least:  # nearly never
                found.append(close_ones(cosine, least, asked=some, rows=rows))
        if sum(len(close.rows) for close in found) > PAIRS_AT_ONCE:
            found = [nearest_of(found)]
    close = nearest_of(found)
    return distinct(np.column_stack([close.asked, close.rows]))


class Close(NamedTuple):
    """Rows that are close to a query."""

    cosine: NDArray[np.float32]  # (m,)
    asked: Numbers  # (m,) the query
    rows: Numbers  # (m,)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors, of length 1."""
    found: NDArray[np.float32] = vectors / np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return found


def close_ones(cosine: NDArray[np.float32], least: float, *, asked: Numbers, rows: Numbers) -> Close:
    """What is close in a block of cosines (queries, rows), no row to itself."""
    close = cosine >= least
    for place in np.flatnonzero(close.sum(axis=1) > PARTNERS + 1):  # itself may be one
        close[place] = False
        close[place, np.argpartition(-cosine[place], PARTNERS)[: PARTNERS + 1]] = True
    close &= asked[:, None] != rows
    one, other = np.nonzero(close)
    return Close(cosine[one, other], asked[one], rows[other])


def nearest_of(found: Sequence[Close]) -> Close:
    """All of these, of each query the nearest alone."""
    cosine, asked, rows = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((rows, -cosine, asked))
    together = asked[order]
    kept = order[np.arange(len(order)) - np.searchsorted(together, together) < PARTNERS]
    return Close(cosine[kept], asked[kept], rows[kept])


def distinct(pairs: Pairs) -> Pairs:
    """Each pair once, the smaller number first. Sorted as one number each: far faster than row by row."""
    if not len(pairs):
        return pairs
    width = int(pairs.max()) + 1
    numbers = np.sort(pairs.min(axis=1) * width + pairs.max(axis=1))
    first = np.append(True, numbers[1:] != numbers[:-1])  # np.unique hashes, and takes minutes over such numbers
    once: Pairs = np.column_stack(np.divmod(numbers[first], width))
    return once


def text_pairs(texts: Sequence[str], least: float) -> Pairs:
    """Pairs of distinct texts whose sets of word pairs have a Jaccard index of `least` or more.

    texts: normalised, no two alike. Candidates by MinHash and banding (Broder 1997; Leskovec, Rajaraman & Ullman,
    Mining of Massive Datasets, chapter 3), each then counted out: near linear in the number of texts, exact but for
    pairs that no band brings together.
    """
    shingles = [word_pairs(text) for text in texts]
    filled = np.array([row for row, found in enumerate(shingles) if len(found)], dtype=np.int64)
    if len(filled) < 2:
        return np.empty((0, 2), np.int64)
    pairs: Pairs = filled[band_pairs(signatures([shingles[row] for row in filled]))]
    close: Pairs = pairs[jaccard(shingles, pairs) >= least]
    return close


def word_pairs(text: str) -> NDArray[np.uint64]:
    """The distinct pairs of neighbouring words, as 32 bits each; a text of one word is its own pair."""
    words = text.split()
    pairs = set(pairwise(words)) or {(word, "") for word in words}
    return np.sort(np.array([crc32(f"{a} {b}".encode()) for a, b in pairs], dtype=np.uint64))


def signatures(shingles: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """(n, BANDS * DEPTH) the least value of each of so many random hash functions over each set."""
    rng = np.random.default_rng(0)
    ends = np.concatenate([[0], np.cumsum([len(found) for found in shingles])[:-1]])
    values = np.concatenate(shingles)
    least = np.empty((len(shingles), BANDS * DEPTH), np.uint64)
    for column in range(BANDS * DEPTH):
        # multiply and take the high bits: a universal family (Dietzfelbinger et al. 1997), and no modulo to pay for
        factor, offset = rng.integers(1, 1 << 63, 2, dtype=np.uint64) | np.uint64(1)
        least[:, column] = np.minimum.reduceat((values * factor + offset) >> np.uint64(24), ends)
    return least


def band_pairs(signature: NDArray[np.uint64]) -> Pairs:
    """Rows that agree on a whole band, each with the next few of its bucket."""
    found = [np.empty((0, 2), np.int64)]
    mixed = np.random.default_rng(1).integers(1, 1 << 63, DEPTH, dtype=np.uint64) | np.uint64(1)
    for band in range(BANDS):
        bucket = (signature[:, band * DEPTH : (band + 1) * DEPTH] * mixed).sum(axis=1, dtype=np.uint64)
        order = np.argsort(bucket, kind="stable")
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            same = bucket[order[:-step]] == bucket[order[step:]]
            if not same.any():
                break
            found.append(np.column_stack([order[:-step][same], order[step:][same]]))
        found = [distinct(np.concatenate(found))]
    pairs: Pairs = found[0]
    return pairs


def jaccard(shingles: Sequence[NDArray[np.uint64]], pairs: Pairs) -> NDArray[np.float64]:
    """(p,) common elements over all elements of the two sets of each pair."""
    from scipy.sparse import csr_matrix

    sizes = np.array([len(found) for found in shingles])
    columns = np.concatenate(shingles).astype(np.int64)
    shape = (len(sizes), 1 << 32)
    sets = csr_matrix((np.ones(len(columns), np.int32), columns, np.concatenate([[0], np.cumsum(sizes)])), shape)
    common = np.empty(len(pairs))
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        a, b = pairs[start : start + PAIRS_AT_ONCE].T
        common[start : start + PAIRS_AT_ONCE] = np.asarray(sets[a].multiply(sets[b]).sum(axis=1)).ravel()
    index: NDArray[np.float64] = common / (sizes[pairs].sum(axis=1) - common)
    return index
