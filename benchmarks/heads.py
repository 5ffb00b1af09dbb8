"""The fusion head (1280 + 768 -> 256 -> 2), 5,972 training rows, 40 epochs: this package against the usual ways.

    python benchmarks/heads.py [--quick] [--out benchmarks/results/heads.json]

The reference way is that of the published fusion system: a DataLoader with batches of 8, one fit after the other, its
validation part looked at after every epoch. It is given the number of threads with which it is faster. Every round runs
all ways one after the other, so that a busy machine slows them all; a ratio is the median over the rounds. A few epochs
of each are timed and scaled to 40; the grid of 5 repeats x 5 folds x 7 arms is scaled from 25 members of one arm.

Batches of 256 are another recipe than batches of 8, so ours is also timed at 8. Ours measures, after each epoch, the
figures of all training and validation rows; the reference way only those of validation.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cxremb.encoders.runtime import native_bf16
from cxremb.train.data import Member, Rows
from cxremb.train.heads import HEADS
from cxremb.train.loop import fit_members
from cxremb.train.options import Options

TRAIN, WATCHED, IMAGE, TEXT = 5972, 597, 1280, 768
EPOCHS, GRID, FOLDS = 40, 175, 25
CORES = torch.get_num_threads()


def rows_of() -> Rows:
    """Random vectors: the time does not depend on what is in them."""
    random, n = np.random.default_rng(0), TRAIN + WATCHED
    blocks = {name: random.normal(size=(n, dim)).astype(np.float32) for name, dim in (("image", IMAGE), ("text", TEXT))}
    there = {name: np.ones(n, dtype=bool) for name in blocks}
    y = random.integers(0, 2, (n, 1)).astype(np.float64)
    return Rows(blocks, there, y, "binary", np.arange(n).astype(np.str_))


def ours(rows: Rows, members: int, batch: int, precision: str = "fp32") -> float:
    """Seconds per epoch and member, the first epoch left out."""
    index = np.arange(len(rows.y))
    asked = [Member(index[:TRAIN], index[TRAIN:], seed) for seed in range(members)]
    marks: list[float] = []

    def timed(items: Iterable[Any], total: int | None, what: Any) -> Iterator[Any]:
        for item in items:
            marks.append(time.perf_counter())
            yield item

    options = Options(batch_size=batch, epochs=2, patience=None, precision=precision)
    fit_members(rows, asked, HEADS["fusion"], options, timed)
    return (time.perf_counter() - marks[1]) / members


def reference(rows: Rows, threads: int) -> float:
    """Seconds per epoch of a DataLoader, batches of 8, scaled from a third of an epoch."""
    torch.set_num_threads(threads)
    X = torch.from_numpy(np.hstack([rows.blocks["image"], rows.blocks["text"]]))
    y = torch.from_numpy(rows.y[:, 0].astype(np.int64))
    part = TRAIN // 3
    model = nn.Sequential(nn.Linear(IMAGE + TEXT, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 2))
    optimiser, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    train = DataLoader(TensorDataset(X[:part], y[:part]), batch_size=8, shuffle=True)
    watched = DataLoader(TensorDataset(X[TRAIN : TRAIN + WATCHED // 3], y[TRAIN : TRAIN + WATCHED // 3]), batch_size=8)
    started = time.perf_counter()
    model.train()
    lost = right = 0.0
    for inputs, labels in train:
        optimiser.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimiser.step()
        lost += loss.item() * len(labels)
        right += (outputs.argmax(dim=1) == labels).sum().item()
    model.eval()
    with torch.no_grad():
        for inputs, labels in watched:
            lost += criterion(model(inputs), labels).item()
    torch.set_num_threads(CORES)
    return 3 * (time.perf_counter() - started)


def scikit_learn(rows: Rows, batch: int) -> float:
    """Seconds per epoch of MLPClassifier; without dropout and without a validation part."""
    X, y = np.hstack([rows.blocks["image"], rows.blocks["text"]])[:TRAIN], rows.y[:TRAIN, 0]
    part = slice(0, TRAIN if batch > 8 else TRAIN // 3)
    model = MLPClassifier((256,), batch_size=batch, max_iter=1, alpha=0.0)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged after one epoch
        model.fit(X[part], y[part])
    return (time.perf_counter() - started) * TRAIN / len(y[part])


def skorch(rows: Rows, batch: int) -> float:
    """Seconds per epoch of NeuralNetClassifier, with its validation part."""
    from skorch import NeuralNetClassifier
    from skorch.dataset import ValidSplit

    X, y = np.hstack([rows.blocks["image"], rows.blocks["text"]]), rows.y[:, 0].astype(np.int64)
    model = nn.Sequential(nn.Linear(IMAGE + TEXT, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 2))
    net = NeuralNetClassifier(
        model, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, max_epochs=1, batch_size=batch,
        train_split=ValidSplit(11), iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    part = len(X) if batch > 8 else len(X) // 3
    started = time.perf_counter()
    net.fit(X[:part], y[:part])
    return (time.perf_counter() - started) * len(X) / part


def ways_of(rows: Rows, members: int) -> dict[str, Callable[[], float]]:
    """Name -> seconds per epoch of one fit."""
    ways: dict[str, Callable[[], float]] = {
        f"reference, {threads} thread{'s' * (threads > 1)}": lambda threads=threads: reference(rows, threads)
        for threads in sorted({1, CORES})
    }
    ways |= {
        "scikit-learn, batch 8": lambda: scikit_learn(rows, 8),
        "scikit-learn, batch 256": lambda: scikit_learn(rows, 256),
        "cxremb, one fit, batch 8": lambda: ours(rows, 1, 8),
        "cxremb, one fit, batch 256": lambda: ours(rows, 1, 256),
        f"cxremb, {members} fits together, batch 256": lambda: ours(rows, members, 256),
    }
    if importlib.util.find_spec("skorch"):
        ways["skorch, batch 8"] = lambda: skorch(rows, 8)
        ways["skorch, batch 256"] = lambda: skorch(rows, 256)
    if native_bf16("cpu"):
        ways["cxremb, one fit, batch 256, bf16"] = lambda: ours(rows, 1, 256, "bf16")
        ways[f"cxremb, {members} fits together, batch 256, bf16"] = lambda: ours(rows, members, 256, "bf16")
    return ways


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and 4 members instead of 25")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "heads.json")
    args = parser.parse_args()
    rows, members = rows_of(), 4 if args.quick else FOLDS
    ways = ways_of(rows, members)
    for way in ways.values() if not args.quick else []:
        way()  # imports, allocators
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if args.quick else args.rounds):
        for name, way in ways.items():
            spent[name].append(way())
    told = summary(spent)
    for name, row in told.items():
        print(f"{name:46} {row['seconds per epoch']:7.3f} s/epoch  one fit {row['seconds per fit']:7.1f} s  "
              f"grid {row['minutes per grid']:7.1f} min  {row['times the reference']:6.1f}x")  # fmt: skip
    about = {"machine": platform.processor() or platform.machine(), "cores": CORES, "torch": torch.__version__}
    about |= {"scikit-learn": version("scikit-learn"), "quick": args.quick, "rounds": len(spent[next(iter(spent))])}
    scaled = f"epochs timed one at a time and scaled to {EPOCHS}; the grid is {GRID} fits"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(about | {"scaled": scaled, "ways": told}, indent=1) + "\n", encoding="utf-8")


def summary(spent: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Way -> its fastest epoch, scaled figures, and the median ratio to the reference's better thread count."""
    references = [seconds for name, seconds in spent.items() if name.startswith("reference")]
    best = [min(round_) for round_ in zip(*references, strict=True)]
    told = {}
    for name, seconds in spent.items():
        epoch = min(seconds)
        told[name] = {
            "seconds per epoch": round(epoch, 4),
            "seconds per fit": round(epoch * EPOCHS, 2),
            "minutes per grid": round(epoch * EPOCHS * GRID / 60, 2),
            "times the reference": round(statistics.median(a / b for a, b in zip(best, seconds, strict=True)), 2),
        }
    return told


if __name__ == "__main__":
    main()
