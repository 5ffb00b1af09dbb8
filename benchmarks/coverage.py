"""Do intervals hold the truth, and does a comparison of equals find nothing? Simulated, so that the truth is known.

    python benchmarks/coverage.py [--quick] [--out benchmarks/results/coverage.json]

A data set is 120 patients with one to four films each. All films of a patient share a label and most of what a model
gets right or wrong about them (correlation 0.7). An interval covers if it holds the true figure; a comparison of two
models of equal quality rejects if its p is below 0.05. The clusters are the patients, and beside that, wrongly, the
rows. The table it prints is the one in docs/evaluation.md. Minutes on two busy cores; --quick takes a
tenth of the data sets and a fifth of the resamples.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cxremb.evaluation.bootstrap import Resampling
from cxremb.evaluation.delong import delong, delong_difference
from cxremb.predictions import Predictions

Reals = NDArray[np.float64]

PATIENTS, MOST_FILMS = 120, 4
PREVALENCE = 0.4
SHARED = 0.7  # of the variance of a score: what its patient's films have in common
APART = 1.2  # standard deviations between the classes
DATA_SETS, RESAMPLES = 1000, 1000
TRUTH = {"auroc": NormalDist().cdf(APART / 2**0.5), "accuracy": NormalDist().cdf(APART / 2)}
WAYS = ("bootstrap", "DeLong")


def simulated(rng: np.random.Generator) -> tuple[Reals, NDArray[np.intp], Reals, Reals]:
    """(labels, patients, probabilities of one model and of another that is just as good)."""
    patients = np.repeat(np.arange(PATIENTS), rng.integers(1, MOST_FILMS + 1, PATIENTS))
    y = (rng.random(PATIENTS) < PREVALENCE).astype(np.float64)[patients]
    models = []
    for _ in range(2):
        shared, own = rng.standard_normal(PATIENTS)[patients], rng.standard_normal(len(patients))
        score = APART * (y - 0.5) + np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
        models.append(1 / (1 + np.exp(-score)))
    return y, patients, models[0], models[1]


def predictions(y: Reals, prob: Reals, clusters: NDArray[np.intp]) -> Predictions:
    """Test rows of one model, whose patients are the clusters."""
    n = len(y)
    rows, zero = np.arange(n), np.zeros(n, dtype=np.int64)
    return Predictions(
        run="simulated",
        dataset="simulated",
        unit="image",
        task="binary",
        labels=("abnormal",),
        part=np.full(n, "test"),
        items=rows,
        studies=rows,
        patients=clusters,
        repeat=zero,
        fold=zero,
        seed=zero,
        y=y[:, None],
        prob=prob[:, None],
        logit=np.log(prob / (1 - prob))[:, None],
    )


def judged(seed: int, resamples: int) -> Iterator[tuple[str, str, str, bool]]:
    """(coverage or rejection, figure and method, clusters, whether it covered or rejected) of one data set."""
    y, patients, first, second = simulated(np.random.default_rng(seed))
    metrics, resampling = tuple(TRUTH), Resampling(resamples, seed=seed)
    for name, clusters in (("patients", patients), ("rows", np.arange(len(y)))):
        a, b = (predictions(y, prob, clusters) for prob in (first, second))
        for metric, found in a.interval(metrics, resampling).items():
            yield "coverage", f"{metric}, bootstrap", name, found.low <= TRUTH[metric] <= found.high
        for metric, gap in a.difference(b, metrics, resampling).items():
            yield "rejection", f"{metric}, bootstrap", name, gap.p < 0.05
        area = delong(y, first, clusters)
        yield "coverage", "auroc, DeLong", name, area.low <= TRUTH["auroc"] <= area.high
        yield "rejection", "auroc, DeLong", name, delong_difference(y, first, second, clusters=clusters).p < 0.05


def measured(data_sets: int, resamples: int) -> dict[str, dict[str, dict[str, float]]]:
    """Coverage or rejection -> figure and method -> clusters -> share of the data sets."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for seed in range(data_sets):
        for kind, figure, clusters, happened in judged(seed, resamples):
            counts[kind, figure, clusters] += happened
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for kind in ("coverage", "rejection"):
        for figure in ("auroc, bootstrap", "auroc, DeLong", "accuracy, bootstrap"):
            row = {name: counts[kind, figure, name] / data_sets for name in ("patients", "rows")}
            shares.setdefault(kind, {})[figure] = row
    return shares


def table(result: dict) -> list[str]:
    """The lines of the table in docs/evaluation.md."""
    headings = {"coverage": "95% interval covers", "rejection": "A against A rejects"}
    lines = ["| | figure | clusters are patients | clusters are rows |", "| --- | --- | --- | --- |"]
    for kind, words in headings.items():
        for figure, row in result[kind].items():
            lines.append(f"| {words} | {figure} | {row['patients']:.1%} | {row['rows']:.1%} |")
    return lines


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 data sets, 200 resamples")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    args = parser.parse_args()
    data_sets, resamples = (DATA_SETS // 10, 200) if args.quick else (DATA_SETS, RESAMPLES)
    start = time.perf_counter()
    about = {"data_sets": data_sets, "resamples": resamples, "patients": PATIENTS, "shared_variance": SHARED}
    result = {**about, "truth": TRUTH, **measured(data_sets, resamples)}
    result["seconds"] = round(time.perf_counter() - start)
    print(*table(result), sep="\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
