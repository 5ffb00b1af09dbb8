"""Intervals of AUROC by 1,000 resamples: this package against a loop over scikit-learn, and `confidenceinterval`.

    python benchmarks/bootstrap.py [--rows 5000] [--rounds 3] [--quick] [--out benchmarks/results/bootstrap.json]

Scores are drawn. The loop draws rows and calls `roc_auc_score`, as notebooks do; it is also written for patients, whose
rows are drawn together. `confidenceinterval` (if installed) resamples rows through SciPy. Ours resamples patients, of
two rows each or, to compare with the others, of one. By DeLong's formula nothing is resampled: that is what cxremb
prints beside an AUROC, and `confidenceinterval` has it too.

Each interval is compared with that of the loop: resamples are different draws, so ends may differ by a few of their own
errors (`largest_difference`, of ends that are about .03 apart).
"""

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from side_by_side import HERE, take_turns, write
from sklearn.metrics import roc_auc_score

from cxremb.evaluation.bootstrap import Resampling, intervals, resampled
from cxremb.evaluation.delong import delong

Ends = tuple[float, float]
RESAMPLES = 1000


def scores(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(labels, probabilities) with an AUROC of about .8."""
    random = np.random.default_rng(0)
    y = (random.random(n) < 0.3).astype(np.float64)
    return y, 1 / (1 + np.exp(-(random.standard_normal(n) + 1.2 * y)))


def loop(y: NDArray[np.float64], prob: NDArray[np.float64], size: int) -> Ends:
    """Patients of `size` rows drawn one resample after the other."""
    random, drawn = np.random.default_rng(1), []
    rows = np.arange(len(y)).reshape(-1, size)
    for _ in range(RESAMPLES):
        taken = rows[random.integers(0, len(rows), len(rows))].ravel()
        drawn.append(roc_auc_score(y[taken], prob[taken]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def ours(y: NDArray[np.float64], prob: NDArray[np.float64], size: int) -> Ends:
    """The package's, over patients of `size` rows."""
    patients = np.arange(len(y)) // size
    statistic = resampled("auroc", y, prob, called=prob >= 0.5, clusters=patients, c=len(y) // size)
    found = intervals([statistic], patients, Resampling(RESAMPLES))[0]
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def by_formula(y: NDArray[np.float64], prob: NDArray[np.float64], size: int) -> Ends:
    """The package's by DeLong's formula, over the same patients."""
    found = delong(y, prob, clusters=np.arange(len(y)) // size)
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of few rows: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "bootstrap.json")
    options = parser.parse_args()
    n, rounds = (400, 1) if options.quick else (options.rows, options.rounds)
    y, prob = scores(n)
    ways: dict[str, dict[str, Callable[[], Ends]]] = {
        "rows": {"scikit-learn, loop": lambda: loop(y, prob, 1)},
        "patients of two rows": {"scikit-learn, loop": lambda: loop(y, prob, 2)},
    }
    if importlib.util.find_spec("confidenceinterval"):
        from confidenceinterval import roc_auc_score as with_interval

        def other(method: str) -> Ends:
            _, ends = with_interval(y.astype(int), prob, method=method, n_resamples=RESAMPLES)
            return float(ends[0]), float(ends[1])

        ways["rows"]["confidenceinterval, bootstrap"] = lambda: other("bootstrap_percentile")
        ways["rows"]["confidenceinterval, DeLong"] = lambda: other("delong")
    for name, size in (("rows", 1), ("patients of two rows", 2)):
        ways[name]["cxremb, bootstrap"] = lambda size=size: ours(y, prob, size)
        ways[name]["cxremb, DeLong"] = lambda size=size: by_formula(y, prob, size)
    ends = {what: {name: run() for name, run in calls.items()} for what, calls in ways.items()}
    apart = 0.0
    for found in ends.values():
        first = next(iter(found.values()))
        apart = max(apart, *(abs(a - b) for one in found.values() for a, b in zip(one, first, strict=True)))
    assert apart < (0.05 if options.quick else 0.004), ends
    rows = {}
    for what, calls in ways.items():
        print(what)
        rows[what] = take_turns({name: (1, run) for name, run in calls.items()}, rounds)
    result = {
        "benchmark": "bootstrap",
        "command": f"python benchmarks/bootstrap.py --rows {n} --rounds {rounds}",
        "resamples": RESAMPLES,
        "rows_of_scores": n,
        "intervals": ends,
        "largest_difference": round(apart, 5),
        "ways": rows,
    }
    write(options.out, result, ("numpy", "scikit-learn", "scipy", "confidenceinterval"))


if __name__ == "__main__":
    main()
