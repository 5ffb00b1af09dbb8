"""What `store check` finds, what `store gc` frees, and what neither may touch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import collection

from cxremb.catalog import add_collection
from cxremb.cli.store import human
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import StoreError
from cxremb.store.check import check_store, check_tables
from cxremb.store.clean import collect, contents, reclaimable, remove, versions
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, sha256_of, writing
from cxremb.store.manifest import Manifest, Part, publish
from cxremb.store.reader import Store, list_stores, open_store


@pytest.fixture
def store(small: Dataset) -> Store:
    """24 films through the tiny encoder."""
    return embed(small, load_encoder(What("tiny"))).store


def wrong(store: Store) -> list[str]:
    return [
        f"{Path(problem.where).name}: {problem.what}" for problem in check_store(store.folder) if not problem.harmless
    ]


def rewritten(store: Store, table: pa.Table, **changes: object) -> None:
    """A new version of one part that holds `table`: correctly committed, whatever is in it."""
    name = "part-planted.parquet"
    path = replace_table(store.folder / name, table)
    part = Part(name, table.num_rows, path.stat().st_size, sha256_of(path))
    publish(replace(store.manifest, version=store.manifest.version + 1, **({"parts": (part,)} | changes)), store.folder)


def with_vectors(store: Store, vectors: np.ndarray) -> pa.Table:
    table = store.table()
    flat = pa.array(vectors.astype(np.float16).astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, type=table.schema.field("embedding").type)
    place = table.schema.get_field_index("embedding")
    return table.set_column(place, table.schema.field(place), column).cast(table.schema)


def test_a_store_as_written_is_whole(store: Store, small: Dataset) -> None:
    assert check_store(store.folder) == []
    assert check_tables(small) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(flipped(path.read_bytes())), "its bytes have changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, should be"),
        (lambda path: path.unlink(), "missing"),
    ],
    ids=["a flipped bit", "cut short", "gone"],
)
def test_damage_to_a_part_is_found(store: Store, damage: object, words: str) -> None:
    path = store.part_paths[0]
    damage(path)  # type: ignore[operator]
    assert [path.name in line and words in line for line in wrong(store)] == [True]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "2 vectors not finite"), (0, "2 vectors all zero"), (3, "2 vectors one number repeated")],
)
def test_vectors_that_are_no_vectors_are_found(store: Store, value: float, words: str) -> None:
    _, vectors = store.vectors()
    vectors = vectors.copy()
    vectors[[1, 4]] = value
    rewritten(store, with_vectors(store, vectors))
    ids = store.table()["item_id"].to_pylist()
    assert wrong(store) == [f"part-planted.parquet: {words}: {ids[1]}, {ids[4]}"]


def test_an_encoder_that_saw_nothing_is_found(store: Store) -> None:
    _, vectors = store.vectors()
    rewritten(store, with_vectors(store, np.repeat(vectors[:1], len(vectors), axis=0)))
    assert [line.split(": ")[1] for line in wrong(store)] == ["different contents all have the same vector"]


def test_an_id_that_repeats_is_found(store: Store) -> None:
    table = store.table()
    rewritten(store, pa.concat_tables([table, table[:3]]), asked=27, written=27)
    assert wrong(store) == [f"{store.name} version 2: 3 rows repeat an id"]


def test_failures_that_do_not_add_up_are_found(store: Store) -> None:
    publish(replace(store.manifest, version=store.manifest.version + 1, asked=26, failed=2), store.folder)
    assert wrong(store) == [f"{store.name} version 2: 2 failures counted, its file lists 0"]


def test_a_version_cut_short_is_found_and_nothing_is_taken_for_left_over(store: Store) -> None:
    path = store.folder / "000002.json"
    path.write_text((store.folder / "000001.json").read_text()[:500])
    lines = wrong(store)
    assert len(lines) == 1
    assert "damaged manifest" in lines[0]
    with pytest.raises(StoreError, match="damaged manifest"):
        collect(store.folder)
    assert store.table().num_rows == 24
    path.unlink()
    assert check_store(store.folder) == []


def test_a_table_that_was_changed_is_found(small: Dataset) -> None:
    path = small.table_path("reports")
    pq.write_table(pq.read_table(path)[1:], path)
    assert [problem.where for problem in check_tables(replace(small))] == [str(path)]


def two_versions(tmp_path: Path) -> tuple[Dataset, Manifest, Manifest]:
    """12 studies, embedded; then two are dropped, and the store is brought up to date."""
    whole = collection(tmp_path / "films")
    first = embed(add_collection(whole, tmp_path / "root").dataset, load_encoder(What("tiny"))).store.manifest
    fewer = replace(
        whole,
        studies=[study for study in whole.studies if study.study_id not in {"3", "4"}],
        images=[image for image in whole.images if image.study_id not in {"3", "4"}],
    )
    dataset = add_collection(fewer, tmp_path / "root").dataset
    return dataset, first, embed(dataset, load_encoder(What("tiny"))).store.manifest


def test_what_is_left_over_is_harmless_and_can_be_freed(tmp_path: Path) -> None:
    dataset, first, second = two_versions(tmp_path)
    store = open_store(dataset, "tiny")
    before = store.table()
    orphan = store.folder / "part-orphan.parquet"
    orphan.write_bytes(store.part_paths[0].read_bytes())
    (store.folder / ".draft.parquet").write_bytes(b"half")
    problems = check_store(store.folder)
    assert {Path(problem.where).name for problem in problems} == {"part-orphan.parquet", ".draft.parquet"}
    assert all(problem.harmless for problem in problems)

    gone = {path.name for path in reclaimable(store.folder)}
    old = {part.file for part in first.parts} - {part.file for part in second.parts}
    assert gone == {"000001.json", "part-orphan.parquet", ".draft.parquet"} | old
    assert {path.name for path in reclaimable(store.folder, keep=2)} == {"part-orphan.parquet", ".draft.parquet"}
    size = sum((store.folder / name).stat().st_size for name in gone)
    assert collect(store.folder) == (len(gone), size)
    assert open_store(dataset, "tiny").table().equals(before)
    assert check_store(store.folder) == []
    assert [manifest.version for manifest in versions(store.folder)] == [2]


def test_older_versions_stay_readable_until_they_are_freed(tmp_path: Path) -> None:
    dataset, _, _ = two_versions(tmp_path)
    assert len(open_store(dataset, "tiny", version=1).table()) == 24
    assert len(open_store(dataset, "tiny").table()) == 20
    assert open_store(dataset, "tiny:1") == open_store(dataset, "tiny", version=1)
    assert open_store(dataset, open_store(dataset, "tiny").name + ":2").version == 2
    with pytest.raises(StoreError, match="no version 3; it has 1, 2"):
        open_store(dataset, "tiny", version=3)
    collect(open_store(dataset, "tiny").folder)
    with pytest.raises(StoreError, match="no version 1; it has 2"):
        open_store(dataset, "tiny", version=1)


def test_nothing_is_freed_under_a_writer(store: Store, small: Dataset) -> None:
    with writing(store.folder), writing(store.folder):  # writers do not exclude each other
        for clean in (collect, remove):
            with pytest.raises(StoreError, match="in use by another cxremb"):
                clean(store.folder)
    assert remove(store.folder) > 0
    assert list_stores(small) == []
    assert list(small.paths.embeddings.iterdir()) == []


def test_the_commands(tmp_path: Path, cxremb: object) -> None:
    dataset, _, second = two_versions(tmp_path)
    root = ["--root", str(tmp_path / "root")]
    run = cxremb
    listed = json.loads(run("store", "ls", "--format", "json", *root).out)  # type: ignore[operator]
    assert [(row["store"], row["version"], row["rows"], row["stale"]) for row in listed] == [
        (second.recipe.store, 2, 20, False)
    ]
    shown = run("store", "show", "tiny", *root).out  # type: ignore[operator]
    assert "version 1" in shown
    assert "20 asked = 20 written + 0 failed" in shown
    assert "1 store, 20 rows, 0 runs checked: 0 wrong" in run("store", "check", *root).out  # type: ignore[operator]
    assert "nothing was removed" in run("store", "gc", *root).out  # type: ignore[operator]
    assert len(versions(open_store(dataset, "tiny").folder)) == 2
    assert "freed" in run("store", "gc", "--yes", *root).out  # type: ignore[operator]
    assert len(versions(open_store(dataset, "tiny").folder)) == 1
    part = open_store(dataset, "tiny").part_paths[0]
    part.write_bytes(flipped(part.read_bytes()))
    result = run("store", "check", *root)  # type: ignore[operator]
    assert result.code == 1
    assert part.name in result.out
    assert "add --yes" in run("store", "rm", "tiny", *root).out  # type: ignore[operator]
    assert "removed" in run("store", "rm", "tiny", "--yes", *root).out  # type: ignore[operator]
    assert list_stores(dataset) == []


def test_a_data_set_is_removed_when_it_is_asked_for_twice(store: Store, small: Dataset, cxremb: object) -> None:
    root, folder = small.paths.root, small.paths.folder
    add_collection(collection(root.parent / "more", name="other"), root)
    (folder / "cache").mkdir()
    (folder / "cache" / "elsewhere").symlink_to(root.parent / "films")
    words = ("data", "rm", "small", "--root", root)
    sizes = contents(small.paths)
    assert sizes["embeddings"] == sum(path.stat().st_size for path in store.folder.iterdir())
    assert sizes["tables"] == sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    asked = cxremb(*words)  # type: ignore[operator]
    assert (asked.code, small.paths.descriptor.exists()) == (0, True)
    assert f"embeddings  {human(sizes['embeddings'])}" in asked.out
    assert "add --yes" in asked.out
    for busy in (folder, store.folder):
        with writing(busy):
            said = cxremb(*words, "--yes")  # type: ignore[operator]
        assert (said.code, small.paths.descriptor.exists()) == (1, True)
        assert "in use by another cxremb" in said.err
    said = cxremb(*words, "--yes")  # type: ignore[operator]
    assert (said.code, sorted(path.name for path in root.iterdir())) == (0, [".locations", "other"])
    assert "removed small" in said.out
    assert len(list((root.parent / "films").iterdir())) == 24  # the films stay, also those behind a link


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "", "gone", "root/other"])
def test_nothing_else_is_removed_as_a_data_set(name: str, small: Dataset, cxremb: object) -> None:
    root = small.paths.root
    outside = root.parent / "elsewhere"
    outside.mkdir()
    (outside / "dataset.json").write_text("{}")
    said = cxremb("data", "rm", name, "--yes", "--root", root)  # type: ignore[operator]
    assert said.code == 1
    assert "no data set" in said.err
    assert (outside / "dataset.json").exists()
    assert small.paths.descriptor.exists()


def test_a_data_set_that_is_a_link_is_not_removed(small: Dataset, cxremb: object) -> None:
    (small.paths.root / "link").symlink_to(small.paths.folder)
    said = cxremb("data", "rm", "link", "--yes", "--root", small.paths.root)  # type: ignore[operator]
    assert said.code == 1
    assert "link: a link" in said.err
    assert small.paths.descriptor.exists()


def test_a_damaged_data_set_can_be_removed(small: Dataset, cxremb: object) -> None:
    small.paths.descriptor.write_text("[")
    assert cxremb("data", "rm", "small", "--yes", "--root", small.paths.root).code == 0  # type: ignore[operator]
    assert list(small.paths.root.iterdir()) == []
