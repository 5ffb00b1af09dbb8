"""Films as bytes in Parquet: what is read of them, that nothing is unpacked, and what is wrong with a table of them."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import save_film
from PIL import Image as PilImage

import cxremb
from cxremb import images
from cxremb.catalog import Added, add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.embedding.decode import decode
from cxremb.errors import DataError, ImageError
from cxremb.images.packed import column_reader
from cxremb.labels import read_labels
from cxremb.store.sql import query

HF = {"info": {"features": {"label": {"names": ["normal", "pneumonia"], "_type": "ClassLabel"}}}}


def film(seed: int, side: int = 24) -> bytes:
    """A PNG of noise."""
    file = io.BytesIO()
    PilImage.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side + 4), np.uint8)).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, rows: list[dict[str, object]], *, group: int = 3, hf: bool = True) -> Path:
    """A Parquet file as the package `datasets` writes it: a record of bytes and path, classes as numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()}
    schema = pa.schema({name: kinds.get(name, pa.string()) for name in rows[0]})
    metadata = {"huggingface": json.dumps(HF)} if hf else None
    pq.write_table(pa.Table.from_pylist(rows, schema.with_metadata(metadata)), path, row_group_size=group)
    return path


def row(seed: int, **more: object) -> dict[str, object]:
    return {"image": {"bytes": film(seed), "path": None}, "label": seed % 2, **more}


def hub(folder: Path) -> Path:
    """Seven films of training in two files and three of test."""
    shard(folder / "data" / "train-00000-of-00002.parquet", [row(n, patient_id=f"p{n // 2}") for n in range(4)])
    shard(folder / "data" / "train-00001-of-00002.parquet", [row(n, patient_id=f"p{n // 2}") for n in range(4, 7)])
    shard(folder / "data" / "test-00000-of-00001.parquet", [row(n, patient_id=f"p{n}") for n in range(7, 10)])
    return folder


def added(table: Path, root: Path, **options: object) -> Added:
    return add_collection(read(TableSpec(table, "films", **options)), root)  # type: ignore[arg-type]


def rows(found: Added, text: str) -> list[tuple[object, ...]]:
    return [tuple(one.values()) for one in query(found.dataset.paths.root, text).to_pylist()]


def test_a_folder_of_shards_has_its_films_by_digest_its_splits_and_its_classes(tmp_path: Path) -> None:
    found = added(hub(tmp_path / "hub"), tmp_path / "root", labels=("label",))
    expected = sorted(
        (f"test/{n - 7}" if n > 6 else f"train/{n}", hashlib.sha256(film(n)).hexdigest(), 28, 24) for n in range(10)
    )
    assert rows(found, "select image_id, sha256, width, height from images order by 1") == expected
    assert rows(found, "select part, count(*) from splits where split = 'official' group by 1 order by 1") == [
        ("test", 3),
        ("train", 7),
    ]
    labels = read_labels(found.dataset, "label")
    assert labels.names == ("pneumonia",)
    said = dict(zip(labels.study_ids, labels.values[:, 0], strict=True))
    assert said == {f"test/{n - 7}" if n > 6 else f"train/{n}": n % 2 for n in range(10)}
    assert rows(found, "select count(distinct patient_id) from studies") == [(7,)]
    assert [note.what for note in found.notes] == []
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".png") == []
    assert added(hub(tmp_path / "hub"), tmp_path / "root", labels=("label",)).changes == {}


def test_every_row_decodes_to_what_its_bytes_are_in_any_order(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [row(n) for n in range(20)], group=7)
    for n in [*range(20), 3, 19, 0, 8, 7, 7]:
        place = path / "image.bytes" / str(n)
        got = images.decode_file(place)
        assert got.sha256 == hashlib.sha256(film(n)).hexdigest()
        assert np.array_equal(got.pixels, images.decode_bytes(film(n), "film"))
        assert images.image_size(place) == (28, 24)
        assert images.is_tame(place)
    stamp = images.stamp_of(str(path / "image.bytes" / "3"))
    assert stamp is not None
    assert stamp.size_bytes == path.stat().st_size
    with pytest.raises(ImageError, match="row 21 cannot be read"):
        images.decode_file(path / "image.bytes" / "20")
    with pytest.raises(ImageError, match="row 1 cannot be read"):
        images.decode_file(path / "photo" / "0")


def test_films_in_order_are_read_once_and_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "a.parquet", [row(n, note="x") for n in range(100)], group=100)
    asked = []
    whole = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, size: int, **options: object) -> object:
        asked.append((size, options["columns"]))
        return whole(self, size, **options)

    column_reader.cache_clear()
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    for n in range(100):
        images.digest_file(path / "image.bytes" / str(n))
    assert asked == [(8, ["image.bytes"])]


def test_a_file_that_was_written_again_is_a_failure_and_no_other_film(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [row(n) for n in range(3)])
    place, digest = str(path / "image.bytes" / "1"), hashlib.sha256(film(1)).hexdigest()
    frame = images.Frame(16, "squash", "bilinear")
    assert isinstance(decode([images.FilmFile(place, digest)], frame), images.Film)
    shard(path, [row(n) for n in range(5, 8)])
    (error,) = decode([images.FilmFile(place, digest)], frame)
    assert str(error) == f"{place}: changed since it was added"


def test_the_vectors_are_those_of_the_films_as_files(tmp_path: Path) -> None:
    hub(tmp_path / "hub")
    for n in range(7):
        (tmp_path / "png").mkdir(exist_ok=True)
        (tmp_path / "png" / f"{n}.png").write_bytes(film(n))
    (tmp_path / "t.csv").write_text("id\n" + "\n".join(map(str, range(7))), encoding="utf-8")
    root = tmp_path / "root"
    cxremb.add("table", tmp_path / "hub" / "data", name="packed", root=root)
    cxremb.add("table", tmp_path / "t.csv", images=tmp_path / "png", columns={"id": "id"}, name="plain", root=root)
    found = {}
    for name in ("packed", "plain"):
        update = cxremb.embed("tiny", dataset=name, root=root)
        assert not update.failures
        ids, vectors = cxremb.open_store("tiny", dataset=name, root=root).vectors()
        found[name] = dict(zip(ids, vectors, strict=True))
    assert len(found["packed"]) == 10
    for n in range(7):
        assert np.array_equal(found["packed"][f"train/{n}"], found["plain"][str(n)])


def test_a_binary_column_ids_of_the_record_and_a_column_of_parts(tmp_path: Path) -> None:
    records = [row(n, split=part) for n, part in ((0, "train"), (1, "train"), (2, "validation"), (3, "test"))]
    for n, record in enumerate(records):
        record["image"] = {"bytes": film(n), "path": f"film_{n}.png"}
    found = added(shard(tmp_path / "a.parquet", records), tmp_path / "root")
    assert rows(found, "select image_id from images order by 1") == [(f"film_{n}",) for n in range(4)]
    assert rows(found, "select part, count(*) from splits group by 1 order by 1") == [
        ("test", 1),
        ("train", 2),
        ("val", 1),
    ]
    table = pa.table({"key": ["a", "b"], "xray_png": [film(1), film(2)], "thumb": [b"1", b"2"]})
    pq.write_table(table, tmp_path / "b.parquet")
    plain = added(tmp_path / "b.parquet", tmp_path / "other", columns={"image": "xray_png", "id": "key"})
    expected = [(name, hashlib.sha256(film(n)).hexdigest()) for name, n in (("a", 1), ("b", 2))]
    assert rows(plain, "select image_id, sha256 from images order by 1") == expected
    assert plain.dataset.descriptor["source"]["image"] == "column xray_png"


def test_no_bytes_and_bytes_that_are_no_film_are_counted(tmp_path: Path) -> None:
    records = [row(0), row(1), row(2), row(3)]
    records[1]["image"] = None
    records[2]["image"] = {"bytes": b"no film", "path": None}
    found = added(shard(tmp_path / "a.parquet", records), tmp_path / "root")
    assert {note.what: (note.count, list(note.examples)[:1]) for note in found.notes} == {
        "studies whose patient is not known: each is its own": (4, []),
        "columns that may be labels": (1, ["label"]),
        "rows that hold no bytes of a film": (1, ["1"]),
        "image files without a readable header": (1, ["a.parquet/image.bytes/2"]),
    }
    update = cxremb.embed("tiny", dataset="films", root=tmp_path / "root")
    assert (update.added, len(update.failures)) == (2, 1)


def test_one_id_in_two_shards_is_one_film_or_an_error(tmp_path: Path) -> None:
    shard(tmp_path / "same" / "a.parquet", [row(0, image_id="x"), row(1, image_id="y")])
    shard(tmp_path / "same" / "b.parquet", [row(0, image_id="x"), row(2, image_id="z")])
    found = added(tmp_path / "same", tmp_path / "root")
    assert rows(found, "select count(*) from images") == [(3,)]
    assert "images listed more than once, with the same content" in [note.what for note in found.notes]
    shard(tmp_path / "other" / "a.parquet", [row(0, image_id="x")])
    shard(tmp_path / "other" / "b.parquet", [row(5, image_id="y"), row(2, image_id="x")])
    with pytest.raises(DataError, match=r"image x has other bytes in row 1 of a.parquet than in row 2 of b.parquet"):
        added(tmp_path / "other", tmp_path / "root2")
    shard(tmp_path / "parts" / "train-00000-of-00001.parquet", [row(0, image_id="x")])
    shard(tmp_path / "parts" / "test-00000-of-00001.parquet", [row(0, image_id="x")])
    with pytest.raises(DataError, match=r"study x has split = 'test' in row 1 of test-0.* and 'train'"):
        added(tmp_path / "parts", tmp_path / "root3")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "1 of 3 shards are missing: train-00001-of"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "of two sets, -of-00001 and -of-00002"),
        (["train-00000-of-00001-0a1b.parquet", "train-00000-of-00001.parquet"], "are the same shard"),
        ([], "a folder without a Parquet file"),
    ],
)
def test_a_set_of_shards_that_is_not_whole_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for n, name in enumerate(names):
        shard(tmp_path / name, [row(n)])
    with pytest.raises(DataError, match=message):
        read(TableSpec(tmp_path, "films"))


def test_files_of_two_tables_and_damaged_ones_are_named(tmp_path: Path) -> None:
    shard(tmp_path / "a.parquet", [row(0, age="3")])
    shard(tmp_path / "b.parquet", [row(1, sex="F")])
    with pytest.raises(DataError, match=r"b.parquet: another table than a.parquet: it has no age and has sex"):
        read(TableSpec(tmp_path, "films"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"b.parquet: damaged"):
        read(TableSpec(tmp_path, "films"))


def test_several_columns_of_films_have_to_be_told_apart(tmp_path: Path) -> None:
    records = {"bytes": film(0), "path": None}
    pq.write_table(pa.Table.from_pylist([{"left": records, "right": records, "n": 1}]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="several columns may hold films: left, right"):
        read(TableSpec(tmp_path / "a.parquet", "films"))
    with pytest.raises(DataError, match=r"'n' is no column of bytes: those are left, right"):
        read(TableSpec(tmp_path / "a.parquet", "films", columns={"image": "n"}))
    (image,) = read(TableSpec(tmp_path / "a.parquet", "films", columns={"image": "right"})).images
    assert image.path == tmp_path / "a.parquet" / "right.bytes" / "0"


def test_a_path_beside_empty_bytes_is_looked_for_as_a_file(tmp_path: Path) -> None:
    save_film(tmp_path / "one.png", 4)
    records = [{"image": {"bytes": None, "path": "one.png"}, "label": 0}, row(1)]
    records[1]["image"] = {"bytes": film(1), "path": "two.png"}
    found = added(shard(tmp_path / "a.parquet", records), tmp_path / "root")
    assert rows(found, "select image_id, path from images order by 1") == [
        ("one", "one.png"),
        ("two", "a.parquet/image.bytes/1"),
    ]
