"""Groups go whole into equal bins, each label spread alike; parts are made of bins."""

import numpy as np
from numpy.typing import NDArray

from cxremb.splits.group import Numbers

CEILING = 2**61  # whole numbers below it add up without overflow


def indicators(values: NDArray[np.float64], task: str) -> Numbers:
    """(n, c) 0 or 1, the columns to spread: a class each, or a yes and a no for each label of a multilabel set.

    values: (n, k) 0, 1 or NaN. A missing value is neither yes nor no. Columns that nobody has are left out.
    """
    marks = values == 1 if task == "multiclass" else np.hstack([values == 1, values == 0])
    return marks[:, marks.any(axis=0)].astype(np.int64)


def balanced_bins(groups: Numbers, marks: Numbers, bins: int, seed: int) -> Numbers:
    """(n,) the bin of each row: large groups first, each where it adds least to the imbalance.

    groups: (n,) from 0. marks: (n, c) of `indicators`. Imbalance is the sum over bins of squared shares, of every
    column and of all rows, so that what is rare weighs most. A greedy choice in the spirit of iterative stratification
    (Sechidis et al. 2011) and of scikit-learn's StratifiedGroupKFold. Dealing groups with something rare first gained
    nothing on the real labels, and left the classes of a binary set less even.
    """
    columns = [*marks.T, np.ones(len(groups), dtype=np.int64)]
    counts = np.stack([np.bincount(groups, column) for column in columns], axis=1).astype(np.int64)
    # 1 / total**2 as whole numbers: ties then break alike on every machine
    weighted = counts * (CEILING // len(columns) // counts.sum(axis=0) ** 2)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    load = np.zeros((bins, counts.shape[1]), dtype=np.int64)
    chosen = np.empty(len(counts), dtype=np.int64)
    for number in np.lexsort((shuffled, -counts[:, -1])).tolist():  # by size, equals in random order
        # half the growth of the imbalance, less what is the same for every bin
        best = int(np.argmin(load @ weighted[number]))
        load[best] += counts[number]
        chosen[number] = best
    return chosen[groups]


def part_names(bins: Numbers, fold: int, count: int) -> NDArray[np.str_]:
    """(n,) train, val or test. Every bin is tested once and, over the folds, half of them serve as val."""
    parts = np.full(len(bins), "train", dtype="<U5")
    parts[bins // 2 == fold] = "test"
    parts[bins == (2 * fold + 2) % count] = "val"
    return parts
