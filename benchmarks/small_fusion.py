"""The default fusion against its best single arm, on planted signals: few rows and many, one modality strong.

    python benchmarks/small_fusion.py [--sizes 200 500 2000 7000] [--seeds 20] [--out benchmarks/results/...]

Vectors are as wide as EfficientNet-B1's and BioBERT's (1,280 and 768), with variances that fall as those of embeddings
do (1 / rank), in a basis drawn at random. The classes of a block lie so many standard deviations apart, in a direction
drawn among its 30 widest ones. Of the rows 64% train, 16% validate, and 4,000 more are tested, so that a difference is
not one of a few test rows. The strong modality is the image with even seeds, the text with odd ones.

Each arm is trained as `cxremb train` does by default; `fusion, blocks alike`, up to 500 rows, is the fusion of before,
whose blocks are not scaled. A difference is that to the modality that was planted strong; of two complementary ones,
to the better.
"""

import argparse
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from side_by_side import write

from cxremb.evaluation.metrics import binary_metrics
from cxremb.training.data import Member, Rows
from cxremb.training.heads import HEADS
from cxremb.training.loop import fit_members, predict
from cxremb.training.presets import PRESETS

DIMS = {"image": 1280, "text": 768}
SIGNALS = {"weak": (1.8, 0.6), "noise": (1.8, 0.0), "complementary": (1.2, 1.2)}  # of the strong one, of the other
WIDEST, TESTED, FEW = 30, 4000, 500
DEFAULT = PRESETS["default"].options
ALIKE = "fusion, blocks alike"


@cache
def basis(dim: int) -> NDArray[np.float32]:
    """(dim, dim) orthogonal."""
    return np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))[0].astype(np.float32)


def block(y: NDArray[np.float64], dim: int, distance: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, dim) vectors whose classes lie `distance` standard deviations apart."""
    way = np.zeros(dim)
    way[:WIDEST] = rng.standard_normal(WIDEST)
    drawn = rng.standard_normal((len(y), dim)) + np.outer(y - 0.5, way / np.linalg.norm(way) * distance)
    return (drawn * (np.arange(dim) + 1.0) ** -0.5).astype(np.float32) @ basis(dim)


def planted(n: int, distances: tuple[float, float], seed: int) -> tuple[Rows, Member, NDArray[np.int64]]:
    """(rows, which train and which validate, which are tested)."""
    rng, known = np.random.default_rng([seed, n]), int(0.8 * n)
    y = (rng.random(known + TESTED) < 0.4).astype(np.float64)
    blocks = {
        name: block(y, dim, distance, rng)
        for (name, dim), distance in zip(DIMS.items(), distances[:: -1 if seed % 2 else 1], strict=True)
    }
    there = {name: np.ones(len(y), dtype=np.bool_) for name in blocks}
    rows = Rows(blocks, there, y[:, None], "binary", np.arange(len(y)).astype(np.str_))
    train = np.arange(int(0.64 * n))
    return rows, Member(train, np.arange(len(train), known), seed), np.arange(known, len(y))


def arms(n: int, distances: tuple[float, float], seed: int) -> tuple[dict[str, float], str]:
    """(arm -> AUROC of the test rows, the scales of the fusion's blocks)."""
    rows, member, tested = planted(n, distances, seed)
    wanted = {name: (name, DEFAULT) for name in (*DIMS, "fusion")}
    if n <= FEW:
        wanted[ALIKE] = "fusion", replace(DEFAULT, scale_blocks=False)
    found, scales = {}, ""
    for name, (head, options) in wanted.items():
        [trained] = fit_members(rows, [member], HEADS[head], options=options)
        prob = predict(rows, HEADS[head], trained.weights, index=tested).prob[:, 0]
        found[name] = float(binary_metrics(rows.y[tested, 0], prob)["auroc"] or np.nan)
        if trained.scales:
            strong, other = list(trained.scales.values())[:: -1 if seed % 2 else 1]
            scales = f"{strong:g} and {other:g}"
    return found, scales


def measure(n: int, signal: str, seeds: int) -> dict[str, Any]:
    """The means over seeds, and the paired difference of either fusion to the best single arm."""
    runs = [arms(n, SIGNALS[signal], seed) for seed in range(seeds)]
    single = [
        max(found["image"], found["text"]) if signal == "complementary" else found["text" if seed % 2 else "image"]
        for seed, (found, _) in enumerate(runs)
    ]
    gaps = {
        name: np.array([found[name] for found, _ in runs]) - single for name in ("fusion", ALIKE) if name in runs[0][0]
    }
    row: dict[str, Any] = {
        "n": n,
        "seeds": seeds,
        "other modality": signal,
        "best single arm": round(float(np.mean(single)), 4),
    }
    for name, gap in gaps.items():
        row[name] = {
            "auroc": round(float(np.mean([found[name] for found, _ in runs])), 4),
            "difference": round(float(gap.mean()), 4),
            "standard error": round(float(gap.std(ddof=1) / len(gap) ** 0.5), 4),
        }
    row["scales of the strong one and the other"] = dict(Counter(scales for _, scales in runs).most_common())
    return row


def main() -> None:
    """Run every size and signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 500, 2000, 7000])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/small_fusion.json"))
    options = parser.parse_args()
    rows, started = [], time.perf_counter()
    for n in options.sizes:
        for signal in SIGNALS:
            rows.append(measure(n, signal, options.seeds))
            print(rows[-1], round(time.perf_counter() - started), "s", flush=True)
            found = {"tested": TESTED, "signals": SIGNALS, "rows": rows}
            write(options.out, found, ("torch", "numpy", "cxremb"))  # as far as it is: a size of 7,000 takes long


if __name__ == "__main__":
    main()
