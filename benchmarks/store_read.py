"""Vectors of a store into NumPy: through the memory-mapped matrix, against Parquet with default settings.

    python benchmarks/store_read.py [--rows 100000] [--dim 1280] [--rounds 5] [--quick] [--out FILE]

Ways: `default` is pandas' to_parquet of lists and read_parquet + stack, as a notebook does it; `parts` reads the
store's own Parquet parts; `cache` its memory-mapped matrix, made by an earlier reader. Each round runs all of them one
after the other. All give float32 of the same values. Lance, if it is installed, is measured too.
"""

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cxremb.embedding.encode import Log
from cxremb.embedding.parts import PartWriter
from cxremb.embedding.plan import describe_part
from cxremb.store.manifest import Manifest, Recipe, publish
from cxremb.store.matrices import halves
from cxremb.store.reader import Store


def make_store(folder: Path, rows: int, dim: int) -> Store:
    """A committed store of random unit vectors, in parts of 4,096 rows as a job writes them."""
    recipe = Recipe("bench", "bench", "0" * 64, "image", dim, ("avg",), {}, "full")
    store = folder / "root" / "bench" / "embeddings" / recipe.store
    writer = PartWriter(store, recipe, "none", 4096, Log())

    random = np.random.default_rng(0)

    for start in range(0, rows, 4096):
        ids = [f"image{number:07d}" for number in range(start, min(start + 4096, rows))]
        vectors = random.standard_normal((len(ids), dim)).astype(np.float16)
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel()), type=writer.schema.field("embedding").type
        )
        same = [ids, ids, ["image"] * len(ids), ["avg"] * len(ids), ids]
        writer.write(pa.Table.from_arrays([*(pa.array(values) for values in same), column], schema=writer.schema))
    parts = tuple(describe_part(path) for path in sorted(store.glob("part-*.parquet")))
    manifest = Manifest(1, recipe.key, recipe, "none", "", parts, rows, rows, 0, None, {})
    publish(manifest, store)
    return Store(store, manifest)


def ways_of(store: Store, folder: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Each way as a function that returns (rows, dim) float32."""
    ids, vectors = store.vectors()
    plain = folder / "default.parquet"
    pd.DataFrame({"item_id": ids, "embedding": list(vectors)}).to_parquet(plain)
    order = np.arange(len(ids))
    ways: dict[str, Callable[[], np.ndarray]] = {
        "default": lambda: np.stack(pd.read_parquet(plain)["embedding"]).astype(np.float32),
        "parts": lambda: halves(store.table(["embedding"])["embedding"], store.dim).astype(np.float32),
        "cache": lambda: store.load().vectors[order].astype(np.float32),
    }
    try:
        import lance

        lance.write_dataset(pa.table({"embedding": store.table(["embedding"])["embedding"]}), str(folder / "lance"))
        ways["lance"] = lambda: halves(lance.dataset(str(folder / "lance")).to_table()["embedding"], store.dim).astype(
            np.float32
        )
    except ImportError:
        pass
    return ways


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "store_read.json")
    args = parser.parse_args()
    rows, rounds = (2000, 2) if args.quick else (args.rows, args.rounds)
    folder = Path(tempfile.mkdtemp())
    try:
        store = make_store(folder, rows, args.dim)
        ways = ways_of(store, folder)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        expected = ways["parts"]()
        for _ in range(rounds):
            for name, read in ways.items():
                start = time.perf_counter()
                found = read()
                spent[name].append(time.perf_counter() - start)
                np.testing.assert_array_equal(found, expected)
        size = sum(part.size_bytes for part in store.manifest.parts)
        result = {
            "rows": rows,
            "dim": args.dim,
            "rounds": rounds,
            "machine": platform.processor() or platform.machine(),
            "store_mb": round(size / 1e6, 1),
            "default_mb": round((folder / "default.parquet").stat().st_size / 1e6, 1),
            "seconds": {name: round(min(seconds), 3) for name, seconds in spent.items()},
            "times default": {
                name: round(statistics.median(a / b for a, b in zip(spent["default"], seconds, strict=True)), 1)
                for name, seconds in spent.items()
            },
        }
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
