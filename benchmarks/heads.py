"""The fusion head (1280 + 768 -> 256 -> 2), 5,972 training rows, 40 epochs: this package against the usual ways.

    python benchmarks/heads.py [--quick] [--out benchmarks/results/heads.json]

The reference way is that of the published fusion system: a DataLoader with batches of 8, one fit after the other, its
validation part looked at after every epoch. It, scikit-learn and skorch get the number of threads with which it is
faster. Every round runs all ways one after the other, so that a busy machine slows them all; a ratio is the median over
the rounds. An epoch of each (a third of one in batches of 8) is timed and scaled to 40; the grid of 5 repeats x 5 folds
x 7 arms is scaled from 25 members of one arm.

Beside wall seconds stand CPU seconds, over all threads, which other work on the machine disturbs less: a fit that keeps
to one core takes that long on a quiet one, and the grid, whose members go to all cores, that long over their number.

Batches of 256 are another recipe than batches of 8, so ours is also timed at 8. Ours measures, after each epoch, the
figures of all training and validation rows; the reference way only those of validation.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import HERE, write
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
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


Seconds = NDArray[np.float64]  # (wall, CPU)


def clock() -> Seconds:
    """Now, by the wall and by the process."""
    return np.array([time.perf_counter(), time.process_time()])


def rows_of() -> Rows:
    """Random vectors: the time does not depend on what is in them."""
    random, n = np.random.default_rng(0), TRAIN + WATCHED
    blocks = {name: random.normal(size=(n, dim)).astype(np.float32) for name, dim in (("image", IMAGE), ("text", TEXT))}
    there = {name: np.ones(n, dtype=bool) for name in blocks}
    y = random.integers(0, 2, (n, 1)).astype(np.float64)
    return Rows(blocks, there, y, "binary", np.arange(n).astype(np.str_))


def ours(rows: Rows, members: int, batch: int, precision: str = "fp32") -> Seconds:
    """Seconds per epoch and member, the first epoch left out."""
    index = np.arange(len(rows.y))
    asked = [Member(index[:TRAIN], index[TRAIN:], seed) for seed in range(members)]
    marks: list[Seconds] = []

    def timed(items: Iterable[Any], total: int | None, what: Any) -> Iterator[Any]:
        for item in items:
            marks.append(clock())
            yield item

    epochs = 1 if members > 1 or batch == 8 else 4
    options = Options(batch_size=batch, epochs=1 + epochs, patience=None, precision=precision)
    fit_members(rows, asked, HEADS["fusion"], options, timed)
    return (clock() - marks[1]) / (members * epochs)


def reference(rows: Rows, part: int = TRAIN // 3) -> Seconds:
    """Seconds per epoch of a DataLoader with batches of 8, scaled from `part` rows."""
    X = torch.from_numpy(np.hstack([rows.blocks["image"], rows.blocks["text"]]))
    y = torch.from_numpy(rows.y[:, 0].astype(np.int64))
    model = nn.Sequential(nn.Linear(IMAGE + TEXT, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 2))
    optimiser, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    train = DataLoader(TensorDataset(X[:part], y[:part]), batch_size=8, shuffle=True)
    end = TRAIN + WATCHED * part // TRAIN
    watched = DataLoader(TensorDataset(X[TRAIN:end], y[TRAIN:end]), batch_size=8)
    started = clock()
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
    return TRAIN / part * (clock() - started)


def better_threads(rows: Rows) -> int:
    """One thread or all: whichever the reference is faster with, on this machine as busy as it is now."""
    reference(rows, 80)  # imports
    seconds = {}
    for threads in (1, CORES):
        torch.set_num_threads(threads)
        seconds[threads] = min(float(reference(rows, 400)[0]) for _ in range(3))
    torch.set_num_threads(CORES)
    return min(seconds, key=seconds.__getitem__)


def with_threads(threads: int, way: Callable[..., Seconds], *arguments: Any) -> Callable[[], Seconds]:
    """The way on so many threads; torch gets all of them back."""

    def run() -> Seconds:
        torch.set_num_threads(threads)
        try:
            with threadpool_limits(threads, user_api="blas"):
                return way(*arguments)
        finally:
            torch.set_num_threads(CORES)

    return run


def scikit_learn(rows: Rows, batch: int) -> Seconds:
    """Seconds per epoch of MLPClassifier; without dropout and without a validation part."""
    X, y = np.hstack([rows.blocks["image"], rows.blocks["text"]])[:TRAIN], rows.y[:TRAIN, 0]
    part = slice(0, TRAIN if batch > 8 else TRAIN // 3)
    model = MLPClassifier((256,), batch_size=batch, max_iter=1, alpha=0.0)
    started = clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged after one epoch
        model.fit(X[part], y[part])
    return (clock() - started) * TRAIN / len(y[part])


def skorch(rows: Rows, batch: int) -> Seconds:
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
    started = clock()
    net.fit(X[:part], y[:part])
    return (clock() - started) * len(X) / part


def ways_of(rows: Rows, members: int, threads: int) -> dict[str, Callable[[], Seconds]]:
    """Name -> seconds per epoch of one fit; the reference first."""
    ways = {
        "reference, batch 8": with_threads(threads, reference, rows),
        "scikit-learn, batch 8": with_threads(threads, scikit_learn, rows, 8),
        "scikit-learn, batch 256": with_threads(threads, scikit_learn, rows, 256),
    }
    if importlib.util.find_spec("skorch"):
        ways["skorch, batch 8"] = with_threads(threads, skorch, rows, 8)
        ways["skorch, batch 256"] = with_threads(threads, skorch, rows, 256)
    ways["cxremb, one fit, batch 8"] = lambda: ours(rows, 1, 8)
    for precision in ("fp32", "bf16") if native_bf16("cpu") else ("fp32",):
        ways[f"cxremb, one fit, batch 256, {precision}"] = lambda kind=precision: ours(rows, 1, 256, kind)
        ways[f"cxremb, {members} together, batch 256, {precision}"] = lambda kind=precision: ours(
            rows, members, 256, kind
        )
    return ways


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and 4 members instead of 25")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "heads.json")
    args = parser.parse_args()
    rows, members = rows_of(), 4 if args.quick else FOLDS
    threads = better_threads(rows)
    ways = ways_of(rows, members, threads)
    spent: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(1 if args.quick else args.rounds):
        for name, way in ways.items():
            spent[name].append(way())
    told = {name: summary(seconds, spent["reference, batch 8"]) for name, seconds in spent.items()}
    for name, row in told.items():
        print(f"{name:40}", *(f"{key} {value:g};" for key, value in row.items()))
    found = {
        "scaled": f"one epoch of a fit is timed; a fit is {EPOCHS} of them and the grid {GRID} fits",
        "rounds": len(spent["reference, batch 8"]),
        "threads_of_the_others": threads,
        "ways": told,
    }
    write(args.out, found, ("torch", "scikit-learn", "skorch", "numpy"))


def summary(seconds: list[Seconds], reference: list[Seconds]) -> dict[str, float]:
    """The fastest epoch, scaled figures, and the median ratios to the reference."""
    wall, cpu = np.min(seconds, axis=0)
    times = np.median(np.array(reference) / np.array(seconds), axis=0)
    return {
        "seconds_per_epoch": round(wall, 4),
        "seconds_per_fit": round(wall * EPOCHS, 2),
        "minutes_per_grid": round(wall * EPOCHS * GRID / 60, 2),
        "times": round(times[0], 2),
        "cpu_seconds_per_epoch": round(cpu, 4),
        "times_cpu": round(times[1], 2),
    }


if __name__ == "__main__":
    main()
