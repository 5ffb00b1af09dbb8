"""Tables in memory as data sets: pandas, Polars, Arrow, what `datasets` and torchxrayvision hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import save_film
from test_packed import HF, film

import cxremb
from cxremb.errors import DataError


class HubTable:
    """What `datasets.Dataset` has, as far as it is used: features, and Parquet with films as bytes and a path."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.features = table.column_names

    def to_parquet(self, path: str, batch_size: int) -> None:
        pq.write_table(self.table, path, row_group_size=batch_size)


def hub_table(seeds: range) -> HubTable:
    rows = [{"image": {"bytes": film(n), "path": None}, "label": n % 2, "patient_id": str(n)} for n in seeds]
    table = pa.Table.from_pylist(rows)
    return HubTable(table.replace_schema_metadata({"huggingface": json.dumps(HF)}))


def asked(root: Path, text: str) -> list[tuple[Any, ...]]:
    return cxremb.sql(text, root=root).fetchall()


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_frame_with_bytes_is_a_data_set(tmp_path: Path, make: Any) -> None:
    columns = {"name": ["a", "b", "c"], "image": [film(n) for n in range(3)], "sick": ["yes", "no", "yes"]}
    options: Mapping[str, Any] = {"columns": {"id": "name"}, "labels": ("sick",), "name": "films", "root": tmp_path}
    added = cxremb.add("table", make(columns), **options)
    assert added.counts["images_present"] == 3
    expected = [(name, hashlib.sha256(film(n)).hexdigest()) for n, name in enumerate("abc")]
    assert asked(tmp_path, "select image_id, sha256 from images order by 1") == expected
    assert asked(tmp_path, "select study_id, value from labels order by 1") == [("a", 1), ("b", 0), ("c", 1)]
    assert cxremb.add("table", make(columns), **options).changes == {}
    columns["sick"] = ["yes", "no", "no"]
    assert cxremb.add("table", make(columns), **options).changes  # and the rows of before are gone
    assert len(list((tmp_path / "unpacked" / "films").iterdir())) == 1
    assert not cxremb.embed("tiny", root=tmp_path).failures


def test_a_frame_of_paths_and_its_named_index(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_film(tmp_path / "films" / f"{name}.png", ord(name))
    frame = pd.DataFrame({"path": ["a.png", "b.png"]}, index=pd.Index(["p1", "p2"], name="patient_id"))
    cxremb.add("table", frame, images=tmp_path / "films", name="films", root=tmp_path / "root")
    found = asked(tmp_path / "root", "select image_id, patient_id, path from images order by 1")
    assert found == [(one, f"p{n}", f"{one}.png") for n, one in ((1, "a"), (2, "b"))]


def test_splits_and_classes_of_datasets(tmp_path: Path) -> None:
    parts = {"train": hub_table(range(6)), "validation": hub_table(range(6, 8)), "test": hub_table(range(8, 11))}
    cxremb.add("table", parts, name="hub", labels=("label",), root=tmp_path)
    counts = asked(tmp_path, "select part, count(*) from splits group by 1 order by 1")
    assert counts == [("test", 3), ("train", 6), ("val", 2)]
    assert asked(tmp_path, "select label, sum(value) from labels group by 1") == [("pneumonia", 5)]
    assert asked(tmp_path, "select sha256 from images where image_id = 'val/1'") == [
        (hashlib.sha256(film(7)).hexdigest(),)
    ]
    cxremb.add("table", hub_table(range(4)), name="one", labels=("label",), root=tmp_path)
    assert asked(tmp_path, "select count(*) from images where dataset = 'one'") == [(4,)]


def xray_data(folder: Path, **more: Any) -> SimpleNamespace:
    """What a data set of torchxrayvision has."""
    csv = pd.DataFrame(
        {
            "Image Index": ["1_000.png", "1_001.png", "2_000.png"],
            "patientid": ["1", "1", "2"],
            "view": ["PA", "AP", "PA"],
            "age_years": [57.0, 58.0, 148.0],
            "sex_male": [True, True, False],
            "sex_female": [False, False, True],
            "Effusion": [9, 9, 9],  # what the original table says, not the labels
        },
        index=[4, 7, 9],
    )
    labels = np.array([[1, 0], [0, np.nan], [0, 1]], np.float32)
    return SimpleNamespace(csv=csv, labels=labels, pathologies=["Effusion", "Mass"], imgpath=str(folder), **more)


def test_a_data_set_of_torchxrayvision(tmp_path: Path) -> None:
    save_film(tmp_path / "films" / "images_001" / "1_000.png", 1)
    cxremb.add("table", xray_data(tmp_path / "films"), name="nih", root=tmp_path)
    assert asked(tmp_path, "select image_id, patient_id, view, path is not null from images order by 1") == [
        ("1_000", "1", "PA", True),
        ("1_001", "1", "AP", False),
        ("2_000", "2", "PA", False),
    ]
    said = asked(tmp_path, "select study_id, label, value from labels where label_set = 'labels' order by all")
    assert said == [
        ("1_000", "Effusion", 1),
        ("1_000", "Mass", 0),
        ("1_001", "Effusion", 0),
        ("2_000", "Effusion", 0),
        ("2_000", "Mass", 1),
    ]
    assert asked(tmp_path, "select id, text from facts where name = 'sex' order by 1") == [
        ("1_000", "M"),
        ("1_001", "M"),
        ("2_000", "F"),
    ]
    part = xray_data(tmp_path / "films")
    part.dataset = SimpleNamespace(imgpath=part.imgpath)
    del part.imgpath
    assert cxremb.add("table", part, name="part", root=tmp_path).counts["images"] == 3


def test_the_release_before_a_path_is_left_out(tmp_path: Path) -> None:
    save_film(tmp_path / "train" / "p" / "v.png", 1).rename(tmp_path / "train" / "p" / "v.jpg")
    thing = xray_data(tmp_path)
    thing.csv = pd.DataFrame({"Path": ["CheXpert-v1.0-small/train/p/v.jpg", "x/b.png", "x/c.png"]})
    cxremb.add("table", thing, name="chex", root=tmp_path / "root")
    assert asked(tmp_path / "root", "select image_id from images where path is not null") == [("train/p/v",)]


def test_what_is_no_table_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    refused = [
        (object(), "a object is no table that can be kept"),
        (SimpleNamespace(features=1), "a SimpleNamespace is no table that can be kept"),
        (xray_data(tmp_path, datasets=[1]), "a merged data set of torchxrayvision"),
        (pd.DataFrame({"id": ["a"], "image": [object()]}), "a DataFrame that cannot be kept as Parquet"),
        (pd.DataFrame({"words": ["a"]}), "no column says which image or study a row is"),
    ]
    short = xray_data(tmp_path)
    short.labels = short.labels[:2]
    nameless = xray_data(tmp_path)
    nameless.csv = nameless.csv.drop(columns="Image Index")
    nowhere = xray_data(tmp_path)
    del nowhere.imgpath
    refused += [
        (short, "3 rows in .csv and 2 in .labels"),
        (nameless, "no column of .csv names the films"),
        (nowhere, "no .imgpath says where its films are"),
    ]
    for thing, message in refused:
        with pytest.raises(DataError, match=message):
            cxremb.add("table", thing, name="films", root=tmp_path / "root")
    with pytest.raises(DataError, match="add nih: a DataFrame is no path"):
        cxremb.add("nih", pd.DataFrame({"a": [1]}), root=tmp_path / "root")
    with pytest.raises(DataError, match="needs a name"):
        cxremb.add("table", pd.DataFrame({"a": [1]}), root=tmp_path / "root")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
