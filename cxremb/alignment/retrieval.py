"""How well a film finds its report and a report its films: recall and median rank, with intervals and chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from cxremb.evaluation.arrays import cluster_numbers
from cxremb.evaluation.bootstrap import FEWEST, Resampling, intervals
from cxremb.evaluation.ranking import columns
from cxremb.features import Ids
from cxremb.store.stored_rows import Places

DEPTHS = (1, 5, 10)
NOISE = 1e-6  # cosines of float32 vectors that differ by less are ties: how a product is summed up decides no rank
QUERIES_AT_ONCE = 256  # against 100,000 candidates: 100 MB

Reals = NDArray[np.float64]
Unit = NDArray[np.float32]  # rows of length 1


@dataclass(frozen=True)
class Figure:
    """A figure, its interval (None with a reason), and what it is for who guesses."""

    value: float
    low: float | None
    high: float | None
    chance: float
    reason: str | None = None


@dataclass(frozen=True)
class Direction:
    """Retrieval one way: recall@1, recall@5, recall@10 (0 to 1) and median rank (from 1)."""

    name: str  # image to text, or text to image
    queries: int
    candidates: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Queries:
    """The queries of one way, all of one set of candidates. A query may have several right answers."""

    ranks: Reals  # (q,) of the first right answer
    right: Places  # (q,) how many right answers there are
    weights: Reals  # (q,)
    clusters: Places  # (q,) patient
    candidates: int


def retrieval(image: Unit, text: Unit, texts: Places, *, patients: Ids, seed: int = 0) -> tuple[Direction, Direction]:
    """(image to text, text to image) of n held-out pairs.

    image, text: (n, dim), a film and the text of its study. texts: (n,) equal for texts that say the same. patients:
    (n,), whose rows are resampled together. Candidates are the different texts, or all films; any film of a study
    with an equal text is right. Each film asks once. A text asks once however many say the same: each of its studies'
    films carries a share, so that a patient can be drawn with his share.
    """
    _, first, text_of, copies = np.unique(texts, return_index=True, return_inverse=True, return_counts=True)
    candidates = means(text, text_of, len(first))
    numbers = np.arange(len(first))
    clusters = cluster_numbers(patients, len(patients))
    by_film = Queries(
        ranks=ranks(image, candidates, text_of, kinds=numbers),
        right=np.ones_like(text_of),
        weights=np.ones(len(text_of)),
        clusters=clusters,
        candidates=len(first),
    )
    by_text = Queries(
        ranks=ranks(candidates, image, numbers, kinds=text_of)[text_of],
        right=copies[text_of],
        weights=1 / copies[text_of],
        clusters=clusters,
        candidates=len(image),
    )
    return (
        Direction("image to text", len(image), len(first), figures(by_film, seed)),
        Direction("text to image", len(first), len(image), figures(by_text, seed)),
    )


def means(vectors: Unit, groups: Places, count: int) -> Unit:
    """(count, dim) the mean direction of each group: texts that say the same may differ in a comma, so in vectors."""
    sums = np.zeros((count, vectors.shape[1]))
    np.add.at(sums, groups, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def ranks(queries: Unit, candidates: Unit, wanted: Places, *, kinds: Places) -> Reals:
    """(q,) the rank of the best right candidate by cosine, from 1; among ties, its mean over their orders.

    wanted: (q,) the kind that is right. kinds: (c,), of which every query's is one.
    """
    found = np.empty(len(queries))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        scores = queries[block] @ candidates.T
        right = wanted[block, None] == kinds
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        above = ((scores > best + NOISE) & ~right).sum(axis=1)
        level = np.abs(scores - best) <= NOISE
        # of a wrong and b right ones in random order, a / (b + 1) wrong ones come before the first right one
        found[block] = 1 + above + (level & ~right).sum(axis=1) / ((level & right).sum(axis=1) + 1)
    return found


def figures(queries: Queries, seed: int) -> dict[str, Figure]:
    """Recall at each depth and the median rank, with 95% intervals over patients and the level of chance."""
    guessed = chance(queries)
    statistics: dict[str, Callable[[Reals], Reals]] = {
        f"recall@{depth}": partial(recall, queries, depth) for depth in DEPTHS
    }
    statistics["median_rank"] = partial(median_rank, queries)
    patients = int(queries.clusters.max()) + 1
    reason = f"only {patients} patients: an interval needs {FEWEST}" if patients < FEWEST else None
    found = intervals(list(statistics.values()), queries.clusters, Resampling(seed=seed), reason=reason)
    return {
        name: Figure(float(interval.value or 0.0), interval.low, interval.high, guessed[name], interval.reason)
        for name, interval in zip(statistics, found, strict=True)
    }


def recall(queries: Queries, depth: int, counts: Reals) -> Reals:
    """(b,) the share of queries with a right answer among the first `depth`. counts: (b, c) of each patient."""
    c = counts.shape[1]
    hits = np.bincount(queries.clusters, queries.weights * (queries.ranks <= depth), minlength=c)
    share: Reals = counts @ hits / (counts @ np.bincount(queries.clusters, queries.weights, minlength=c))
    return share


def median_rank(queries: Queries, counts: Reals) -> Reals:
    """(b,) the weighted median of the ranks: midway where exactly half of the weight lies on either side."""
    order = np.argsort(queries.ranks, kind="stable")
    sums = np.cumsum(columns(counts, queries.clusters[order]) * queries.weights[order], axis=1)
    half, slack = sums[:, -1:] / 2, 1e-9 * sums[:, -1:]  # shares such as 1/3 do not add up to the last bit
    low, high = ((sums < half - slack).sum(axis=1), (sums <= half + slack).sum(axis=1))
    middle: Reals = (queries.ranks[order][low] + queries.ranks[order][high]) / 2
    return middle


def chance(queries: Queries) -> dict[str, float]:
    """The figures of an order at random. With m right ones of N, the first r hold none: C(N - m, r) / C(N, r)."""
    n, total = queries.candidates, queries.weights.sum()
    within = np.zeros(n + 1)  # share of queries with a right answer among the first r
    r = np.arange(n + 1)
    for m in np.unique(queries.right):
        possible = r <= n - m
        at = r[possible]
        missed = gammaln(n - m + 1) - gammaln(n - m - at + 1) - gammaln(n + 1) + gammaln(n - at + 1)
        none = np.zeros(n + 1)
        none[possible] = np.exp(missed)
        within += queries.weights[queries.right == m].sum() / total * (1 - none)
    expected = {f"recall@{depth}": float(within[min(depth, n)]) for depth in DEPTHS}
    return expected | {"median_rank": float(np.argmax(within >= 0.5 - 1e-9))}
