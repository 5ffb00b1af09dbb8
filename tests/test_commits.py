"""What is in a data set is all old or all new: kills between every two renames, and writers at the same moment."""

import errno
import fcntl
import json
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import collection
from killed import at_once, context, killed

from cxremb.catalog import add_collection
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import DataError, StoreError, VersionTaken
from cxremb.labels import label_with_sql, read_labels
from cxremb.store import files
from cxremb.store.check import check_store, check_tables
from cxremb.store.clean import clear, leftovers, remove
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import held, publish_text, writing
from cxremb.store.layout import TABLES
from cxremb.store.reader import list_stores, open_store
from cxremb.store.sql import query
from cxremb.types import Collection, LabelSet, Study

ODD = "select study_id, 'odd' as label, study_id::int % 2 as value from studies where dataset = 'made'"
RENAMES = ("os.rename", "os.link")


def made(text: str) -> Collection:
    """Six studies with this text, and patients named after it."""
    studies = [Study(str(n), f"{text}{n}", {"findings": text}, facts={"site": text}) for n in range(6)]
    return Collection("made", studies, [], "none", "", {"table": "mine.csv"})


def add(root: Path, text: str) -> None:
    add_collection(made(text), root)


def label(root: Path, *names: str) -> None:
    dataset = open_dataset(root)
    for name in names:
        label_with_sql(dataset, LabelSet(name, "", "odd"), ODD)  # always the data set as it was opened


def texts_of(dataset: Dataset) -> set[str]:
    """What the tables say in each place where `made` writes its text, read in Python."""
    patients, texts = dataset.studies["patient_id"].to_pylist(), dataset.reports["text"].to_pylist()
    return {*texts, *dataset.facts["text"].to_pylist(), *(patient[:-1] for patient in patients)}


def sql_texts(root: Path) -> set[str]:
    """The same in SQL."""
    rows = query(
        root, "select text from reports union select text from facts union select patient_id[:-2] from studies"
    )
    return set(rows["text"].to_pylist())


def own(dataset: Dataset) -> set[str]:
    """Label sets made here, each with all its rows."""
    names = set(dataset.descriptor["label_sets"])
    assert all(len(read_labels(dataset, name).study_ids) == 6 for name in names)
    return names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Old texts, and a label set made by hand."""
    add(tmp_path / "root", "old")
    label(tmp_path / "root", "mine")
    return tmp_path / "root"


def test_a_killed_add_is_all_there_or_not_at_all(root):
    seen = []
    for damaged in killed(root, partial(add, text="new"), RENAMES):
        dataset = open_dataset(damaged)
        assert [problem for problem in check_tables(dataset) if not problem.harmless] == []
        (text,) = texts_of(dataset) | sql_texts(damaged)
        assert own(dataset) == {"mine"}
        seen.append(text)
        label(damaged, "more")
        assert texts_of(open_dataset(damaged)) == {text}
        add(damaged, "new")
        assert texts_of(open_dataset(damaged)) == {"new"}
        assert own(open_dataset(damaged)) == {"mine", "more"}
        clear(dataset.paths)
        assert {path.name for path in dataset.paths.folder.glob("*.parquet")} == {
            facts["file"] for facts in open_dataset(damaged).descriptor["tables"].values()
        }
        assert leftovers(dataset.paths) == []
    assert seen == ["old"] * (len(TABLES) + 1) + ["new"]  # before each table and dataset.json, and without a kill


def test_a_killed_label_is_all_there_or_not_at_all(root):
    seen = []
    for damaged in killed(root, label_twice, RENAMES):
        dataset = open_dataset(damaged)
        seen.append(len(own(dataset)))
        assert texts_of(dataset) == {"old"}
        label(damaged, "a", "b")
        assert own(open_dataset(damaged)) == {"mine", "a", "b"}
    assert seen == [1, 1, 2, 2, 3]  # before the table and dataset.json of either, and without a kill


def label_twice(root: Path) -> None:
    label(root, "a", "b")


def test_a_killed_removal_is_all_there_or_not_at_all(tmp_path):
    base = tmp_path / "root"
    data = add_collection(collection(tmp_path / "films", n=3), base).dataset
    kept, gone = (embed(data, load_encoder(What(model))).store.name for model in ("tiny", "tiny_text"))
    listed = []
    for damaged in killed(base, partial(remove_store, name=gone)):
        data = open_dataset(damaged)
        names = {store.name for store in list_stores(data)}
        listed.append(gone in names)
        assert names - {gone} == {kept}
        assert all(check_store(store.folder) == [] for store in list_stores(data))
        assert set(query(damaged, "select store from stores")["store"].to_pylist()) == names
        if gone in names:
            remove_store(damaged, gone)
        with pytest.raises(StoreError, match="has no store of"):
            open_store(data, gone)
        clear(data.paths)
        assert {path.name for path in data.paths.embeddings.iterdir()} == {kept}
        assert embed(data, load_encoder(What("tiny_text"))).store.rows
    assert listed[0]
    assert not any(listed[1:])
    assert len(listed) > 3  # before the rename, and before each file goes


def remove_store(root: Path, name: str) -> None:
    remove(open_store(open_dataset(root), name).folder)


def test_writers_at_the_same_moment_lose_nothing(root):
    names = [[f"{who}{n}" for n in range(3)] for who in "abc"]
    codes = at_once(
        *((label, (root, *some)) for some in names),
        (add_more, (root,)),
    )
    assert codes == [0] * 4
    assert own(open_dataset(root)) == {"mine", *(name for some in names for name in some)}
    assert texts_of(open_dataset(root)) == {"third"}


def add_more(root: Path) -> None:
    for text in ("first", "second", "third"):
        add(root, text)


def test_a_failed_add_takes_nothing_from_the_one_that_waits(tmp_path):
    """It removes the folder that it made, with the lock for which the other waits."""
    for n in range(3):
        root = tmp_path / f"root{n}"
        assert at_once((add_none, (root,)), (add, (root, "new")), (add_none, (root,))) == [1, 0, 1]
        assert texts_of(open_dataset(root)) == {"new"}
        assert leftovers(open_dataset(root).paths) == []


def without_links(error: int) -> None:
    """As on a file system that has none."""

    def link(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    os.link = link


def publish_many(folder, who):
    """Take as many of twenty version numbers as others leave."""
    without_links(errno.EPERM if who % 2 else errno.ENOTSUP)
    for number in range(20):
        with suppress(VersionTaken):
            publish_text(folder / f"{number}.json", f"{who} {number}")
            (folder / f"{number}-{who}").touch()


def test_without_hard_links_a_version_is_published_once(tmp_path):
    folder = tmp_path / "store"
    assert at_once(*((publish_many, (folder, who)) for who in range(4))) == [0] * 4
    for number in range(20):
        (winner,) = folder.glob(f"{number}-*")
        assert (folder / f"{number}.json").read_text() == f"{winner.name.partition('-')[2]} {number}"
    assert {path.name for path in folder.glob(".*")} == {".publish"}


def test_without_hard_links_a_store_is_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", os.link)  # so that it is put back
    without_links(errno.EPERM)
    data = add_collection(collection(tmp_path / "films", 4), tmp_path / "root").dataset
    store = embed(data, load_encoder(What("tiny"))).store
    assert [*check_store(store.folder)] == []
    monkeypatch.setattr(files, "locks", lambda *_, **__: False)  # nor locks
    with pytest.raises(StoreError, match="no hard links and no locks"):
        publish_text(tmp_path / "new" / "1.json", "{}")


def test_a_folder_that_cannot_be_synced_is_written_all_the_same(tmp_path, monkeypatch):
    sync = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    data = add_collection(collection(tmp_path / "films", 2), tmp_path / "root").dataset
    assert embed(data, load_encoder(What("tiny"))).encoded == 3


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    folder, opened, mkdir = tmp_path / "new", [], Path.mkdir

    def made_and_removed(self: Path, *words: object, **more: object) -> None:
        mkdir(self, *words, **more)
        opened.append(self)
        if len(opened) == 1:
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_removed)
    with held(folder, fcntl.LOCK_EX, create=True) as locked:
        assert locked
    assert opened == [folder, folder]
    monkeypatch.setattr(Path, "mkdir", lambda *words, **more: None)
    with pytest.raises(StoreError, match="nowhere"), held(tmp_path / "nowhere", fcntl.LOCK_EX, create=True):
        pass


def add_none(root: Path) -> None:
    add_collection(replace(made("new"), studies=[]), root)


def test_a_store_is_not_removed_under_a_writer(tmp_path):
    data = add_collection(collection(tmp_path / "films", n=3), tmp_path / "root").dataset
    folder = embed(data, load_encoder(What("tiny"))).store.folder
    with writing(folder), pytest.raises(StoreError, match="in use by another cxremb"):
        remove(folder)
    assert check_store(folder) == []
    remove(folder)
    assert list_stores(data) == []


def test_a_reader_sees_one_commit_at_a_time(root):
    writer = context.Process(target=add_more, args=(root,))
    writer.start()
    reads = 0
    while writer.is_alive():
        with suppress(StoreError):  # two commits since it was opened: said, not read
            assert len(texts_of(open_dataset(root))) == 1
            assert len(sql_texts(root)) == 1
            reads += 1
    assert reads
    assert sql_texts(root) == {"third"}


def test_a_data_set_that_is_held_reads_on_and_labels_what_is_there_now(root):
    held = open_dataset(root)
    add(root, "new")
    assert set(held.reports["text"].to_pylist()) == {"old"}
    now = label_with_sql(held, LabelSet("late", "", "odd"), ODD)
    assert texts_of(now) == {"new"}
    assert own(now) == {"mine", "late"}
    fewer = replace(made("new"), studies=made("new").studies[:4])
    add_collection(fewer, root)
    few = "select unnest(['2', '3', '4', '5']) as study_id, 'x' as label, 1 as value"
    with pytest.raises(DataError, match="2 rows of studies that made does not have: 4, 5"):
        label_with_sql(held, LabelSet("wrong", "", "odd"), few)
    with pytest.raises(StoreError, match="missing, or not the file") as caught:
        _ = held.labels
    assert "run the command again" in caught.value.hint


def test_tables_of_before_are_read_and_left_to_the_last(root, tmp_path):
    """Format 1 called a table by its name alone."""
    old = Path(shutil.copytree(Path(__file__).parent / "golden" / "format1", tmp_path / "golden"))
    before = open_dataset(old)
    assert before.descriptor["format"] == 1
    assert before.table_path("labels").name == "labels.parquet"
    rows = before.labels.num_rows
    now = label_with_sql(
        before,
        LabelSet("more", "", "odd"),
        "select study_id, 'x' as label, 1 - row_number() over () % 2 as value from studies",
    )
    assert now.descriptor["format"] == 3
    assert json.loads(now.paths.descriptor.read_text())["tables"]["labels"]["file"] == now.table_path("labels").name
    assert now.table_path("studies").name == "studies.parquet"
    assert now.labels.num_rows == rows + now.studies.num_rows
    assert before.labels.num_rows == rows


def test_another_collection_does_not_take_a_name(root):
    studies = [Study(str(n), str(n), {"findings": "of elsewhere"}) for n in range(4)]
    other = Collection("made", studies, [], "", "", {"table": "theirs.csv"})
    with pytest.raises(DataError, match="another collection has this name; of its 6 studies no film") as caught:
        add_collection(other, root)
    assert "--name" in caught.value.hint
    assert own(open_dataset(root)) == {"mine"}


def test_label_sets_that_the_collection_no_longer_brings_are_named(root):
    graded = [replace(study, labels={"grade": {"bad": float(n % 2)}}) for n, study in enumerate(made("old").studies)]
    whole = replace(made("old"), studies=graded, label_sets=[LabelSet("grade", "binary", "bad", ["bad"])])
    add_collection(whole, root)
    again = add_collection(made("old"), root)
    assert [(note.what, list(note.examples)) for note in again.notes] == [
        ("label sets that came with the collection before and are gone", ["grade"])
    ]
    assert add_collection(made("old"), root).changes == {}
