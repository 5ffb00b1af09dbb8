"""The steps of `benchmarks/growth.py`. Each takes a root and gives what is timed; what that needs is made before."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cxremb.embedding.plan import Item

NAME = "made_up"


def load_cold(root: Path) -> Callable[[], object]:
    """The vectors of one section from the parts."""
    shutil.rmtree(root / NAME / "cache", ignore_errors=True)
    return load(root)


def load(root: Path) -> Callable[[], object]:
    """The same, as another process left them in `cache/`."""
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    store = open_store(open_dataset(root, NAME), "efficientnet_b1")
    return store.load


def features(root: Path) -> Callable[[], object]:
    """Rows of two stores with their labels."""
    from cxremb.features import Inputs, load_features
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    return lambda: load_features(dataset, ["image", "text"], Inputs(text="findings"))


def studies(root: Path) -> Callable[[], object]:
    """Rows that are studies with all their films, of which one has 11."""
    from cxremb.features import Inputs, load_features
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    return lambda: load_features(dataset, ["image"], Inputs(unit="study"))


def similar(root: Path) -> Callable[[], object]:
    """The ten films nearest to one."""
    import cxremb

    cxremb.similar  # noqa: B018 - its imports are not the step
    return lambda: cxremb.similar("f000100", limit=10, root=root)


def nearest(root: Path) -> Callable[[], object]:
    """The ten nearest of all vectors to one: no table, no labels."""
    from cxremb.similarity.find import nearest as find
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    matrix = open_store(open_dataset(root, NAME), "efficientnet_b1").load()
    find(matrix, matrix.vectors[100:101], np.arange(len(matrix.vectors)), limit=10)  # the file is in memory now
    return lambda: find(matrix, matrix.vectors[100:101], np.arange(len(matrix.vectors)), limit=10)


def train(root: Path) -> Callable[[], object]:
    """A fusion head, one fold, one seed."""
    import cxremb
    from cxremb.training import stack  # noqa: F401

    cxremb.train  # noqa: B018
    shutil.rmtree(root / NAME / "runs", ignore_errors=True)
    return lambda: cxremb.train("fusion", root=root, fold=0, text="findings")


def split(root: Path) -> Callable[[], object]:
    """Five folds of patients."""
    from cxremb.splits import choose_split
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    shutil.rmtree(dataset.paths.splits, ignore_errors=True)
    return lambda: choose_split(dataset, None)


def refusal(root: Path) -> Callable[[], object]:
    """A training with a split that there is not."""
    import cxremb
    from cxremb.errors import CxrembError

    cxremb.train  # noqa: B018

    def refused() -> None:
        with suppress(CxrembError):
            cxremb.train("fusion", root=root, text="findings", split="of_nobody")
            raise SystemExit("it was not refused")

    return refused


def ablate(root: Path) -> Callable[[], object]:
    """Image, text and fusion on five folds, with all controls."""
    import cxremb
    from cxremb.training import stack  # noqa: F401

    cxremb.ablate  # noqa: B018
    shutil.rmtree(root / NAME / "runs", ignore_errors=True)
    return lambda: cxremb.ablate(root=root, text="findings")


def audit(root: Path) -> Callable[[], object]:
    """All that needs no pixels."""
    from cxremb.audit.audit import audit as run_audit
    from cxremb.store.dataset import open_dataset

    dataset = open_dataset(root, NAME)
    return lambda: run_audit(dataset, pixels=False)


def check(root: Path) -> Callable[[], object]:
    """Every byte and vector of the store of films."""
    from cxremb.store.check import check_store
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store

    folder = open_store(open_dataset(root, NAME), "efficientnet_b1").folder

    def checked() -> None:
        if problems := check_store(folder):
            raise SystemExit(str(problems[0]))

    return checked


def intervals(root: Path) -> Callable[[], object]:
    """Intervals of one arm: AUROC and shares in closed form, the others by 1,000 resamples of patients."""
    one = predictions(root, seed=0)
    return lambda: one.interval(INTERVALS)


def gap(root: Path) -> Callable[[], object]:
    """The paired differences of two arms, as many figures."""
    one, other = (predictions(root, seed=seed) for seed in (0, 1))
    return lambda: one.difference(other, INTERVALS)


INTERVALS = ("auroc", "accuracy", "f1", "average_precision", "specificity_at_sensitivity_95")


def predictions(root: Path, seed: int) -> Any:
    """Made-up test predictions of all films by models of five folds."""
    from cxremb.predictions import Predictions
    from cxremb.store.dataset import open_dataset

    films = open_dataset(root, NAME).images
    ids, studies, patients = (np.array(films[name].to_pylist()) for name in ("image_id", "study_id", "patient_id"))
    n, rng, zeros = len(ids), np.random.default_rng(seed), np.zeros(len(ids), dtype=np.int64)
    y = (np.random.default_rng(9).random((n, 1)) < 0.4).astype(np.float64)
    logit = 2 * y + rng.normal(size=(n, 1)) * 1.5
    of_fold = np.unique(patients, return_inverse=True)[1] % 5
    return Predictions(
        run=str(seed), dataset=NAME, unit="image", task="binary", labels=("abnormal",), part=np.full(n, "test"),
        items=ids, studies=studies, patients=patients, repeat=zeros, fold=of_fold, seed=zeros, y=y,
        prob=1 / (1 + np.exp(-logit)), logit=logit,
    )  # fmt: skip


def embed_again(root: Path) -> Callable[[], object]:
    """Bring the store of films up to date when nothing is new."""
    return updated(root, changed=lambda items: items)


def embed_new(root: Path) -> Callable[[], object]:
    """The same when one film in a hundred is; encoded to random numbers, so that all of it is the store's own work."""

    def more(items: list[Item]) -> list[Item]:
        new = [
            Item(f"n{number}", f"n{number}", "image", f"{10**9 + number:064x}", "")
            for number in range(len(items) // 100)
        ]
        return items + new

    return updated(root, changed=more)


def embed_less(root: Path) -> Callable[[], object]:
    """The same when one film in a hundred is gone, from every part."""
    return updated(root, changed=lambda items: [item for place, item in enumerate(items) if place % 100])


def embed_renamed(root: Path) -> Callable[[], object]:
    """Bring the store of texts up to date when all studies have new ids: nothing is encoded, all is copied."""
    from dataclasses import replace

    def renamed(items: list[Any]) -> list[Any]:
        return [replace(item, item_id=f"x{item.item_id}", study_id=f"x{item.study_id}") for item in items]

    return updated(root, "biobert", changed=renamed)


def updated(
    root: Path, encoder: str = "efficientnet_b1", *, changed: Callable[[list[Any]], list[Any]]
) -> Callable[[], object]:
    """The store after its items have changed, in a root beside, which shares the files of the parts."""
    from cxremb.embedding.encode import Log
    from cxremb.embedding.job import update_store
    from cxremb.embedding.parts import PartWriter, known_blocks
    from cxremb.embedding.plan import StorePlan, group_by_content, wanted_items
    from cxremb.store.dataset import open_dataset
    from cxremb.store.reader import open_store
    from cxremb.types import unwatched

    beside = root.with_name(f".{root.name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(root, beside, copy_function=os.link, ignore=shutil.ignore_patterns("runs", "cache", "audits"))
    dataset = open_dataset(beside, NAME)
    store = open_store(dataset, encoder)
    recipe, rng = store.manifest.recipe, np.random.default_rng(0)

    def write(plan: StorePlan) -> None:
        groups = group_by_content(plan.todo)
        writer, known = PartWriter(store.folder, recipe, "none", 4096, Log(unwatched)), set()
        for copied, vectors in known_blocks(plan.there, groups, poolings=recipe.poolings):
            writer.add(copied, vectors)
            known.update(group[0].content for group in copied)
        fresh = [group for group in groups if group[0].content not in known]
        for start in range(0, len(fresh), 512):
            block = rng.standard_normal((len(fresh[start : start + 512]), recipe.dim), dtype=np.float32)
            writer.add(fresh[start : start + 512], {recipe.poolings[0]: block})
        writer.flush()

    def update() -> object:
        items = changed(wanted_items(dataset, recipe.modality))
        return update_store(store.folder, items, write, recipe=recipe, licence="none", log=Log(unwatched), about={})

    return update


STEPS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "split": split,
    "load, cold": load_cold,
    "load, warm": load,
    "features, warm": features,
    "studies with films, warm": studies,
    "nearest, warm": nearest,
    "similar": similar,
    "train fusion, one fold": train,
    "a refusal": refusal,
    "intervals of an arm": intervals,
    "difference of two arms": gap,
    "audit": audit,
    "store check": check,
    "embed, nothing new": embed_again,
    "embed, 1% new": embed_new,
    "embed, 1% gone": embed_less,
    "embed, texts under new ids": embed_renamed,
    "ablate with controls": ablate,
}
