"""SQL tells the truth about a store written by hand, reads nothing else, and writes nothing at all."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from planted import Planted, plant, write_store
from written import write_dataset

from cxremb.cli import rows as shown_rows
from cxremb.cli import sql as command
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import QueryError, StoreError
from cxremb.store import layout
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, replace_text, sha256_of
from cxremb.store.manifest import Manifest, Part, Recipe, publish
from cxremb.store.reader import list_stores, open_store
from cxremb.store.sql import connect, query

AWKWARD = 'it\'s [a] root, 100% "ours"'  # quotes, spaces, and brackets that a pattern would swallow
QUERIES = sorted((Path(__file__).parent.parent / "stores" / "queries").glob("*.sql"))
STUDIES = [{"study_id": f"s{i}", "patient_id": f"p{i // 2}"} for i in range(4)]
IMAGES = [
    {
        **row,
        "image_id": f"i{i}",
        "view": "frontal",
        "path": f"/films/{i}.png",
        "sha256": f"sum{i}",
        "width": 9,
        "height": 8,
    }
    for i, row in enumerate(STUDIES)
]
LISTED = {**IMAGES[0], "image_id": "i9", "path": None, "sha256": None}
REPORTS = [
    {"study_id": "s0", "section": "impression", "role": layout.LABEL_SOURCE, "text": "Normal."},
    {"study_id": "s0", "section": "findings", "role": layout.LABEL_SOURCE, "text": "Clear lungs."},
    {"study_id": "s1", "section": "impression", "role": layout.LABEL_SOURCE, "text": "Efusión."},
]
LABELS = [
    {"study_id": row["study_id"], "label_set": "normal_abnormal", "label": "abnormal", "value": float(i % 2)}
    for i, row in enumerate(STUDIES)
]
ABOUT = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}


def make_dataset(root: Path, name: str, images: list[dict] = IMAGES, reports: list[dict] = REPORTS) -> Dataset:
    rows = {"studies": STUDIES, "images": [*images, LISTED], "reports": reports, "labels": LABELS}
    tables = {
        key: pa.Table.from_pylist(rows[key], schema=schema) for key, schema in layout.TABLES.items() if key in rows
    }
    return write_dataset(layout.DatasetPaths(root, name), tables, ABOUT)


def make_store(dataset: Dataset, recipe: Recipe, items: list[tuple], failed: list[dict] = [], version: int = 1) -> None:  # noqa: B006
    """items: (item_id, study_id, section, content, vector)."""
    folder = dataset.paths.embeddings / recipe.store
    schema = layout.embedding_schema(recipe.dim, {})
    columns = list(zip(*items, strict=True))
    flat = pa.array(np.concatenate([np.float16(vector) for vector in columns[4]]).astype(np.float32))
    texts = [columns[0], columns[1], columns[2], [recipe.poolings[0]] * len(items), columns[3]]
    embedding = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("embedding").type)
    table = pa.Table.from_arrays([*map(pa.array, texts), embedding], schema=schema)
    path = replace_table(folder / f"part-{version}.parquet", table)
    part = Part(path.name, len(items), path.stat().st_size, sha256_of(path))
    failures = f"failures-{version}.parquet" if failed else None
    if failures:
        replace_table(folder / failures, pa.Table.from_pylist(failed, schema=layout.FAILURES))
    counts = (len(items) + len(failed), len(items), len(failed), failures)
    publish(Manifest(version, recipe.key, recipe, "none", "2026-11-01T12:00:00+02:00", (part,), *counts, {}), folder)


def recipe(encoder: str, modality: str, dim: int) -> Recipe:
    return Recipe(encoder, encoder, "0", modality, dim, ("cls",), {}, "full")


def vector(i: int, dim: int) -> list[float]:
    return [float(i + 1), *([0.5] * (dim - 1))]


FILMS = recipe("Tiny-B1", "image", 4)
TEXTS = recipe("biobert", "text", 3)
FAILED = {
    "item_id": "i3",
    "study_id": "s3",
    "section": "image",
    "path": "/films/3.png",
    "stage": "decode",
    "message": "!",
}

FOUND = {
    "created": datetime(2026, 7, 1, 12, tzinfo=UTC),
    "split": "grouped@0",
    "label_set": "normal_abnormal",
    "section": "overlap",
    "name": "patients in two parts",
    "measured": "patients in train and test",
    "value": 0.0,
    "status": "ok",
    "why": "a model may know the patient",
    "remedy": "none",
    "examples": ["p1", "p2"],
}


def image_items(n: int = 3) -> list[tuple]:
    return [(f"i{i}", f"s{i}", "image", f"sum{i}", vector(i, 4)) for i in range(n)]


def text_items() -> list[tuple]:
    texts = [
        ("s0", "findings", "Clear lungs."),
        ("s0", "impression", "Normal."),
        ("s0", "findings+impression", "Clear lungs. Normal."),
        ("s1", "impression", "Efusión."),
        ("s1", "findings+impression", "Efusión."),
    ]
    return [(s, s, part, hashlib.sha256(t.encode()).hexdigest(), vector(i, 3)) for i, (s, part, t) in enumerate(texts)]


def make_run(dataset: Dataset, run_id: str, arm: str) -> None:
    folder = dataset.paths.runs / run_id
    predictions = [
        {**image, "unit": "image", "item_id": image["image_id"], "repeat": 0, "fold": i % 2, "part": "test"}
        | {"label": "abnormal", "y_true": float(i % 2), "y_prob": 0.1 + 0.2 * i, "y_logit": float(i)}
        for i, image in enumerate(IMAGES)
    ]
    history = [
        {"repeat": 0, "fold": 0, "epoch": 1, "phase": phase, "loss": 0.7, "f1": None} for phase in ("train", "val")
    ]
    metrics = [{"part": "test", "label": "abnormal", "metric": "auroc", "value": 0.75, "low": 0.5, "high": 1.0}]
    metrics[0]["folds"] = 2
    for name, rows in {"predictions": predictions, "history": history, "metrics": metrics}.items():
        table = pa.Table.from_pylist(rows, schema=getattr(layout, name.upper()))
        replace_table(folder / f"{name}.parquet", table)
    record = {"run_id": run_id, "arm": arm, "head": arm, "preset": "default", "label_set": "normal_abnormal"}
    record |= {"split": "grouped@0", "stores": [FILMS.store], "seeds": [0], "seconds": 1.5, "of_tomorrow": {"x": [1]}}
    replace_text(folder / "run.json", json.dumps({**record, "created": "2026-11-02T00:00:00+00:00", "note": None}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sql") / AWKWARD
    one = make_dataset(root, "one")
    make_dataset(root, "two")
    make_store(one, FILMS, image_items(2))
    make_store(one, FILMS, image_items(3), [FAILED], version=2)
    make_store(one, TEXTS, text_items())
    split = [{"split": "grouped", "repeat": 0, "fold": i % 2, **row, "part": "test"} for i, row in enumerate(STUDIES)]
    replace_table(one.paths.splits / "grouped@0.parquet", pa.Table.from_pylist(split, schema=layout.SPLITS))
    replace_table(one.paths.audits / "20261102T000000.parquet", pa.Table.from_pylist([FOUND], schema=layout.AUDIT))
    make_run(one, "20261102T000000-aaaaaaaa", "image")
    make_run(one, "20261102T000001-bbbbbbbb", "fusion")
    (one.paths.runs / ".draft-x").mkdir()
    make_dataset(root.parent / root.name.replace("[a]", "a"), "one", IMAGES[:1])  # what a pattern would read instead
    return root


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "nothing here"


def rows(root: Path, text: str) -> list[tuple]:
    table = query(root, text)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def digest(folder: Path) -> dict[str, str]:
    return {str(path): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def described(root: Path) -> dict[str, list[tuple[str, str]]]:
    names = [name for (name,) in rows(root, "show tables")]
    return {name: [tuple(row[:2]) for row in rows(root, f"describe {name}")] for name in names}


def test_tables_hold_what_was_written(root: Path) -> None:
    assert rows(root, "select dataset, count(*), count(path) from images group by 1 order by 1") == [
        ("one", 5, 4),
        ("two", 5, 4),
    ]
    assert rows(root, "select * from reports where dataset = 'two' and study_id = 's1'") == [
        ("two", "s1", "impression", "label source", "Efusión.")
    ]
    assert rows(root, "select study_id, value from labels where dataset = 'one' order by 1") == [
        ("s0", 0.0),
        ("s1", 1.0),
        ("s2", 0.0),
        ("s3", 1.0),
    ]
    assert rows(root, "select distinct dataset, split, fold from splits order by fold") == [
        ("one", "grouped", 0),
        ("one", "grouped", 1),
    ]
    assert rows(root, "select dataset, store, item_id, stage, message from failures") == [
        ("one", FILMS.store, "i3", "decode", "!")
    ]


def test_audits_are_told_in_utc_wherever_the_reader_sits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    found = json.loads(run(root, "from audits", "--format", "json").stdout)
    assert found == [{"dataset": "one", **FOUND, "created": "2026-07-01 12:00:00"}]


def test_a_split_by_image_names_its_images(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, "one")
    split = [{"split": "s", "repeat": 0, "fold": 0, "part": "test", **IMAGES[0]}, {"split": "s", **STUDIES[1]}]
    replace_table(dataset.paths.splits / "s@0.parquet", pa.Table.from_pylist(split, schema=layout.SPLITS))
    assert rows(tmp_path, "select study_id, image_id from splits order by all") == [("s0", "i0"), ("s1", None)]


def test_vectors_are_those_of_the_current_version(root: Path) -> None:
    found = rows(
        root, "select dataset, store, item_id, study_id, section, pooling, embedding from tiny_b1 order by item_id"
    )
    assert found == [("one", FILMS.store, f"i{i}", f"s{i}", "image", "cls", vector(i, 4)) for i in range(3)]
    assert rows(root, "select typeof(embedding) from tiny_b1 limit 1") == [("FLOAT[4]",)]
    assert rows(root, "select store, len(embedding), count(*) from embeddings group by all order by all") == [
        (FILMS.store, 4, 3),
        (TEXTS.store, 3, 5),
    ]


def test_nearest_reads_the_newest_store_or_the_one_that_is_named(tmp_path: Path) -> None:
    dataset = plant(tmp_path, Planted(studies=12), modalities=())
    rng, ids = np.random.default_rng(0), [f"s{i:05d}" for i in range(12)]
    vectors = {month: rng.standard_normal((12, 4)).astype(np.float16).astype(float) for month in ("03", "09", "06")}
    for month, one in vectors.items():
        write_store(dataset, "tiny", "text", ids, one, tag=month, created=f"2026-{month}-01T00:00:00+00:00")
    names = {store.manifest.recipe.model: store.name for store in list_stores(dataset)}
    best = {}
    for month, one in vectors.items():
        unit = one / np.linalg.norm(one, axis=1, keepdims=True)
        order = np.argsort(-(unit[1:] @ unit[0]), kind="stable")
        best[month] = [(names[month], ids[1 + place]) for place in order[:3]]
    ask = "select store, item_id from nearest('{}', 's00000', 3, of := 'findings+impression')"
    assert rows(tmp_path, ask.format("tiny")) == best["09"]
    for month in vectors:
        assert rows(tmp_path, ask.format(names[month])) == best[month]
    assert all("@" not in name for (name,) in rows(tmp_path, "show tables"))


def test_nearest_gives_each_item_once_by_one_pooling(small: Dataset) -> None:
    embed(small, load_encoder(What("tiny_text")))
    store, root = open_store(small, "tiny_text"), small.paths.root
    assert store.manifest.recipe.poolings == ("mean", "first")

    def best(pooling: str, k: int) -> list[tuple[str, float]]:
        kept = store.table().filter((pc.field("pooling") == pooling) & (pc.field("section") == "findings"))
        vectors = {row["item_id"]: np.array(row["embedding"], float) for row in kept.to_pylist()}
        own = vectors.pop("0")
        cosine = {name: one @ own / np.linalg.norm(one) / np.linalg.norm(own) for name, one in vectors.items()}
        return sorted(cosine.items(), key=lambda pair: (-round(pair[1], 5), pair[0]))[:k]

    ask = "select item_id, cosine from nearest('tiny_text', '0', k := {}, of := 'findings'{})"
    for k in (4, 100):
        for pooling, given in (("mean", ""), ("mean", ", pooling := 'mean'"), ("first", ", pooling := 'first'")):
            found, by_hand = rows(root, ask.format(k, given)), best(pooling, k)
            assert len({item for item, _ in found}) == len(found) == len(by_hand)
            assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in by_hand], abs=1e-4)
    assert [cosine for _, cosine in best("mean", 4)] != pytest.approx([cosine for _, cosine in best("first", 4)])
    with pytest.raises(QueryError, match="no findings pooled as max of 0 in tiny_text"):
        query(root, ask.format(4, ", pooling := 'max'"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("nearest('tiny_b1', 'i77')", "no image of i77 in tiny_b1"),
        ("nearest('biobert', 's0', of := 'impresion')", "no impresion of s0"),
        ("nearest('biobert@0', 's0')", "biobert@0 does not exist"),
    ],
)
def test_nearest_of_nothing_is_an_error_with_a_hint(root: Path, call: str, says: str) -> None:
    with pytest.raises(QueryError, match=says) as caught:
        query(root, f"from {call}")
    told = re.search(r'cxremb sql "(.*)"', caught.value.hint)
    assert told
    assert query(root, told[1]).num_rows


def test_a_root_without_a_data_set_is_an_error(root: Path, empty: Path) -> None:
    done = run(empty, "select * from metrics")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no data set" in done.stderr
    assert b"cxremb data add" in done.stderr
    assert run(root, "select * from failures where false").returncode == 0


def test_cosine_equals_numpy(root: Path) -> None:
    found = rows(root, "select a.item_id, b.item_id, cosine(a.embedding, b.embedding) from tiny_b1 a, embeddings b "
                       f"where b.store = '{FILMS.store}' order by all")  # fmt: skip
    X = np.array([vector(i, 4) for i in range(3)])
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    np.testing.assert_allclose([row[2] for row in found], (unit @ unit.T).ravel(), rtol=1e-6)


def test_stores_and_runs(root: Path) -> None:
    found = rows(root, "select dataset, store, encoder, modality, version, rows, dim, failed, created::varchar, stale "
                       "from stores order by encoder")  # fmt: skip
    assert found == [
        ("one", FILMS.store, "Tiny-B1", "image", 2, 3, 4, 1, "2026-11-01 10:00:00", False),
        ("one", TEXTS.store, "biobert", "text", 1, 5, 3, 0, "2026-11-01 10:00:00", False),
    ]
    assert rows(root, "select arm, stores, seeds, seconds, simulated from runs order by run_id") == [
        ("image", [FILMS.store], [0], 1.5, None),
        ("fusion", [FILMS.store], [0], 1.5, None),
    ]
    joined = "select r.arm, avg(y_prob) from predictions p join runs r using (run_id, dataset) group by 1 order by 1"
    assert rows(root, joined) == [("fusion", pytest.approx(0.4)), ("image", pytest.approx(0.4))]
    assert rows(root, "select run_id, phase, loss, f1 from history where phase = 'val' order by 1 limit 1") == [
        ("20261102T000000-aaaaaaaa", "val", 0.7, None)
    ]
    assert rows(root, "select distinct metric, value, low, high from metrics") == [("auroc", 0.75, 0.5, 1.0)]


def stale(root: Path) -> dict[str, bool]:
    return dict(rows(root, "select encoder, stale from stores"))


@pytest.mark.parametrize(
    ("images", "reports", "expected"),
    [
        (IMAGES, REPORTS, {"Tiny-B1": False, "biobert": False}),
        ([*IMAGES[:2], {**IMAGES[2], "sha256": "other"}, IMAGES[3]], REPORTS, {"Tiny-B1": True, "biobert": False}),
        ([*IMAGES, {**IMAGES[0], "image_id": "i4"}], REPORTS, {"Tiny-B1": True, "biobert": False}),
        (IMAGES[1:], REPORTS, {"Tiny-B1": True, "biobert": False}),
        ([*IMAGES[1:], {**IMAGES[0], "path": None}], REPORTS, {"Tiny-B1": True, "biobert": False}),
        (IMAGES, [{**REPORTS[0], "text": "Edited."}, *REPORTS[1:]], {"Tiny-B1": False, "biobert": True}),
        (IMAGES, REPORTS[:2], {"Tiny-B1": False, "biobert": True}),
        (
            IMAGES,
            [*REPORTS, {"study_id": "s3", "section": "letter", "role": layout.LABEL_SOURCE, "text": "New."}],
            {"Tiny-B1": False, "biobert": True},
        ),
    ],
    ids=["same", "changed film", "new film", "film gone", "file gone", "edited", "text gone", "new section"],
)
def test_stale_says_that_encoding_again_would_change_something(tmp_path, images, reports, expected) -> None:
    dataset = make_dataset(tmp_path, "one")
    make_store(dataset, FILMS, image_items(3), [FAILED])
    make_store(dataset, TEXTS, text_items())
    make_dataset(tmp_path, "one", images, reports)
    assert stale(tmp_path) == expected


def test_stale_agrees_with_the_plan_of_the_real_thing(small: Dataset) -> None:
    from cxremb.embedding.plan import wanted_items

    items = [(i.item_id, i.study_id, i.section, i.content, [1.0, 0.0]) for i in wanted_items(small, "text")]
    make_store(small, recipe("texts", "text", 2), items)
    films = [(i.item_id, i.study_id, i.section, i.content, [1.0, 0.0]) for i in wanted_items(small, "image")]
    make_store(small, recipe("films", "image", 2), films)
    assert stale(small.paths.root) == {"texts": False, "films": False}


def random_reports(seed: int) -> list[dict]:
    """Reports with own sections, roles that differ from the usual ones, empty texts, accents, in any order."""
    rng = np.random.default_rng(seed)
    sections = [*layout.ROLES, "clinical", "Überweisung", "letter", "age, sex"]
    roles = {name: (layout.BEFORE_READING, layout.LABEL_SOURCE)[rng.integers(2)] for name in sections}
    words = ["Clear.", "Efusión.", "XXXX", "it's", '"quoted"', "", " spaced "]
    return [
        {"study_id": row["study_id"], "section": name, "role": roles[name], "text": words[rng.integers(len(words))]}
        for row in STUDIES
        for name in rng.permutation(sections).tolist()
        if rng.random() < 0.6
    ]


@pytest.mark.parametrize("seed", range(4))
def test_stale_knows_the_same_texts_as_the_plan(tmp_path: Path, seed: int) -> None:
    from cxremb.embedding.plan import wanted_items

    reports = random_reports(seed)
    dataset = make_dataset(tmp_path, "one", reports=reports)
    items = wanted_items(dataset, "text")
    wanted = sorted((item.item_id, item.section, item.source) for item in items)
    assert rows(tmp_path, "select study_id, section, text from meta.texts order by all") == wanted
    assert {"findings+impression", "pre-read", "clinical"} <= {item.section for item in items}
    make_store(dataset, TEXTS, [(i.item_id, i.study_id, i.section, i.content, [1.0, 0.0, 0.0]) for i in items])
    assert stale(tmp_path) == {"biobert": False}
    told = next(row for row in reports if row["text"] and row["role"] == layout.BEFORE_READING)
    make_dataset(
        tmp_path, "one", reports=[{**row, "role": layout.LABEL_SOURCE} if row is told else row for row in reports]
    )
    assert stale(tmp_path) == {"biobert": True}  # the section is as it was, and no longer part of `pre-read`


def test_empty_root_has_the_same_tables(root: Path, empty: Path) -> None:
    full, none = described(root), described(empty)
    assert {name: none[name] for name in none} == {name: full[name] for name in none}
    assert set(full) - set(none) == {"tiny_b1", "biobert"}
    assert all(rows(empty, f"select count(*) from {name}") == [(0,)] for name in none)
    assert not empty.exists()


def test_two_sizes_under_one_encoder_name(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, "one")
    make_store(dataset, FILMS, image_items(1))
    make_store(dataset, recipe("tiny-b1", "image", 2), [("i0", "s0", "image", "sum0", [1.0, 2.0])])
    found = rows(tmp_path, "select len(embedding), typeof(embedding) from tiny_b1 order by 1")
    assert found == [(2, "FLOAT[]"), (4, "FLOAT[]")]


def test_an_encoder_hides_no_table(tmp_path: Path) -> None:
    make_store(make_dataset(tmp_path, "one"), recipe("images", "image", 4), image_items(1))
    assert rows(tmp_path, "select count(*) from images") == [(5,)]
    assert rows(tmp_path, "select count(*) from encoder_images") == [(1,)]


WRITERS = [
    "copy (select 1) to '{place}/x.csv'",
    "explain analyze copy (select 1) to '{place}/x.csv'",
    "with d as (copy (select 1) to '{place}/x.csv') select 1",
    "explain analyze with d as (copy (select 1) to '{place}/x.csv') select 1",
    "/* a */ explain analyze copy (select 1) to '{place}/x.csv'",
    "select 1; copy (select 1) to '{place}/x.csv'",
    "from query('with d as (copy (select 1) to ''{place}/x.csv'') select 1')",
    "attach '{place}/x.db'",
    "export database '{place}/x'",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "set allowed_directories = ['/']",
    "reset enable_external_access",
    "pragma threads = 1",
    "create table x as select 1",
    "create macro m() as 1",
    "insert into runs (run_id) values ('x')",
    "with d as (insert into runs (run_id) values ('x') returning *) from d",
    "delete from runs",
    "update runs set arm = 'x'",
    "drop view images",
    "begin",
    "call checkpoint()",
    "checkpoint",
    "from force_checkpoint()",
    "prepare p as select 1",
    "set variable x = 1",
    "select getenv('HOME')",
]
READERS = [
    "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/hostname')",
    "select * from read_blob('/etc/hostname')",
    "select * from '/etc/passwd'",
    "select * from glob('/*')",
    "select * from glob('{place}/../*')",
    "select * from read_text('{place}/../secret.txt')",
    "select * from read_text('{place}2/secret.txt')",
    "select * from read_parquet('https://example.org/x.parquet')",
    "select * from parquet_metadata('{place}/../secret.txt')",
    "select * from duckdb_secrets()",
    "select * from passer_by",
]


@pytest.mark.parametrize("text", WRITERS + READERS)
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_nothing_but_reading_under_the_root(root: Path, tmp_path: Path, monkeypatch, text: str, place: str) -> None:
    passer_by = pa.table({"x": [1]})  # a variable of the program, which DuckDB would find if it were let
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (root.parent / "secret.txt").write_text("x")
    Path(f"{root}2").mkdir(exist_ok=True)
    (Path(f"{root}2") / "secret.txt").write_text("x")
    folder = root if place == "inside" else tmp_path
    before = digest(root.parent)
    with pytest.raises(QueryError) as caught:
        query(root, text.replace("{place}", str(folder).replace("'", "''")))
    assert caught.value.hint
    assert digest(root.parent) == before
    assert list(tmp_path.rglob("*")) == []
    assert passer_by.num_rows == 1


@pytest.mark.parametrize(
    "wrapped", ["{call}", "select (select count(*) from {name})", "with r as materialized ({call}) from r"]
)
def test_sql_hidden_in_json_is_refused(root: Path, wrapped: str) -> None:
    target = str(root / "x.csv").replace("'", "''")
    hidden = f"with d as (copy (select 1) to '{target}') select 1"
    serial = duckdb.execute("select json_serialize_sql(?)", [hidden]).fetchall()[0][0].replace("'", "''")
    name = f"json_execute_serialized_sql('{serial}')"
    if wrapped == "{call}":  # this is what it would do
        duckdb.sql(f"from {name}").fetchall()
        assert (root / "x.csv").exists()
        (root / "x.csv").unlink()
    with pytest.raises(QueryError, match="json_execute_serialized_sql"):
        query(root, wrapped.format(call=f"from {name}", name=name))
    assert not (root / "x.csv").exists()


def test_a_connection_is_locked(root: Path) -> None:
    with connect(root) as con:
        for text in ("from read_text('/etc/hostname')", "set threads = 1", "copy runs to '/tmp/x.csv'", "load httpfs"):
            with pytest.raises(duckdb.Error):
                con.execute(text)
        assert con.sql("select current_setting('enable_external_access')").fetchall() == [(False,)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("show tables", None),
        ("summarize runs", None),
        ("explain select * from images", None),
        ("explain analyze select count(*) from images", None),
        ("from images limit 1", None),
        ("table studies", None),
        ("select 'é; -- no comment' ; -- a comment; 'x'", [("é; -- no comment",)]),
        ("-- why\nselect 1 as a, 2 as a;;", [(1, 2)]),
        ("values (2), (1)", [(2,), (1,)]),
        ("select x from range(5) t(x) order by x desc limit 2 -- last", [(4,), (3,)]),
        ("select unnest([1, 2])", [(1,), (2,)]),
        ("pivot (select part, value from metrics) on part in ('test') using count(*)", [(0.75, 2)]),
        ("select count(*) from parquet_schema('{root}/one/images-*.parquet') where name = 'path'", [(1,)]),
    ],
)
def test_reading_is_allowed(root: Path, text: str, answer) -> None:
    pattern = str(root).replace("[a]", "[[]a]").replace("'", "''")
    found = rows(root, text.replace("{root}", pattern))
    assert found if answer is None else found == answer


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("selec 1", 'syntax error at or near "selec"', "show tables"),
        ("from imagez", 'Did you mean "images"', "biobert, concepts, distances, embeddings, external, facts"),
        ("select studdy_id from studies", 'bindings: "study_id"', "studies has dataset, study_id, patient_id"),
        ("select r.fold from reports r", "named", "reports has dataset, study_id, section, role, text"),
        (
            "from metrics join studies using (dataset)",
            "left side",
            "low, high, folds; studies has dataset, study_id, pat",
        ),
        ("select text from runs join reports using (dataset)", "Ambiguous", "reports has dataset, study_id"),
        ("select x.y from labels", 'table "x"', "labels has dataset, study_id, label_set, label, value"),
        ("select view from nearest('tiny_b1', 'i0')", "not found", "nearest has dataset, store, item_id, study_id"),
        ('from runs where arm = "image"', "not found", "Is it a text? Write 'image' in single quotes"),
        ("from images where view = PA", "not found", "Is it a text? Write 'PA' in single quotes"),
        ("select avg(text) from facts", "avg(VARCHAR)", "try_cast(x as double)"),
        ("from facts where text < 5", "VARCHAR", "try_cast(x as double)"),
        ("select text::int from reports", "Could not convert", "try_cast(x as double)"),
        ("select arm, max(seconds) from runs", "GROUP BY", "group by all"),
        ("", "found 0", "example"),
        ("select 1; select 2", "found 2", "one SELECT"),
        ("pivot metrics on part using max(value)", "PIVOT needs its values", "in ('val', 'test')"),
        ("explain (format json) select 1", "syntax error", "show tables"),
    ],
)
def test_mistakes_come_with_what_there_is(root: Path, text: str, said: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        query(root, text)
    assert said in str(caught.value)
    assert "LINE" not in str(caught.value)
    assert "Candidate functions" not in str(caught.value)
    assert hint in caught.value.hint


def test_what_the_hint_advises_works(root: Path) -> None:
    assert rows(root, "select try_cast(x as double) from (values ('<5'), ('7.5')) t(x)") == [(None,), (7.5,)]
    assert rows(root, "select arm, max(seconds) from runs group by all order by 1") == [("fusion", 1.5), ("image", 1.5)]


def test_a_copied_data_set_doubles_no_number(tmp_path: Path) -> None:
    make_run(make_dataset(tmp_path, "cxr"), "20260101T000000-aaaaaaaa", "image")
    shutil.copytree(tmp_path / "cxr", tmp_path / "cxr2")
    with pytest.raises(StoreError, match="cxr and cxr2 both have run 20260101T000000-aaaaaaaa") as refused:
        query(tmp_path, "SELECT count(*) FROM runs JOIN metrics USING (run_id)")
    assert f"move the copy out of {tmp_path}" in refused.value.hint
    shutil.rmtree(tmp_path / "cxr2" / "runs")
    assert query(tmp_path, "SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 1}]


def test_damage_is_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, "one")
    make_store(dataset, FILMS, image_items(1))
    part = dataset.paths.embeddings / FILMS.store / "part-1.parquet"
    part.write_bytes(b"")
    with pytest.raises(StoreError, match=r"part-1\.parquet"):
        query(tmp_path, "show tables")
    part.unlink()
    with pytest.raises(StoreError, match=r"part-1\.parquet"):
        query(tmp_path, "show tables")


@pytest.mark.parametrize("file", QUERIES, ids=lambda path: path.stem)
def test_shipped_queries_run(root: Path, empty: Path, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    has_none = ("external", "encoders")  # these have rows in `test_external` and `test_leaderboard`
    assert query(root, text).num_rows > 0 or file.stem in has_none
    assert query(empty, text).num_columns > 0


def test_there_are_shipped_queries() -> None:
    assert len(QUERIES) >= 3


DOCUMENT = (Path(__file__).parent.parent / "docs" / "sql.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```sql\n(.*?)```", DOCUMENT, flags=re.DOTALL))
def test_documented_queries_run(root: Path, text: str) -> None:
    assert query(root, text).num_rows > 0


def test_documented_columns_are_the_columns(empty: Path) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", DOCUMENT, flags=re.MULTILINE))
    found = {name: ", ".join(column for column, _ in columns) for name, columns in described(empty).items()}
    assert documented == found


# The command line, as a process: its output is a contract.


def run(root: Path, *words: str, **more) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CXREMB_STORES": str(root)}
    environment.pop("COLUMNS", None)  # a pipe has no width
    return subprocess.run(
        [sys.executable, "-m", "cxremb", "sql", *words], capture_output=True, env=environment, check=False, **more
    )


def test_formats_agree(root: Path, tmp_path: Path) -> None:
    text = "select *, 'nan'::double as nothing, sum(version) over () as total from stores order by store"
    out = tmp_path / "out.parquet"
    expected = query(root, text).to_pylist()
    parsed = json.loads(run(root, text, "--format", "json").stdout)
    assert [row["store"] for row in parsed] == [row["store"] for row in expected]
    assert [(row["rows"], row["stale"], row["nothing"], row["total"]) for row in parsed] == [
        (3, False, None, 3),
        (5, False, None, 3),
    ]
    assert parsed == json.loads(run(root, text, "--format", "json").stdout)
    table = list(csv.DictReader(io.StringIO(run(root, text, "--format", "csv").stdout.decode())))
    assert [(row["store"], row["dim"]) for row in table] == [(row["store"], str(row["dim"])) for row in expected]
    done = run(root, text, "--output", str(out))
    assert (done.returncode, done.stdout) == (0, b"")
    assert [row["store"] for row in pq.read_table(out).to_pylist()] == [row["store"] for row in expected]
    piped = pq.read_table(io.BytesIO(run(root, text, "--format", "parquet").stdout))
    assert piped.drop_columns("nothing").equals(query(root, text).drop_columns("nothing"))


def test_lists_survive_csv(root: Path) -> None:
    text = "select item_id, embedding from tiny_b1 order by 1"
    table = list(csv.DictReader(io.StringIO(run(root, text, "--format", "csv").stdout.decode())))
    assert [json.loads(row["embedding"]) for row in table] == [vector(i, 4) for i in range(3)]


def test_output_is_never_replaced_silently(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    done = run(root, "select 1 as x", "--output", str(out))
    assert done.returncode == 1
    assert out.read_text() == "mine"
    assert run(root, "select 1 as x", "--output", str(out), "--force").returncode == 0
    assert out.read_text() == "x\n1\n"


@pytest.mark.parametrize("words", [["select 1", "--output", "x.txt"], ["select 1", "--file", "x"], ["--format", "xml"]])
def test_wrong_usage(root: Path, words: list[str]) -> None:
    assert run(root, *words).returncode == 2


def test_query_from_a_file_or_standard_input(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- what\nselect 42 as answer;\n")
    assert json.loads(run(root, "--file", str(file), "--format", "json").stdout) == [{"answer": 42}]
    assert json.loads(run(root, "--format", "json", input=b"select 42 as answer").stdout) == [{"answer": 42}]
    assert run(root, "--file", "arms", "--format", "csv").stdout.startswith(b"dataset,arm,label,")


def test_a_table_is_whole_when_piped_and_says_what_it_left_out(root: Path) -> None:
    done = run(root, "select range as n, repeat('long ', 60) as text from range(60)")
    lines = done.stdout.decode().splitlines()
    assert sum("long long" in line for line in lines) == shown_rows.MAX_ROWS
    assert all(line.count("long") == 60 for line in lines if "long" in line)
    assert b"10 more rows" in done.stderr


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456789, "0.123457"),
        (None, ""),
        ([0.123456789] * 1280, "[0.123457, 0.123457, … 1280]"),
        (["a", "b"], "[a, b]"),
        ({"a": [1], "b": None}, "{a: [1], b: }"),
        ("red \x1b[31m\ntext", "red \N{REPLACEMENT CHARACTER}[31m\ntext"),
    ],
)
def test_cells(value, shown: str) -> None:
    assert shown_rows.cell(value) == shown


def test_the_shell_answers_and_survives_mistakes(root: Path, monkeypatch, capsys) -> None:
    lines = iter(["selec 1;", "select count(*) as n", "from images;", ".tables", ".quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    command.shell(root, None)
    shown = capsys.readouterr()
    assert "syntax error" in shown.err
    assert "10" in shown.out
    assert "predictions" in shown.out
    assert next(lines, None) is None
