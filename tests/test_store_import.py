"""Vectors made elsewhere as a store: what is read of a file, what is counted, and that nothing makes more of them."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result, collection, save_film
from planted import write_store
from scipy.stats import norm

import cxremb as library
from cxremb.catalog import add_collection
from cxremb.embedding.choose import choose_stores, usual_stores
from cxremb.embedding.fresh import encode_like
from cxremb.embedding.plan import Item
from cxremb.errors import CxrembError, EncoderError, StoreError
from cxremb.store.check import check_store
from cxremb.store.concepts import store_meanings
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.reader import open_store
from cxremb.store.sql import query
from cxremb.training.runs import open_run


def vectors(n: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def ids_of(data: Dataset) -> list[str]:
    found: list[str] = data.images["image_id"].to_pylist()
    return found


def parquet(path: Path, ids: list[str], matrix: Any, **more: Any) -> Path:
    pq.write_table(pa.table({"image_id": ids, "embedding": list(matrix), **more}), path)
    return path


def options(data: Dataset) -> dict[str, Any]:
    return {"dataset": data.name, "root": data.paths.root}


def test_a_file_becomes_a_store_with_its_vectors(small: Dataset, tmp_path: Path) -> None:
    ids, matrix = ids_of(small), vectors(24)
    order = np.random.default_rng(1).permutation(24)
    file = parquet(tmp_path / "v.parquet", [ids[n] for n in order] + ["stranger"], [*matrix[order], matrix[0]])
    done = library.import_store(file, encoder_name="theirs", licence="MIT", **options(small))
    assert (done.update.asked, done.update.added, done.unknown, done.examples) == (24, 24, 1, ("stranger",))
    store = open_store(small, "theirs")
    assert store.imported
    assert store.manifest.licence == "MIT"
    names, stored = store.vectors()
    for name, vector in zip(names, stored, strict=True):
        assert np.array_equal(vector, matrix[ids.index(name)].astype(np.float16).astype(np.float32))
    assert not [problem for problem in check_store(store.folder) if not problem.harmless]
    again = library.import_store(file, encoder_name="theirs", **options(small))
    assert not again.update.changed
    rows = query(small.paths.root, "select store, imported, stale from stores").to_pylist()
    assert rows == [{"store": store.name, "imported": True, "stale": False}]


def test_what_the_file_lacks_or_a_store_cannot_hold_is_a_failure(small: Dataset, tmp_path: Path) -> None:
    ids, matrix = ids_of(small)[:6], vectors(6)
    matrix[1], matrix[2] = 0, np.inf
    values = [*matrix[:3], None, *matrix[4:]]
    done = library.import_store(parquet(tmp_path / "v.parquet", ids, values), **options(small))
    manifest = done.update.store.manifest
    assert (manifest.asked, manifest.written, manifest.failed) == (24, 3, 21)
    why = query(small.paths.root, "select message, count(*) as n from failures group by 1 order by 2").to_pylist()
    assert why == [
        {"message": "the vector in the file is not finite in float16, is null, or is all zero", "n": 3},
        {"message": "not in the file", "n": 18},
    ]
    assert query(small.paths.root, "select stale from stores").to_pylist() == [{"stale": False}]


def test_ids_with_suffix_and_folders_and_columns_of_numbers(small: Dataset, tmp_path: Path) -> None:
    ids, matrix = ids_of(small), vectors(24, 3)
    table = pa.table({"f_0": matrix[:, 0], "f_1": matrix[:, 1], "f_2": matrix[:, 2], "n": [1] * 24})
    table = table.append_column("film", [[f"release/train/{name}.png" for name in ids]])
    pq.write_table(table, tmp_path / "v.parquet")
    done = library.import_store(tmp_path / "v.parquet", id_column="film", vectors=["f_*"], **options(small))
    names, stored = done.update.store.vectors()
    assert sorted(names) == sorted(ids)
    assert np.allclose(stored[list(names).index(ids[5])], matrix[5], rtol=1e-3)


def test_numpy_with_a_list_of_ids(small: Dataset, tmp_path: Path) -> None:
    ids, matrix = ids_of(small), vectors(24)
    np.save(tmp_path / "v.npy", matrix)
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    done = library.import_store(tmp_path / "v.npy", ids=tmp_path / "ids.txt", **options(small))
    _, stored = done.update.store.vectors()
    assert np.array_equal(np.sort(stored, axis=0), np.sort(matrix.astype(np.float16).astype(np.float32), axis=0))


def test_hdf5_of_slides_of_one_matrix_and_of_a_vector_each(small: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    ids, patches = ids_of(small), vectors(24 * 5).reshape(24, 5, 6)
    for number, (name, its) in enumerate(zip(ids, patches, strict=True)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["features"] = its[None] if number % 2 else its
            file["coords"] = np.zeros((5, 2))
    store = library.import_store(folder, **options(small)).update.store
    assert store.pooling == "mean"
    names, stored = store.vectors()
    assert np.allclose(stored[list(names).index(ids[3])], patches[3].mean(axis=0), atol=2e-3)
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file["features"], file["ids"] = patches[:, 0], [name.encode() for name in ids]
    one = library.import_store(tmp_path / "all.hdf5", encoder_name="matrix", **options(small)).update.store
    with h5py.File(tmp_path / "each.hdf5", "w") as file:
        for name, its in zip(ids, patches, strict=True):
            file[name] = its[0]
    each = library.import_store(tmp_path / "each.hdf5", encoder_name="each", **options(small)).update.store
    found, same = (dict(zip(*store.vectors(), strict=True)) for store in (one, each))
    assert found.keys() == same.keys() == set(ids)
    assert all(np.array_equal(found[name], same[name]) for name in ids)


def test_hdf5_without_its_package_says_what_to_install(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "v.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(StoreError, match="HDF5 needs the package h5py") as caught:
        library.import_store(tmp_path / "v.h5", **options(small))
    assert caught.value.hint == "install it: pip install 'cxremb[hdf5]'"


def test_one_name_is_one_key_over_data_sets_and_a_file_alone_is_not(tmp_path: Path) -> None:
    stores = []
    for number, name in enumerate(("first", "second")):
        data = add_collection(collection(tmp_path / name, name=name), tmp_path / "root").dataset
        file = parquet(tmp_path / f"{name}.parquet", ids_of(data), vectors(24, seed=number))
        done = [library.import_store(file, encoder_name=named, **options(data)) for named in ("theirs", None)]
        stores += [one.update.store for one in done]
    keys = [store.manifest.key for store in stores]
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3
    assert [store.encoder for store in stores] == ["theirs", "imported"] * 2


def test_a_store_that_was_made_here_stays_the_one_that_is_read(small: Dataset, tmp_path: Path, cxremb: Any) -> None:
    ids, root = ids_of(small), ("--root", small.paths.root)
    file = parquet(tmp_path / "v.parquet", ids, vectors(24))
    assert "commands go on reading" not in cxremb("store", "import", file, "--encoder-name", "first", *root).out
    assert choose_stores(small, ("image",), {"image": None})[0]["image"].encoder == "first"  # there is no other
    write_store(small, "efficientnet_b1", "image", ids, vectors(24, seed=1))
    said = cxremb("store", "import", file, "--encoder-name", "theirs", *root).out
    stores, notes = choose_stores(small, ("image",), {"image": None})
    own = stores["image"].name
    assert (own.partition("@")[0], [store.encoder for store in usual_stores(small, "image")]) == (
        "efficientnet_b1",
        ["efficientnet_b1", "theirs", "first"],
    )
    assert notes == [f"newest that was encoded here of 3 image stores: {own}; choose with --image-model"]
    assert f"commands go on reading {own}, which was encoded here; name this one with --image-model" in said
    named, notes = choose_stores(small, ("image",), {"image": "theirs"})
    assert (named["image"].encoder, notes) == ("theirs", [])


def test_another_file_under_the_same_name_is_refused(small: Dataset, tmp_path: Path) -> None:
    ids = ids_of(small)
    library.import_store(parquet(tmp_path / "a.parquet", ids, vectors(24)), encoder_name="x", **options(small))
    with pytest.raises(StoreError, match="holds vectors of another file"):
        library.import_store(
            parquet(tmp_path / "b.parquet", ids, vectors(24, seed=2)), encoder_name="x", **options(small)
        )


def test_films_that_are_not_here_have_vectors_too(tmp_path: Path) -> None:
    made = collection(tmp_path / "films")
    for path in (tmp_path / "films").glob("*.png"):
        path.unlink()
    listed = [replace(image, path=None) for image in made.images]
    data = add_collection(replace(made, images=listed), tmp_path / "root").dataset
    store = library.import_store(
        parquet(tmp_path / "v.parquet", ids_of(data), vectors(24)), **options(data)
    ).update.store
    assert store.rows == 24
    assert query(data.paths.root, "select stale from stores").to_pylist() == [{"stale": False}]
    features = library.load_features("image", label_set="normal_abnormal", **options(data))
    assert features.blocks["image"].shape == (24, 6)
    assert not features.outdated.get("image", np.zeros(1)).any()


def test_nothing_makes_more_of_them_and_everything_says_so(tmp_path: Path, cxremb: Any) -> None:
    small = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    root = small.paths.root
    file = parquet(tmp_path / "v.parquet", ids_of(small), vectors(120))
    shown: Result = cxremb("store", "import", file, "--encoder-name", "theirs", "--root", root)
    assert shown.code == 0
    assert "120 asked = 0 re-used + 120 new + 0 failed" in shown.out
    store = open_store(small, "theirs")
    with pytest.raises(EncoderError, match="was imported: what made its vectors is not known here"):
        encode_like(store, [Item("n", "n", "image", "0", str(save_film(tmp_path / "new.png", 999)))], cache=tmp_path)
    refused: Result = cxremb("refresh", "--model", "theirs", "--root", root)
    assert refused.code == 1
    assert "was imported" in refused.err
    assert "cxremb store import FILE" in refused.err
    assert "imported" in cxremb("store", "ls", "--root", root).out
    assert json.loads(cxremb("data", "show", "--format", "json", "--root", root).out)["imported"] == [store.name]
    assert "its vectors were made elsewhere" in cxremb("data", "show", "--root", root).out.replace(
        "\n            ", " "
    )
    assert "imported from" in cxremb("store", "show", "theirs", "--root", root).out
    run = library.train("image", label_set="normal_abnormal", root=root)
    assert [note for note in run.caveats if note.startswith("imported vectors: ")]
    with pytest.raises(CxrembError, match="was imported"):
        library.predict([save_film(tmp_path / "new.png", 999)], run=run.run_id, root=root)
    with pytest.raises(CxrembError, match="was imported"):  # also where it is the only one
        library.predict([save_film(tmp_path / "new.png", 999)], root=root)
    page = library.report(root=root, output=tmp_path / "report.html")
    assert "imported vectors: what made them" in page.read_text(encoding="utf-8")
    save_film(tmp_path / "films" / "3_Frontal.png", 77)  # a film that is another by now
    add_collection(collection_again(tmp_path), root)
    assert query(root, "select stale from stores").to_pylist() == [{"stale": True}]
    said: Result = cxremb("refresh", "--root", root)
    words = " ".join((said.out + said.err).split())
    assert (said.code, f"{store.name}: stale, and imported" in words) == (0, True)
    assert "no store yet" not in words


def collection_again(tmp_path: Path) -> Any:
    """The films as they lie there now."""
    made = collection(tmp_path / "elsewhere", 60)
    images = [replace(image, path=tmp_path / "films" / Path(str(image.path)).name) for image in made.images]
    return replace(made, images=images, source={"images": str(tmp_path / "films")})


@pytest.mark.parametrize(
    ("table", "given", "message"),
    [
        ({"a": ["x"], "embedding": [[1.0]]}, {}, "no column is known to hold the ids; it has a, embedding"),
        ({"id": ["x"], "a": [[1.0]], "b": [[1.0]]}, {}, "no column is known to hold the vectors"),
        ({"id": ["x"], "a": [[1.0]]}, {"vectors": ["z"]}, "no column 'z'"),
        ({"id": ["x"], "a": ["y"]}, {"vectors": ["a"]}, "a is no column of numbers"),
        ({"id": ["x", "y"], "embedding": [[1.0], [1.0, 2.0]]}, {}, "vectors of 1 and of 2 values"),
        ({"id": ["x"], "embedding": [[1.0]]}, {}, "none of its 1 ids is of a film of small, such as x"),
        ({"id": ["0_Frontal", "0_Frontal.png"], "embedding": [[1.0], [2.0]]}, {}, "two vectors of the film 0_Frontal"),
        ({"id": [], "embedding": pa.array([], pa.list_(pa.float32()))}, {}, "no row in it"),
        ({"id": ["x"], "embedding": [[1.0]]}, {"encoder_name": "resnet50"}, "it is an encoder of this cxremb"),
        ({"id": ["x"], "embedding": [[1.0]]}, {"encoder_name": "a/b"}, "it is no name of a store"),
        ({"id": ["x"], "embedding": [[1.0]]}, {"ids": "ids.txt"}, "Parquet has its ids in a column"),
    ],
)
def test_a_file_that_cannot_be_taken_in(
    small: Dataset, tmp_path: Path, table: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    pq.write_table(pa.table(table), tmp_path / "v.parquet")
    with pytest.raises(StoreError) as caught:
        library.import_store(tmp_path / "v.parquet", **given, **options(small))
    assert message in str(caught.value)
    assert query(small.paths.root, "from stores").num_rows == 0


def test_arrays_that_cannot_be_taken_in(small: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors(3))
    with pytest.raises(StoreError, match="an array names no film"):
        library.import_store(tmp_path / "v.npy", **options(small))
    (tmp_path / "ids.txt").write_text("image_id\n0_Frontal\n1_Frontal\n2_Frontal\n", encoding="utf-8")
    with pytest.raises(StoreError, match="3 vectors and 4 ids"):
        library.import_store(tmp_path / "v.npy", ids=tmp_path / "ids.txt", **options(small))
    np.save(tmp_path / "v.npy", vectors(4).reshape(4, 2, 3))
    with pytest.raises(StoreError, match=r"an array of float32 and shape \(4, 2, 3\)"):
        library.import_store(tmp_path / "v.npy", ids=tmp_path / "ids.txt", **options(small))
    (tmp_path / "v.txt").write_text("1 2 3", encoding="utf-8")
    with pytest.raises(StoreError, match=r"neither Parquet, NumPy \(.npy\) nor HDF5"):
        library.import_store(tmp_path / "v.txt", **options(small))
    with pytest.raises(StoreError, match="cannot be read"):
        library.import_store(tmp_path / "gone.parquet", **options(small))


def test_new_films_are_judged_by_a_run_whose_vectors_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    root = small.paths.root
    library.embed("tiny", root=root)
    here = {"label_set": "normal_abnormal", "root": root}
    mine = library.train("image", image_model="tiny", **here)
    file = parquet(tmp_path / "v.parquet", ids_of(small), vectors(len(ids_of(small))))
    library.import_store(file, encoder_name="theirs", root=root)
    theirs = library.train("image", image_model="theirs", **here)
    runs = [open_run(one.run_id, small) for one in (theirs, mine)]  # ids tell seconds: these may be of the same one
    monkeypatch.setattr("cxremb.inference.choice.list_runs", lambda *_: runs)
    found = library.predict([save_film(tmp_path / "new.png", 999)], root=root)
    assert found.run_id == mine.run_id, "the newest run has vectors that nothing here can make"


def test_a_head_of_one_collection_is_tested_on_another_by_imported_vectors(tmp_path: Path) -> None:
    direction = vectors(1, 16, seed=9)[0]
    (tmp_path / "means.csv").write_text(
        "label_set,label,concept,relation,source\nsick,sick,Sickness,exact,us\n", encoding="utf-8"
    )
    for number, name in enumerate(("here", "there")):
        random = np.random.default_rng(number)
        sick = random.integers(0, 2, 200)
        made = random.standard_normal((200, 16)) + np.outer(2 * sick - 1, direction) * 0.4
        ids = [f"{name}{n}" for n in range(200)]
        words = np.where(sick, "yes", "no")
        frame = pa.table({"image_id": ids, "path": [f"{one}.png" for one in ids], "sick": words})
        library.add("table", frame, name=name, labels=("sick",), root=tmp_path / "root")
        file = parquet(tmp_path / f"{name}.parquet", ids, made.astype(np.float32))
        library.import_store(file, encoder_name="theirs", dataset=name, root=tmp_path / "root")
        store_meanings(open_dataset(tmp_path / "root", name), tmp_path / "means.csv")
    found = library.external(root=tmp_path / "root").to_pandas()
    auroc = found[(found.metric == "auroc") & (found.trained_on == "here")].iloc[0]
    best = norm.cdf(0.8 * np.linalg.norm(direction) / np.sqrt(2))  # of two normal classes so far apart
    assert auroc.low < best
    assert auroc.value > best - 0.04
    assert auroc.caveats.startswith("imported vectors: ")
