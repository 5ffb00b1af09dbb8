"""How vectors lie in the parts of a store: the type, who can read it, and what becomes of one in another type."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from conftest import collection

from cxremb.catalog import add_collection
from cxremb.embedding.convert import convert
from cxremb.embedding.job import embed
from cxremb.embedding.plan import describe_part
from cxremb.encoders.base import What, load_encoder
from cxremb.store.check import check_store
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import replace_table
from cxremb.store.layout import VALUES
from cxremb.store.manifest import publish
from cxremb.store.matrices import with_values
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.sql import query

GOLDEN = Path(__file__).parent / "golden" / "format1"
TOTAL = "select sum(list_sum(embedding::DOUBLE[])) as total, count(*) as n from embeddings"
SPARK = """
import json, sys
from pyspark.sql import SparkSession
here = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
session = SparkSession.builder.master("local[1]").config(map=here).getOrCreate()
rows = session.read.parquet(*sys.argv[1:])
total = "sum(aggregate(embedding, 0D, (total, value) -> total + value)) as total"
print("found", json.dumps(rows.selectExpr("count(*) as n", total).collect()[0].asDict()))
"""


@pytest.fixture
def store(small: Dataset) -> Store:
    return embed(small, load_encoder(What("tiny"))).store


def lying(store: Store) -> set[str]:
    """The type of the values in each part, and how they are encoded."""
    found = set()
    for path in store.part_paths:
        group = pq.ParquetFile(path).metadata.row_group(0)
        columns = [group.column(index) for index in range(group.num_columns)]
        vector = next(column for column in columns if column.path_in_schema.startswith("embedding"))
        assert "BYTE_STREAM_SPLIT" not in vector.encodings  # which Spark before 4.3 does not read as it is set up
        assert ("RLE_DICTIONARY" in vector.encodings) == (vector.physical_type == "FLOAT")
        found.add(vector.physical_type)
    return found


def test_new_parts_are_floats_that_are_rounded_to_half(store: Store) -> None:
    raw = np.concatenate([np.asarray(part["embedding"].combine_chunks().flatten()) for part in store.parts()])
    assert (lying(store), raw.dtype) == ({"FLOAT"}, np.float32)
    np.testing.assert_array_equal(raw, raw.astype(np.float16))
    np.testing.assert_array_equal(np.sort(raw), np.sort(store.load().vectors.ravel().astype(np.float32)))
    assert store.manifest.recipe.dtype == "float16"


def test_converting_changes_no_number_and_no_name(store: Store, small: Dataset) -> None:
    before = store.load()
    total = query(small.paths.root, TOTAL).to_pylist()
    half = convert(store, VALUES["float16"])
    back = convert(half, VALUES["float32"])
    assert [lying(one) for one in (store, half, back)] == [{"FLOAT"}, {"FIXED_LEN_BYTE_ARRAY"}, {"FLOAT"}]
    for number, one in enumerate((half, back), 2):
        assert (one.version, one.name, open_store(small, "tiny").version) == (number, store.name, 3)
        assert check_store(one.folder) == []
        found = one.load()
        assert found.ids.equals(before.ids)
        np.testing.assert_array_equal(found.vectors, before.vectors)
        assert one.to_arrow().schema.equals(store.to_arrow().schema)
    assert query(small.paths.root, TOTAL).to_pylist() == total
    again = convert(back, VALUES["float32"])
    assert again.manifest == back.manifest  # nothing to do, so no version


def test_the_command_says_in_data_what_it_did(store: Store, small: Dataset, cxremb: Any) -> None:
    words = ("store", "convert", store.name, "--root", small.paths.root, "--format", "json")
    for dtype, versions in (("float16", (1, 2)), ("float16", (2, 2)), ("float32", (2, 3))):
        told = json.loads(cxremb(*words, "--dtype", dtype).out)
        sizes = [sum(part.size_bytes for part in store.at(number).manifest.parts) for number in versions]
        assert told == {
            "store": store.name, "dtype": dtype, "version_before": versions[0], "version": versions[1],
            "size_bytes_before": sizes[0], "size_bytes": sizes[1],
        }  # fmt: skip


def test_a_store_keeps_its_type_when_it_grows(store: Store, small: Dataset, tmp_path: Path) -> None:
    convert(store, VALUES["float16"])
    more = collection(tmp_path / "more", 15)
    grown = add_collection(more, small.paths.root).dataset
    update = embed(grown, load_encoder(What("tiny")))
    assert update.encoded > 0
    assert update.reused > 0
    assert lying(update.store) == {"FIXED_LEN_BYTE_ARRAY"}
    assert pl.read_parquet(update.store.part_paths).height == update.store.rows  # refuses files of two types


def test_a_store_of_an_earlier_version_converts(tmp_path: Path) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "stores"))
    stores = list_stores(open_dataset(root))
    totals = query(root, TOTAL).to_pylist()
    for one in stores:
        assert lying(one) == {"FIXED_LEN_BYTE_ARRAY"}
        after = convert(one, VALUES["float32"])
        assert (lying(after), after.name) == ({"FLOAT"}, one.name)
        kept = {key: said for key, said in one.manifest.provenance.items() if key not in ("seconds", "counts")}
        assert after.manifest.provenance == kept
    assert query(root, TOTAL).to_pylist() == totals


def test_parts_of_two_types_are_one_store(store: Store, small: Dataset) -> None:
    rows = store.table()
    halves = with_values(rows.slice(0, 5), VALUES["float16"])
    paths = [replace_table(store.folder / f"part-{number}.parquet", table) for number, table in
             enumerate((rows.slice(5).replace_schema_metadata(halves.schema.metadata), halves))]  # fmt: skip
    manifest = store.manifest
    mixed = type(manifest)(**{**vars(manifest), "version": 2, "parts": tuple(describe_part(path) for path in paths)})
    before, total = store.load(), query(small.paths.root, TOTAL).to_pylist()
    publish(mixed, store.folder)
    found = open_store(small, "tiny")
    assert lying(found) == {"FLOAT", "FIXED_LEN_BYTE_ARRAY"}
    np.testing.assert_array_equal(found.matrix(before.ids.to_pylist()), before.vectors.astype(np.float32))
    assert found.table().num_rows == store.rows
    assert query(small.paths.root, TOTAL).to_pylist() == total
    assert check_store(found.folder) == []


def test_values_that_are_not_rounded_are_found(store: Store) -> None:
    rows = store.table()
    values = np.asarray(rows["embedding"].combine_chunks().flatten()).copy()
    values[3] += 1e-5
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=rows.schema.field("embedding").type)
    place = rows.schema.get_field_index("embedding")
    path = replace_table(store.folder / "part-odd.parquet", rows.set_column(place, rows.schema.field(place), column))
    manifest = store.manifest
    publish(type(manifest)(**{**vars(manifest), "version": 2, "parts": (describe_part(path),)}), store.folder)
    found = [problem.what for problem in check_store(store.folder) if not problem.harmless]
    assert found == [f"1 vectors not rounded to float16: {rows['item_id'][0]}"]


def test_others_read_the_parts(store: Store) -> None:
    files = [str(path) for path in store.part_paths]
    want = store.load().vectors.astype(np.float64).sum()
    by_arrow = pa.dataset.dataset(files).to_table()["embedding"].combine_chunks().flatten()
    by_duckdb = duckdb.sql(f"select sum(list_sum(embedding::DOUBLE[])) from read_parquet({files})").fetchall()[0][0]
    arrow = store.to_arrow()
    from_arrow = duckdb.sql("select sum(list_sum(embedding::DOUBLE[])) from arrow").fetchall()[0][0]
    found = [
        np.asarray(by_arrow, np.float64).sum(),
        pl.read_parquet(files)["embedding"].to_numpy().astype(np.float64).sum(),
        by_duckdb,
        from_arrow,
    ]
    assert found == pytest.approx([want] * 4)
    assert arrow.num_rows == store.rows


@pytest.mark.slow
def test_spark_reads_the_parts(store: Store) -> None:
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine, which Spark runs on")
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: pip install 'cxremb[bench]'")
    words = [sys.executable, "-c", SPARK, *map(str, store.part_paths)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    said = next(line for line in found.stdout.splitlines() if line.startswith("found"))
    total = float(store.load().vectors.astype(np.float64).sum())
    assert json.loads(said.removeprefix("found ")) == {"n": store.rows, "total": pytest.approx(total)}
