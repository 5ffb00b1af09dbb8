"""Files of a data set from elsewhere whose sums are right and whose contents are not: tables, splits, caches."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import collection

from cxremb.catalog import add_collection
from cxremb.embedding.start import run
from cxremb.encoders.base import Machine, What
from cxremb.splits import choose_split
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.layout import table_file
from cxremb.store.reader import open_store

STUDIES = 40  # enough for five folds


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    found = add_collection(collection(tmp_path / "films", n=STUDIES), tmp_path / "root").dataset
    run(found, What("tiny"), Machine(workers=1))
    return found


def replaced(data: Dataset, name: str, write: Any) -> Path:
    """A table of other bytes, under the name and with the digest that they ask for."""
    path = data.table_path(name)
    write(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(path.with_name(table_file(name, digest)))
    found = json.loads(data.paths.descriptor.read_text())
    found["tables"][name] |= {"file": path.name, "sha256": digest}
    data.paths.descriptor.write_text(json.dumps(found))
    return path


TABLES = {
    "no Parquet": lambda path: path.write_bytes(b"PAR1"),
    "numbers for paths": lambda path: pq.write_table(
        pq.read_table(path).set_column(4, "path", pa.array([[1]] * 2 * STUDIES)), path
    ),
    "texts for sizes": lambda path: pq.write_table(
        pq.read_table(path).set_column(6, "width", pa.array(["wide"] * 2 * STUDIES)), path
    ),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_of_other_columns_is_named_and_refused(data: Dataset, cxremb: Any, what: str) -> None:
    path = replaced(data, "images", TABLES[what])
    root = ["--root", data.paths.root]
    named = cxremb("store", "check", *root)
    assert (named.code, f"WRONG {path}" in named.out) == (1, True), named.out
    for words in ("embed --model tiny", "train image"):
        done = cxremb(*words.split(), *root)
        assert (done.code, "Traceback" in done.err, "not the columns of images" in done.err) == (1, False, True)


SPLITS = {
    "means": 1,
    "leaky": "no",
    "notes": [{"surprise": 1}],
    "created": None,
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_that_says_something_else_is_named_and_refused(data: Dataset, cxremb: Any, name: str) -> None:
    split = choose_split(data, "normal_abnormal", "image-80-20", allow_leaky=True)
    table = pq.read_table(split.path)
    about = {**table.schema.metadata, name.encode(): json.dumps(SPLITS[name]).encode()}
    pq.write_table(table.replace_schema_metadata(about), split.path)
    named = cxremb("store", "check", "--root", data.paths.root)
    assert (named.code, f"WRONG {split.path}" in named.out) == (1, True), named.out
    done = cxremb("train", "image", "--split", split.title, "--allow-leaky", "--root", data.paths.root)
    assert (done.code, "not the metadata of a split" in " ".join(done.err.split())) == (1, True), done.err


def test_a_kept_matrix_that_is_not_of_the_parts_is_named(data: Dataset, cxremb: Any) -> None:
    store = open_store(open_dataset(data.paths.root), "tiny")
    store.load()
    root = ["--root", data.paths.root]
    assert cxremb("store", "check", *root).code == 0
    (path,) = data.paths.cache.glob("vectors/*/image.avg.npy")
    vectors = np.load(path)
    vectors[0, 0] += 1
    np.save(path, vectors)
    named = cxremb("store", "check", *root)
    assert (named.code, f"WRONG {path}: not the vectors of the store's parts" in named.out) == (1, True), named.out
    assert cxremb("store", "gc", "--yes", *root).code == 0
    assert cxremb("store", "check", *root).code == 0
