"""Whether the matrices that readers keep in `cache/` are those of the parts: one from elsewhere may not be."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.store.manifest import Manifest
from cxremb.store.matrices import Matrix, let_go, matrix_path, read_matrix


@dataclass
class CachedMatrix:
    """One of them, compared with the parts of its version one after the other, in their order."""

    path: Path
    section: str
    pooling: str
    matrix: Matrix
    compared: int = 0  # rows, so far
    same: bool = True  # as those of the parts, so far

    @property
    def is_whole(self) -> bool:
        """Whether it is that of the parts, all of which have been compared."""
        return self.same and self.compared == len(self.matrix.ids)

    def compare(self, rows: pa.Table, vectors: NDArray[np.float16]) -> None:
        """The next part. rows: all of it, (n,). vectors: (n, dim)."""
        own = pc.and_(pc.equal(rows["section"], self.section), pc.equal(rows["pooling"], self.pooling)).to_numpy()
        if not own.all():
            rows, vectors = rows.filter(pa.array(own)), vectors[own]
        here = slice(self.compared, self.compared + len(vectors))
        self.compared += len(vectors)
        names = zip((self.matrix.ids, self.matrix.contents), ("item_id", "content"), strict=True)
        named_alike = all(kept[here].equals(rows[name].combine_chunks()) for kept, name in names)
        self.same = self.same and named_alike and np.array_equal(self.matrix.vectors[here], vectors)
        let_go(self.matrix.vectors)


def cached_matrices(folder: Path, manifest: Manifest) -> list[CachedMatrix]:
    """Those of one version of the store in a folder."""
    cache, dim, found = folder.parents[1] / "cache", manifest.recipe.dim, []
    for path in sorted(matrix_path(cache, manifest, "", pooling="").parent.glob("[!.]*.npy")):
        section, _, pooling = path.stem.rpartition(".")
        if (matrix := read_matrix(path, dim)) is not None:
            found.append(CachedMatrix(path, unquote(section), pooling, matrix))
    return found
