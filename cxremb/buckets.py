"""Objects at an address, s3://bucket/prefix and the like: listed, fetched, put on a condition, removed. By obstore.

A condition is what makes a put safe without locks: that nothing has this name yet, or that it still is the version
that was seen. Whatever goes wrong is a `StoreError` that names the address.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from cxremb.busy import patiently
from cxremb.errors import StoreError, reason

SCHEMES = ("s3", "gs", "az")  # of which one may be a store root
ADDRESS = re.compile(rf"(?P<scheme>{'|'.join(SCHEMES)}):/+(?P<rest>[^/].*)")  # a `Path` takes one of two slashes away
TRIES = 6  # of a put that the server asks to try again (409): it has another one for the same name under way
PAUSE = 0.05  # seconds before the second of them, doubled each time
# Before a server counts as not there, and as silent. The first byte of an answer comes when all has been sent: 60 MB
# over a slow line take minutes.
CONNECT, SILENT, WHOLE = timedelta(seconds=10), timedelta(minutes=5), timedelta(hours=6)
RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=90)}  # of obstore, for what may be said twice
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of ~/.aws/credentials by AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # of an S3 server that is not Amazon's


class ObjectTaken(FileExistsError):
    """The condition of a put does not hold: somebody else has put something there."""


class Version(NamedTuple):
    """Which content an object has: what a server calls it."""

    e_tag: str | None
    version: str | None = None  # a generation, on Google's; S3's number of a version is not used


class Listed(NamedTuple):
    """An object as a listing has it."""

    key: str
    size_bytes: int
    version: Version
    modified: datetime


def address_of(text: str | Path) -> str | None:
    """The address that a text, or what `Path` has made of it, is; None for the path of a file or folder."""
    found = ADDRESS.fullmatch(str(text))
    return f"{found['scheme']}://{found['rest'].rstrip('/')}" if found else None


@dataclass(frozen=True)
class Bucket:
    """What lies below an address, by keys that are relative to it."""

    address: str
    client: Any

    def listed(self, prefix: str = "") -> Iterator[Listed]:
        """Every object whose key begins with the folder `prefix`."""
        import obstore

        with explained(self.address):
            asked = patiently(self.address, lambda: [*obstore.list(self.client, prefix or None)])
            for found in (each for some in asked for each in some):
                version = Version(found["e_tag"], found.get("version"))
                yield Listed(found["path"], found["size"], version, found["last_modified"])

    def fetch(self, key: str, path: Path) -> Version:
        """Its content into a new file `path`. Raises `FileNotFoundError` if there is no such object."""
        import obstore

        with explained(f"{self.address}/{key}", missing=True):
            found = patiently(self.address, lambda: obstore.get(self.client, key))
            with path.open("wb") as file:
                for chunk in found.stream():
                    file.write(chunk)
            if path.stat().st_size != found.meta["size"]:
                raise ConnectionError(f"it broke off after {path.stat().st_size:,} of {found.meta['size']:,} bytes")
            return Version(found.meta["e_tag"], found.meta.get("version"))

    def content(self, key: str) -> bytes:
        """The same, in memory."""
        import obstore

        with explained(f"{self.address}/{key}", missing=True):
            return bytes(patiently(self.address, lambda: obstore.get(self.client, key)).bytes())

    def put(self, path: Path, key: str, seen: Version | None) -> Version:
        """The file as an object, if that still is the version that was `seen`; None: if nothing has this name.

        If the very same bytes are there it is done: an answer may get lost, and then the second try finds the first.
        Raises `ObjectTaken` if anything else is. A server that has another put of that name under way (409) is asked
        again.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if seen is None else {name: it for name, it in seen._asdict().items() if it}
        for tries in range(TRIES):
            try:
                with explained(f"{self.address}/{key}", passed=(AlreadyExistsError, PreconditionError)):
                    found = patiently(self.address, lambda: obstore.put(self.client, key, path, mode=mode))
                    return Version(found["e_tag"], found.get("version"))
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                busy = "409 Conflict" in str(error)
                if not busy and (there := self.same(path, key)):
                    return there
                if not busy or tries == TRIES - 1:
                    raise ObjectTaken(f"{self.address}/{key}") from error
            time.sleep(PAUSE * 2**tries)
        raise AssertionError("the last try returns or raises")

    def same(self, path: Path, key: str) -> Version | None:
        """The version of the object, if its bytes are those of the file."""
        import obstore

        try:
            with explained(f"{self.address}/{key}", missing=True):
                about = patiently(self.address, lambda: obstore.head(self.client, key))
                if about["size"] != path.stat().st_size or self.content(key) != path.read_bytes():
                    return None
        except FileNotFoundError:
            return None
        return Version(about["e_tag"], about.get("version"))

    def upload(self, path: Path, key: str) -> Version:
        """The file as an object, whatever is there: for names that are only given once. In pieces, if it is large."""
        import obstore

        with explained(f"{self.address}/{key}"):
            found = patiently(self.address, lambda: obstore.put(self.client, key, path))
            return Version(found["e_tag"], found.get("version"))

    def remove(self, keys: Sequence[str]) -> None:
        """No such objects any more, whether they were there or not."""
        import obstore

        if keys:
            with explained(self.address):
                patiently(self.address, lambda: obstore.delete(self.client, list(keys)))


def refuse_unconditional(bucket: Bucket) -> None:
    """Raises `StoreError` if a server puts an object where it was told that there must be none, or another.

    To be tried once, when a root is made: two writers would lose each other's versions without a word.
    """
    key = f".probe-{uuid4().hex}"
    with TemporaryDirectory() as folder:
        first, second, third = (Path(folder) / name for name in ("first", "second", "third"))
        for draft in (first, second, third):
            draft.write_text(draft.name)
        try:
            made = bucket.put(first, key, None)
            refuse_put(bucket, second, key, seen=None)
            if bucket.put(second, key, made) == made:
                raise unsafe(bucket, "gives two contents one ETag")
            refuse_put(bucket, third, key, seen=made)
        finally:
            with suppress(StoreError):
                bucket.remove([key])


def refuse_put(bucket: Bucket, path: Path, key: str, *, seen: Version | None) -> None:
    """Raises `StoreError` if this put, whose condition does not hold, is done."""
    with suppress(ObjectTaken):
        bucket.put(path, key, seen)
        does = "creates an object that is there already" if seen is None else "replaces one that was changed meanwhile"
        raise unsafe(bucket, does)


def unsafe(bucket: Bucket, does: str) -> StoreError:
    """The error for a server that ignores a condition."""
    return StoreError(
        f"{bucket.address}: this server {does}, whatever it is told: two writers could lose a version",
        hint="use one that keeps to If-None-Match and If-Match, as Amazon S3, MinIO, R2, Google and Azure do",
    )


def open_bucket(address: str) -> Bucket:
    """The bucket at an address of `SCHEMES`; nobody is asked yet. Credentials are those of the environment.

    Raises `StoreError` without the package obstore, or where the environment lacks something.
    """
    told = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(("AWS_", "GOOGLE_", "AZURE_"))))
    return opened_bucket(address, told)


@lru_cache(16)
def opened_bucket(address: str, _told: tuple[tuple[str, str], ...]) -> Bucket:
    """The same, once for each address and environment. Raises as `open_bucket`."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(f"{address}: object storage needs obstore", hint='pip install "cxremb[remote]"') from error
    scheme = address.partition(":")[0]
    options: Any = {"connect_timeout": CONNECT, "read_timeout": SILENT, "timeout": WHOLE}
    config: Any = {}
    if scheme == "s3":
        endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
        options["allow_http"] = endpoint.startswith("http://")
        config = ({"endpoint": endpoint} if endpoint else {}) | profile()
    with explained(address):
        return Bucket(address, from_url(address, config=config, client_options=options, retry_config=RETRIES))


def profile() -> dict[str, str]:
    """The keys of a profile of ~/.aws/credentials, where the environment has none; the SDKs of Amazon do so too."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = ConfigParser(interpolation=None)
    try:
        file.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
        found = dict(file[os.environ.get("AWS_PROFILE") or "default"])
    except (ConfigError, KeyError, OSError, RuntimeError):
        return {}
    names = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
    names["aws_session_token"] = "session_token"
    return {name: found[key] for key, name in names.items() if key in found}


@contextmanager
def explained(where: str, *, missing: bool = False, passed: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """What obstore raises as a `StoreError` about `where`.

    missing: an object that is not there is a `FileNotFoundError`. passed: what is not turned into another error.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except passed:
        raise
    except FileNotFoundError as error:
        if missing and "NoSuchBucket" not in str(error):
            raise FileNotFoundError(f"{where} is not there") from error
        raise StoreError(*what_is_wrong(where, str(error))) from error
    except (BaseError, ConnectionError) as error:
        raise StoreError(*what_is_wrong(where, str(error))) from error


def what_is_wrong(where: str, said: str) -> tuple[str, str]:
    """A message and a hint for what a server, or the way to it, has said."""
    scheme = where.partition(":")[0]
    keys = CREDENTIALS.get(scheme, "the server's own")
    bucket = "/".join(where.split("/")[:3])
    for pattern, what, hint in (
        (r"NoSuchBucket", f"{bucket}: there is no such bucket", "check its name, or make it with your storage's tools"),
        (r"169\.254|metadata\.google|Account must be specified|MissingCredential|MissingAccount",
         f"{where}: no credentials were found", f"set {keys}"),
        (r"\b40[13]\b|PermissionDenied|Unauthenticated|lacked the necessary privileges",
         f"{where}: the server refuses these credentials ({code_of(said)})",
         f"check {keys}, and what they may do there"),
        (r"\b501\b", f"{where}: the server does not know a request that cxremb needs ({code_of(said)})",
         "use one that knows conditional writes (If-None-Match, If-Match)"),
        (r"\b(?:429|503)\b", f"{where}: the server stays busy ({code_of(said)})",
         "run the command again later: what has arrived is kept"),
        (r"error sending request|timed out|dns error|connection|broke off|error decoding response body",
         f"{where}: cannot be reached, or the connection broke ({short(said)})",
         "see whether the network and the address of the server are right, then run the command again: "
         "what has arrived is kept"),
    ):  # fmt: skip
        if re.search(pattern, said, re.IGNORECASE):
            return what, hint
    return f"{where}: {short(said)}", "run the command again; if it stays so, ask whoever runs the storage"


def code_of(said: str) -> str:
    """The server's own word for it, such as InvalidAccessKeyId, else its status."""
    found = re.search(r"<Code>(\w+)</Code>", said) or re.search(r"status code: (\d+[\w ]*)", said)
    return found[1].strip() if found else "no reason given"


def short(said: str) -> str:
    """What was said, without the address, which stands there already, and without obstore's own view of it."""
    if "<Code>" in said:
        return f"the server says {code_of(said)}"
    line = (said.strip().splitlines() or ["no reason given"])[0]
    return reason(Exception(line.rpartition(" - ")[2]))
