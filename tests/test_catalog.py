import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import collection
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from typer.testing import CliRunner

from cxremb import processes
from cxremb.catalog import add_collection
from cxremb.cli.data import app
from cxremb.datasets import iu_xray, openi
from cxremb.encoders.weights import suggested
from cxremb.errors import DataError, FetchError, StoreError
from cxremb.store import commit
from cxremb.store.dataset import open_dataset
from cxremb.store.layout import BEFORE_READING, LABEL_SOURCE
from cxremb.store.tables import describe
from cxremb.types import Collection, Image, Note, Study

REAL = Path(os.environ["CXREMB_REAL_DATA"]) / "iu_xray" if "CXREMB_REAL_DATA" in os.environ else None
needs_real = pytest.mark.skipif(REAL is None, reason="CXREMB_REAL_DATA is not set: no real IU X-ray here")


def sql(root: Path, name: str, question: str) -> list[tuple]:
    """The answer of DuckDB alone, over the Parquet files; each table by its name."""
    with duckdb.connect() as connection:
        for table in ("studies", "images", "reports", "labels"):
            file = json.loads((root / name / "dataset.json").read_text())["tables"][table]["file"]
            connection.execute(f"create view {table} as from '{root / name / file}'")
        return connection.execute(question).fetchall()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


def test_tables_hold_what_the_collection_says(tmp_path):
    given = collection(tmp_path / "films", n=3)
    listed = Image("absent", "0", "0", None, None)
    added = add_collection(replace(given, images=[*given.images, listed]), tmp_path / "root")
    assert added.counts == {
        "studies": 3,
        "patients": 3,
        "images": 7,
        "images_present": 6,
        "reports_with_text": 3,
    }
    assert added.changes == {"studies added": 3, "images added": 7}
    rows = sql(tmp_path / "root", "small", "from images")
    expected = []
    for image in given.images:
        with PilImage.open(image.path) as picture:
            size = picture.size
        digest = hashlib.sha256(image.path.read_bytes()).hexdigest()
        who = (image.image_id, image.study_id, image.patient_id, image.view)
        expected.append((*who, image.path.name, digest, *size, None))
    assert rows == [*expected, ("absent", "0", "0", None, None, None, None, None, None)]
    texts = [(study.study_id, section, text) for study in given.studies for section, text in study.sections.items()]
    assert sql(tmp_path / "root", "small", "select study_id, section, text from reports") == texts
    assert sql(tmp_path / "root", "small", "from studies") == [("0", "0"), ("1", "1"), ("2", "2")]
    assert sql(tmp_path / "root", "small", "select sum(value) from labels where label_set = 'normal_abnormal'") == [
        (1.0,)
    ]
    descriptor = json.loads((tmp_path / "root" / "small" / "dataset.json").read_text())
    assert (descriptor["licence"], descriptor["citation"]) == (given.licence, given.citation)
    assert descriptor["source"] == {"images": "films"}
    assert added.dataset.source == given.source
    assert added.dataset.images["path"].to_pylist() == [*(str(image.path) for image in given.images), None]
    assert descriptor["simulated"] is False


def test_adding_again_writes_only_what_changed_and_says_it(tmp_path):
    given = collection(tmp_path / "films", n=4)
    root = tmp_path / "root"
    add_collection(given, root)
    before = snapshot(root / "small")
    again = add_collection(given, root)
    assert again.changes == {}
    assert snapshot(root / "small") == before
    changed_study = replace(given.studies[1], sections={"findings": "Something else."})
    given.images[0].path.write_bytes(given.images[2].path.read_bytes())
    fewer = replace(given, studies=[given.studies[0], changed_study, given.studies[2]], images=given.images[:6])
    third = add_collection(fewer, root)
    assert third.changes == {
        "studies removed": 1,
        "studies changed": 1,
        "images removed": 2,
        "images changed": 1,
    }
    assert sql(root, "small", "select text from reports where study_id = '1'") == [("Something else.",)]
    relicensed = add_collection(replace(fewer, licence="CC0"), root)
    assert relicensed.changes == {"description changed": 1}
    assert open_dataset(root).descriptor["licence"] == "CC0"


def test_a_damaged_data_set_is_mended_by_adding_it_again(tmp_path):
    given = collection(tmp_path / "films", n=3)
    root = tmp_path / "root"
    add_collection(given, root)
    open_dataset(root).table_path("images").write_bytes(b"damaged")
    assert add_collection(given, root).changes["images added"] == 6
    (root / "small" / "dataset.json").write_text("{")
    add_collection(given, root)
    assert open_dataset(root).images.num_rows == 6


def test_a_data_set_of_another_format_is_not_overwritten(tmp_path):
    given = collection(tmp_path / "films", n=3)
    add_collection(given, tmp_path / "root")
    path = tmp_path / "root" / "small" / "dataset.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 99'))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="format 99"):
        add_collection(given, tmp_path / "root")
    assert path.read_bytes() == before


def test_files_that_cannot_be_read_are_kept_counted_and_named(tmp_path):
    given = collection(tmp_path / "films", n=3)
    given.images[0].path.write_bytes(b"")
    given.images[1].path.write_bytes(b"no image at all")
    given.images[2].path.unlink()
    added = add_collection(given, tmp_path / "root")
    assert [(note.what, note.count, list(note.examples)) for note in added.notes] == [
        ("image files that are not there or cannot be read", 1, [given.images[2].path.name]),
        ("image files without a readable header", 2, [image.path.name for image in given.images[:2]]),
    ]
    assert all(note.hint for note in added.notes)
    rows = sql(tmp_path / "root", "small", "select path, sha256, width, height from images limit 3")
    assert rows == [
        (given.images[0].path.name, hashlib.sha256(b"").hexdigest(), None, None),
        (given.images[1].path.name, hashlib.sha256(b"no image at all").hexdigest(), None, None),
        (given.images[2].path.name, None, None, None),
    ]
    assert [note["count"] for note in open_dataset(tmp_path / "root").descriptor["notes"]] == [1, 2]


def test_only_the_first_ten_are_named(tmp_path):
    images = [Image(f"1_{n}", "1", "1", None, tmp_path / f"{n}.png") for n in range(25)]
    (note,) = add_collection(Collection("made", [Study("1", "1")], images, "none", "", {}), tmp_path / "root").notes
    assert (note.count, list(note.examples)) == (25, [f"{n}.png" for n in range(10)])


def test_what_contradicts_itself_is_refused_and_leaves_nothing(tmp_path):
    one, film = Study("1", "1", {"findings": "a"}), Image("1_a", "1", "1", None, None)
    made = Collection("made", [one], [film], "none", "", {})
    root = tmp_path / "root"
    cases = {
        "two studies with one id, 1": replace(made, studies=[one, replace(one, sections={})]),
        "two images with one id, 1_a": replace(made, images=[film, replace(film, view="Frontal")]),
        "of study 2 and patient 1": replace(made, images=[replace(film, study_id="2")]),
        "of study 1 and patient 2": replace(made, images=[replace(film, patient_id="2")]),
        "no study and no image": replace(made, studies=[], images=[]),
        "cannot name a data set": replace(made, name="../made"),
    }
    for message, wrong in cases.items():
        with pytest.raises(DataError, match=message):
            add_collection(wrong, root)
    assert not root.exists()
    assert add_collection(replace(made, studies=[one, one], images=[film, film]), root).counts["images"] == 1
    assert sql(root, "made", "select count(*) from reports") == [(1,)]


def test_a_root_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "root").write_text("a file is in the way")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        add_collection(collection(tmp_path / "films", n=2), tmp_path / "root")
    assert "--root" in caught.value.hint


def test_progress_sees_every_record(tmp_path):
    def watch(items, total, what):
        for item in items:
            seen.append((total, what))
            yield item

    given, seen = collection(tmp_path / "films", n=3), []
    add_collection(given, tmp_path / "root", watch)
    assert seen == [(3, "reading studies")] * 3 + [(6, "reading image files")] * 6
    seen.clear()
    streamed = replace(given, studies=iter(given.studies), images=iter(given.images))
    assert add_collection(streamed, tmp_path / "root", watch).changes == {}
    assert seen == [(None, "reading studies")] * 3 + [(None, "reading image files")] * 6


def test_describe_counts_views_and_labels(tmp_path):
    found = describe(add_collection(collection(tmp_path / "films", n=6), tmp_path / "root").dataset)
    assert found["views"] == {"Frontal": 6, "Lateral": 6}
    labels = found["labels"]["normal_abnormal"]
    assert labels["most"] == [{"label": "abnormal", "ones": 2, "zeros": 4}]
    assert (labels["task"], labels["label_count"], labels["studies"]) == ("binary", 1, 6)
    assert found["labels"]["mesh"]["most"] == [
        {"label": "normal", "ones": 4, "zeros": 0},
        {"label": "Opacity/lung", "ones": 2, "zeros": 0},
    ]


def test_streams_are_read_once_studies_first_and_notes_afterwards(tmp_path):
    given, read, notes = collection(tmp_path / "films", n=5), [], []

    def studies():
        for study in given.studies:
            read.append(study.study_id)
            yield study
        notes.append(Note("read to the end", 5))

    def images():
        for image in given.images:
            read.append(image.image_id)
            yield image

    added = add_collection(replace(given, studies=studies(), images=images(), notes=notes), tmp_path / "root")
    assert read == [*(study.study_id for study in given.studies), *(image.image_id for image in given.images)]
    assert added.dataset.descriptor["notes"][0]["what"] == "read to the end"


def test_many_batches_hold_the_same_rows_as_one(tmp_path, monkeypatch):
    given = collection(tmp_path / "films", n=7)
    whole = add_collection(given, tmp_path / "one").dataset
    monkeypatch.setattr(commit, "BATCH_ROWS", 2)
    parts = add_collection(given, tmp_path / "many").dataset
    assert pq.ParquetFile(parts.table_path("images")).num_row_groups == 7
    for name in ("studies", "images", "reports", "labels"):
        assert getattr(parts, name).equals(getattr(whole, name)), name
    assert add_collection(given, tmp_path / "many").changes == {}


def test_files_are_hashed_a_bounded_number_ahead(monkeypatch):
    monkeypatch.setattr(processes, "AHEAD", 4)
    taken, done = [], []
    source = (taken.append(n) or n for n in range(50))
    for item, answer in processes.in_order(lambda n: n * n, source):
        assert answer == item**2
        assert len(taken) <= len(done) + 4
        done.append(item)
    assert done == list(range(50))


def test_published_splits_are_stored(tmp_path):
    parts = {"1": "train", "2": "val", "3": "test", "4": None}
    studies = [Study(uid, uid, parts={"official": part} if part else {}) for uid, part in parts.items()]
    made = Collection("made", studies, [], "none", "", {})
    add_collection(made, tmp_path / "root")
    (path,) = (tmp_path / "root" / "made" / "splits").glob("official@*.parquet")
    rows = duckdb.sql(f"select study_id, part, image_id from '{path}' order by 1").fetchall()
    assert rows == [("1", "train", None), ("2", "val", None), ("3", "test", None)]
    before = path.stat().st_mtime_ns
    assert add_collection(made, tmp_path / "root").changes == {}
    assert path.stat().st_mtime_ns == before
    wrong = replace(made, studies=[Study("1", "1", parts={"official": "training"})])
    with pytest.raises(DataError, match="study 1, split 'official': no part is called 'training'"):
        add_collection(wrong, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_roles_are_usual_unless_the_collection_says_otherwise(tmp_path):
    study = Study("1", "1", dict.fromkeys(("indication", "findings", "note", "triage"), "x"))
    made = Collection("made", [study], [], "none", "", {}, roles={"triage": BEFORE_READING})
    add_collection(made, tmp_path)
    assert dict(sql(tmp_path, "made", "select section, role from reports")) == {
        "indication": BEFORE_READING,
        "findings": LABEL_SOURCE,
        "note": LABEL_SOURCE,
        "triage": BEFORE_READING,
    }


def test_text_that_is_not_unicode_is_named(tmp_path):
    made = Collection("made", [Study("1", "1", {"findings": "Fi\udce8vre"})], [], "none", "", {})
    with pytest.raises(DataError, match="not valid Unicode") as caught:
        add_collection(made, tmp_path / "root")
    assert "UTF-8" in caught.value.hint
    assert not (tmp_path / "root").exists()


IDS = st.sampled_from("abc")
RECORDS = st.lists(st.builds(Study, IDS, IDS, st.dictionaries(st.sampled_from(["findings", "note"]), IDS)), max_size=5)
FILMS = st.lists(st.builds(Image, IDS, IDS, IDS, st.sampled_from([None, "Frontal"]), st.none()), max_size=5)


def slow_once(items, key):
    """Each item once, compared with every other; an error if two differ under one id."""
    kept = []
    for item in items:
        if any(key(other) == key(item) and other != item for other in kept):
            raise ValueError
        if item not in kept:
            kept.append(item)
    return kept


def slow_add(studies, images):
    studies, images = slow_once(studies, lambda s: s.study_id), slow_once(images, lambda i: i.image_id)
    for image in images:
        if not any((s.study_id, s.patient_id) == (image.study_id, image.patient_id) for s in studies):
            raise ValueError
    if not studies and not images:
        raise ValueError
    return {"studies": {s.study_id: s for s in studies}, "images": {i.image_id: i for i in images}}


def slow_changes(old, new):
    found = {}
    for what in old:
        found[f"{what} added"] = sum(name not in old[what] for name in new[what])
        found[f"{what} removed"] = sum(name not in new[what] for name in old[what])
        found[f"{what} changed"] = sum(old[what].get(name, item) != item for name, item in new[what].items())
    return {what: n for what, n in found.items() if n}


@settings(max_examples=60, deadline=None)
@given_by(first=st.tuples(RECORDS, FILMS), second=st.tuples(RECORDS, FILMS))
def test_duplicates_and_changes_are_those_of_a_slow_comparison(tmp_path_factory, first, second):
    root, before = tmp_path_factory.mktemp("root"), {"studies": {}, "images": {}}
    for studies, images in (first, second):
        made = Collection("made", iter(studies), iter(images), "none", "", {})
        try:
            after = slow_add(studies, images)
        except ValueError:
            with pytest.raises(DataError):
                add_collection(made, root)
            continue
        assert add_collection(made, root).changes == slow_changes(before, after)
        stored = {row[0] for row in sql(root, "made", "select study_id from studies")}
        assert stored == after["studies"].keys()
        before = after


REPORTS = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n1,normal,normal,PA,,,Clear.,\n"


def run(*words: str | Path, stores: Path):
    return CliRunner().invoke(app, [*map(str, words), "--root", str(stores)])


def test_the_command_line_adds_lists_and_shows(tmp_path):
    (tmp_path / "r.csv").write_text(REPORTS)
    PilImage.new("L", (4, 3)).save(tmp_path / "1_IM-1-1.png")
    stores = tmp_path / "stores"
    words = ("add", "iu_xray", "--reports", tmp_path / "r.csv", "--images", tmp_path, "--name", "mine")
    first = run(*words, stores=stores)
    assert first.exit_code == 0, first.output
    assert "1 listed, 1 present" in first.stdout
    assert "images whose view is not known: 1" in first.stdout
    assert f"cxremb embed --model {suggested('image')}" in first.stdout
    assert "nothing was written" in run(*words, stores=stores).stdout
    assert json.loads(run(*words, "--format", "json", stores=stores).stdout)["changes"] == {}
    assert [row["name"] for row in json.loads(run("ls", "--format", "json", stores=stores).stdout)] == ["mine"]
    assert "mine" in run("ls", stores=stores).stdout
    shown = json.loads(run("show", "--format", "json", stores=stores).stdout)
    assert shown["counts"]["images_present"] == 1
    assert shown["licence"] == iu_xray.LICENCE
    text = run("show", "mine", stores=stores).stdout
    assert iu_xray.LICENCE in text
    assert iu_xray.CITATION in text
    assert isinstance(run("show", "other", stores=stores).exception, DataError)


def test_an_empty_store_lists_nothing(tmp_path):
    empty = run("ls", stores=tmp_path)
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert json.loads(run("ls", "--format", "json", stores=tmp_path).stdout) == []


def test_the_command_line_fetches_and_adds(tmp_path):
    import tarfile
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    picture = io.BytesIO()
    PilImage.new("L", (4, 3)).save(picture, "png")
    report = (
        b'<eCitation><uId id="CXR1"/><MeSH><major>normal</major></MeSH><parentImage id="CXR1_1_IM-1-1"/></eCitation>'
    )
    (tmp_path / "site").mkdir()
    contents = {openi.IMAGES: ("CXR1_1_IM-1-1.png", picture.getvalue()), openi.REPORTS: ("e/1.xml", report)}
    for archive, (name, content) in contents.items():
        with tarfile.open(tmp_path / "site" / archive, "w:gz") as files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "127.0.0.1")
            done = run("fetch", "iu_xray", "--base-url", url, stores=tmp_path / "stores")
            missing = run(
                "fetch", "iu_xray", "--base-url", f"{url}/no", "--output", tmp_path / "x", stores=tmp_path / "s"
            )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.exit_code == 0, done.output
    film = tmp_path / "stores" / "downloads" / "iu_xray" / "images" / "CXR1_1_IM-1-1.png"
    assert film.is_file()
    assert sql(tmp_path / "stores", "iu_xray", "select image_id, path, width, height from images") == [
        ("1_IM-1-1", film.name, 4, 3)
    ]
    assert isinstance(missing.exception, FetchError)
    assert not (tmp_path / "s").exists()


@needs_real
@pytest.mark.parametrize(("folder", "present"), [("images", 8), (".", 12)])
def test_the_real_collection_in_sql(tmp_path, folder, present):
    given = iu_xray.read(
        images=REAL / folder, reports=REAL / "indiana_reports.csv", projections=REAL / "indiana_projections.csv"
    )
    add_collection(given, tmp_path)
    question = """select (select count(*) from studies),
        (select count(*) from images), (select count(path) from images),
        (select count(width) from images),
        (select count(*) from labels where label_set = 'normal_abnormal' and value = 0),
        (select count(*) from images where view = 'Frontal'),
        (select count(*) from images join studies using (study_id, patient_id))"""
    assert sql(tmp_path, "iu_xray", question) == [(3851, 7466, present, present, 1379, 3818, 7466)]
    empty = "select 3851 - count(distinct study_id) from reports where section in "
    assert sql(tmp_path, "iu_xray", empty + "('findings')") == [(514,)]
    assert sql(tmp_path, "iu_xray", empty + "('impression')") == [(31,)]
    assert sql(tmp_path, "iu_xray", empty + "('findings', 'impression')") == [(25,)]
    assert sql(tmp_path, "iu_xray", "select count(*) from reports where trim(text) in ('', 'nan', '#NAME?')") == [(0,)]
    sizes = "select width from images where path like '%CXR%'"
    assert {width for (width,) in sql(tmp_path, "iu_xray", sizes)} == {512}
    again = iu_xray.read(
        images=REAL / folder, reports=REAL / "indiana_reports.csv", projections=REAL / "indiana_projections.csv"
    )
    assert add_collection(again, tmp_path).changes == {}


@pytest.mark.parametrize("name", ["image", "pre-read", "findings+impression"])
def test_a_section_cannot_be_called_as_something_else_is(tmp_path: Path, name: str) -> None:
    whole = collection(tmp_path / "films")
    studies = [replace(whole.studies[0], sections={name: "text"}), *whole.studies[1:]]
    with pytest.raises(DataError, match=re.escape(f"study 0: a section is called '{name}'")):
        add_collection(replace(whole, studies=studies), tmp_path / "root")
