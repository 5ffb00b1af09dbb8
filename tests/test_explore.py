"""The pages of `cxremb explore` over a real server: which rows an address shows, a case, runs, films, notes, errors."""

import hashlib
import html
import io
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explored import (
    EFFUSION,
    RUNS,
    SPLIT,
    STUDIES_MADE,
    VIEWS,
    device,
    film_id,
    fold_of,
    make_explored,
    make_run,
    said,
    truth,
)
from PIL import Image as PilImage
from planted import write_store
from served import Answer, ask, served

from cxremb.errors import DataError
from cxremb.explorer.app import Explorer, make_app
from cxremb.explorer.arms import RunCover, belongs
from cxremb.explorer.board import Boards
from cxremb.explorer.far import make_distances
from cxremb.explorer.job import MapJob
from cxremb.explorer.pages import along
from cxremb.explorer.rows import PAGE
from cxremb.explorer.runs import judged_rows
from cxremb.explorer.selection import selection_from
from cxremb.store.dataset import open_dataset
from cxremb.store.files import replace_table
from cxremb.store.layout import AUDIT, FAILURES
from cxremb.store.manifest import publish
from cxremb.store.notes import StoredNote, add_note, note_versions
from cxremb.store.reader import open_store
from cxremb.store.sql import query
from cxremb.table import probability
from cxremb.web.guard import Guard, Rules
from cxremb.web.server import Bound

TOKEN = "a-token"
FILMS = [(n, view) for n in range(STUDIES_MADE) for view in VIEWS]
JUDGED = [(n, view) for n, view in FILMS if n != STUDIES_MADE - 1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("explore") / "stores"
    make_explored(root)
    return root


def guarded(root: Path, author: str = "Ada") -> Callable[[Bound], Guard]:
    app = make_app(Explorer(Boards(root, "explored"), author))
    return lambda bound: Guard(app, Rules(hosts=bound.hosts, token=TOKEN, by="cookie"))


@pytest.fixture(scope="module")
def pages(root: Path) -> Iterator[Bound]:
    with served(guarded(root)) as bound:
        yield bound


def get(bound: Bound, path: str, *pairs: tuple[str, str], **more: Any) -> Answer:
    headers = {"Cookie": f"cxremb_{bound.port}={TOKEN}", "Accept": "text/html", **more.pop("headers", {})}
    return ask(bound, f"{path}?{urlencode(pairs)}" if pairs else path, headers=headers, **more)


def shown(answer: Answer) -> list[str]:
    """The ids of the rows of a page, in order."""
    assert answer.status == 200, answer.text
    return re.findall(r'class="id" title="([^"]+)"', answer.text)


def right(arm: str, n: int, view: str) -> bool:
    return (said(arm, n, view) >= 0.5) == (truth(n) == 1)


def ids(rows: Any) -> list[str]:
    return [film_id(n, view) for n, view in rows]


WHERE = "reports['findings'] ilike '%effusion%'"


@pytest.mark.parametrize(
    ("pairs", "keeps"),
    [
        ([], lambda n, view: True),
        ([("truth", "1")], lambda n, view: truth(n) == 1),
        ([("view", "Lateral"), ("truth", "0")], lambda n, view: view == "Lateral" and truth(n) == 0),
        ([("view", "Lateral"), ("view", "Frontal")], lambda n, view: True),
        ([("part", "not judged")], lambda n, view: n == STUDIES_MADE - 1),
        ([("wrong", "image")], lambda n, view: n < STUDIES_MADE - 1 and not right("image", n, view)),
        (
            [("right", "fusion"), ("wrong", "text")],
            lambda n, view: n < STUDIES_MADE - 1 and right("fusion", n, view) and not right("text", n, view),
        ),
        (
            [("differ", "image:text")],
            lambda n, view: n < STUDIES_MADE - 1 and right("image", n, view) != right("text", n, view),
        ),
        ([("finding", "findings:Effusion")], lambda n, view: n % 6 == 0),
        ([("finding", "findings:Effusion"), ("finding", "findings:Nodule")], lambda n, view: n % 24 == 0),
        ([("fact.device", "D2")], lambda n, view: device(n, view) == "D2"),
        ([("fact.sex", "M")], lambda n, view: n // 2 % 2 == 1),
        ([("where", "p_fusion > 0.9 and truth = 1")], lambda n, view: truth(n) == 1 and said("fusion", n, view) > 0.9),
        ([("where", "age >= 60 and view = 'Frontal'")], lambda n, view: n >= 20 and view == "Frontal"),
        ([("where", WHERE)], lambda n, view: n == EFFUSION),
        ([("where", "labels['findings']['Nodule'] = 1")], lambda n, view: n % 8 == 0),
        ([("where", "study_id in (select study_id from reports where text like '%, 7.')")], lambda n, view: n == 7),
        ([("where", "true -- all of them")], lambda n, view: True),
    ],
)
def test_an_address_shows_the_rows_that_it_says(pages: Bound, pairs: list[tuple[str, str]], keeps: Any) -> None:
    rows = [film_id(n, view) for n, view in FILMS if keeps(n, view) and not ("p_" in str(pairs) and n == 23)]
    answer = get(pages, "/", *pairs)
    assert shown(answer) == rows[:PAGE]
    assert f"<strong>{len(rows)}</strong>" in answer.text
    bits = np.unpackbits(np.frombuffer(get(pages, "/mask", *pairs).body, np.uint8), bitorder="little")
    every = ids(FILMS)
    assert [every[n] for n in np.flatnonzero(bits)] == rows


def test_counts_of_a_heading_are_those_without_its_own_picks(pages: Bound) -> None:
    page = get(pages, "/", ("view", "Lateral"), ("wrong", "image")).text
    counts = dict(re.findall(r'class="what"[^>]*>([^<]+)</span> <span class="count">(\d+)', page))
    wrong = [(n, view) for n, view in JUDGED if not right("image", n, view)]
    assert counts["Frontal"] == str(sum(view == "Frontal" for _, view in wrong))
    assert counts["Lateral"] == str(sum(view == "Lateral" for _, view in wrong))
    assert counts["yes"] == str(sum(truth(n) == 1 and view == "Lateral" for n, view in wrong))
    assert counts["Effusion"] == str(sum(n % 6 == 0 and view == "Lateral" for n, view in wrong))
    judged = [(n, view) for n, view in JUDGED if view == "Lateral"]
    assert counts["text right"] == str(sum(right("text", n, view) for n, view in judged))


def loss(arm: str, n: int, view: str) -> float:
    p = said(arm, n, view)
    return float(-np.log(p if truth(n) == 1 else 1 - p))


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("loss:fusion", lambda n, view: loss("fusion", n, view)),
        ("gap:image:text", lambda n, view: abs(said("image", n, view) - said("text", n, view))),
    ],
)
def test_pages_go_on_where_they_ended_whatever_the_order(
    pages: Bound, sort: str, key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxremb.explorer.rows.PAGE", 10)
    found = shown(answer := get(pages, "/", ("sort", sort)))
    keys = [found[:]]
    while after := re.search(r'rel="next" href="([^"]+)"', answer.text):
        answer = get(pages, html.unescape(after[1]))
        keys.append(shown(answer))
        found += keys[-1]
    assert sorted(found) == sorted(ids(FILMS))  # each row once
    place = {film_id(n, view): key(n, view) for n, view in JUDGED}
    values = [place.get(one, -1.0) for one in found]
    assert values == pytest.approx(sorted(values, reverse=True), abs=1e-9)
    before = re.search(r'rel="prev" href="([^"]+)"', answer.text)
    assert before is not None
    assert shown(get(pages, html.unescape(before[1]))) == keys[-2]


def test_a_case_shows_what_is_stored_and_escapes_it(pages: Bound) -> None:
    page = get(pages, "/case", ("id", film_id(3, "Frontal"))).text
    assert "Lungs are clear, 3." in page
    assert "&lt;b&gt;Normal&lt;/b&gt; &amp; well." in page
    assert "before reading" in page
    assert "This film is under two patients." in page
    assert "under two patients" not in get(pages, "/case", ("id", film_id(4, "Frontal"))).text
    for arm in ("image", "text", "fusion", "control:length"):
        assert f"{said(arm, 3, 'Frontal'):.3f}".removeprefix("0") in page, arm
    assert film_id(3, "Lateral") in page  # the other film of the study


def fail_film(root: Path, item: str, message: str) -> None:
    """Make the store of films anew, without this one, and say why."""
    dataset = open_dataset(root, "explored")
    before = open_store(dataset, "efficientnet_b1")
    ids, vectors = before.vectors()
    shutil.rmtree(before.folder)
    kept = [place for place, one in enumerate(ids) if one != item]
    write_store(dataset, "efficientnet_b1", "image", [ids[place] for place in kept], vectors[kept])
    row = next(row for row in dataset.images.to_pylist() if row["image_id"] == item)
    about = {"item_id": item, "study_id": row["study_id"], "section": "image", "path": row["path"], "stage": "decode"}
    failure = {**about, "message": f"{row['path']}: {message}", "content": row["sha256"]}
    store = open_store(dataset, "efficientnet_b1")
    path = replace_table(store.folder / "failures-1.parquet", pa.Table.from_pylist([failure], schema=FAILURES))
    manifest = replace(store.manifest, version=2, asked=len(ids), failed=1, failures=path.name)
    publish(manifest, store.folder)


def test_a_film_that_failed_says_why_and_is_not_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    cut = film_id(4, "Frontal")
    fail_film(root, cut, "not a readable image (the file ends within IDAT)")
    path = root / "films" / "4_Frontal.png"
    audit = pq.ParquetFile(dataset.paths.audits / "20261101T000000.parquet").read().to_pylist()[0]
    found = [
        {**audit, "name": "unreadable files", "why": "They drop out.", "examples": [f"{path}: ends within IDAT"]},
        {**audit, "name": "near-identical images", "why": "Copies.", "examples": [f"{film_id(9, 'Frontal')} ~ {cut}"]},
        {**audit, "name": "others", "why": "Of others.", "examples": [f"{cut}0", f"{cut} and more"]},
    ]
    replace_table(dataset.paths.audits / "20261102T000000.parquet", pa.Table.from_pylist(found, schema=AUDIT))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with served(guarded(root)) as bound:
        grid = get(bound, "/", ("where", f"item_id = '{cut}'")).text
        assert '<span class="nofilm">not a readable image (the file ends within IDAT)</span>' in grid
        assert digest not in grid
        page = get(bound, "/case", ("id", cut)).text
        assert "This film cannot be shown: not a readable image (the file ends within IDAT)." in page
        assert digest not in page
        assert "data-invert" not in page
        assert "They drop out." in page
        assert f"{film_id(9, 'Frontal')} ~ {cut}" in page
        assert "Of others." not in page
        near = get(bound, "/near", ("id", cut), ("by", "image")).text
        assert "This film has no vector: not a readable image (the file ends within IDAT)." in near
        assert "cxremb" not in near
        assert shown(get(bound, "/", ("where", "unreadable is not null"))) == [cut]
        path.unlink()
        answer = get(bound, f"/film/film/{digest}", headers={"Accept": "*/*"})
        assert answer.status == 404
        assert str(path) not in answer.text  # it stands in the film's place


def test_a_film_that_is_not_here_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    gone = film_id(4, "Frontal")
    films = dataset.images.to_pylist()
    rows = [{**row, "path": None if row["image_id"] == gone else row["path"]} for row in films]
    name = dataset.descriptor["tables"]["images"]["file"]
    replace_table(dataset.paths.folder / name, pa.Table.from_pylist(rows, schema=dataset.images.schema))
    store = open_store(dataset, "efficientnet_b1")
    ids, vectors = store.vectors()
    shutil.rmtree(store.folder)
    write_store(dataset, "efficientnet_b1", "image", ids[:8] + ids[10:], np.delete(vectors, [8, 9], axis=0))
    with served(guarded(root)) as bound:
        assert '<span class="nofilm">not on this machine</span>' in get(bound, "/").text
        assert "it is not on this machine" in get(bound, "/case", ("id", gone)).text
        near = get(bound, "/near", ("id", gone), ("by", "image")).text
        assert "This film is not on this machine, so it has no vector." in near
        late = get(bound, "/near", ("id", film_id(4, "Lateral")), ("by", "image")).text
        assert "This film has no vector: <code>cxremb refresh</code> makes one." in late


def test_previous_and_next_follow_the_order_and_the_filter(pages: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("wrong", "image"), ("sort", "loss:image")]
    order = shown(get(pages, "/", *pairs))
    page = get(pages, "/case", ("id", order[3]), *pairs).text
    for rel, other in (("prev", order[2]), ("next", order[4])):
        link = re.search(f'rel="{rel}" href="([^"]+)"', page)
        assert link is not None
        assert f"id={quote(other)}" in html.unescape(link[1])
    assert f"4 of {len(order)}" in page
    monkeypatch.setattr("cxremb.explorer.case.PAGE", 2)
    back = re.search(r'href="([^"]+)" data-up', get(pages, "/case", ("id", order[3]), *pairs).text)
    assert back is not None
    assert shown(get(pages, html.unescape(back[1])))[0] == order[3]  # the page of rows that has it
    outside = next(one for one in ids(JUDGED) if one not in order)
    assert "not among the" in get(pages, "/case", ("id", outside), *pairs).text


def test_neighbours_are_the_nearest_and_the_same_patient_is_marked(pages: Bound, root: Path) -> None:
    page = get(pages, "/near", ("id", film_id(3, "Frontal")), ("by", "image")).text
    near = re.findall(r'class="id">([^<]+)<', page)
    sql = f"select item_id from nearest('efficientnet_b1', '{film_id(3, 'Frontal')}', k := {len(near)})"
    assert near == query(root, sql)["item_id"].to_pylist()
    every = get(pages, "/near", ("id", film_id(3, "Frontal")), ("by", "text")).text
    texts = re.findall(r'<li( class="same")?>.*?class="id">([^<]+)<', every)
    assert [one for _, one in texts] == query(
        root, f"select item_id from nearest('biobert', 's03', k := {len(texts)}, of := 'findings+impression')"
    )["item_id"].to_pylist()
    assert {one for same, one in texts if same} <= {"s02"}


def test_the_runs_show_figures_and_where_two_arms_differ(pages: Bound) -> None:
    page = get(pages, "/runs").text
    assert page.count(".812") == 4  # three arms and a control
    assert "label recovery: reads a label source" in page
    cells = re.findall(r'<a href="/\?([^"]+)">(\d+)</a>', page)
    counts = {html.unescape(query): int(count) for query, count in cells}
    only = sum(right("text", n, view) and not right("image", n, view) for n, view in JUDGED)
    address = next(one for one in counts if "right=text&wrong=image" in one)
    assert counts[address] == only
    assert len(shown(get(pages, f"/?{address}"))) == only


def test_films_are_shown_by_their_digest_and_once(pages: Bound, root: Path) -> None:
    path = root / "films" / "3_Frontal.png"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    first = get(pages, f"/film/film/{sha256}")
    assert (first.status, first.headers["content-type"]) == (200, "image/jpeg")
    assert first.headers["cache-control"] == "private, no-cache"
    pixels = np.asarray(PilImage.open(io.BytesIO(first.body)), float)
    assert np.abs(pixels - np.asarray(PilImage.open(path), float)).mean() < 4
    again = get(pages, f"/film/film/{sha256}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert get(pages, f"/film/film/{sha256}", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/film/thumb/" + "0" * 64,
        "/film/thumb/..%2F..%2F..%2Fetc%2Fpasswd",
        "/film/thumb/../../../../etc/passwd",
        "/static/..%2Fapp.py",
        "/static/../app.py",
        "/static/%2e%2e/board.py",
        "/film/huge/" + "0" * 64,
        "/nowhere",
    ],
)
def test_no_address_leads_out(pages: Bound, path: str) -> None:
    answer = get(pages, path)
    assert answer.status == 404
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text
    assert "import" not in answer.text


def test_a_film_that_changed_or_lies_elsewhere_is_not_shown(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    make_explored(root)
    changed, linked = root / "films" / "3_Frontal.png", root / "films" / "4_Frontal.png"
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (changed, linked)]
    shutil.copy(root / "films" / "5_Frontal.png", changed)
    outside = tmp_path / "elsewhere.png"
    shutil.move(linked, outside)
    linked.symlink_to(outside)
    with served(guarded(root)) as bound:
        answers = [get(bound, f"/film/film/{digest}") for digest in digests]
    assert [answer.status for answer in answers] == [404, 404]
    assert "changed since it was added" in answers[0].text
    assert "lies outside the store root" in answers[1].text
    assert str(outside) not in answers[1].text


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("(select count(*) from read_text('/etc/passwd')) > 0", "/etc/passwd"),
        ("exists (select 1 from read_csv('/etc/passwd'))", "/etc/passwd"),
        ("nonsense > 1", "a row has item_id, image_id, study_id"),
        ("nonsense > 1", "its table has age, device, sex; maps are reports and labels"),
        ("select 1", "'select 1' is a query, not a condition on one row"),
        ("(select true)", "is a query, not a condition on one row"),
        ("1 = 1 /*", "a comment or a text in it has no end"),
        ("view = 'PA", "a comment or a text in it has no end"),
        ("exists (from read_text('/etc/passwd'))", "SQL reads the tables, and files under"),
        ("true) as n, (true", "no condition on one row"),
        ("true; drop table cases", "syntax error"),
        ("1 in (select unnest([1,2])) and (copy cases to '/tmp/x')", ""),
        ("p_fusion >", "syntax error"),
        ("true)) union all select n, true from cases, ((select true", ""),
    ],
)
def test_a_wrong_filter_is_answered_beside_it_and_reads_nothing(pages: Bound, where: str, says: str) -> None:
    answer = get(pages, "/", ("where", where), ("truth", "1"))
    assert answer.status == 200
    problem = re.search(r'id="problem" role="alert">(.*?)</div>', answer.text, re.DOTALL)
    assert problem is not None
    assert says in html.unescape(problem[1])
    assert "root:x" not in answer.text
    assert "::BOOLEAN" not in problem[1]  # what stands around it is no business of who wrote it
    assert "Candidate" not in problem[1]
    assert "<strong>0</strong>" not in answer.text  # nothing was counted
    assert "Traceback" not in answer.text
    assert 'class="what" title="Lateral"' in answer.text  # the other filters stay
    assert shown(answer) == []
    assert get(pages, "/mask", ("where", where)).status == 400
    assert shown(get(pages, "/")) == ids(FILMS)[:PAGE]  # and nothing is gone


def test_a_filter_that_would_never_end_is_ended(pages: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxremb.explorer.rows.SECONDS", 0.3)
    many = "range(100000) a, range(100000) b, range(1000) c"
    slow = f"(select count(*) from {many} where (a.range * b.range) % 7 = n % 7) > 0"
    assert "took more than 0.3 seconds" in get(pages, "/", ("where", slow)).text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/?sort=loss:nobody", "no arm 'nobody' is shown"),
        ("/?sort=name", "cannot be sorted"),
        ("/?wrong=nobody", "no arm 'nobody'"),
        ("/?finding=findings:Nothing", "no study has the label"),
        ("/?lasso=1,2", "lasso"),
        ("/?lasso=1,2,3,4,nan,6", "lasso"),
        ("/?after=x", "place"),
        ("/?after=nan~1", "place"),
        ("/?before=inf~1", "place"),
        ("/case?id=%00", "no case"),
        ("/row?n=" + "9" * 60, "no row"),
        ("/case?id=nobody", "no case 'nobody'"),
        ("/case", "no case ''"),
        ("/row?n=-1", "no row"),
        ("/row?n=99999", "no row"),
        ("/near?id=f03-Frontal&by=sound", "nothing is near"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(pages: Bound, path: str, says: str) -> None:
    answer = get(pages, path)
    assert answer.status == 400
    assert says in html.unescape(answer.text)
    assert "Traceback" not in answer.text


def test_a_place_may_not_be_sql() -> None:
    with pytest.raises(DataError, match="lasso"):
        selection_from([("lasso", "1,2,3,4,5,6); drop table cases")])


def own(bound: Bound) -> dict[str, str]:
    return {"Origin": f"http://{bound.named}", "Content-Type": "application/x-www-form-urlencoded"}


def test_notes_are_a_table_that_sql_joins_and_two_explorers_share(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    make_explored(root)
    with served(guarded(root, "Ada")) as one, served(guarded(root, "Bo")) as two:
        body = urlencode({"text": "Look <here>.", "value": "1"})
        address = f"/note?id={film_id(4, 'Frontal')}&truth=0"
        kept = get(one, address, method="POST", headers=own(one), body=body)
        assert (kept.status, kept.headers["location"]) == (303, f"/case?truth=0&id={film_id(4, 'Frontal')}#notes")
        assert "Look &lt;here&gt;." in get(two, "/case", ("id", film_id(4, "Lateral"))).text
        get(two, f"/note?id={film_id(6, 'Lateral')}", method="POST", headers=own(two), body="text=Second")
        for bound in (one, two):
            assert shown(get(bound, "/", ("noted", "1"))) == ids((n, view) for n in (4, 6) for view in VIEWS)
            assert len(shown(get(bound, "/", ("where", "study_id in (select study_id from notes)")))) == 4
        nothing = get(one, address, method="POST", headers=own(one), body="text=+&value=")
        assert (nothing.status, "an empty note" in nothing.text) == (400, True)
        assert f'href="/case?truth=0&amp;id={film_id(4, "Frontal")}#notes">Back to the case' in nothing.text
        long = get(one, address, method="POST", headers=own(one), body=urlencode({"text": "x" * 4001}))
        assert (long.status, "1 to 4,000 letters" in long.text) == (400, True)
    rows = query(
        root,
        "select n.author, n.study_id, n.image_id, n.text, n.label, l.value as stored, n.value as corrected "
        "from notes n left join labels l using (dataset, study_id, label_set, label) order by n.study_id",
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("Ada", "s04", film_id(4, "Frontal"), "Look <here>.", "abnormal", 0.0, 1.0),
        ("Bo", "s06", film_id(6, "Lateral"), "Second", None, None, None),
    ]


def test_many_writers_lose_no_note(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    make_explored(tmp_path)
    dataset = open_dataset(tmp_path, "explored")
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda n: add_note(dataset, StoredNote("Ada", "s01", text=str(n))), range(40)))
    texts = query(tmp_path, "select text from notes")["text"].to_pylist()
    assert sorted(map(int, texts)) == list(range(40))
    assert len(note_versions(dataset)) <= 8
    assert not [path for path in dataset.paths.notes.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "fields",
    [{}, {"text": ""}, {"label": "abnormal", "value": 1.0}, {"label_set": "a", "label": "b", "value": 0.5}],
)
def test_half_a_note_is_refused(fields: Any) -> None:
    with pytest.raises(DataError):
        StoredNote("Ada", "s01", **fields)


def test_notes_have_a_time_in_utc(tmp_path: Path) -> None:
    make_explored(tmp_path)
    at = datetime(2026, 11, 27, 12, 30, 59, 999, tzinfo=UTC)
    add_note(open_dataset(tmp_path, "explored"), StoredNote("Ada", "s01", text="x"), now=at)
    ((row),) = query(tmp_path, "select created from notes").to_pylist()
    assert row["created"].replace(tzinfo=None) == datetime(2026, 11, 27, 12, 30, 59)


def test_a_store_that_changes_is_seen_and_one_that_breaks_is_said(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    with served(guarded(root)) as bound:
        assert "newcomer" not in get(bound, "/runs").text
        make_run(dataset, "20261102T000000-bbbbbbbb", "newcomer", rows=JUDGED)
        assert "newcomer" in get(bound, "/runs").text
        assert "p_newcomer" in get(bound, "/").text
        shutil.rmtree(dataset.paths.runs / RUNS["image"])
        assert get(bound, "/", ("sort", "loss:image")).status == 400
        for part in dataset.paths.embeddings.glob("efficientnet*/part-*"):
            part.unlink()
        lost = get(bound, "/near", ("id", film_id(3, "Frontal")))
        assert (lost.status, "the store cannot be read" in lost.text) == (400, True)
        assert "Traceback" not in lost.text
        dataset.paths.descriptor.write_text("{", encoding="utf-8")
        broken = get(bound, "/")
        assert broken.status == 400
        assert "cannot be read" in broken.text
        shutil.rmtree(root / "explored")
        gone = get(bound, "/")
        assert (gone.status, "Traceback" in gone.text) == (400, False)


def test_a_data_set_without_runs_or_films_has_pages_too(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    shutil.rmtree(dataset.paths.runs)
    with served(guarded(root)) as bound:
        page = get(bound, "/")
        assert len(shown(page)) == len(FILMS)
        assert "There is no run yet" in page.text
        assert "There is no run yet" in get(bound, "/runs").text
        assert "Lungs are clear, 3." in get(bound, "/case", ("id", film_id(3, "Frontal"))).text
        assert get(bound, "/points").body[:4] == np.uint32(len(FILMS)).tobytes()


def test_rows_are_sorted_by_their_distance_to_training(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    store = open_store(dataset, "efficientnet_b1")
    make_distances(dataset, store, SPLIT, say=lambda words: None)
    items, vectors = store.vectors()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folds = np.array([fold_of(int(item[1:3])) for item in items])
    nearest = [np.sort(1 - vectors[folds != own] @ vector)[9] for own, vector in zip(folds, vectors, strict=True)]
    with served(guarded(root)) as bound:
        order = shown(get(bound, "/", ("sort", "distance")))
        far = dict(zip(items, nearest, strict=True))
        assert [far[item] for item in order] == pytest.approx(sorted(nearest, reverse=True)[:PAGE], abs=1e-5)
        page = get(bound, "/case", ("id", order[0])).text
        assert f"distance to training {far[order[0]]:.3f}".replace(" 0.", " .") in page
        assert f"farther than {100 * (len(items) - 1) / len(items):.0f}% of the rows" in page
    rows = query(root, "select item_id, distance, fold from distances").to_pylist()
    assert {row["item_id"]: row["fold"] for row in rows} == dict(zip(items, folds.tolist(), strict=True))


def test_rows_are_studies_where_runs_judge_studies(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    shutil.rmtree(dataset.paths.runs)
    make_run(dataset, RUNS["text"], "text", rows=[(n, "Frontal") for n in range(STUDIES_MADE)], unit="study")
    with served(guarded(root)) as bound:
        page = get(bound, "/")
        assert shown(page) == [f"s{n:02d}" for n in range(STUDIES_MADE)]
        assert "Frontal+Lateral" in page.text
        assert f"<strong>{STUDIES_MADE}</strong> studies" in page.text
        alike = [f"s{n:02d}" for n in range(STUDIES_MADE) if device(n, "Frontal") == device(n, "Lateral")]
        # by a click as by SQL: what all films of a study say
        assert shown(get(bound, "/", ("fact.device", "D1"))) == alike
        assert shown(get(bound, "/", ("where", "device = 'D1'"))) == alike
        assert shown(get(bound, "/", ("fact.device", "D2"))) == shown(get(bound, "/", ("where", "device = 'D2'"))) == []
        digest = hashlib.sha256((root / "films" / "0_Frontal.png").read_bytes()).hexdigest()
        assert re.findall(r"/film/thumb/([0-9a-f]+)", page.text)[0] == digest  # the frontal film stands for the study
        case = get(bound, "/case", ("id", "s03")).text
        assert f"{said('text', 3, 'Frontal'):.3f}".removeprefix("0") in case
        other = hashlib.sha256((root / "films" / "3_Lateral.png").read_bytes()).hexdigest()
        assert get(bound, f"/film/thumb/{other}").status == 200  # also of a film that stands for no row
        lateral = get(bound, "/case", ("id", film_id(3, "Lateral"))).text  # the study, with another of its films
        assert "<h1>s03</h1>" in lateral
        assert f'src="/film/film/{other}"' in lateral
        assert "4 of 24" in lateral
        near = re.findall(r'class="id">([^<]+)<', get(bound, "/near", ("id", "s03"), ("by", "text")).text)
        sql = f"select item_id from nearest('biobert', 's03', k := {len(near)}, of := 'findings+impression')"
        assert near == query(root, sql)["item_id"].to_pylist()


def test_the_policy_of_the_pages_holds(pages: Bound) -> None:
    for path in ("/", "/runs", f"/case?id={film_id(3, 'Frontal')}"):
        page = get(pages, path).text
        assert not re.findall(r"<[^>]+\sstyle=", page), path
        assert not re.findall(r"<[^>]+\son\w+=", page), path
        assert "<style" not in page
        assert re.findall(r"<script(?![^>]*src=\"/static/)", page) == []
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)  # nothing from elsewhere


def test_sigterm_ends_it_as_ctrl_c_does(root: Path) -> None:
    command = [sys.executable, "-m", "cxremb", "explore", "--root", str(root), "--no-map"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline().startswith("Open http")
        started.terminate()
        _, err = started.communicate(timeout=30)
    assert (started.returncode, err) == (0, "")


def test_without_a_store_the_map_names_what_makes_one(tmp_path: Path) -> None:
    dataset = make_explored(tmp_path)
    shutil.rmtree(open_store(dataset, "efficientnet_b1").folder)
    for unit, encoder in (("image", "efficientnet_b1"), ("study", "biobert")):
        job = MapJob()
        if unit == "study":
            shutil.rmtree(open_store(dataset, "biobert").folder)
        job.start_where_needed(dataset, unit, None)
        assert f"`cxremb embed --model {encoder}`" in job.words


def test_the_command_says_what_is_wrong(cxremb: Any, tmp_path: Path) -> None:
    root = tmp_path / "stores"
    nothing = cxremb("explore", "--root", root)
    assert (nothing.code, "no data set" in nothing.err, nothing.out) == (1, True, "")
    dataset = make_explored(root)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = cxremb("explore", "--root", root, "--port", other.getsockname()[1])
    assert (taken.code, "is taken" in taken.err, "--port" in taken.err) == (1, True, True)
    (dataset.paths.runs / RUNS["text"] / "predictions.parquet").write_bytes(b"nothing")
    broken = cxremb("explore", "--root", root)
    assert (broken.code, "store check" in broken.err, "Traceback" in broken.err) == (1, True, False)


def test_arms_that_judge_fewer_folds_are_not_shown_beside_those_that_judge_all(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    few = [row for row in JUDGED if fold_of(row[0]) == 0]
    make_run(dataset, "20261103T000000-cccccccc", "fusion", rows=few)
    make_run(dataset, "20261103T000001-cccccccc", "newcomer", rows=few)
    make_run(dataset, "20261103T000002-cccccccc", "control:views", rows=few)
    make_run(dataset, "20261103T000003-cccccccc", "alone", rows=few, preset="finetune")
    with served(guarded(root)) as bound:
        page = get(bound, "/runs").text
        assert RUNS["fusion"] in page
        assert re.findall(r"202611\d\dT\d{6}-cccccccc", page.partition("<table")[2]) == []
        assert f"Each arm is 4 models, which judge {len(JUDGED)} test rows in all" in page
        assert "p_newcomer" not in get(bound, "/").text
        alone = get(bound, "/runs", ("of", "20261103T000003-cccccccc")).text
        assert f"Each arm is 1 model, which judge {len(few)} test rows in all".replace("judge", "judges") in alone


def test_a_control_belongs_to_arms_of_more_repeats_and_other_seeds() -> None:
    def tested(repeats: int, seeds: int, folds: int = 3) -> RunCover:
        models = product(range(repeats), range(folds), range(seeds))
        return RunCover("study", ("abnormal",), frozenset(models))

    arms = tested(repeats=2, seeds=1)
    assert belongs(tested(repeats=2, seeds=1), arms)
    assert belongs(tested(repeats=1, seeds=4), arms)  # label-shuffle, by `ablate --repeats 2`
    assert not belongs(tested(repeats=3, seeds=1), arms)
    assert not belongs(tested(repeats=2, seeds=1, folds=2), arms)
    assert not belongs(replace(tested(repeats=2, seeds=1), unit="image"), arms)


def test_arms_of_different_rows_say_so() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE cases AS SELECT 'test' AS part, 0.5 AS p_image, if(i < 7, 0.5, NULL) AS p_text "
                    "FROM range(1200) t(i)")  # fmt: skip
        assert judged_rows(con, ["image"]) == "1,200 test rows in all"
        different = "7 to 1,200 test rows in all, so their figures are not of the same rows"
        assert judged_rows(con, ["image", "text"]) == different
        assert judged_rows(con, []) == ""


def test_where_no_arm_judges_all_folds_those_of_most_are_shown(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    shutil.rmtree(dataset.paths.runs)
    for number, (arm, folds) in enumerate([("image", (0, 1)), ("text", (0, 1)), ("fusion", (2,)), ("late", (1, 2))]):
        rows = [row for row in JUDGED if fold_of(row[0]) in folds]
        make_run(dataset, f"20261103T00000{number}-cccccccc", arm, rows=rows)
    with served(guarded(root)) as bound:
        # of two that judge as many folds, the newest; what judges others is not beside it
        assert re.findall(r'"swatch line0"></span>(\w+)</th>', get(bound, "/runs").text) == ["late"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.0, ".000"), (1.19e-05, "<.001"), (0.0004, "<.001"), (0.0006, ".001"), (0.5, ".500")],
        *[(0.9994, ".999"), (0.99994, ">.999"), (1.0, "1.000"), (-1e-9, ".000")],
    ],
)
def test_a_probability_is_never_written_as_certain_and_never_as_another(value: float, text: str) -> None:
    assert probability(value) == text


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_a_diamond_at_the_end_of_a_strip_is_whole(number: float) -> None:
    half = 4.2  # of its width, in parts.jinja
    assert half <= float(along(number)) <= 100 - half


def test_arms_are_called_as_the_pages_call_them_and_missing_labels_are_in_the_legend(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    dataset = make_explored(root)
    make_run(dataset, "20261103T000000-cccccccc", "linear-image", rows=JUDGED)
    with served(guarded(root)) as bound:
        assert "there are image, text, fusion, linear-image" in get(bound, "/?wrong=nobody").text
        page = get(bound, "/").text
        assert '<dt title="linear-image">linear-image</dt>' in page
        assert "not labelled</span>" not in page.partition('class="legend')[2]
        name = dataset.descriptor["tables"]["labels"]["file"]
        rows = [row for row in dataset.labels.to_pylist() if row["study_id"] != f"s{STUDIES_MADE - 1}"]
        replace_table(dataset.paths.folder / name, pa.Table.from_pylist(rows, schema=dataset.labels.schema))
    with served(guarded(root)) as bound:
        assert "not labelled</span>" in get(bound, "/").text.partition('class="legend')[2]
