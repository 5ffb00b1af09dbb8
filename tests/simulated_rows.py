"""Simulated vectors for the tests of heads, with signals whose best score is known."""

import numpy as np

from cxremb.training.data import Member, Rows

DIMS = {"image": 12, "text": 7}


def rows_of(y: np.ndarray, task: str, blocks: dict[str, np.ndarray], present: dict | None = None) -> Rows:
    """Rows of the given blocks, everything present unless said."""
    there = {name: np.ones(block.shape[:-1], dtype=bool) for name, block in blocks.items()} | (present or {})
    blocks = {name: (block * there[name][..., None]).astype(np.float32) for name, block in blocks.items()}
    groups = np.array([f"p{number}" for number in range(len(y))])
    return Rows(blocks, there, y.reshape(len(y), -1).astype(np.float64), task, groups)


def noise(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Blocks of standard normal columns."""
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(n, dim)) for name, dim in DIMS.items()}


def planted(n: int = 300, task: str = "binary", seed: int = 0) -> Rows:
    """A part of the signal in either block, on columns of very different scale."""
    random, blocks = np.random.default_rng(seed), noise(n, seed + 1)
    if task == "multilabel":
        y = random.integers(0, 2, (n, 3))
        for label in range(3):
            blocks["image"][:, label] += y[:, label]
            blocks["text"][:, label] += y[:, label]
    else:
        classes = random.integers(0, 2 if task == "binary" else 4, n)
        blocks["image"][np.arange(n), classes] += 1.5
        blocks["text"][np.arange(n), classes] += 1.5
        y = classes if task == "binary" else np.eye(4)[classes]
    blocks["image"] = blocks["image"] * np.logspace(-2, 2, DIMS["image"]) + 5
    return rows_of(y, task, blocks)


def bags(rows: Rows, views: int = 3, seed: int = 0) -> Rows:
    """The same rows with a bag of one to `views` views as their image: the signal in one view, noise in the others."""
    random, n = np.random.default_rng(seed), len(rows.y)
    image = rows.blocks["image"]
    bag = random.normal(size=(n, views, image.shape[1])) * image.std(axis=0) + image.mean(axis=0)
    there = np.arange(views) < random.integers(1, views + 1, (n, 1))
    bag[np.arange(n), random.integers(0, there.sum(axis=1))] = image
    blocks = {"image": bag, "text": rows.blocks["text"]}
    return rows_of(rows.y, rows.task, blocks, {"image": there, "text": rows.present["text"]})


def members_of(n: int, count: int = 6, seed: int = 0) -> list[Member]:
    """Members that differ in rows, in how many there are, and in seed."""
    random = np.random.default_rng(seed)
    members = []
    for number in range(count):
        order = random.permutation(n)
        train = order[: n // 2 + 17 * number]
        watched = order[n // 2 + 17 * number :][: n // 5]
        members.append(Member(train, watched, seed=number, name=f"repeat0.fold{number}"))
    return members
