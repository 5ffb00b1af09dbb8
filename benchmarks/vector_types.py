"""What a vector is stored as: half floats, floats, and ways to encode and compress them. Size, speed, and who reads it.

    python benchmarks/vector_types.py [--rows 40960] [--rounds 5] [--quick] [--out benchmarks/results/vector_types.json]

Vectors are those of 1,024 real films (EfficientNet-Lite1 on Kermany's, if CXREMB_REAL_DATA is set; else of drawn ones),
repeated: pages are far shorter than that, so nothing is compressed by its own repetition. All values but those of
`unrounded` are rounded to float16 first, so that a float holds what a half float does. Each engine sums all values;
the sums are compared. Engines run on one thread. Spark is asked where Java and pyspark are there, in a process of its
own: `--spark PYTHON`, once for each Python, asks others, with other versions of it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from side_by_side import HERE, take_turns, write

from cxremb import images
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.store.layout import vector_type

FILMS = 1024
SPLIT = {"column_encoding": {"embedding.list.element": "BYTE_STREAM_SPLIT"}}
# name -> (whether values are rounded to half, type in the file, what pyarrow is told); all but the last are zstd
WAYS: dict[str, tuple[bool, pa.DataType, dict[str, Any]]] = {
    "half floats, zstd 1": (True, pa.float16(), {}),
    "half floats, zstd 3": (True, pa.float16(), {"compression_level": 3}),
    "half floats, split, zstd 1": (True, pa.float16(), SPLIT),
    "floats, zstd 1": (True, pa.float32(), {}),
    "floats, dictionary, zstd 1": (True, pa.float32(), {"use_dictionary": True}),
    "floats, zstd 3": (True, pa.float32(), {"compression_level": 3}),
    "floats, split, zstd 1": (True, pa.float32(), SPLIT),
    "floats, split, zstd 3": (True, pa.float32(), {"compression_level": 3, **SPLIT}),
    "floats, not compressed": (True, pa.float32(), {"compression": "none"}),
    "unrounded floats, zstd 1": (False, pa.float32(), {}),
    "unrounded floats, split, zstd 1": (False, pa.float32(), SPLIT),
}
SPARK = """
import json, sys
from pyspark.sql import SparkSession
here = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
session = SparkSession.builder.master("local[1]").config(map=here).getOrCreate()
session.sparkContext.setLogLevel("OFF")
found = {}
for path in sys.argv[1:]:
    try:
        rows = session.read.parquet(path)
        total = rows.selectExpr("sum(aggregate(embedding, 0D, (total, value) -> total + value)) as total")
        found[path] = total.collect()[0].total
    except Exception as error:
        lines = [line for line in str(error).splitlines() if "nsupported" in line or "llegal" in line]
        found[path] = (lines or [str(error)])[0].split("SQLSTATE")[0].strip()[:90]
print("found", json.dumps([session.version, found]))
"""


def real_films(n: int, side: int) -> tuple[str, NDArray[np.uint8]]:
    """(whose, (n, side, side)): of Kermany, or drawn."""
    folder = Path(os.environ.get("CXREMB_REAL_DATA", "")) / "kermany_224"
    paths = sorted(folder.rglob("*.jpeg"))[:: max(1, 5856 // n)][:n] if folder.is_dir() else []
    if len(paths) == n:
        frame = images.Frame(side)
        return "films of Kermany", np.stack([images.decode_file(path, frame).pixels for path in paths])
    random = np.random.default_rng(0)
    drawn = [cv2.resize(random.integers(0, 256, (12, 12), dtype=np.uint8), (side, side)) for _ in range(n)]
    return "drawn films", np.stack(drawn)


def vectors_of(n: int) -> tuple[str, NDArray[np.float32]]:
    """(whose, (n, dim)) of the encoder that comes as a package."""
    encoder = load_encoder(What("efficientnet_lite1"), Machine(engine="auto"))
    whose, films = real_films(n, encoder.frame.side)
    blocks = [encoder.encode(films[start : start + 32])["avg"] for start in range(0, n, 32)]
    return whose, np.concatenate(blocks)


def write_file(path: Path, vectors: NDArray[np.float32], way: str) -> None:
    """A file of ids and vectors, as a part of a store has them."""
    rounded, kind, options = WAYS[way]
    values = vectors.astype(np.float16) if rounded else vectors
    flat = pa.array(values.astype(kind.to_pandas_dtype()).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, type=vector_type(kind, vectors.shape[1]))
    ids = pa.array([f"film{number:07d}" for number in range(len(vectors))])
    table = pa.table({"item_id": ids, "embedding": column})
    pq.write_table(table, path, **{"compression": "zstd", "use_dictionary": ["item_id"], **options})


def engines_of(path: Path, dim: int) -> dict[str, Callable[[], float]]:
    """Each engine, as a function that reads all vectors of a file and sums them."""
    session = duckdb.connect(config={"threads": 1})

    def flat(column: pa.ChunkedArray) -> float:
        return sum(float(np.asarray(one.flatten()).sum(dtype=np.float64)) for one in column.chunks)

    query = f"select sum(list_sum(embedding::FLOAT[{dim}]::DOUBLE[])) from read_parquet('{path}')"
    return {
        "DuckDB": lambda: session.sql(query).fetchall()[0][0],
        "Arrow": lambda: flat(pq.ParquetFile(path).read(columns=["embedding"], use_threads=False)["embedding"]),
        "Polars": lambda: float(pl.read_parquet(path)["embedding"].to_numpy().sum(dtype=np.float64)),
        "pandas": lambda: float(np.stack(pd.read_parquet(path)["embedding"]).sum(dtype=np.float64)),
    }


def attempt(engine: Callable[[], float], expected: float) -> str:
    """ok, or why not."""
    try:
        found = engine()
    except Exception as error:
        return str(error).splitlines()[0][:90]
    return "ok" if np.isclose(found, expected, rtol=1e-6) else f"other values: {found}"


def spark(python: str, paths: dict[str, Path], expected: dict[str, float]) -> tuple[str, dict[str, str]]:
    """(Spark's version, way -> ok or why not), of the pyspark that a Python has; no way where there is none."""
    words = [python, "-c", SPARK, *map(str, paths.values())]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    if not lines:
        return "Spark: not installed here", {}
    version, found = json.loads(lines[0].removeprefix("found "))
    said = {way: found[str(path)] for way, path in paths.items()}
    return f"Spark {version}", {
        way: one if isinstance(one, str) else attempt(lambda total=one: total, expected[way])
        for way, one in said.items()
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40 * FILMS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spark", action="append", metavar="PYTHON", help="a Python that has pyspark")
    parser.add_argument("--quick", action="store_true", help="one round of a few vectors: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "vector_types.json")
    options = parser.parse_args()
    films, rounds = (64, 1) if options.quick else (FILMS, options.rounds)
    whose, few = vectors_of(films)
    vectors = np.tile(few, (1 if options.quick else options.rows // films, 1))
    pl.Config.set_tbl_rows(1)
    folder = Path(tempfile.mkdtemp())
    try:
        paths = {way: folder / f"{number}.parquet" for number, way in enumerate(WAYS)}
        writing = take_turns(
            {
                way: (len(vectors), lambda way=way, path=path: write_file(path, vectors, way))
                for way, path in paths.items()
            },
            1 if options.quick else 2,
        )
        engines = {way: engines_of(path, vectors.shape[1]) for way, path in paths.items()}
        rounded = float(vectors.astype(np.float16).sum(dtype=np.float64))
        expected = {way: rounded if WAYS[way][0] else float(vectors.sum(dtype=np.float64)) for way in WAYS}
        read = {
            engine: {way: attempt(engines[way][engine], expected[way]) for way in WAYS}
            for engine in engines["floats, zstd 1"]
        }
        size = {way: round(path.stat().st_size / vectors.nbytes, 4) for way, path in paths.items()}
        ways = {"write": writing}
        for engine in ("DuckDB", "Arrow"):
            there = {way: (len(vectors), engines[way][engine]) for way in WAYS if read[engine][way] == "ok"}
            print(engine)
            ways[f"read with {engine}"] = take_turns(there, rounds)
        for python in options.spark or [sys.executable] * bool(shutil.which("java")):
            version, told = spark(python, paths, expected)
            read[version] = told
    finally:
        shutil.rmtree(folder)
    rounding = vectors.astype(np.float16).astype(np.float32)
    cosine = (rounding * vectors).sum(1) / np.linalg.norm(rounding, axis=1) / np.linalg.norm(vectors, axis=1)
    found = {
        "benchmark": "vector_types",
        "command": f"python benchmarks/vector_types.py --rows {len(vectors)} --rounds {rounds}",
        "vectors": f"{len(vectors)} x {vectors.shape[1]}: {films} {whose}, repeated",
        "of_floats": size,  # bytes in the file by bytes of the values as floats
        "least_cosine_of_rounding": round(float(cosine.min()), 9),
        "read_by": read,
        "ways": ways,
    }
    write(options.out, found, ("pyarrow", "duckdb", "polars", "pandas", "numpy"))
    print(json.dumps({"of_floats": size, "read_by": read}, indent=1))


if __name__ == "__main__":
    main()
