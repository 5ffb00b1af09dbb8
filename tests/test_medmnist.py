"""MedMNIST: arrays to files and back without loss, labels of every task, the download from a live server."""

import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.datasets import medmnist
from cxremb.datasets.medmnist import fetch, published_sets, read
from cxremb.errors import DataError, FetchError
from cxremb.images import decode_file
from cxremb.types import Collection

COUNTS = {"train": 6, "val": 2, "test": 4}
LEAK = "images whose patient is not known: each counts as a patient of its own"
OTHER = "images in a file that is not, byte for byte, the published one"


def save(file: Path, labels: int = 2, columns: int = 1, shape: tuple[int, ...] = (28, 28), seed: int = 0) -> Path:
    """An .npz as MedMNIST writes it, of noise; every label occurs in the train part."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for part, n in COUNTS.items():
        arrays[f"{part}_images"] = draw.integers(0, 256, (n, *shape), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n * columns).reshape(n, columns) % labels).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)
    return file


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the package knows of its sets."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # it makes a folder there when it is imported
    known: dict[str, Any] = pytest.importorskip("medmnist.info").INFO
    return known


def notes(collection: Collection) -> dict[str, int]:
    return {note.what: note.count for note in collection.notes}


def check_pixels(collection: Collection, file: Path) -> None:
    with np.load(file) as packed:
        arrays = {part: packed[f"{part}_images"] for part in COUNTS}
    for image in collection.images:
        part, index = image.image_id.split("_")
        assert image.path is not None
        assert np.array_equal(np.asarray(PilImage.open(image.path)), arrays[part][int(index)])


def test_binary(tmp_path: Path) -> None:
    file = save(tmp_path / "pneumoniamnist.npz")
    got = read(file, tmp_path / "unpacked")
    studies = list(got.studies)
    assert [study.study_id for study in studies[:7]] == [*(f"train_{index}" for index in range(6)), "val_0"]
    assert Counter(study.parts["official"] for study in studies) == COUNTS
    assert [dict(study.labels["class"]) for study in studies[:3]] == [{"pneumonia": value} for value in (0.0, 1.0, 0.0)]
    assert all(study.patient_id == study.study_id for study in studies)
    assert (got.label_sets[0].task, got.label_sets[0].means) == ("binary", "1 = pneumonia, 0 = normal")
    assert (got.name, got.licence) == ("pneumoniamnist", "CC BY 4.0")
    assert notes(got) == {
        "images unpacked into PNG files, without loss": 12,
        LEAK: 12,
        OTHER: 12,
    }
    added = add_collection(read(file, tmp_path / "unpacked"), tmp_path / "root")
    assert added.counts["images_present"] == 12
    assert set(added.dataset.images["view"].to_pylist()) == {"Frontal"}
    check_pixels(read(file, tmp_path / "unpacked"), file)
    assert decode_file(tmp_path / "unpacked" / "val" / "000001.png")[0].shape == (28, 28)


def test_multiclass(tmp_path: Path) -> None:
    got = read(save(tmp_path / "organcmnist_64.npz", labels=11, shape=(64, 64)), tmp_path / "out", name="organs")
    studies = list(got.studies)
    assert [next(iter(study.labels["class"])) for study in studies[:3]] == ["bladder", "femur-left", "femur-right"]
    assert (got.name, got.label_sets[0].task, len(got.label_sets[0].labels)) == ("organs", "multiclass", 11)
    check_pixels(got, tmp_path / "organcmnist_64.npz")


def test_multilabel(tmp_path: Path) -> None:
    file = save(tmp_path / "chestmnist.npz", columns=14)
    got = read(file, tmp_path / "out")
    with np.load(file) as arrays:
        values = np.concatenate([arrays[f"{part}_labels"] for part in COUNTS])
    names = got.label_sets[0].labels
    assert (got.label_sets[0].name, got.label_sets[0].task, names[0], names[13]) == (
        "findings",
        "multilabel",
        "atelectasis",
        "hernia",
    )
    assert [[study.labels["findings"][name] for name in names] for study in got.studies] == values.tolist()


def test_ordinal_colour(tmp_path: Path) -> None:
    file = save(tmp_path / "retinamnist.npz", labels=5, shape=(28, 28, 3))
    got = read(file, tmp_path / "out")
    assert (got.label_sets[0].task, got.label_sets[0].labels) == ("multiclass", ("0", "1", "2", "3", "4"))
    assert "without order" in got.label_sets[0].policy
    assert notes(got)["grades taken as classes: their order is not used"] == 5
    assert notes(got)["images in colour"] == 12
    check_pixels(got, file)


@pytest.mark.parametrize(
    ("labels", "columns", "task", "names"),
    [
        (2, 1, "binary", ("class 1",)),
        (4, 1, "multiclass", ("class 0", "class 1", "class 2", "class 3")),
        (2, 3, "multilabel", ("class 0", "class 1", "class 2")),
    ],
)
def test_a_set_of_another_name(tmp_path: Path, labels: int, columns: int, task: str, names: tuple[str, ...]) -> None:
    got = read(save(tmp_path / "mine.npz", labels, columns), tmp_path / "out")
    assert (got.label_sets[0].task, tuple(got.label_sets[0].labels)) == (task, names)
    assert notes(got)["images of a set that is not known here, mine"] == 12
    assert got.licence == "not given"


def test_unpacking_is_done_once_and_again_when_it_must(tmp_path: Path) -> None:
    file, out = save(tmp_path / "breastmnist.npz"), tmp_path / "out"
    read(file, out)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in out.rglob("*.png")}
    read(file, out)
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in out.rglob("*.png")} == before
    (out / "test" / "000003.png").unlink()
    read(file, out)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == {path: was for path, (_, was) in before.items()}
    save(file, seed=1)
    check_pixels(read(file, out), file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["breastmnist.npz", "out"]  # no draft is left


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds other files"):
        read(save(tmp_path / "breastmnist.npz"), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="volumes of 28 x 28 x 28"):
        read(save(tmp_path / "organmnist3d.npz", shape=(28, 28, 28)), out)
    with pytest.raises(DataError, match="1 columns from 0 to 1 were expected"):
        read(save(tmp_path / "pneumoniamnist.npz", labels=3), out)
    with pytest.raises(DataError, match="14 columns from 0 to 1 were expected"):
        read(save(tmp_path / "chestmnist.npz", columns=13), out)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.npz", out)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        read(tmp_path / "text.npz", out)
    np.savez(tmp_path / "few.npz", train_images=np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(DataError, match=r"has no train_labels, val_images, .*; it has train_images"):
        read(tmp_path / "few.npz", out)
    whole = save(tmp_path / "octmnist.npz", labels=4)
    content = bytearray(whole.read_bytes())
    content[200:260] = bytes(60)  # within the first array
    whole.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|not a readable"):
        read(whole, out)
    assert not out.exists()


def test_the_table_says_what_the_package_says(info: dict[str, Any]) -> None:
    task = {"binary": "binary-class", "multiclass": "multi-class", "ordinal": "ordinal-regression"}
    assert {name for name in info if not name.endswith("3d")} == published_sets().keys()
    for name, known in published_sets().items():
        assert task.get(known.task, "multi-label, binary-class") == info[name]["task"]
        assert dict(enumerate(known.labels)) == {int(value): label for value, label in info[name]["label"].items()}
        assert known.licence == info[name]["license"]
        assert {28: info[name]["MD5"]} | {side: info[name][f"MD5_{side}"] for side in (64, 128, 224)} == known.md5


def test_the_real_pneumoniamnist(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "medmnist" / "pneumoniamnist.npz"
    got = read(file, tmp_path / "unpacked")
    assert notes(got)[OTHER] == 5856  # rebuilt from two copies: another order of the train rows
    studies = list(got.studies)
    assert Counter((study.parts["official"], study.labels["class"]["pneumonia"]) for study in studies) == {
        ("train", 0.0): 1214,
        ("train", 1.0): 3494,
        ("val", 0.0): 135,
        ("val", 1.0): 389,
        ("test", 0.0): 234,
        ("test", 1.0): 390,
    }
    check_pixels(got, file)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any]) -> Iterator[Path]:
    """A file that a live server hands out, as if it were the published pneumoniamnist."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = save(tmp_path / "served" / "pneumoniamnist.npz")
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(file.parent))) as live:
        thread = threading.Thread(target=live.serve_forever)
        thread.start()
        monkeypatch.setitem(info["pneumoniamnist"], "url", f"http://127.0.0.1:{live.server_port}/{file.name}")
        monkeypatch.setitem(info["pneumoniamnist"], "MD5", hashlib.md5(file.read_bytes()).hexdigest())
        yield file
        live.shutdown()
        thread.join()


def test_fetch(server: Path, tmp_path: Path) -> None:
    file = fetch("pneumoniamnist", tmp_path / "to")
    assert file == tmp_path / "to" / "pneumoniamnist.npz"
    assert file.read_bytes() == server.read_bytes()
    server.unlink()
    assert fetch("pneumoniamnist", tmp_path / "to") == file  # there is nothing left to download
    assert list((tmp_path / "to").iterdir()) == [file]


def test_fetch_leaves_another_file_alone(server: Path, tmp_path: Path) -> None:
    mine = save(tmp_path / "to" / "pneumoniamnist.npz", seed=3)
    before = mine.read_bytes()
    with pytest.raises(FetchError, match="is there, and is not the published file") as caught:
        fetch("pneumoniamnist", tmp_path / "to")
    assert "cxremb data add medmnist" in caught.value.hint
    assert mine.read_bytes() == before


@pytest.mark.parametrize(
    ("harm", "says"), [("gone", "status 404"), ("changed", "not the published file"), ("page", "not a .npz file")]
)
def test_fetch_that_fails(server: Path, tmp_path: Path, harm: str, says: str) -> None:
    server.unlink()
    if harm == "changed":
        save(server, seed=5)
    if harm == "page":
        server.write_text("<html>log in</html>")
    with pytest.raises(FetchError, match=f"pneumoniamnist.npz: .*{says}") as caught:
        fetch("pneumoniamnist", tmp_path / "to")
    assert "cxremb data add medmnist pneumoniamnist.npz" in caught.value.hint
    assert not list((tmp_path / "to").iterdir())


def test_fetch_into_what_is_no_folder(server: Path, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(FetchError, match="to: cannot be written"):
        fetch("pneumoniamnist", tmp_path / "to")


def test_fetch_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist.info", None)
    with pytest.raises(FetchError, match="its own package") as caught:
        fetch("organcmnist", tmp_path, 64)
    assert medmnist.INSTALL in caught.value.hint
    assert "organcmnist_64.npz" in caught.value.hint


@pytest.mark.parametrize(("name", "size"), [("organmnist3d", 28), ("mnist", 28), ("pneumoniamnist", 32)])
def test_fetch_of_what_there_is_not(tmp_path: Path, name: str, size: int) -> None:
    with pytest.raises(FetchError, match=f"no two-dimensional set '{name}' of {size} pixels") as caught:
        fetch(name, tmp_path, size)
    assert "pneumoniamnist" in caught.value.hint


def test_the_marker_names_the_source(tmp_path: Path) -> None:
    file = save(tmp_path / "breastmnist.npz")
    got = read(file, tmp_path / "out")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert got.source["sha256"] == sha256
    assert json.loads((tmp_path / "out" / "unpacked.json").read_text()) == {"sha256": sha256}


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, bool])
@pytest.mark.parametrize(("classes", "task"), [(2, "binary"), (3, "multiclass")])
def test_one_hot_labels_are_classes(tmp_path: Path, dtype: type, classes: int, task: str) -> None:
    """As Keras writes them: to_categorical gives floats."""
    plain, hot = save(tmp_path / "plain.npz", labels=classes), tmp_path / "hot.npz"
    with np.load(plain) as packed:
        arrays = dict(packed)
    for part in COUNTS:
        arrays[f"{part}_labels"] = np.eye(classes)[arrays[f"{part}_labels"][:, 0]].astype(dtype)
    np.savez(hot, **arrays)
    one, other = read(plain, tmp_path / "a", "t"), read(hot, tmp_path / "b", "t")
    assert other.label_sets == one.label_sets
    assert other.label_sets[0].task == task
    assert [study.labels for study in other.studies] == [study.labels for study in one.studies]
    assert notes(other)["columns of labels taken as classes, of which an image has one"] == classes


def test_columns_of_which_a_row_has_two_or_none_are_findings(tmp_path: Path) -> None:
    file = save(tmp_path / "t.npz", labels=3)
    with np.load(file) as packed:
        arrays = dict(packed)
    for part in COUNTS:
        arrays[f"{part}_labels"] = np.eye(3, dtype=np.uint8)[arrays[f"{part}_labels"][:, 0]]
    arrays["test_labels"][0] = 0
    np.savez(file, **arrays)
    assert read(file, tmp_path / "a", "t").label_sets[0].task == "multilabel"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (1, 28, 28)])
def test_one_channel_is_grey_and_no_volume(tmp_path: Path, shape: tuple[int, ...], order: str) -> None:
    file = save(tmp_path / "t.npz", shape=shape)
    with np.load(file) as packed:
        arrays = dict(packed)
    for part in COUNTS:
        arrays[f"{part}_images"] = np.asarray(arrays[f"{part}_images"], order=order)
    np.savez(file, **arrays)
    squeezed = {part: arrays[f"{part}_images"].reshape(-1, 28, 28) for part in COUNTS}
    collection = read(file, tmp_path / "unpacked", "t")
    for image in collection.images:
        part, index = image.image_id.split("_")
        assert image.path is not None
        assert np.array_equal(np.asarray(PilImage.open(image.path)), squeezed[part][int(index)])
    assert "images in colour" not in notes(collection)
