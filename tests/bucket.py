"""An S3 server on loopback for tests: localbucket, with conditional replacing added, and faults on request.

localbucket's own conditional create is atomic (a hard link). It ignores `If-Match`, as some servers do, and has no
bulk deletion; both are added here.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from localbucket import S3Error, S3Handler, object_etag

BUCKET = "films"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@dataclass
class Bucket:
    """A server with one bucket. What a test changes in it holds from the next request on."""

    folder: Path  # the objects, as files
    address: str = ""  # of the server
    conditions: bool = True  # whether it knows If-None-Match and If-Match
    fault: Callable[["Handler", str, str], bool] | None = None  # (handler, method, key) -> whether it has answered
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, path with query
    replacing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def env(self) -> dict[str, str]:
        """What the environment of its users has."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.address, "AWS_ALLOW_HTTP": "true"}

    def objects(self) -> list[str]:
        """Every object by its key."""
        place = self.folder / BUCKET
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())

    def path(self, key: str) -> Path:
        """The file of an object."""
        return self.folder / BUCKET / key


class Handler(S3Handler):  # type: ignore[misc]
    """One request."""

    bucket: Bucket

    def log_message(self, *words: Any) -> None:
        """Nothing on stderr."""

    def _dispatch(self, action: Any) -> None:
        self.bucket.requests.append((self.command, self.path))
        key = self.path.split("?")[0].removeprefix(f"/{BUCKET}").strip("/")
        if self.headers.get("Authorization", "").find("Credential=key/") < 0:
            self.refuse(403, "InvalidAccessKeyId")
            return
        if self.bucket.fault and self.bucket.fault(self, self.command, key):
            return
        if not self.bucket.conditions:
            for name in ("If-None-Match", "If-Match"):
                del self.headers[name]
        super()._dispatch(action)

    def _write_object(self, bucket: str, key: str, write: Any) -> str:
        asked = self.headers.get("If-Match")
        with self.bucket.replacing:
            target = self._object_path(bucket, key)
            if asked is not None and not (target.is_file() and object_etag(target) == asked.strip('"')):
                raise S3Error(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed", "the ETag is another one")
            return str(super()._write_object(bucket, key, write))

    def _post_request(self, bucket: str, key: str) -> None:
        if "delete" not in self.query:
            super()._post_request(bucket, key)
            return
        done = ElementTree.Element("DeleteResult")
        for found in ElementTree.fromstring(self._read_body()).iter():
            if found.tag.rpartition("}")[2] == "Key":
                self._object_path(bucket, str(found.text)).unlink(missing_ok=True)
                ElementTree.SubElement(ElementTree.SubElement(done, "Deleted"), "Key").text = found.text
        self._send_xml(done)

    def refuse(self, status: int, code: str) -> bool:
        """Answer with an S3 error."""
        self._read_body()
        self._send_error(S3Error(HTTPStatus(status), code, f"a fault of the test: {code}"))
        return True

    def cut(self) -> bool:
        """Read a piece of what is sent and break the connection."""
        self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
        self.close_connection = True
        self.connection.close()
        return True


@contextmanager
def serving(folder: Path) -> Iterator[Bucket]:
    """A server with an empty bucket, until the block ends."""
    (folder / BUCKET).mkdir(parents=True)
    bucket = Bucket(folder)
    handler = type("Handler", (Handler,), {"data_root": folder, "bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    bucket.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def set_env(bucket: Bucket, cache: Path) -> None:
    """In a process of its own: use the bucket, with a cache of its own."""
    os.environ.update(bucket.env, CXREMB_CACHE=str(cache))
