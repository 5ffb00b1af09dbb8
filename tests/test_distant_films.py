"""Films at an address, in a bucket or on a server: the same vectors as films on a disk, and nothing kept of them."""

import base64
import csv
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest

pytest.importorskip("obstore", reason="needs the extra remote")
pytest.importorskip("localbucket", reason="an S3 server for tests")

from bucket import BUCKET, Bucket, serving
from conftest import save_film

from cxremb import buckets, busy
from cxremb.catalog import add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.errors import ImageError, StoreError
from cxremb.images import decode_file, distant, film_address, stamp_of
from cxremb.store.dataset import Dataset
from cxremb.store.locations import Locations, common_folder
from cxremb.store.reader import list_stores

FILMS = 24


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(tmp_path / "server") as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        for module in (buckets, distant):
            monkeypatch.setattr(module, "RETRIES", {"max_retries": 1})
        for number in range(FILMS):
            save_film(found.path(f"files/p{number % 3} x/{number}.png"), number)
        yield found


def added(folder: Path, place: str, images: Path | None = None, films: int = FILMS) -> Dataset:
    """A data set of a table that says where each film lies."""
    folder.mkdir(exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "patient"])
        rows.writerows([f"f{n}", f"{place}p{n % 3} x/{n}.png", f"p{n}"] for n in range(films))
    spec = TableSpec(folder / "table.csv", "far", images, columns={"id": "id"})
    return add_collection(read(spec), folder / "root").dataset


def encode(dataset: Dataset, **machine: Any) -> Any:
    return embed(dataset, load_encoder(What("tiny"), Machine(**machine)), Machine(**machine))


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://bucket/a/b.png", "s3://bucket/a/b.png"),
        (Path("s3://bucket/a/b.png"), "s3://bucket/a/b.png"),
        (Path("https://host:8042/a/b.png"), "https://host:8042/a/b.png"),
        ("gs://bucket/a.png", "gs://bucket/a.png"),
        ("films/s3/b.png", None),
        ("/abs/b.png", None),
        ("s3://bucket", None),
        ("ftp://host/a.png", None),
    ],
)
def test_an_address_is_told_from_a_file(path: str | Path, address: str | None) -> None:
    assert film_address(path) == address


def test_films_in_a_bucket_give_the_vectors_of_films_on_a_disk(server: Bucket, tmp_path: Path) -> None:
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    near = added(tmp_path / "near", "", server.path("files"))
    for name in ("image_id", "sha256", "width", "height"):
        assert far.images[name].equals(near.images[name])
    assert far.images["path"][1].as_py() == f"s3://{BUCKET}/files/p1 x/1.png"
    found, other = encode(far), encode(near)
    assert (found.encoded, found.failures) == (other.encoded, ())
    assert found.store.table().equals(other.store.table())
    files = {path.suffix for path in (tmp_path / "far").rglob("*") if path.is_file()}
    assert files == {".csv", ".json", ".parquet", ""}  # "": the lock


def test_a_folder_of_films_may_be_an_address(server: Bucket, tmp_path: Path) -> None:
    far = added(tmp_path / "far", "", Path(f"s3://{BUCKET}/files"))
    assert far.images["sha256"].null_count == 0
    assert far.descriptor["source"]["images"] == f"s3://{BUCKET}/files"
    assert not any("list-type" in path for _, path in server.requests)  # it may have millions of others


def test_films_on_a_server(server: Bucket, tmp_path: Path) -> None:
    handler = partial(Quiet, directory=str(server.path("files")))
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    try:
        far = added(tmp_path / "far", f"http://127.0.0.1:{web.server_port}/")
        near = added(tmp_path / "near", "", server.path("files"))
        assert encode(far).store.table().equals(encode(near).store.table())
        with pytest.raises(StoreError, match="a question in it"):
            decode_file(Path(f"http://127.0.0.1:{web.server_port}/1.png?signed=1"))
    finally:
        web.shutdown()
        web.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Nothing on stderr."""


@pytest.mark.parametrize("status", [503, 429])
def test_a_server_of_films_that_is_busy_is_asked_again(
    server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It refuses each film more often than obstore itself asks again; no film is blamed."""
    monkeypatch.setattr(busy, "FIRST", 0.01)
    asked: Counter[str] = Counter()

    class Busy(Quiet):
        def do_GET(self) -> None:
            asked[self.path] += 1
            if asked[self.path] % 5:
                self.send_error(status)
            else:
                super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Busy, directory=str(server.folder / BUCKET))) as live:
        threading.Thread(target=live.serve_forever, daemon=True).start()
        far = added(tmp_path / "far", f"http://127.0.0.1:{live.server_port}/files/")
        found = encode(far)
        live.shutdown()
    assert (found.store.manifest.written, found.store.manifest.failed) == (FILMS, 0)
    assert len(asked) == FILMS
    assert set(asked.values()) == {10}  # it is read when it is added, and when it is encoded


def test_a_film_that_is_gone_or_another_is_a_failure(server: Bucket, tmp_path: Path) -> None:
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    server.path("files/p0 x/0.png").unlink()
    save_film(server.path("files/p1 x/1.png"), 99)
    server.path("files/p2 x/2.png").write_bytes(b"no film")
    found = encode(far)
    said = {failure.item.item_id: str(failure.message) for failure in found.failures}
    assert said == {
        "f0": f"s3://{BUCKET}/files/p0 x/0.png: is not there",
        "f1": f"s3://{BUCKET}/files/p1 x/1.png: changed since it was added",
        "f2": f"s3://{BUCKET}/files/p2 x/2.png: changed since it was added",
    }
    assert found.store.manifest.written == FILMS - 3


def test_a_film_that_is_not_there_is_listed_and_counted(server: Bucket, tmp_path: Path) -> None:
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/", films=FILMS + 1)
    assert far.images["sha256"].null_count == 1
    (note,) = [note for note in far.descriptor["notes"] if "cannot be read" in note["what"]]
    assert note["count"] == 1
    with pytest.raises(ImageError, match=r"24\.png: is not there"):
        decode_file(Path(f"s3://{BUCKET}/files/p0 x/24.png"))


@pytest.mark.parametrize("fault", ["keys", "cut"])
def test_a_server_that_cannot_be_asked_stops_the_job_and_no_film_is_blamed(
    server: Bucket, tmp_path: Path, fault: str
) -> None:
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    left = [FILMS - 4]

    def fail(handler: Any, method: str, key: str) -> bool:
        left[0] -= method == "GET"
        if left[0] >= 0:
            return False
        return handler.refuse(403, "ExpiredToken") if fault == "keys" else handler.cut()

    server.fault = fail
    said = "refuses these credentials .ExpiredToken" if fault == "keys" else "connection broke"
    with pytest.raises(StoreError, match=said):
        encode(far, batch_size=4, part_items=4)
    assert list_stores(far) == []
    with pytest.raises(StoreError, match=said):
        added(tmp_path / "new", f"s3://{BUCKET}/files/")
    server.fault = None
    found = encode(far)
    assert found.store.manifest.written == FILMS
    assert found.encoded < FILMS  # what was finished is kept


def test_a_server_that_falls_silent_in_a_film_is_given_up(
    server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head and half of the film, and then nothing: the same command goes on when it speaks again."""
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    monkeypatch.setattr(buckets, "SILENT", timedelta(seconds=0.5))
    buckets.opened_bucket.cache_clear()
    over, left = Event(), [FILMS - 4]

    def stall(handler: Any, method: str, key: str) -> bool:
        left[0] -= method == "GET"
        if left[0] >= 0:
            return False
        content = server.path(key).read_bytes()
        handler.send_response(200)
        for name, value in (
            ("Content-Length", len(content)),
            ("ETag", '"x"'),
            ("Last-Modified", formatdate(0, usegmt=True)),
        ):
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        over.wait(60)
        handler.close_connection = True
        return True

    server.fault = stall
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"s3://films/files/.*png: cannot be reached, or the connection broke"):
        encode(far, batch_size=4, part_items=4)
    assert time.monotonic() - began < 50
    over.set()
    server.fault = None
    found = encode(far)
    assert found.store.manifest.written == FILMS
    assert found.encoded < FILMS  # what was finished is kept


def test_pixels_that_are_kept_need_a_question_and_no_bytes(server: Bucket, tmp_path: Path) -> None:
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    first = encode(far, keep_pixels=True)
    table = first.store.table()
    for path in first.store.folder.iterdir():
        path.unlink()
    server.requests.clear()
    again = encode(far)
    assert {method for method, _ in server.requests} == {"HEAD"}
    assert again.store.table().equals(table)
    stamp = stamp_of(f"s3://{BUCKET}/files/p0 x/0.png")
    assert stamp is not None
    assert stamp.size_bytes == server.path("files/p0 x/0.png").stat().st_size
    assert stamp_of(f"s3://{BUCKET}/files/none.png") is None


def test_films_are_fetched_ahead(server: Bucket, tmp_path: Path) -> None:
    """A server that takes its time is asked by many at once, and never for more than is soon needed."""
    far = added(tmp_path / "far", f"s3://{BUCKET}/files/")
    lock, now, most = threading.Lock(), [0], [0]

    def slow(handler: Any, method: str, key: str) -> bool:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.1)
        with lock:
            now[0] -= 1
        return False

    server.fault = slow
    assert encode(far).store.rows == FILMS
    assert distant.READERS // 2 <= most[0] <= distant.READERS


def test_names_and_passwords_go_to_their_host_alone_and_never_in_the_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine films.example login ann password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert base64.b64decode(distant.password("films.example")) == b"ann:secret"
    assert distant.password("other.example") == ""
    distant.open_server.cache_clear()
    assert "authorization" in str(distant.open_server("https://films.example").client.client_options)
    assert "authorization" not in str(distant.open_server("http://films.example").client.client_options)
    assert "authorization" not in str(distant.open_server("https://other.example").client.client_options)


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["s3://b/x/1.png", "s3://b/y/2.png"], "s3://b"),
        (["s3://b/x/1.png", "s3://b/x/2.png"], "s3://b/x"),
        (["s3://b/x/1.png", "s3://c/x/2.png"], ""),
        (["s3://b/x/1.png", "https://b/x/2.png"], ""),
        (["s3://b/x/1.png", "/data/x/2.png", "/data/1.png"], ""),
        (["/data/x/2.png", "/data/xy/1.png"], "/data"),
    ],
)
def test_what_lies_on_several_servers_is_found_again(paths: list[str], folder: str) -> None:
    assert common_folder(paths) == folder
    locations = Locations(common_folder(paths))
    assert [locations.whole(locations.short(path)) for path in paths] == paths
