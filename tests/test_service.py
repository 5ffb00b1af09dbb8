"""`cxremb serve`: what `predict` says, over HTTP, whoever else asks; limits, refusals, nothing that stays behind."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from conftest import WIDE, collection, save_film
from hypothesis import HealthCheck, Phase, given, settings
from served import Answer, ask, served

import cxremb as package
from cxremb.api.serve import is_loopback, opened_judge
from cxremb.catalog import add_collection
from cxremb.errors import StoreError
from cxremb.inference.judge import Judge
from cxremb.inference.known import ONE_STUDY
from cxremb.inference.results import NOTICE, Judgements
from cxremb.service import answers as documents
from cxremb.service import batches as room
from cxremb.service.app import Noticed, service_app
from cxremb.service.batches import Batches, Full, judge_studies
from cxremb.service.limits import Limits, RateLimit
from cxremb.service.metrics import Metrics
from cxremb.service.study import MOST_FILMS, SentFilm, SentStudy, plain_name
from cxremb.store.dataset import open_dataset
from cxremb.training.runs import list_runs
from cxremb.web.guard import Guard, Rules
from cxremb.web.server import Bound

STUDIES = 60
TEXT = "Opacity number 3. Abnormal."
EVERY_ANSWER = {"x-notice": NOTICE, "cache-control": "no-store"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with two arms on all folds; `films` beside its `stores`, and films that are new."""
    here = tmp_path_factory.mktemp("service")
    add_collection(collection(here / "films", STUDIES), here / "stores")
    for model in ("tiny", "tiny_text"):
        package.embed(model, root=here / "stores")
    package.ablate("image,fusion", controls=False, root=here / "stores")
    for number in range(8):
        save_film(here / "new" / f"{number}.png", 4_700 + number)
    return here


@pytest.fixture(scope="module")
def runs(here: Path) -> dict[str, str]:
    return {run.arm: run.run_id for run in list_runs(open_dataset(here / "stores"))}


@pytest.fixture(scope="module")
def judge(here: Path, runs: dict[str, str]) -> Judge:
    return opened_judge(runs["image"], None, here / "stores")


@contextmanager
def process(root: Path, *words: object, **env: str) -> Iterator[tuple[Bound, list[str], subprocess.Popen[str]]]:
    """`cxremb serve` as a process of its own: where, what it printed, and the process; it is ended by Ctrl-C."""
    script = [sys.executable, "-m", "cxremb", "serve", "--port", "0", "--root", str(root), *map(str, words)]
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": WIDE, **env}
    ) as running:
        assert running.stdout is not None
        said = [running.stdout.readline()]
        found = re.match(r"http://(\S+):(\d+)/ judges by run", said[0])
        assert found, running.stderr.read() if running.stderr else ""
        while not said[-1].startswith("  Research software"):
            said.append(running.stdout.readline())
        try:
            yield Bound(found[1], int(found[2])), said, running
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def fusion(here: Path, runs: dict[str, str]) -> Iterator[Bound]:
    with process(here / "stores", "--run", runs["fusion"]) as (bound, _, _running):
        yield bound


@contextmanager
def application(judge: Judge, limits: Limits | None = None, token: str | None = None) -> Iterator[Bound]:
    """The application in this process, guarded as the command does it."""
    limits = limits or Limits()
    app = service_app(judge, limits, neighbours=5, needs_token=token is not None)
    rules = {
        "token": token,
        "by": "bearer",
        "without_token": frozenset({"/health"}),
        "body_bytes": limits.body_bytes,
        "refuse": documents.problem,
    }
    with served(lambda bound: Noticed(Guard(app, Rules(hosts=bound.hosts, **rules)))) as bound:  # type: ignore[arg-type]
        yield bound


def form(films: dict[str, bytes], text: str | None = None) -> dict[str, Any]:
    """A request with this form."""
    parts = [
        f'Content-Disposition: form-data; name="films"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in films.items()
    ]
    parts += [] if text is None else [f'Content-Disposition: form-data; name="report_text"\r\n\r\n{text}'.encode()]
    body = b"".join(b"--7f3a\r\n" + part + b"\r\n" for part in parts) + b"--7f3a--\r\n"
    return {"method": "POST", "body": body, "headers": {"Content-Type": "multipart/form-data; boundary=7f3a"}}


def sent(*paths: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


def post(bound: Bound, *paths: Path, text: str | None = None) -> Answer:
    return ask(bound, "/predict", **form(sent(*paths), text))


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """A problem that says what to do, and nothing of this machine."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = json.loads(answer.body)
    assert (found["status"], found["type"]) == (status, "about:blank")
    assert found["detail"]
    assert not re.search(r"Traceback|cxremb-|/tmp|/dev/shm|\.py|stores/", answer.text)
    return dict(found)


def near(found: Any, wanted: Any) -> None:
    """The same, figures to 1e-6."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            near(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            near(one, other)
    else:
        assert found == (pytest.approx(wanted, abs=1e-6) if isinstance(wanted, float) else wanted)


def predicted(cxremb: Callable[..., Any], here: Path, run: str, files: tuple[Path, ...], *words: str) -> dict[str, Any]:
    """What the command says, with the names of files alone, as whoever sends them has them."""
    said = cxremb("predict", *files, "--run", run, "--root", here / "stores", "--format", "json", *words)
    assert said.code == 0, said.err
    text = said.out
    for path in files:
        text = text.replace(str(path), path.name)
    return dict(json.loads(text))


def test_it_says_what_predict_says(here: Path, runs: dict[str, str], fusion: Bound, cxremb: Any) -> None:
    bad = here / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    new, known, lateral = here / "new" / "0.png", here / "films" / "3_Frontal.png", here / "films" / "3_Lateral.png"
    for files, text in (((new,), TEXT), ((known, lateral), None), ((new, bad, known), TEXT)):
        words = () if text is None else ("--report-text", text)
        answer = post(fusion, *files, text=text)
        assert answer.status == 200, answer.text
        found = json.loads(answer.body)
        near(found, predicted(cxremb, here, runs["fusion"], files, *words))
        assert found["notice"] == NOTICE
        assert EVERY_ANSWER.items() <= answer.headers.items()
    assert [one["name"] for one in found["failed"]] == ["bad.png"]


def test_who_asks_at_once_changes_no_answer(here: Path, fusion: Bound) -> None:
    films = sorted((here / "new").iterdir())
    alone = [post(fusion, film, text=TEXT).body for film in films]
    with ThreadPoolExecutor(len(films)) as senders:
        together = list(senders.map(lambda film: post(fusion, film, text=TEXT).body, films))
    assert together == alone
    assert len(set(alone)) == len(films)


@pytest.fixture
def asked(here: Path) -> Iterator[list[SentStudy]]:
    """Three good studies, two of which have one film, and one that has none."""
    contents = [(here / "new" / name).read_bytes() for name in ("0.png", "1.png", "1.png")]
    found = [SentStudy([SentFilm(f"{place}.png", content)], None) for place, content in enumerate(contents)]
    found.append(SentStudy([SentFilm("no.png", b"no film")], None))
    yield found
    for study in found:
        study.close()


def test_all_that_wait_are_judged_in_one_call(
    asked: list[SentStudy], judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    rows_of = room.rows_of
    monkeypatch.setattr(
        room, "rows_of", lambda model, given: (calls.append(len(given.cases)), rows_of(model, given))[1]
    )
    metrics = Metrics()
    waiting = Batches(judge, waiting=4, neighbours=3, metrics=metrics)
    futures = [waiting.submit(study) for study in asked]
    with pytest.raises(Full):
        waiting.submit(asked[0])
    waiting.start()
    answers = [future.result(timeout=60) for future in futures]
    waiting.end()
    assert calls == [4]
    assert (metrics.batches, metrics.studies) == (1, 4)
    for study, answer in zip(asked[:3], answers, strict=False):
        (alone,) = judge_studies(judge, [study], neighbours=3)
        assert answer == alone
    assert [answer["studies"][0]["study"] for answer in answers[:3]] == ["0.png", "1.png", "2.png"]
    assert (
        str(answers[3]) == "nothing could be judged: no.png: not a readable image (no image format that is known here)"
    )


def test_an_error_of_one_study_is_no_error_of_another(
    asked: list[SentStudy], judge: Judge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judge_all = room.judge_studies

    def failing(judge: Judge, studies: list[SentStudy], **options: Any) -> Any:
        if any("1.png" in study.names.values() for study in studies):
            raise ValueError("a secret of 1.png")
        return judge_all(judge, studies, **options)

    monkeypatch.setattr(room, "judge_studies", failing)
    waiting = Batches(judge, waiting=4, neighbours=3, metrics=Metrics())
    futures = [waiting.submit(study) for study in asked]
    waiting.start()
    answers = [future.result(timeout=60) for future in futures]
    waiting.end()
    assert [isinstance(answer, dict) for answer in answers] == [True, False, True, False]
    assert str(answers[1]) == "the run cannot judge this now"
    assert "ValueError in cxremb" in caplog.text
    assert "secret" not in caplog.text


def test_what_is_wrong_is_said_with_what_to_do(here: Path, fusion: Bound, tmp_path: Path) -> None:
    damaged = tmp_path / "film.dcm"
    damaged.write_bytes(
        b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\x14\x00" + b"1.2.840.10008.1.2.4.90" + b"\xff" * 40
    )
    said = problem(post(fusion, damaged, text=TEXT), 422)
    assert said["detail"].startswith("nothing could be judged: film.dcm: ")
    assert said["hint"] == "this service reads films and a report"
    known = [here / "films" / f"{number}_Frontal.png" for number in (5, 6)]
    said = problem(post(fusion, *known, text=TEXT), 422)
    assert "5_Frontal.png: is of study 5, and films of 2 studies were given as one; 6_Frontal.png: " in said["detail"]
    assert said["hint"] == ONE_STUDY
    new = here / "new" / "0.png"
    said = problem(post(fusion, new), 422)
    assert "was trained on rows that have both, and here is no text (findings+impression)" in said["detail"]
    assert "is empty" in problem(post(fusion, new, text=" \n"), 422)["detail"]
    assert "200,000 letters, which is no report" in problem(post(fusion, new, text="a " * 100_000), 422)["detail"]
    assert "neither a film nor a report" in problem(ask(fusion, "/predict", method="POST"), 422)["detail"]
    many = form({f"{number}.png": b"x" for number in range(MOST_FILMS + 1)}, TEXT)
    assert problem(ask(fusion, "/predict", **many), 422)["detail"] == f"{MOST_FILMS + 1} films in one study"
    wrong = {**form({}), "body": b"--7f3a\r\nContent-Disposition: form-data; name=films\r\n\r\nx\r\n--7f3a--\r\n"}
    assert problem(ask(fusion, "/predict", **wrong), 422)["detail"].startswith("films")
    problem(ask(fusion, "/predict", **{**form({}), "body": b"\xff\xfe"}), 400)
    problem(ask(fusion, "/nothing"), 404)
    assert problem(ask(fusion, "/predict"), 405)["hint"] == "/predict takes POST; GET / says what is where"
    assert problem(ask(fusion, "/nothing"), 404)["hint"] == "GET / says what is where"


def test_who_is_turned_away_at_the_door_gets_a_problem_too(fusion: Bound, judge: Judge) -> None:
    """Host, Origin, length and token: with the notice and what to do."""
    with application(judge, Limits(body_bytes=100), token="right") as bound:
        for headers, status, detail, hint in (
            ({"Host": "evil.example"}, 421, f"this server is {bound.named} or localhost:{bound.port}", "tunnel"),
            ({"Origin": "http://evil.example"}, 403, "this was sent by a page of another site", "a program"),
            ({"Content-Length": "101"}, 413, "a request may be 100 bytes long", "send less"),
            ({}, 401, "the token is missing or wrong", "Authorization: Bearer TOKEN"),
        ):
            answer = ask(bound, "/predict", method="POST", headers=headers)
            said = problem(answer, status)
            assert (said["detail"], said["notice"], answer.headers["x-notice"]) == (detail, NOTICE, NOTICE)
            assert hint in said["hint"]


def test_the_first_page_says_what_is_where(fusion: Bound) -> None:
    answer = ask(fusion, "/")
    said = json.loads(answer.body)
    assert (answer.status, said.pop("notice")) == (200, NOTICE)
    for words in said.values():
        method, path = words.partition(":")[0].split()
        assert ask(fusion, path, method=method).status == (422 if method == "POST" else 200)


def test_a_port_that_is_taken_costs_no_wait_for_the_encoders(
    here: Path, fusion: Bound, cxremb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("cxremb.api.serve.opened_judge", lambda *words: opened.append(words))
    said = cxremb("serve", "--port", fusion.port, "--root", here / "stores")
    assert (said.code, opened) == (1, [])
    assert f"port {fusion.port} is taken" in said.err
    assert "`--port 0` takes one that is free" in said.err


def test_a_request_that_is_too_long_is_not_read(here: Path, judge: Judge) -> None:
    with application(judge, Limits(body_bytes=10_000)) as bound:
        said = problem(ask(bound, "/predict", **form({"a.png": b"x" * 10_000})), 413)
        assert said["detail"] == "a request may be 10,000 bytes long"
        connection = http.client.HTTPConnection(bound.host, bound.port, timeout=30)  # that does not say how long it is
        body = form({"a.png": b"x" * 30_000})
        pieces = (body["body"][at : at + 1_000] for at in range(0, len(body["body"]), 1_000))
        connection.request("POST", "/predict", body=pieces, headers=body["headers"], encode_chunked=True)
        got = connection.getresponse()
        headers = {name.lower(): value for name, value in got.getheaders()}
        problem(Answer(got.status, headers, got.read()), 413)
        connection.close()
        assert post(bound, here / "new" / "0.png").status == 200


def test_who_asks_too_often_is_told_when_to_ask_again(here: Path, judge: Judge) -> None:
    with application(judge, Limits(per_minute=2)) as bound:
        film = here / "new" / "0.png"
        assert [post(bound, film).status for _ in range(2)] == [200, 200]
        refused = post(bound, film)
        problem(refused, 429)
        assert 20 <= int(refused.headers["retry-after"]) <= 30
        assert ask(bound, "/health").status == 200
        counts = ask(bound, "/metrics")
    assert counts.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = counts.text.splitlines()
    assert {
        'cxremb_answers_total{status="200"} 2',
        'cxremb_answers_total{status="429"} 1',
        "cxremb_studies_total 2",
        "cxremb_waiting 0",
    } <= set(lines)
    assert all(re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{status=\"\d+\"\})? [\d.]+", line) for line in lines)


def test_a_bucket_fills_at_a_steady_rate() -> None:
    now = [0.0]
    rate = RateLimit(30, now=lambda: now[0])
    assert [rate.wait("a") for _ in range(31)] == [0] * 30 + [2]
    assert rate.wait("b") == 0
    now[0] = 2.0
    assert [rate.wait("a"), rate.wait("a")] == [0, 2]
    now[0] = 1e6
    assert [rate.wait("a") for _ in range(31)] == [0] * 30 + [2]


def test_where_too_many_wait_more_are_turned_away(here: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    judge_all = room.judge_studies

    def slow(*words: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return judge_all(*words, **options)

    monkeypatch.setattr(room, "judge_studies", slow)
    film = here / "new" / "0.png"
    with application(judge, Limits(waiting=1)) as bound, ThreadPoolExecutor(2) as senders:
        first = senders.submit(post, bound, film)
        assert begun.wait(30)
        second = senders.submit(post, bound, film)
        while json.loads(ask(bound, "/health").body)["waiting"] < 1:
            pass
        refused = post(bound, film)
        problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        go_on.set()
        assert (first.result().status, second.result().status) == (200, 200)


def test_a_study_that_is_not_judged_when_the_service_ends_is_told_so(
    here: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    judge_all = room.judge_studies

    def slow(*words: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return judge_all(*words, **options)

    monkeypatch.setattr(room, "judge_studies", slow)
    with ThreadPoolExecutor(2) as senders:
        with application(judge) as bound:
            asked = senders.submit(post, bound, here / "new" / "0.png")
            assert begun.wait(30)
            senders.submit(lambda: (asked.exception(30), go_on.set()))
        answer = asked.result()
    assert problem(answer, 503)["detail"] == "this service is ending"
    assert not [record for record in caplog.records if record.exc_info]  # no traceback for whoever ends it


def test_beyond_this_machine_a_token_is_needed(here: Path, runs: dict[str, str]) -> None:
    film = here / "new" / "0.png"
    with process(here / "stores", "--run", runs["image"], "--host", "0.0.0.0") as (bound, said, _running):
        token = next(line for line in said if "token: " in line).split()[-1]
        local = Bound("127.0.0.1", bound.port)
        assert json.loads(ask(local, "/health").body)["reads"] == ["image"]
        for path in ("/metrics", "/openapi.json"):
            refused = ask(local, path)
            assert problem(refused, 401)["detail"].startswith("the token is missing or wrong")
            assert refused.headers["x-notice"] == NOTICE
        assert post(local, film).status == 401
        right = form(sent(film))
        right["headers"]["Authorization"] = f"Bearer {token}"
        assert ask(local, "/predict", **right).status == 200
    with process(here / "stores", "--run", runs["image"], CXREMB_TOKEN="ours") as (bound, said, _running):
        assert not any("ours" in line for line in said)
        assert post(bound, film).status == 401
        right["headers"]["Authorization"] = "Bearer ours"
        assert ask(bound, "/predict", **right).status == 200
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "ward7")] == [
        *(True,) * 3,
        *(False,) * 3,
    ]


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_nothing_that_is_sent_stays(here: Path, runs: dict[str, str], tmp_path: Path) -> None:
    film = here / "new" / "7.png"
    with process(here / "stores", "--run", runs["fusion"], TMPDIR=str(tmp_path)) as (bound, said, running):
        curl = f'curl -F films=@film.png -F report_text="Clear lungs." http://127.0.0.1:{bound.port}/predict'
        assert curl in " ".join(
            map(str.strip, said)
        )  # all that the run reads: without its report it would judge nothing
        assert post(bound, film, text=TEXT).status == 200  # what it derives from the collection is kept by now
        before, shared = everything(here), {path.name for path in Path("/dev/shm").glob("cxremb-*")}
        for text in ("A secret word.", "Another secret."):
            assert post(bound, film, here / "new" / "6.png", text=text).status == 200
            assert post(bound, here / "films" / "3_Frontal.png", text=" ").status == 422
        assert everything(here) == before
        assert {path.name for path in Path("/dev/shm").glob("cxremb-*")} <= shared
        assert list(tmp_path.iterdir()) == []
        running.send_signal(signal.SIGINT)
        ended = running.communicate(timeout=30)
        assert (running.returncode, ended) == (0, ("", "loading the run and its encoders ...\nended\n"))


def test_names_that_are_sent_are_only_names(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "C:\\films\\a.png", "a\x1b[31m.png", "", "a.png"]
    study = SentStudy([SentFilm(name, bytes([place])) for place, name in enumerate(names)], None)
    kept = [name for path, name in study.names.items() if path != study.name]
    assert kept == ["passwd", "a.png", "a[31m.png", "film", "a.png (2)"]
    folder = Path(study.folder.name)
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1.png", "2.png", "3", "4"]
    assert folder.stat().st_mode & 0o077 == 0
    study.close()
    assert not folder.exists()
    assert plain_name("x" * 300 + ".png", taken=[]) == "x" * 96 + ".png"


def test_the_document_has_the_shape_of_predict(fusion: Bound) -> None:
    document = json.loads(ask(fusion, "/openapi.json").body)
    shapes = document["components"]["schemas"]
    assert set(shapes["Judgements"]["properties"]) == {one.name for one in fields(Judgements)}
    assert set(document["paths"]) == {"/", "/predict", "/health", "/metrics"}
    answers = document["paths"]["/predict"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Judgements"}
    assert set(answers) == {"200", "400", "403", "413", "421", "422", "429", "500", "503"}
    assert NOTICE in document["info"]["description"]


def test_it_keeps_to_its_document_whatever_is_sent(judge: Judge) -> None:
    """Schemathesis sends what the document allows, and what it does not."""
    with application(judge, Limits(per_minute=100_000)) as bound:
        schema = schemathesis.openapi.from_url(f"{bound.address}openapi.json")
        seen: set[int] = set()
        for operation in (found.ok() for found in schema.get_all_operations()):
            seen |= conforms(operation, schemathesis.GenerationMode.POSITIVE)
            if operation.body:  # else there is nothing to get wrong
                seen |= conforms(operation, schemathesis.GenerationMode.NEGATIVE)
    assert {200, 422} <= seen


def conforms(operation: Any, mode: Any) -> set[int]:
    """The statuses of the answers, each of which is as the document says."""
    seen: set[int] = set()
    checks = schemathesis.checks.CHECKS
    wrong = checks.get_by_names(["positive_data_acceptance"])  # any bytes fit the document, and few are a film

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def try_one(case: Any) -> None:
        answer = case.call()
        seen.add(answer.status_code)
        case.validate_response(answer, excluded_checks=wrong)

    try_one()
    return seen


def test_a_store_that_has_gone_is_refused_at_the_start(
    here: Path, runs: dict[str, str], tmp_path: Path, cxremb: Any
) -> None:
    import shutil

    root = Path(shutil.copytree(here / "stores", tmp_path / "stores"))
    for store in root.glob("small/embeddings/tiny@*"):
        shutil.rmtree(store)
    said = cxremb("serve", "--run", runs["image"], "--root", root)
    assert said.code == 1
    assert "has no store of that key any more" in said.err
    with pytest.raises(StoreError):
        opened_judge(runs["image"], None, root)
