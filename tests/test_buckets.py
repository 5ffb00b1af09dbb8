"""Objects at an address: conditions, races, faults, and what is said of them. A real server on loopback."""

import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("obstore", reason="needs the extra remote")
pytest.importorskip("localbucket", reason="an S3 server for tests")

from bucket import BUCKET, KEYS, Bucket, serving
from obstore.exceptions import GenericError

from cxremb import buckets, busy
from cxremb.buckets import ObjectTaken, Version, address_of, open_bucket, refuse_unconditional
from cxremb.errors import StoreError

ADDRESS = f"s3://{BUCKET}/some/root"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(tmp_path / "server") as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(buckets, "RETRIES", {"max_retries": 1})
        monkeypatch.setattr(busy, "PATIENCE", 0.0)
        yield found


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "draft"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://films/root", "s3://films/root"),
        ("s3:/films/root", "s3://films/root"),  # what `Path` makes of it
        ("gs://films/", "gs://films"),
        ("az://films/a/b", "az://films/a/b"),
        ("stores", None),
        ("/s3://films", None),
        ("https://host/x", None),  # films may lie there, no root
        ("s3://", None),
    ],
)
def test_an_address_is_told_from_a_path(text: str, address: str | None) -> None:
    assert address_of(text) == address
    assert address_of(Path(text)) == address


def test_objects_are_put_listed_fetched_and_removed(server: Bucket, tmp_path: Path) -> None:
    there = open_bucket(ADDRESS)
    keys = ["a/x.json", "a/ä %41 [1]#?.json", "ab/y"]
    versions = [there.put(file_of(tmp_path, key.encode()), key, None) for key in keys]
    assert server.objects() == sorted(f"some/root/{key}" for key in keys)
    listed = {one.key: one for one in there.listed("a")}
    assert sorted(listed) == sorted(keys[:2])  # `ab` is another folder
    assert [listed[key].version.e_tag for key in keys[:2]] == [version.e_tag for version in versions[:2]]
    assert listed[keys[1]].size_bytes == len(keys[1].encode())
    assert there.fetch(keys[1], tmp_path / "got") == versions[1]
    assert (tmp_path / "got").read_bytes() == keys[1].encode()
    assert there.content(keys[0]) == keys[0].encode()
    there.remove(keys[:2])
    assert server.objects() == ["some/root/ab/y"]
    with pytest.raises(FileNotFoundError):
        there.fetch(keys[0], tmp_path / "none")


def test_a_large_file_goes_in_pieces_and_comes_back_the_same(server: Bucket, tmp_path: Path) -> None:
    content = os.urandom(12_000_000)
    there = open_bucket(ADDRESS)
    there.upload(file_of(tmp_path, content), "part")
    assert sum("partNumber" in path for _, path in server.requests) == 3
    there.fetch("part", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content


def test_the_second_to_create_is_told_and_the_first_stays(server: Bucket, tmp_path: Path) -> None:
    there = open_bucket(ADDRESS)
    there.put(file_of(tmp_path, b"first"), "x", None)
    with pytest.raises(ObjectTaken):
        there.put(file_of(tmp_path, b"second"), "x", None)
    assert there.content("x") == b"first"


def test_a_replacement_needs_the_version_that_is_there(server: Bucket, tmp_path: Path) -> None:
    there = open_bucket(ADDRESS)
    first = there.put(file_of(tmp_path, b"first"), "x", None)
    second = there.put(file_of(tmp_path, b"second"), "x", first)
    with pytest.raises(ObjectTaken):
        there.put(file_of(tmp_path, b"third"), "x", first)
    assert there.content("x") == b"second"
    assert there.put(file_of(tmp_path, b"third"), "x", second) != second
    there.remove(["x"])
    with pytest.raises(ObjectTaken):  # removed meanwhile is changed meanwhile
        there.put(file_of(tmp_path, b"fourth"), "x", second)


def test_who_lost_the_answer_has_still_put_it(server: Bucket, tmp_path: Path) -> None:
    """The object is written, the answer does not arrive, and the next try is told that the name is taken: by itself."""
    there = open_bucket(ADDRESS)
    there.put(file_of(tmp_path, b"mine"), "x", None)
    assert there.put(file_of(tmp_path, b"mine"), "x", None) == next(there.listed()).version


def test_409_is_tried_again_and_412_is_not(server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "PAUSE", 0.001)
    left = [1, 1, 1]
    server.fault = lambda handler, method, key: (
        method == "PUT" and bool(left) and bool(left.pop()) and handler.refuse(409, "ConditionalRequestConflict")
    )
    open_bucket(ADDRESS).put(file_of(tmp_path, b"mine"), "x", None)
    assert [method for method, _ in server.requests] == ["PUT"] * 4
    server.requests.clear()
    with pytest.raises(ObjectTaken):
        open_bucket(ADDRESS).put(file_of(tmp_path, b"other"), "x", None)
    assert [method for method, _ in server.requests].count("PUT") == 1
    server.fault = lambda handler, method, key: handler.refuse(409, "ConditionalRequestConflict")
    with pytest.raises(ObjectTaken):  # at last it is given up
        open_bucket(ADDRESS).put(file_of(tmp_path, b"mine"), "y", None)


def test_a_server_that_ignores_conditions_is_refused(server: Bucket, tmp_path: Path) -> None:
    refuse_unconditional(open_bucket(ADDRESS))  # this one keeps to them
    assert server.objects() == []
    server.conditions = False
    with pytest.raises(StoreError, match=r"creates an object that is there already.*could lose a version") as caught:
        refuse_unconditional(open_bucket(ADDRESS))
    assert "If-None-Match" in caught.value.hint
    assert server.objects() == []  # nothing is left


def test_a_server_that_only_creates_on_a_condition_is_refused(server: Bucket) -> None:
    def ignore_match(handler: object, method: str, key: str) -> bool:
        del handler.headers["If-Match"]  # type: ignore[attr-defined]
        return False

    server.fault = ignore_match
    with pytest.raises(StoreError, match="replaces one that was changed meanwhile"):
        refuse_unconditional(open_bucket(ADDRESS))
    assert server.objects() == []


@pytest.mark.parametrize(
    ("status", "code", "said", "hint"),
    [
        (403, "InvalidAccessKeyId", "refuses these credentials .InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", "refuses these credentials .AccessDenied", "AWS_PROFILE"),
        (401, "Unauthorized", "refuses these credentials", "AWS_ACCESS_KEY_ID"),
        (501, "NotImplemented", "does not know a request", "conditional writes"),
        (503, "SlowDown", "stays busy .SlowDown", "run the command again later"),
        (429, "TooManyRequests", "stays busy .TooManyRequests", "run the command again later"),
    ],
)
def test_what_a_server_refuses_is_said(
    server: Bucket, tmp_path: Path, status: int, code: str, said: str, hint: str
) -> None:
    server.fault = lambda handler, method, key: handler.refuse(status, code)
    there = open_bucket(ADDRESS)
    for attempt in (
        lambda: there.put(file_of(tmp_path, b"x"), "x", None),
        lambda: list(there.listed()),
        lambda: there.fetch("x", tmp_path / "got"),
        lambda: there.upload(file_of(tmp_path, b"x"), "x"),
    ):
        with pytest.raises(StoreError, match=said) as caught:
            attempt()
        assert str(caught.value).startswith("s3://films/some/root")
        assert hint in caught.value.hint
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests")])
def test_a_server_that_is_busy_is_asked_again(
    server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, caplog: Any
) -> None:
    """Every kind of request, six times each: more often than obstore itself asks again."""
    monkeypatch.setattr(busy, "PATIENCE", 60.0)
    monkeypatch.setattr(busy, "FIRST", 0.01)
    there = open_bucket(ADDRESS)
    refused: Counter[str] = Counter()

    def often(handler: Any, method: str, key: str) -> bool:
        refused[method] += 1
        return refused[method] % 7 > 0 and handler.refuse(status, code)

    server.fault = often
    made = there.put(file_of(tmp_path, b"one"), "x", None)
    assert [one.key for one in there.listed()] == ["x"]
    assert there.content("x") == b"one"
    assert there.fetch("x", tmp_path / "got") == made
    there.upload(file_of(tmp_path, b"two"), "y")
    there.remove(["x"])
    assert server.objects() == ["some/root/y"]
    assert refused == {"PUT": 14, "GET": 21, "POST": 7}
    assert caplog.messages.count(f"{ADDRESS}: the server is busy, waiting") == 6


def test_a_busy_server_is_asked_later_and_later_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(busy, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))

    def ask() -> None:
        raise GenericError("Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>")

    with pytest.raises(GenericError):
        busy.patiently(ADDRESS, ask)
    assert busy.PATIENCE - busy.LONGEST < sum(pauses) <= busy.PATIENCE
    most = [1.0, 2.0, 4.0, 8.0, 16.0] + [20.0] * len(pauses)
    assert all(long / 2 <= pause <= long for pause, long in zip(pauses, most, strict=False))


def test_what_is_not_busy_is_not_asked_again() -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise GenericError("Server returned non-2xx status code: 403 Forbidden: 503 films")

    with pytest.raises(GenericError):
        busy.patiently(ADDRESS, ask)
    assert asked == [1]


def test_no_such_bucket_no_server_no_keys(server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt in (
        lambda: list(open_bucket("s3://nobody/x").listed()),
        lambda: open_bucket("s3://nobody/x").put(file_of(tmp_path, b"x"), "x", None),
        lambda: open_bucket("s3://nobody/x").fetch("x", tmp_path / "got"),
    ):
        with pytest.raises(StoreError, match="s3://nobody: there is no such bucket"):
            attempt()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    with pytest.raises(StoreError, match="refuses these credentials"):
        list(open_bucket(ADDRESS).listed())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        list(open_bucket(ADDRESS).listed())
    assert "network" in caught.value.hint


def test_a_connection_that_is_cut(server: Bucket, tmp_path: Path) -> None:
    there = open_bucket(ADDRESS)
    content = os.urandom(12_000_000)
    server.fault = lambda handler, method, key: "partNumber=2" in handler.path and handler.cut()
    with pytest.raises(StoreError, match="connection broke") as caught:
        there.upload(file_of(tmp_path, content), "part")
    assert "run the command again" in caught.value.hint
    assert list(there.listed()) == []  # nothing half is visible
    server.fault = lambda handler, method, key: method == "PUT" and handler.cut()
    with pytest.raises(StoreError, match="connection broke"):
        there.put(file_of(tmp_path, b"x" * 100_000), "x", None)
    server.fault = None
    assert list(there.listed()) == []
    there.upload(file_of(tmp_path, content), "part")
    assert there.content("part") == content


def test_keys_of_a_profile_are_found(server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = stranger\naws_secret_access_key = x\n"
        f"[study]\naws_access_key_id = {KEYS['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = a%b\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match="refuses"):
        list(open_bucket(ADDRESS).listed())
    monkeypatch.setenv("AWS_PROFILE", "study")
    assert list(open_bucket(ADDRESS).listed()) == []


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    monkeypatch.setenv("AWS_REGION", "nowhere-seen-before")  # no client of it is held
    with pytest.raises(StoreError, match="needs obstore") as caught:
        open_bucket(ADDRESS)
    assert re.search(r'pip install "cxremb\[remote\]"', caught.value.hint)


def race(number: int, folder: Path, gate: object, won: object) -> None:
    """One of many writers, each a process with a client of its own."""
    there = open_bucket(ADDRESS)
    draft = folder / f"draft-{number}"
    draft.write_text(f"writer {number}")
    list(there.listed("nothing"))  # the connection is there
    gate.wait()  # type: ignore[attr-defined]
    with suppress(ObjectTaken):
        there.put(draft, "000001.json", None)
        won.put(number)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_32_writers_released_together_one_wins(server: Bucket, tmp_path: Path) -> None:
    fresh = multiprocessing.get_context("spawn")
    gate, won = fresh.Barrier(32), fresh.Queue()
    writers = [fresh.Process(target=race, args=(number, tmp_path, gate, won)) for number in range(32)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 32
    winner = won.get(timeout=5)
    assert won.empty()
    assert server.path("some/root/000001.json").read_text() == f"writer {winner}"


def test_a_version_that_is_no_e_tag_is_put_as_it_is() -> None:
    """Google's servers know a generation."""
    assert {name: it for name, it in Version(None, "17")._asdict().items() if it} == {"version": "17"}
