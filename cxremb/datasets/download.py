"""A file over HTTP, there whole or not at all; what broke off is resumed, also by another process.

With the standard library, since no kept library does this: the retries of urllib3 (and of requests) begin each file
anew, and huggingface_hub 2.4 resumes without If-Range, so that a file that changed on the server meanwhile would be
joined to half of the old one.
"""

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cxremb.errors import FetchError
from cxremb.store.expected import read_object
from cxremb.store.files import sync_folder

TRIES = 5  # in a row without a new byte; 1.3 GB over a poor line takes many more connections than that
WAIT_SECONDS = 1.0  # before the second try, then doubled
TIMEOUT_SECONDS = 60.0  # of silence
BLOCK_BYTES = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that a later try may not meet


class OnBytes(Protocol):
    """Is called with how far a file has come, in bytes; `total` is None if nobody knows it."""

    def __call__(self, done: int, total: int | None, name: str) -> None: ...


def unwatched_bytes(done: int, total: int | None, name: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class RemoteFile:
    """What a half-downloaded file is half of; kept beside it, so that a changed file is not joined to it."""

    url: str
    validator: str | None  # for If-Range (RFC 9110, 13.1.5): a strong ETag, else Last-Modified
    total: int | None


def download(
    url: str,
    target: Path,
    progress: OnBytes = unwatched_bytes,
    *,
    magic: bytes = b"",
    md5: str = "",
    hint: str = "try again",
) -> Path:
    """`target`, all of it. It takes its name only when every byte the server announced is on the disk.

    url: http or https. magic: how the file must begin; what does not is a page (a log-in, a filter). md5: what its
    publisher says of it, hexadecimal. hint: of errors. A server that says nothing for `TIMEOUT_SECONDS` is asked again,
    `TRIES` times in a row; what has come by then stays for the next call.
    Raises `FetchError` if the server cannot be reached or sends something else, `OSError` if the disk fails.
    """
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url}: not an http or https address", hint=hint)
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    farthest, tries = size_of(part), 0
    try:
        while (trouble := fetch_rest(url, part, progress)) is not None:
            tries = 0 if size_of(part) > farthest else tries + 1
            farthest = max(farthest, size_of(part))
            if tries >= TRIES:
                raise FetchError(f"{url}: {trouble}", hint=hint)
            time.sleep(WAIT_SECONDS * 2**tries)
    except HTTPError as error:
        raise FetchError(f"{url}: status {error.code} {error.reason}", hint=hint) from error
    with part.open("rb") as file:
        begins = file.read(len(magic))
    if begins != magic or (md5 and md5_of(part) != md5):
        discard(part)
        what = f"a {target.suffix} file" if begins != magic else "the published file (its MD5 differs)"
        raise FetchError(f"{url}: what came is not {what}", hint=hint)
    part.replace(target)
    sync_folder(target.parent)
    remote_path(part).unlink(missing_ok=True)
    return target


def md5_of(file: Path) -> str:
    """The file's MD5, hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch_rest(url: str, part: Path, progress: OnBytes) -> str | None:
    """None once `part` is complete, else what went wrong on this connection."""
    offset, remote = size_of(part), read_remote(part, url)
    headers = {"Accept-Encoding": "identity"}  # compressed in transit, the sizes would not be the file's
    if remote and offset:
        headers["Range"] = f"bytes={offset}-"
        if remote.validator:
            headers["If-Range"] = remote.validator
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)  # http(s) only: see `download`
    except HTTPError as error:
        with error:
            return settle(error, part)
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    with answer:
        return save(answer, part, remote, url=url, progress=progress)


def save(answer: HTTPResponse, part: Path, remote: RemoteFile | None, *, url: str, progress: OnBytes) -> str | None:
    """None if `answer`, read to its end, makes `part` complete, else what went wrong.

    206: the rest, appended. 200: the whole file, from its beginning, since the server knows no ranges or the file
    has changed since.
    """
    start, total = extent(answer)
    if answer.status == 206 and not (remote and start == size_of(part) and total in (None, remote.total)):
        discard(part)
        return "the file on the server has changed: starting again"
    if answer.status == 206 and remote:
        total = remote.total
    else:
        discard(part)
        write_remote(part, RemoteFile(url, validator_of(answer.headers), total))
    trouble = None
    with part.open("ab") as file:
        while True:
            try:
                block = answer.read1(BLOCK_BYTES)  # what has come: a break then loses nothing
            except (OSError, HTTPException) as error:
                trouble = f"the connection broke ({error})"
                break
            if not block:
                break
            file.write(block)
            progress(file.tell(), total, part.name.removesuffix(".part"))
        file.flush()
        os.fsync(file.fileno())
    if trouble is None and total is not None and size_of(part) != total:
        trouble = f"the connection broke at {size_of(part):,} of {total:,} bytes"
    return trouble


def settle(error: HTTPError, part: Path) -> str | None:
    """None if a 416 says that `part` is complete already, else what to try again for.

    Raises the error again if no later try would change its status.
    """
    if error.code == 416:
        _, total = extent(error)
        if total is not None and total == size_of(part):
            return None
        discard(part)
        return "what was kept is longer than the file on the server: starting again"
    if error.code in PASSING:
        return f"status {error.code} {error.reason}"
    raise error


def extent(answer: HTTPResponse | HTTPError) -> tuple[int, int | None]:
    """(first byte, size of the whole file if the server says it) of an answer."""
    placed = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    if placed:
        return int(placed[1] or 0), None if placed[2] == "*" else int(placed[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def validator_of(headers: Message) -> str | None:
    """What If-Range can be asked with. A weak ETag cannot: it allows other bytes."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def read_remote(part: Path, url: str) -> RemoteFile | None:
    """What `part` is half of, or None if that is not known or was another address: then it is of no use."""
    try:
        remote = RemoteFile(**read_object(remote_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return remote if remote.url == url and part.is_file() else None


def write_remote(part: Path, remote: RemoteFile) -> None:
    """Keep `remote` beside `part`."""
    remote_path(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")


def remote_path(part: Path) -> Path:
    """Where the remote of `part` is kept."""
    return part.with_name(f"{part.name}.json")


def size_of(path: Path) -> int:
    """Bytes in `path`, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def discard(part: Path) -> None:
    """Forget a part and what it was half of."""
    part.unlink(missing_ok=True)
    remote_path(part).unlink(missing_ok=True)
