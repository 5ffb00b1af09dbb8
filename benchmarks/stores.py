"""A store of vectors against what people keep vectors in: write, open, load, filter, nearest.

    python benchmarks/stores.py [--rows 20000] [--dim 1280] [--rounds 5] [--quick] [--out FILE]

Each way keeps the same float32 values (rounded to float16, as a store has them) and answers the same questions in the
way of its documentation: pandas writes Parquet with its defaults, a column of lists; Lance and Hugging Face datasets
get a fixed-size list; HDF5 a matrix and a list of ids; the last way has one .npy file a film. Answers are compared.
Labels and views lie in tables of their own: cxremb asks them in SQL, the others as pandas frames.

`open` ends with the first vector by its id. Reading is warm (the operating system has the files), and cxremb's readers
find the matrix that the first reader left in cache/; `first load all` is without it.
"""

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from side_by_side import HERE, take_turns, write

import cxremb
from cxremb.catalog import add_collection
from cxremb.embedding.encode import Log
from cxremb.embedding.parts import PartWriter
from cxremb.embedding.plan import Item, describe_part
from cxremb.store.manifest import Manifest, Recipe, publish
from cxremb.store.reader import Store
from cxremb.types import Collection, Image, LabelSet, Study

Floats = NDArray[np.float32]
NEAR = 10
SUCH = "view = 'PA' and value = 1"


class Way(Protocol):
    """Somewhere to keep vectors."""

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        """Keep them, in place of what was kept before."""

    def all(self) -> Floats:
        """Every vector, in the order of writing."""

    def some(self, ids: Sequence[str]) -> Floats:
        """Those of some ids, in this order, by who knows nothing of the file yet."""

    def nearest(self, vector: Floats) -> list[str]:
        """The ids of the `NEAR` nearest by cosine."""


def near_of(ids: NDArray[np.str_], vectors: Floats, vector: Floats) -> list[str]:
    """As a notebook does it."""
    cosine = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
    return [str(ids[row]) for row in np.argsort(-cosine, kind="stable")[:NEAR]]


def fixed(vectors: Floats) -> pa.FixedSizeListArray:
    """As Arrow has vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


class InParquet:
    """pandas with its defaults."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.parquet"

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        pd.DataFrame({"item_id": ids, "embedding": list(vectors)}).to_parquet(self.path)

    def all(self) -> Floats:
        return np.stack(pd.read_parquet(self.path)["embedding"])

    def some(self, ids: Sequence[str]) -> Floats:
        return np.stack(pd.read_parquet(self.path).set_index("item_id").loc[list(ids)]["embedding"])

    def nearest(self, vector: Floats) -> list[str]:
        frame = pd.read_parquet(self.path)
        return near_of(frame["item_id"].to_numpy(), np.stack(frame["embedding"]), vector)


class InLance:
    """A Lance data set; the nearest by its own exact search."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "lance")

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        import lance

        lance.write_dataset(pa.table({"item_id": list(ids), "embedding": fixed(vectors)}), self.path, mode="overwrite")

    def read(self, rows: NDArray[np.int64] | None = None) -> Floats:
        import lance

        found = lance.dataset(self.path)
        table = found.to_table(["embedding"]) if rows is None else found.take(rows, columns=["embedding"])
        return np.concatenate([np.asarray(one.flatten()) for one in table["embedding"].chunks]).reshape(len(table), -1)

    def all(self) -> Floats:
        return self.read()

    def some(self, ids: Sequence[str]) -> Floats:
        import lance

        known = pd.Index(lance.dataset(self.path).to_table(["item_id"])["item_id"].to_pandas())
        return self.read(known.get_indexer(list(ids)))

    def nearest(self, vector: Floats) -> list[str]:
        import lance

        asked = {"column": "embedding", "q": vector, "k": NEAR, "metric": "cosine"}
        found = lance.dataset(self.path).to_table(["item_id", "_distance"], nearest=asked)
        return found["item_id"].to_pylist()


class InDatasets:
    """Hugging Face datasets on disk."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "datasets")

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        import datasets

        datasets.disable_progress_bars()
        shutil.rmtree(self.path, ignore_errors=True)
        table = pa.table({"item_id": list(ids), "embedding": fixed(vectors)})
        datasets.Dataset(table).save_to_disk(self.path)

    def open(self) -> Any:
        import datasets

        return datasets.load_from_disk(self.path).with_format("numpy")

    def all(self) -> Floats:
        return np.asarray(self.open()[:]["embedding"])

    def some(self, ids: Sequence[str]) -> Floats:
        found = self.open()
        return np.asarray(found[pd.Index(found["item_id"][:]).get_indexer(list(ids))]["embedding"])

    def nearest(self, vector: Floats) -> list[str]:
        rows = self.open()[:]
        return near_of(rows["item_id"], np.asarray(rows["embedding"]), vector)


class InHdf5:
    """A matrix and a list of ids in one file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.h5"

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        import h5py

        with h5py.File(self.path, "w") as file:
            file["item_id"] = list(ids)
            file["embedding"] = vectors

    def all(self) -> Floats:
        import h5py

        with h5py.File(self.path) as file:
            return np.asarray(file["embedding"][:])

    def some(self, ids: Sequence[str]) -> Floats:
        import h5py

        with h5py.File(self.path) as file:
            rows = pd.Index(file["item_id"].asstr()[:]).get_indexer(list(ids))
            order, back = np.unique(rows, return_inverse=True)  # h5py takes rows that ascend
            return np.asarray(file["embedding"][order])[back]

    def nearest(self, vector: Floats) -> list[str]:
        import h5py

        with h5py.File(self.path) as file:
            return near_of(file["item_id"].asstr()[:], file["embedding"][:], vector)


class InFiles:
    """One .npy file a film."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "files"

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        self.path.mkdir(exist_ok=True)
        for name, vector in zip(ids, vectors, strict=True):
            np.save(self.path / f"{name}.npy", vector)

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.path.iterdir())

    def all(self) -> Floats:
        return self.some(self.names())

    def some(self, ids: Sequence[str]) -> Floats:
        return np.stack([np.load(self.path / f"{name}.npy") for name in ids])

    def nearest(self, vector: Floats) -> list[str]:
        names = self.names()
        return near_of(np.array(names), self.some(names), vector)


class InStore:
    """A store of this package."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = Recipe("bench", "bench", "0" * 64, "image", 0, ("avg",), {}, "full")

    @property
    def folder(self) -> Path:
        return self.root / "bench" / "embeddings" / self.recipe.store

    @property
    def cache(self) -> Path:
        return self.root / "bench" / "cache"

    def write(self, ids: Sequence[str], vectors: Floats) -> None:
        self.recipe = Recipe("bench", "bench", "0" * 64, "image", vectors.shape[1], ("avg",), {}, "full")
        shutil.rmtree(self.folder, ignore_errors=True)
        writer = PartWriter(self.folder, self.recipe, "none", 4096, Log())
        for start in range(0, len(ids), 32):  # blocks, as a network gives them
            block = [(Item(name, name, "image", "0", ""),) for name in ids[start : start + 32]]
            writer.add(block, {"avg": vectors[start : start + 32]})
        writer.flush()
        parts = tuple(
            describe_part(path)
            for path in sorted(self.folder.glob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        )
        counts = (len(ids), len(ids), 0, None)
        publish(
            Manifest(1, self.recipe.key, self.recipe, "none", "2026-01-01T00:00:00+00:00", parts, *counts, {}),
            self.folder,
        )

    def open(self) -> Store:
        return cxremb.open_store("bench", root=self.root)

    def all(self) -> Floats:
        return self.open().vectors()[1]

    def first(self) -> Floats:
        shutil.rmtree(self.cache, ignore_errors=True)
        return self.all()

    def some(self, ids: Sequence[str]) -> Floats:
        return self.open().matrix(ids)

    def such(self) -> Floats:
        query = f"select image_id from images join labels using (study_id) where {SUCH} order by 1"
        return self.some(cxremb.sql(query, root=self.root).to_arrow_table()["image_id"].to_pylist())

    def nearest(self, name: str) -> list[str]:
        return [row.item_id for row in cxremb.similar(name, root=self.root, limit=NEAR).rows]


def such_as(way: Way, tables: Path) -> Floats:
    """The vectors of films that a condition on two tables picks, as a notebook does it."""
    films, labels = (pd.read_parquet(tables / f"{name}.parquet") for name in ("images", "labels"))
    chosen = films.merge(labels, on="study_id").query("view == 'PA' and value == 1")
    return way.some(sorted(chosen["image_id"]))


def collection(ids: Sequence[str]) -> Collection:
    """A film a study, every third abnormal, every second PA; no film is on this machine."""
    about = LabelSet("state", "binary", "1 = abnormal", ("abnormal",))
    studies = [
        Study(name, name, labels={"state": {"abnormal": float(number % 3 == 0)}}) for number, name in enumerate(ids)
    ]
    images = [Image(name, name, name, "PA" if number % 2 else "Lateral", None) for number, name in enumerate(ids)]
    return Collection("bench", studies, images, "none", "made by a benchmark", {}, label_sets=[about])


def questions(
    ways: dict[str, Way], ours: InStore, ids: list[str], vectors: Floats, folder: Path
) -> dict[str, dict[str, Callable[[], Any]]]:
    """Question -> way -> the call that answers it; cxremb last."""
    random = np.random.default_rng(1)
    few = [ids[row] for row in random.permutation(len(ids))[: len(ids) // 20]]
    asked = len(ids) // 2
    found: dict[str, dict[str, Callable[[], Any]]] = {
        "write": {name: lambda way=way: way.write(ids, vectors) for name, way in ways.items()},
        "open, and read one vector": {name: lambda way=way: way.some(ids[:1]) for name, way in ways.items()},
        "load all": {name: way.all for name, way in ways.items()},
        "load 5% at random": {name: lambda way=way: way.some(few) for name, way in ways.items()},
        "filter and join": {name: lambda way=way: such_as(way, folder) for name, way in ways.items()},
        "ten nearest": {name: lambda way=way: way.nearest(vectors[asked]) for name, way in ways.items()},
    }
    found["write"]["cxremb"] = lambda: ours.write(ids, vectors)
    found["open, and read one vector"]["cxremb"] = lambda: ours.some(ids[:1])
    found["load all"] |= {"cxremb": ours.all, "cxremb, the first time": ours.first}
    found["load 5% at random"]["cxremb"] = lambda: ours.some(few)
    found["filter and join"]["cxremb"] = ours.such
    found["ten nearest"]["cxremb"] = lambda: ours.nearest(ids[asked])
    return found


def compare_answers(asked: dict[str, dict[str, Callable[[], Any]]]) -> None:
    """Raises `AssertionError` where two ways answer differently."""
    for what, ways in asked.items():
        answers = {name: run() for name, run in ways.items()}
        first = next(iter(answers.values()))
        for name, answer in answers.items():
            if what == "ten nearest":
                assert answer == first, (name, answer, first)
            elif what != "write":
                np.testing.assert_array_equal(answer, first, err_msg=f"{what}, {name}")


def size_of(path: Path) -> int:
    """Bytes of a file or a folder."""
    return sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of few rows: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "stores.json")
    options = parser.parse_args()
    n, rounds = (600, 1) if options.quick else (options.rows, options.rounds)
    ids = [f"film{number:07d}" for number in range(n)]
    drawn = np.random.default_rng(0).standard_normal((n, options.dim)).astype(np.float16)
    vectors = drawn.astype(np.float32)
    folder = Path(tempfile.mkdtemp())
    try:
        dataset = add_collection(collection(ids), folder / "root").dataset
        for name in ("images", "labels"):
            getattr(dataset, name).to_pandas().to_parquet(folder / f"{name}.parquet")
        there = {"lance": InLance, "datasets": InDatasets, "h5py": InHdf5}
        kinds = {"Parquet, pandas": InParquet, "one .npy a film": InFiles}
        kinds |= {name: kind for name, kind in there.items() if importlib.util.find_spec(name)}
        ways: dict[str, Way] = {name: kind(folder) for name, kind in kinds.items()}
        ours = InStore(folder / "root")
        asked = questions(ways, ours, ids, vectors, folder)
        compare_answers(asked)
        sizes = {name: size_of(Path(way.path)) for name, way in ways.items()} | {"cxremb": size_of(ours.folder)}
        rows = {}
        for what, calls in asked.items():
            print(what)
            rows[what] = take_turns({name: (n, call) for name, call in calls.items()}, rounds)
    finally:
        shutil.rmtree(folder)
    found = {
        "benchmark": "stores",
        "command": f"python benchmarks/stores.py --rows {n} --dim {options.dim} --rounds {rounds}",
        "vectors": f"{n} x {options.dim}, drawn, rounded to float16",
        "megabytes": {name: round(size / 1e6, 1) for name, size in sizes.items()},
        "ways": rows,
    }
    write(options.out, found, ("pyarrow", "pandas", "pylance", "datasets", "h5py", "duckdb", "numpy"))


if __name__ == "__main__":
    main()
