"""The embed job: equal to the obvious loop, incremental, resumable, and its counts add up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import collection, film, save_film
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.embedding.job import embed
from cxremb.embedding.plan import orphans, wanted_items
from cxremb.embedding.start import preview
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.errors import StoreError, VersionTaken
from cxremb.store.clean import remove
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.manifest import latest_manifest, manifest_paths, publish, read_manifest
from cxremb.store.reader import open_store
from cxremb.store.sql import query
from cxremb.types import Collection, Image


def plain_vectors(seeds: list[int]) -> np.ndarray:
    """The slow obvious way: one film at a time through Pillow and the projection."""
    projection = load_encoder(What("tiny")).projection
    rows = []
    for seed in seeds:
        picture = PilImage.fromarray(film(seed)).resize((64, 64), PilImage.Resampling.BICUBIC)
        rows.append((np.asarray(picture, np.float32).ravel() / 255 - 0.5) @ projection)
    return np.stack(rows)


@pytest.mark.parametrize("options", [Machine(), Machine(batch_size=1, workers=1, part_items=1), Machine(batch_size=5)])
def test_vectors_equal_the_obvious_loop(small: Dataset, options: Machine) -> None:
    outcome = embed(small, load_encoder(What("tiny")), options)
    ids, X = outcome.store.vectors()
    seeds = [0 if name == "11_Lateral" else 2 * int(name.split("_")[0]) + (name.endswith("Lateral")) for name in ids]
    np.testing.assert_allclose(X, plain_vectors(seeds).astype(np.float16).astype(np.float32), atol=0, rtol=0)
    assert sorted(ids) == sorted(small.images["image_id"].to_pylist())
    assert (outcome.asked, outcome.added, outcome.encoded, len(outcome.failures)) == (24, 24, 23, 0)


def test_equal_texts_are_encoded_once_and_stored_for_each(small: Dataset) -> None:
    outcome = embed(small, load_encoder(What("tiny_text")))
    texts = [item.source for item in wanted_items(small, "text")]
    assert outcome.asked == len(texts) == 12 + 11 + 12 + 12 + 12  # the last two: findings+impression, pre-read
    assert outcome.encoded == len(set(texts)) < len(texts)
    ids, X = outcome.store.vectors("indication")
    assert len(ids) == 12
    assert (X[0] == X).all()


def test_a_missing_section_never_becomes_text(small: Dataset) -> None:
    items = {item.key: item.source for item in wanted_items(small, "text")}
    assert ("1", "findings") not in items
    assert items["1", "findings+impression"] == "Normal."
    assert items["2", "findings+impression"] == "Clear lungs 2. Normal."
    assert items["2", "pre-read"] == items["2", "indication"] == "Chest pain."


def test_a_new_section_joins_the_store_and_nothing_else_is_encoded(tmp_path: Path) -> None:
    whole = collection(tmp_path / "films")
    root = tmp_path / "root"
    first = embed(add_collection(whole, root).dataset, load_encoder(What("tiny_text")))
    told = [replace(study, sections={**study.sections, "letter": f"Dear {study.study_id}"}) for study in whole.studies]
    outcome = embed(add_collection(replace(whole, studies=told), root).dataset, load_encoder(What("tiny_text")))
    assert outcome.store.name == first.store.name
    assert (outcome.store.version, outcome.reused, outcome.added, outcome.encoded) == (2, first.asked, 12, 12)
    assert outcome.store.sections == [
        "indication",
        "findings",
        "impression",
        "findings+impression",
        "letter",
        "pre-read",
    ]
    gone = embed(add_collection(whole, root).dataset, load_encoder(What("tiny_text")))
    assert (gone.store.version, gone.encoded, "letter" in gone.store.sections) == (3, 0, False)


def test_both_poolings_are_stored(small: Dataset) -> None:
    store = embed(small, load_encoder(What("tiny_text"))).store
    projection = load_encoder(What("tiny_text"))
    ids, mean = store.vectors("findings")
    _, first = store.vectors("findings", "first")
    row = ids.index("2")
    np.testing.assert_array_equal(mean[row], projection.encode(["clear lungs 2."])["mean"][0].astype(np.float16))
    np.testing.assert_array_equal(first[row], projection.encode(["clear"])["first"][0].astype(np.float16))


def test_a_second_run_changes_nothing(small: Dataset) -> None:
    first = embed(small, load_encoder(What("tiny")))
    second = embed(small, load_encoder(What("tiny")))
    assert not second.changed
    assert (second.reused, second.added, second.encoded) == (24, 0, 0)
    assert second.store == first.store


def test_added_changed_and_removed_films(tmp_path: Path) -> None:
    whole = collection(tmp_path / "films")
    root = tmp_path / "root"
    part = replace(whole, images=whole.images[:20])
    first = embed(add_collection(part, root).dataset, load_encoder(What("tiny")))
    assert first.asked == 20
    save_film(whole.images[3].path, 999)  # changed
    changed = replace(whole, images=whole.images[2:])  # two removed, four added
    outcome = embed(add_collection(changed, root).dataset, load_encoder(What("tiny")))
    ids, X = outcome.store.vectors()
    assert (outcome.asked, outcome.reused, outcome.added, outcome.store.version) == (22, 17, 5, 2)
    assert sorted(ids) == sorted(image.image_id for image in changed.images)
    np.testing.assert_array_equal(
        X[ids.index(whole.images[3].image_id)], plain_vectors([999])[0].astype(np.float16).astype(np.float32)
    )
    old = read_manifest(manifest_paths(outcome.store.folder)[0])
    assert old == first.store.manifest  # the first version can still be read
    assert first.store.table().num_rows == 20


def test_content_known_under_another_id_is_copied(tmp_path: Path) -> None:
    whole = collection(tmp_path / "films")
    root = tmp_path / "root"
    embed(add_collection(whole, root).dataset, load_encoder(What("tiny")))
    renamed = replace(whole, images=[replace(image, image_id="new" + image.image_id) for image in whole.images])
    outcome = embed(add_collection(renamed, root).dataset, load_encoder(What("tiny")))
    assert (outcome.added, outcome.asked) == (24, 24)
    ids, X = outcome.store.vectors()
    np.testing.assert_array_equal(X[ids.index("new0_Frontal")], plain_vectors([0])[0].astype(np.float16))


def test_texts_under_new_ids_are_copied_in_every_pooling(small: Dataset, tmp_path: Path) -> None:
    encoder = load_encoder(What("tiny_text"))
    before = embed(small, encoder).store
    assert len(before.manifest.recipe.poolings) == 2
    whole = collection_of(small)
    renamed = [replace(study, study_id=f"new{study.study_id}") for study in whole.studies]
    films = [replace(film, study_id=f"new{film.study_id}") for film in whole.images]
    outcome = embed(add_collection(replace(whole, studies=renamed, images=films), small.paths.root).dataset, encoder)
    assert (outcome.added, outcome.encoded) == (before.manifest.written, 0)
    for pooling in before.manifest.recipe.poolings:
        was, now = before.load("impression", pooling), outcome.store.load("impression", pooling)
        same = now.rows([f"new{name}" for name in was.ids.to_pylist()])
        np.testing.assert_array_equal(now.vectors[same], was.vectors)


@pytest.mark.parametrize(
    ("damage", "stage"),
    [
        (lambda path: path.write_bytes(b""), "read"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "decode"),
        (lambda path: path.write_text("this is no image"), "decode"),
        (lambda path: PilImage.new("L", (80, 80), 7).save(path), "content"),
    ],
)
def test_one_bad_film_becomes_a_failure_row(tmp_path: Path, damage: object, stage: str) -> None:
    whole = collection(tmp_path / "films")
    bad = whole.images[5]
    damage(bad.path)  # type: ignore[operator]
    data = add_collection(whole, tmp_path / "root").dataset
    outcome = embed(data, load_encoder(What("tiny")))
    manifest = outcome.store.manifest
    assert (manifest.asked, manifest.written, manifest.failed) == (24, 23, 1)
    rows = pq.read_table(outcome.store.failure_path).to_pylist()
    assert [(row["item_id"], row["stage"]) for row in rows] == [(bad.image_id, stage)]
    assert bad.path.name in rows[0]["message"]
    assert bad.image_id not in outcome.store.vectors()[0]
    assert not embed(data, load_encoder(What("tiny"))).changed  # the same failure again is no news
    save_film(bad.path, 11)
    mended = embed(add_collection(whole, tmp_path / "root").dataset, load_encoder(What("tiny")))
    assert (mended.added, len(mended.failures), mended.store.manifest.failures) == (1, 0, None)


def test_files_that_could_not_be_read_when_they_were_added_fail_each_for_itself(tmp_path: Path) -> None:
    whole = collection(tmp_path / "films")
    gone = [whole.images[index] for index in (3, 5)]
    for image in gone:
        image.path.unlink()
    data = add_collection(whole, tmp_path / "root").dataset
    assert data.images["sha256"].null_count == 2
    failures = embed(data, load_encoder(What("tiny"))).failures
    assert [(failure.item.item_id, failure.stage) for failure in failures] == [(one.image_id, "read") for one in gone]
    assert all(one.path.name in failure.message for one, failure in zip(gone, failures, strict=True))


def test_a_file_that_changed_or_vanished_since_it_was_added(small: Dataset) -> None:
    paths = [Path(path) for path in small.images["path"].to_pylist()]
    save_film(paths[4], 77)
    paths[6].unlink()
    failures = embed(small, load_encoder(What("tiny"))).failures
    assert [(failure.stage, failure.item.source) for failure in failures] == [
        ("read", str(paths[4])),
        ("read", str(paths[6])),
    ]
    assert "changed since" in failures[0].message


def test_nothing_but_failures_is_an_error_and_is_recorded(small: Dataset) -> None:
    for path in small.images["path"].to_pylist():
        Path(path).write_bytes(b"")
    with pytest.raises(StoreError, match="none of 24 items"):
        embed(small, load_encoder(What("tiny")))
    assert open_store(small, "tiny").failed == 24


class Stopped(Exception):
    """Stands for any sudden end."""


def test_a_stopped_run_is_taken_up(small: Dataset) -> None:
    def stop_midway(items: object, total: int, what: str) -> object:
        for count, item in enumerate(items):  # type: ignore[arg-type]
            if count == 10:
                raise Stopped
            yield item

    options = Machine(batch_size=4, part_items=4)
    with pytest.raises(Stopped):
        embed(small, load_encoder(What("tiny")), options, progress=stop_midway)  # type: ignore[arg-type]
    folder = next(small.paths.embeddings.iterdir())
    assert latest_manifest(folder) is None
    left = sum(pq.read_metadata(path).num_rows for path in orphans(folder))
    assert left >= 8
    outcome = embed(small, load_encoder(What("tiny")), options)
    assert (outcome.reused, outcome.added) == (left, 24 - left)
    assert sorted(outcome.store.vectors()[0]) == sorted(small.images["image_id"].to_pylist())


def test_kill_dash_nine_loses_nothing_committed(tmp_path: Path) -> None:
    data = add_collection(collection(tmp_path / "films", 150), tmp_path / "root").dataset
    script = (
        "import sys, pathlib\n"
        "from cxremb.store.dataset import open_dataset\n"
        "from cxremb.encoders.base import Machine, What, load_encoder\n"
        "from cxremb.embedding.job import embed\n"
        "data = open_dataset(pathlib.Path(sys.argv[1]))\n"
        "embed(data, load_encoder(What('tiny')), Machine(batch_size=2, part_items=2))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "root")])
    embeddings = data.paths.embeddings
    deadline = time.monotonic() + 60
    while len(list(embeddings.glob("*/part-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    outcome = embed(open_dataset(tmp_path / "root"), load_encoder(What("tiny")))
    assert outcome.reused >= 6
    ids, X = outcome.store.vectors()
    other = add_collection(collection(tmp_path / "films", 150), tmp_path / "other").dataset
    expected = dict(zip(*embed(other, load_encoder(What("tiny"))).store.vectors(), strict=True))
    assert sorted(ids) == sorted(expected)
    assert all((vector == expected[name]).all() for name, vector in zip(ids, X, strict=True))


def test_two_writers_cannot_both_win(small: Dataset) -> None:
    store = embed(small, load_encoder(What("tiny"))).store
    with pytest.raises(VersionTaken):
        publish(store.manifest, store.folder)
    assert [path.name for path in store.folder.glob(".*")] == [".lock"]  # no draft is left behind


def test_counts_that_do_not_add_up_are_refused(small: Dataset) -> None:
    manifest = embed(small, load_encoder(What("tiny"))).store.manifest
    with pytest.raises(StoreError, match="do not add up"):
        replace(manifest, asked=25)


def test_a_damaged_manifest_or_part_is_named(small: Dataset) -> None:
    store = embed(small, load_encoder(What("tiny"))).store
    path = manifest_paths(store.folder)[0]
    fields = json.loads(path.read_text())
    fields["recipe"]["input"]["side"] = 65
    path.write_text(json.dumps(fields))
    with pytest.raises(StoreError, match="does not match its key"):
        open_store(small, "tiny")
    store.part_paths[0].write_bytes(b"PAR1 damaged")
    with pytest.raises(StoreError, match=store.part_paths[0].name):
        store.vectors()


def test_other_engines_read_a_part_without_cxremb(small: Dataset) -> None:
    store = embed(small, load_encoder(What("tiny"))).store
    path = str(store.part_paths[0])
    ids, X = store.vectors()
    for read in (
        lambda: np.stack(pd.read_parquet(path)["embedding"]),
        lambda: np.stack(pl.read_parquet(path)["embedding"].to_list()),
        lambda: np.stack(duckdb.sql(f"select embedding from '{path}'").to_arrow_table()["embedding"].to_numpy()),
    ):
        np.testing.assert_array_equal(np.asarray(read(), np.float32), X)
    described = pq.read_schema(path)
    assert described.field("embedding").type.list_size == 32
    assert described.metadata[b"encoder"] == b"tiny-image-1"
    assert described.metadata[b"key"].decode() == store.manifest.key
    assert len(ids) == 24


def test_the_key_holds_what_and_not_where() -> None:
    recipe = load_encoder(What("tiny")).recipe
    assert recipe.key == load_encoder(What("tiny")).recipe.key
    other = [
        replace(recipe, weights_sha256="0" * 64),
        replace(recipe, input={**recipe.input, "side": 65}),
        replace(recipe, precision="half"),
        replace(recipe, poolings=("max",)),
        replace(recipe, dtype="float32"),
    ]
    assert len({recipe.key, *(changed.key for changed in other)}) == len(other) + 1


def test_the_terms_of_the_collection_travel_with_its_vectors(tmp_path: Path) -> None:
    given = replace(collection(tmp_path / "films"), licence="CC BY-NC-ND 4.0", citation="Nobody et al. 2020")
    dataset = add_collection(given, tmp_path / "root").dataset
    store = embed(dataset, load_encoder(What("tiny"))).store
    manifest = store.manifest
    assert (manifest.dataset_licence, manifest.dataset_citation) == ("CC BY-NC-ND 4.0", "Nobody et al. 2020")
    assert manifest.licence == load_encoder(What("tiny")).licence
    for path in store.part_paths:
        about = {key.decode(): value.decode() for key, value in pq.read_schema(path).metadata.items()}
        assert (about["dataset_licence"], about["dataset_citation"]) == ("CC BY-NC-ND 4.0", "Nobody et al. 2020")
        assert about["licence"] == manifest.licence
    old = json.loads(manifest.to_json())
    del old["dataset_licence"], old["dataset_citation"]  # as an earlier version wrote it
    place = store.folder / "000001.json"
    place.write_text(json.dumps(old), encoding="utf-8")
    assert (read_manifest(place).dataset_licence, read_manifest(place).key) == ("", manifest.key)


def test_equal_films_that_fail_each_name_their_own_file(small: Dataset) -> None:
    """0_Frontal and 11_Lateral are one film: one file is gone, the other altered."""
    paths = dict(zip(*(small.images[name].to_pylist() for name in ("image_id", "path")), strict=True))
    Path(paths["0_Frontal"]).unlink()
    save_film(Path(paths["11_Lateral"]), 99)
    outcome = embed(small, load_encoder(What("tiny")))
    assert {failure.item.item_id: failure.message for failure in outcome.failures} == {
        "0_Frontal": f"{paths['0_Frontal']}: cannot be read (No such file or directory)",
        "11_Lateral": f"{paths['11_Lateral']}: changed since it was added",
    }


def test_a_film_with_another_stamp_and_the_same_bytes_is_read_and_good(small: Dataset) -> None:
    first = embed(small, load_encoder(What("tiny")), Machine(keep_pixels=True))
    held = first.store.vectors()
    remove(first.store.folder)
    for path in small.images["path"].to_pylist():
        os.utime(path, ns=(1, 1))
    outcome = embed(small, load_encoder(What("tiny")))
    assert outcome.counts["films_from_pixel_cache"] == 23
    assert not outcome.failures
    for one, other in zip(held, outcome.store.vectors(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kept", [False, True])
def test_a_film_that_is_gone_fails_whether_its_pixels_are_kept_or_not(small: Dataset, kept: bool) -> None:
    first = embed(small, load_encoder(What("tiny")), Machine(keep_pixels=kept))
    held = first.store.vectors()[0]
    remove(first.store.folder)
    paths = dict(zip(*(small.images[name].to_pylist() for name in ("image_id", "path")), strict=True))
    Path(paths["3_Frontal"]).unlink()
    save_film(Path(paths["4_Lateral"]), 99)
    outcome = embed(small, load_encoder(What("tiny")), Machine(keep_pixels=kept))
    assert [failure.item.item_id for failure in outcome.failures] == ["3_Frontal", "4_Lateral"]
    assert outcome.counts["films_from_pixel_cache"] == (23 if kept else 0)
    assert sorted(outcome.store.vectors()[0]) == sorted(set(held) - {"3_Frontal", "4_Lateral"})


def changed(small: Dataset, tmp_path: Path, change: Callable[[Image], Image]) -> Dataset:
    """The data set with its films changed, added again."""
    again = collection(tmp_path / "films")
    return add_collection(replace(again, images=[change(image) for image in again.images]), tmp_path / "root").dataset


def stale(small: Dataset) -> bool:
    return bool(query(small.paths.root, "select stale from stores")["stale"][0].as_py())


@pytest.mark.parametrize("part_items", [1, 1000])
def test_a_film_that_moves_to_another_study_takes_its_vector_with_it(
    small: Dataset, tmp_path: Path, part_items: int
) -> None:
    encoder, machine = load_encoder(What("tiny")), Machine(part_items=part_items)
    before = embed(small, encoder, machine).store
    moved = changed(
        small,
        tmp_path,
        lambda image: replace(image, study_id="5", patient_id="5") if image.image_id == "4_Lateral" else image,
    )
    assert stale(moved)
    outcome = embed(moved, encoder, machine)
    assert (outcome.reused, outcome.added, outcome.encoded, outcome.store.version) == (23, 1, 0, 2)
    assert not stale(moved)
    both = "select count(*) from embeddings join images on item_id = image_id and embeddings.study_id = images.study_id"
    assert query(moved.paths.root, both).to_pylist() == [{"count_star()": 24}]
    ids = before.vectors()[0]
    np.testing.assert_array_equal(outcome.store.matrix(ids), before.matrix(ids))


def test_a_film_that_is_renamed_is_not_encoded_again(small: Dataset, tmp_path: Path) -> None:
    encoder = load_encoder(What("tiny"))
    before = embed(small, encoder).store
    renamed = changed(small, tmp_path, lambda image: replace(image, image_id=f"film-{image.image_id}"))
    assert preview(renamed, What("tiny"), Machine()).contents == 0
    outcome = embed(renamed, encoder)
    assert (outcome.added, outcome.encoded) == (24, 0)
    ids = before.vectors()[0]
    np.testing.assert_array_equal(outcome.store.matrix([f"film-{name}" for name in ids]), before.matrix(ids))


def test_what_failed_and_was_mended_makes_a_store_stale(small: Dataset, tmp_path: Path) -> None:
    films = tmp_path / "films"
    whole = (films / "3_Frontal.png").read_bytes()
    (films / "3_Frontal.png").write_bytes(whole[:60])
    damaged = add_collection(collection_of(small), tmp_path / "root").dataset
    assert len(embed(damaged, load_encoder(What("tiny"))).failures) == 1
    assert not stale(damaged)  # what failed and is as it was is known
    (films / "3_Frontal.png").write_bytes(whole)
    mended = add_collection(collection_of(small), tmp_path / "root").dataset
    assert stale(mended)
    assert embed(mended, load_encoder(What("tiny"))).added == 1
    assert not stale(mended)


def test_a_film_whose_file_is_gone_is_known_to_have_failed(small: Dataset, tmp_path: Path) -> None:
    """It has no digest: the plan and SQL have to put the same in its place."""
    again = collection(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "3_Frontal.png").unlink()
    lacking = add_collection(again, tmp_path / "root").dataset
    assert None in lacking.images["sha256"].to_pylist()
    assert None not in lacking.images["path"].to_pylist()
    encoder = load_encoder(What("tiny"))
    assert len(embed(lacking, encoder).failures) == 1
    assert not embed(lacking, encoder).changed
    assert not stale(lacking)


def collection_of(small: Dataset) -> Collection:
    """The collection again, its films as they are now on disk."""
    again = collection(small.paths.root.parent / "elsewhere")
    films = small.paths.root.parent / "films"
    return replace(again, images=[replace(one, path=films / one.path.name) for one in again.images if one.path])
