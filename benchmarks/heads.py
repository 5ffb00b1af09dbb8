"""The fusion head (1280 + 768 -> 256 -> 2), 5,972 training rows, 40 epochs: this package against the usual ways.

    python benchmarks/heads.py [--quick] [--limit] [--out benchmarks/results/heads.json]

The reference way is that of the published fusion system: a DataLoader with batches of 8, one fit after the other, its
validation part looked at after every epoch. It, scikit-learn and skorch get the number of threads with which it is
faster. Every round runs all ways one after the other, so that a busy machine slows them all; a ratio is the median over
the rounds. An epoch of each (a third of one in batches of 8) is timed and scaled to 40.

A fit of 40 epochs is what the reference does. By default ours keeps the epoch with the lowest validation loss and stops
8 epochs after it: that is timed too, whole, and is named so.

The grid is 5 repeats x 5 folds of seven arms, each as wide as what it reads (`ARMS`). The reference fits them one by
one; here the 25 models of an arm are trained together.

Beside wall seconds stand CPU seconds, over all threads, which other work on the machine disturbs less.

Batches of 256 are another recipe than batches of 8, so ours is also timed at 8. After each epoch ours measures all
validation rows and as many training rows; the reference way only the validation rows.
"""

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
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

from cxremb.encoders.machine import native_bf16
from cxremb.training.data import Member, Rows
from cxremb.training.heads import HEADS
from cxremb.training.loop import fit_members
from cxremb.training.options import Options

TRAIN, WATCHED, IMAGE, TEXT = 5972, 597, 1280, 768
EPOCHS, FOLDS = 40, 25
# Every arm of the usual table, and the vectors that it reads.
ARMS = {
    "image": ("image",),
    "text": ("text",),
    "fusion": ("image", "text"),
    "image+indication": ("image", "text"),
    "findings": ("text",),
    "impression": ("text",),
    "pre-read": ("text",),
}
CORES = torch.get_num_threads()


Seconds = NDArray[np.float64]  # (wall, CPU)


def clock() -> Seconds:
    """Now, by the wall and by the process."""
    return np.array([time.perf_counter(), time.process_time()])


def rows_of() -> Rows:
    """Random vectors in which the label shifts some columns: the image alone is worth an AUROC of .76, the text .98.

    When an epoch is timed what is in them makes no difference; it decides when a fit stops on its own.
    """
    random, n = np.random.default_rng(0), TRAIN + WATCHED
    y = random.integers(0, 2, (n, 1)).astype(np.float64)
    blocks = {}
    for name, dim, distance in (("image", IMAGE, 1.0), ("text", TEXT, 3.0)):
        direction = random.normal(size=dim)
        X = random.normal(size=(n, dim)) + y * distance * direction / np.linalg.norm(direction)
        blocks[name] = X.astype(np.float32)
    there = {name: np.ones(n, dtype=bool) for name in blocks}
    return Rows(blocks, there, y, "binary", np.arange(n).astype(np.str_))


def ours(rows: Rows, members: int, batch: int, precision: str = "auto", head: str = "fusion") -> Seconds:
    """Seconds per epoch and member, the first epoch left out. One fit of batches of 256 is timed whole."""
    index = np.arange(len(rows.y))
    asked = [Member(index[:TRAIN], index[TRAIN:], seed) for seed in range(members)]
    marks: list[Seconds] = []

    def timed(items: Iterable[Any], total: int | None, what: Any) -> Iterator[Any]:
        for item in items:
            marks.append(clock())
            yield item

    epochs = 1 if batch == 8 else 2 if members > 1 else EPOCHS - 1
    options = Options(batch_size=batch, epochs=1 + epochs, patience=None, precision=precision)
    fit_members(rows, asked, HEADS[head], options=options, progress=timed)
    return (clock() - marks[1]) / (members * epochs)


def products(members: int, precision: str) -> Seconds:
    """Seconds per epoch and member of the products of the fusion head and nothing else: no fit can take less.

    Forward and backward of both layers over the training rows in batches of 256 (no gradient of the input), and forward
    of what is measured after an epoch.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = ((256, IMAGE + TEXT), (IMAGE + TEXT, 256), (256, 2), (256, 2))
    X, first, second, wrong = (torch.randn(members, *shape).to(kind) for shape in shapes)
    backward, columns, rows = second.transpose(1, 2).contiguous(), X.transpose(1, 2), -(-TRAIN // 256)

    def epoch() -> None:
        for batch in range(rows + -(-2 * WATCHED // 256)):
            hidden = torch.bmm(X, first)
            torch.bmm(hidden, second)
            if batch < rows:
                torch.bmm(hidden.transpose(1, 2), wrong)
                torch.bmm(columns, torch.bmm(wrong, backward))

    with torch.inference_mode():
        epoch()
        started = clock()
        epoch()
        return (clock() - started) / members


def stopping(rows: Rows, members: int, head: str = "fusion") -> Seconds:
    """Seconds of fits as they are by default, which stop once 8 epochs have brought nothing; per 1/40 of a fit."""
    index = np.arange(len(rows.y))
    asked = [Member(index[:TRAIN], index[TRAIN:], seed) for seed in range(members)]
    started = clock()
    fit_members(rows, asked, HEADS[head], options=Options())
    return (clock() - started) / (members * EPOCHS)


def grid(way: Callable[[str], Seconds]) -> Seconds:
    """Seconds per epoch and model, on average over the arms; arms of the same width take as long."""
    heads = ["fusion" if len(reads) > 1 else reads[0] for reads in ARMS.values()]
    return np.sum([heads.count(head) * way(head) for head in sorted(set(heads))], axis=0) / len(heads)


def reference(rows: Rows, part: int = TRAIN // 3, head: str = "fusion") -> Seconds:
    """Seconds per epoch of a DataLoader with batches of 8, scaled from `part` rows."""
    X = torch.from_numpy(np.hstack([rows.blocks[name] for name in HEADS[head].blocks]))
    y = torch.from_numpy(rows.y[:, 0].astype(np.int64))
    model = nn.Sequential(nn.Linear(X.shape[1], 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 2))
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


def ways_of(rows: Rows, members: int, threads: int) -> dict[str, dict[str, Callable[[], Seconds]]]:
    """What is timed -> way -> seconds per epoch of one fit; the reference first."""
    fit = {
        "reference, batch 8": with_threads(threads, reference, rows),
        "scikit-learn, batch 8": with_threads(threads, scikit_learn, rows, 8),
        "scikit-learn, batch 256": with_threads(threads, scikit_learn, rows, 256),
    }
    if importlib.util.find_spec("skorch"):
        fit["skorch, batch 8"] = with_threads(threads, skorch, rows, 8)
        fit["skorch, batch 256"] = with_threads(threads, skorch, rows, 256)
    fit["cxremb, batch 8"] = lambda: ours(rows, 1, 8)
    one_by_one = partial(reference, rows, TRAIN // 3)
    table = {"reference, one by one": with_threads(threads, grid, lambda head: one_by_one(head=head))}
    for precision in ("fp32", "bf16") if native_bf16("cpu") else ("fp32",):
        fit[f"cxremb, batch 256, {precision}"] = partial(ours, rows, 1, 256, precision)
        fit[f"limit: the products alone, {precision}"] = partial(products, 1, precision)
        together = partial(ours, rows, members, 256, precision)
        table[f"cxremb, {members} together, {precision}"] = partial(grid, lambda head, way=together: way(head=head))
    fit["cxremb, stopping on its own"] = partial(stopping, rows, 1)
    table[f"cxremb, {members} together, stopping on their own"] = partial(
        grid, lambda head: stopping(rows, members, head)
    )
    return {"one fit": fit, "grid": table}


def limits_of(rows: Rows, members: int) -> dict[str, dict[str, Callable[[], Seconds]]]:
    """Ours beside the products alone, for one fit and for many fusions together: what share of the limit it reaches."""
    found: dict[str, dict[str, Callable[[], Seconds]]] = {}
    for precision in ("fp32", "bf16") if native_bf16("cpu") else ("fp32",):
        for count in (1, members):
            what = f"{count} fusions together, {precision}" if count > 1 else f"one fusion, {precision}"
            found[what] = {
                "cxremb": partial(ours, rows, count, 256, precision),
                "limit: the products alone": partial(products, count, precision),
            }
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and 4 members instead of 25")
    parser.add_argument("--limit", action="store_true", help="only ours beside its matrix products: minutes, not hours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="results/heads.json, or heads_limit.json")
    args = parser.parse_args()
    out = args.out or HERE / "results" / ("heads_limit.json" if args.limit else "heads.json")
    rows, members = rows_of(), 4 if args.quick else FOLDS
    threads = better_threads(rows)
    told = {}
    for what, ways in (limits_of(rows, members) if args.limit else ways_of(rows, members, threads)).items():
        spent: dict[str, list[Seconds]] = {name: [] for name in ways}
        for _ in range(1 if args.quick else args.rounds):
            for name, way in ways.items():
                spent[name].append(way())
        fits = FOLDS * len(ARMS) if what == "grid" else 1
        told[what] = {name: summary(seconds, next(iter(spent.values())), fits) for name, seconds in spent.items()}
        for name, row in told[what].items():
            print(
                f"{what:8} {name:32}",
                *(f"{key} {value:g};" for key, value in row.items() if key != "repeats"),
                flush=True,
            )
    found = {
        "command": "python benchmarks/heads.py" + (" --limit" if args.limit else ""),
        "scaled": f"some epochs of a fit are timed; a fit is {EPOCHS} of them and the grid {FOLDS * len(ARMS)} fits",
        "arms": ARMS,
        "rounds": 1 if args.quick else args.rounds,
        "threads_of_the_others": threads,
        "ways": told,
    }
    write(out, found, ("torch", "scikit-learn", "skorch", "numpy"))


def summary(seconds: list[Seconds], reference: list[Seconds], fits: int) -> dict[str, float]:
    """The fastest epoch, scaled to all fits, and the median ratios to the reference."""
    wall, cpu = np.min(seconds, axis=0)
    times = np.median(np.array(reference) / np.array(seconds), axis=0)
    return {
        "seconds_per_epoch": round(wall, 4),
        "seconds": round(wall * EPOCHS * fits, 2),
        "cpu_seconds": round(cpu * EPOCHS * fits, 2),
        "times": round(times[0], 2),
        "cpu_seconds_per_epoch": round(cpu, 4),
        "times_cpu": round(times[1], 2),
        "repeats": [[round(value, 5) for value in one] for one in np.array(seconds).tolist()],
    }


if __name__ == "__main__":
    main()
