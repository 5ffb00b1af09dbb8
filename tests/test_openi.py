import gzip
import io
import os
import re
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import IO

import pytest

from cxremb.datasets import download as downloads
from cxremb.datasets.download import TRIES
from cxremb.datasets.openi import IMAGES, OPENI_URL, REPORTS, download_archive, fetch, obtain, unpack
from cxremb.errors import FetchError


def tgz(files: dict[str, bytes], *odd: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in odd:
            archive.addfile(member)
    return out.getvalue()


NOISE = os.urandom(300_000)  # does not compress: the archive spans many reads
ARCHIVE = tgz({"CXR1_1_IM-0001-3001.png": NOISE[:150_000], "CXR2_IM-0652-1001.png": NOISE[150_000:]})


@dataclass
class Site:
    """A web server on loopback. `cuts`: after how many bytes each answer in turn is cut off."""

    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)  # after how many bytes each answer in turn says nothing more
    over: Event = field(default_factory=Event)
    statuses: list[int] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def start_of(self, request: dict[str, str], tag: str | None) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", request.get("range", ""))
        changed = request.get("if-range", tag) != tag
        return int(wanted[1]) if wanted and self.ranges and not changed else 0

    def send(self, out: IO[bytes], rest: bytes) -> None:
        if self.stalls:
            out.write(rest[: self.stalls.pop(0)])
            self.over.wait(60)
        else:
            out.write(rest[: self.cuts.pop(0)] if self.cuts else rest)

    def handler(site) -> type[BaseHTTPRequestHandler]:  # noqa: N805, the handler has its own self
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None: ...

            def do_GET(self) -> None:
                site.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
                name = self.path.rpartition("/")[2]
                content, tag = site.files.get(name), site.tags.get(name)
                if site.statuses or content is None:
                    self.send_error(site.statuses.pop(0) if site.statuses else 404)
                    return
                start = site.start_of(site.asked[-1], tag)
                if start and start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                if site.length:
                    self.send_header("Content-Length", str(len(content) - start))
                if tag:
                    self.send_header("ETag", tag)
                self.end_headers()
                site.send(self.wfile, content[start:])  # HTTP/1.0: the connection ends here

        return Handler


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), site.handler())
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    site.files = {IMAGES: ARCHIVE, REPORTS: tgz({"ecgen-radiology/1.xml": b"<eCitation/>"})}
    site.tags = {IMAGES: '"v1"'}
    yield site
    site.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def ranges_asked(site: Site) -> list[str | None]:
    return [request.get("range") for request in site.asked]


def test_a_cut_connection_is_resumed_where_it_broke(site, tmp_path):
    site.cuts = [100_000, 50_000]
    seen = []
    path = download_archive(
        f"{site.url}/{IMAGES}", tmp_path / IMAGES, lambda done, total, name: seen.append((done, total, name))
    )
    assert path.read_bytes() == ARCHIVE
    assert ranges_asked(site) == [None, "bytes=100000-", "bytes=150000-"]
    assert [request.get("if-range") for request in site.asked] == [None, '"v1"', '"v1"']
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE), IMAGES)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {total for _, total, _ in seen} == {len(ARCHIVE)}
    assert [p.name for p in tmp_path.iterdir()] == [IMAGES]


def test_a_server_that_falls_silent_is_given_up_and_resumed_by_the_next_call(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    site.stalls = [100_000, 30_000] + [0] * TRIES  # silence after the first bytes, after some more, and then at once
    with pytest.raises(FetchError, match=rf"{IMAGES}: the connection broke \(timed out\)") as caught:
        download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES)
    assert "again" in caught.value.hint
    assert ranges_asked(site) == [None, "bytes=100000-"] + ["bytes=130000-"] * TRIES
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{IMAGES}.part", f"{IMAGES}.part.json"]
    site.stalls = []
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert ranges_asked(site)[-1] == "bytes=130000-"


def test_a_stopped_download_is_resumed_by_the_next_call(site, tmp_path):
    class Stop(Exception): ...

    def stop(done: int, total: int | None, name: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES, stop)
    kept = (tmp_path / f"{IMAGES}.part").stat().st_size
    assert 0 < kept <= len(ARCHIVE)
    assert not (tmp_path / IMAGES).exists()
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert ranges_asked(site) == [None, f"bytes={kept}-"]


def test_a_server_without_ranges_is_read_from_the_beginning(site, tmp_path):
    site.ranges = False
    site.cuts = [100_000]
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert ranges_asked(site) == [None, "bytes=100000-"]


@pytest.mark.parametrize("tagged", [True, False])
def test_a_file_that_changed_is_not_glued_to_the_old_one(site, tmp_path, tagged):
    site.tags = {IMAGES: '"v1"'} if tagged else {}
    part = tmp_path / f"{IMAGES}.part"
    site.cuts = [100_000, *([0] * downloads.TRIES)]
    with pytest.raises(FetchError, match="the connection broke at 100,000 of"):
        download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES)
    assert part.read_bytes() == ARCHIVE[:100_000]
    site.cuts = []
    site.files[IMAGES] = tgz({"other.png": NOISE[::-1]})
    assert len(site.files[IMAGES]) != len(ARCHIVE)  # without a tag the size gives it away
    if tagged:
        site.tags = {IMAGES: '"v2"'}
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == site.files[IMAGES]


def test_a_part_of_another_address_is_not_used(site, tmp_path):
    site.cuts = [100_000, *([0] * downloads.TRIES)]
    with pytest.raises(FetchError):
        download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES)
    site.cuts = []
    site.asked.clear()
    assert download_archive(f"{site.url}/mirror/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert ranges_asked(site) == [None]


@pytest.mark.parametrize("excess", [b"", b"junk"])
def test_a_part_that_is_complete_or_too_long_is_settled(site, tmp_path, excess):
    part = tmp_path / f"{IMAGES}.part"
    part.write_bytes(ARCHIVE + excess)
    downloads.write_remote(part, downloads.RemoteFile(f"{site.url}/{IMAGES}", '"v1"', len(ARCHIVE)))
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert ranges_asked(site) == [f"bytes={len(ARCHIVE + excess)}-", *([None] if excess else [])]
    assert [p.name for p in tmp_path.iterdir()] == [IMAGES]


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(site, tmp_path):
    site.statuses = [503, 429]
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert len(site.asked) == 3
    site.asked.clear()
    with pytest.raises(FetchError, match=r"gone\.tgz: status 404") as caught:
        download_archive(f"{site.url}/gone.tgz", tmp_path / "gone.tgz")
    assert len(site.asked) == 1
    assert "cxremb data add iu_xray --images DIR --reports" in caught.value.hint
    assert list(tmp_path.glob("gone*")) == []


def test_a_weak_tag_is_not_relied_on(site, tmp_path):
    site.tags = {IMAGES: 'W/"v1"'}
    site.cuts = [100_000]
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE
    assert "if-range" not in site.asked[1]


def test_a_server_that_does_not_say_the_size_is_believed(site, tmp_path):
    site.length = False
    assert download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES).read_bytes() == ARCHIVE


def test_a_log_in_page_is_no_archive(site, tmp_path):
    site.files[IMAGES] = b"<html>please log in</html>"
    with pytest.raises(FetchError, match=r"what came is not a \.tgz file"):
        download_archive(f"{site.url}/{IMAGES}", tmp_path / IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_message_with_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(FetchError, match="refused") as caught:
        fetch(tmp_path, url)
    assert OPENI_URL + IMAGES in caught.value.hint
    assert OPENI_URL + REPORTS in caught.value.hint


def test_only_http_is_fetched(tmp_path):
    with pytest.raises(FetchError, match="not an http"):
        fetch(tmp_path, f"file://{tmp_path}")


def test_a_folder_that_cannot_be_made_is_said(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match="file") as caught:
        fetch(tmp_path / "file" / "below", site.url)
    assert "--output" in caught.value.hint


def test_obtain_fetches_and_unpacks_once(site, tmp_path):
    images, reports = obtain(tmp_path / "to", site.url)
    assert reports.read_bytes() == site.files[REPORTS]
    assert {p.name: p.stat().st_size for p in images.iterdir()} == {
        "CXR1_1_IM-0001-3001.png": 150_000,
        "CXR2_IM-0652-1001.png": 150_000,
    }
    assert (images / "CXR1_1_IM-0001-3001.png").read_bytes() == NOISE[:150_000]
    site.asked.clear()
    before = images.stat().st_mtime_ns
    assert obtain(tmp_path / "to", site.url) == (images, reports)
    assert site.asked == []
    assert images.stat().st_mtime_ns == before


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("files", "odd", "member"),
    [
        ({"ok.png": b"x", "../evil": b"x"}, [], "../evil"),
        ({"ok.png": b"x", "a/../../evil": b"x"}, [], "a/../../evil"),
        ({"ok.png": b"x", "..\\evil": b"x"}, [], "..\\evil"),
        ({"ok.png": b"x", "ABSOLUTE": b"x"}, [], "ABSOLUTE"),
        ({"ok.png": b"x"}, [link("out", "..")], "out"),
        ({"ok.png": b"x"}, [link("out", "ok.png")], "out"),
        ({"ok.png": b"x"}, [link("hard", "ok.png", tarfile.LNKTYPE)], "hard"),
        ({"ok.png": b"x"}, [link("pipe", "", tarfile.FIFOTYPE)], "pipe"),
        ({"ok.png": b"x"}, [link("holes", "", tarfile.GNUTYPE_SPARSE)], "holes"),
    ],
)
def test_an_archive_that_leads_out_is_refused_and_nothing_is_written(tmp_path, files, odd, member):
    absolute = str(tmp_path / "evil")
    files = {name.replace("ABSOLUTE", absolute): content for name, content in files.items()}
    archive = tmp_path / "bad.tgz"
    archive.write_bytes(tgz(files, *odd))
    with pytest.raises(FetchError, match=r"bad\.tgz: refused") as caught:
        unpack(archive, tmp_path / "to" / "images")
    assert repr(member.replace("ABSOLUTE", absolute)) in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.tgz", "to"]


@pytest.mark.parametrize("damage", ["cut", "checksum", "text", "empty"])
def test_a_damaged_archive_is_named_and_nothing_is_left(tmp_path, damage):
    flipped = ARCHIVE[:-8] + bytes(byte ^ 1 for byte in ARCHIVE[-8:-4]) + ARCHIVE[-4:]
    content = {"cut": ARCHIVE[:200_000], "checksum": flipped, "text": b"<html>", "empty": gzip.compress(b"")}[damage]
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(FetchError, match=r"a\.tgz: a damaged or incomplete archive"):
        unpack(tmp_path / "a.tgz", tmp_path / "images")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]


def test_unpacking_says_how_far_it_is_and_drops_odd_modes(tmp_path):
    member = tarfile.TarInfo("run.png")
    member.mode = 0o4777
    archive: Path = tmp_path / "a.tgz"
    archive.write_bytes(tgz({"a/1.png": NOISE}, member))
    seen = []
    unpack(archive, tmp_path / "images", lambda done, total, name: seen.append((done, total)))
    assert seen[-1] == (archive.stat().st_size, archive.stat().st_size)
    assert (tmp_path / "images" / "a" / "1.png").read_bytes() == NOISE
    assert (tmp_path / "images" / "run.png").stat().st_mode & 0o7022 == 0
