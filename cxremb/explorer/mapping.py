"""A map of a store: each vector as a point of a plane.

UMAP (McInnes et al. 2018) of the first 50 principal components of vectors of length 1; where umap-learn is not
installed, the first two components themselves. The same vectors give the same map.
"""

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.similarity.cosines import unit
from cxremb.store.dataset import Dataset
from cxremb.store.maps import MAPS, write_map
from cxremb.store.reader import Store

COMPONENTS = 50  # what neighbours are looked for in: more of them only add noise and time
NEIGHBOURS = 15  # of UMAP, and its default: smaller ones tear the map into pieces
BLOCK_ROWS = 4096
LEAST = 20  # rows below which UMAP has no neighbours to speak of
UMAP, PCA = "umap", "pca"
Say = Callable[[str], None]


def make_map(dataset: Dataset, store: Store, say: Say) -> Path:
    """The file of the map. say: told in words what is done."""
    section = section_shown(store)
    say("reading vectors")
    matrix = store.load(section)
    points, method = placed(matrix.vectors, say)
    ids = matrix.ids
    columns = {
        "item_id": ids,
        "study_id": pa.array(studies_of(dataset, ids.to_pylist()), pa.string()),
        "section": pa.array([section] * len(ids), pa.string()),
        "method": pa.array([method] * len(ids), pa.string()),
        "x": pa.array(points[:, 0].astype(np.float32)),
        "y": pa.array(points[:, 1].astype(np.float32)),
    }
    return write_map(dataset, store, pa.table(columns, schema=MAPS))


def section_shown(store: Store) -> str:
    """What of a store is shown: its films, or the whole report."""
    return next((name for name in ("image", "findings+impression") if name in store.sections), store.sections[0])


def studies_of(dataset: Dataset, items: Sequence[str]) -> list[str]:
    """The study of each film; a text is called by it."""
    studies = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "study_id")), strict=True))
    return [studies.get(item, item) for item in items]


def placed(vectors: NDArray[np.float16], say: Say) -> tuple[NDArray[np.float64], str]:
    """((n, 2) points, the method)."""
    components = principal(vectors, say)
    if len(vectors) < LEAST or find_spec("umap") is None:
        two = np.zeros((len(vectors), 2))
        two[:, : components.shape[1]] = components[:, :2]
        return two, PCA
    return neighbourhood(components, say), UMAP


def principal(vectors: NDArray[np.float16], say: Say) -> NDArray[np.float64]:
    """(n, at most 50) principal components of the rows as vectors of length 1, in blocks: exact, and little memory."""
    n, dim = vectors.shape
    total, products = np.zeros(dim), np.zeros((dim, dim))
    for start in range(0, n, BLOCK_ROWS):
        block = unit(vectors[start : start + BLOCK_ROWS])
        total += block.sum(axis=0)
        products += block.T @ block
        say(f"principal components: {min(n, start + BLOCK_ROWS):,} of {n:,} rows")
    mean = total / n
    _, axes = np.linalg.eigh(products / n - np.outer(mean, mean))
    axes = axes[:, ::-1][:, :COMPONENTS]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # else the sign is the library's
    return np.concatenate([(unit(vectors[at : at + BLOCK_ROWS]) - mean) @ axes for at in range(0, n, BLOCK_ROWS)])


class Epochs(io.TextIOBase):
    """What UMAP writes while it moves the points: `12 200`."""

    def __init__(self, say: Say) -> None:
        self.say = say

    def write(self, text: str) -> int:
        """Pass on how far it is."""
        words = text.split()
        if len(words) == 2 and words[0].isdigit():
            self.say(f"UMAP: {words[0]} of {words[1]} rounds")
        return len(text)


def neighbourhood(components: NDArray[np.float64], say: Say) -> NDArray[np.float64]:
    """(n, 2) by UMAP, begun at the first two components; one thread, so that the map is the same each time."""
    say("loading UMAP")
    import umap

    start = components[:, :2] / np.abs(components[:, :2]).max() * 10
    noise = np.random.default_rng(0).normal(scale=1e-4, size=start.shape)
    model = umap.UMAP(
        n_neighbors=min(NEIGHBOURS, len(components) - 1),
        init=(start + noise).astype(np.float32),
        random_state=0,
        n_jobs=1,
        verbose=True,  # without it there is no progress; its lines on stdout are not read
        tqdm_kwds={"file": Epochs(say), "bar_format": "{n} {total}", "disable": False},
    )
    say(f"UMAP: neighbours of {len(components):,} rows")
    return np.asarray(model.fit_transform(components.astype(np.float32)), np.float64)
