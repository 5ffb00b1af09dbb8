"""The two archives of Indiana University Chest X-rays: downloaded with resume, unpacked without escapes."""

import gzip
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

from cxremb.errors import FetchError
from cxremb.store.files import sync_folder

OPENI_URL = "https://openi.nlm.nih.gov/imgs/collections/"
IMAGES = "NLMCXR_png.tgz"
REPORTS = "NLMCXR_reports.tgz"
TRIES = 5  # in a row without a new byte; 1.3 GB over a poor line takes many more connections than that
WAIT_SECONDS = 1.0  # before the second try, then doubled
TIMEOUT_SECONDS = 60.0  # of silence
BLOCK_BYTES = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that a later try may not meet
GZIP_MAGIC = b"\x1f\x8b"


class OnBytes(Protocol):
    """Told how far a file has come, in bytes; `total` is None if nobody knows it."""

    def __call__(self, done: int, total: int | None, name: str) -> None: ...


def unseen(done: int, total: int | None, name: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Origin:
    """What a half-downloaded file is half of; kept beside it, so that a changed file is not glued to it."""

    url: str
    validator: str | None  # for If-Range (RFC 9110, 13.1.5): a strong ETag, else Last-Modified
    total: int | None


@dataclass(frozen=True)
class Watch:
    """Where the bytes come from, and who is told of them."""

    url: str
    progress: OnBytes

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def obtain(folder: Path, base_url: str = OPENI_URL, progress: OnBytes = unseen) -> tuple[Path, Path]:
    """The folder of unpacked images and the archive of reports (it is read in place), as the adapter takes them."""
    images, reports = fetch(folder, base_url, progress)
    return unpack(images, folder / "images", progress), reports


def fetch(folder: Path, base_url: str = OPENI_URL, progress: OnBytes = unseen) -> tuple[Path, Path]:
    """The archives of images and of reports in `folder`; one that is complete is not downloaded again.

    Raises `FetchError` if they cannot be had or written; what has arrived is kept, and the next call resumes it.
    """
    if not base_url.startswith(("http://", "https://")):
        raise FetchError(f"{base_url}: not an http or https address", hint=f"leave --base-url out to use {OPENI_URL}")
    base = base_url.rstrip("/") + "/"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reports = download(
            base + REPORTS, folder / REPORTS, progress
        )  # the small one first: if it fails, it fails soon
        return download(base + IMAGES, folder / IMAGES, progress), reports
    except OSError as error:
        raise unwritable(folder, error) from error


def download(url: str, target: Path, progress: OnBytes = unseen) -> Path:
    """`target`, all of it. It takes its name only when every byte the server announced is on the disk.

    Raises `FetchError` if the server cannot be reached or sends something else, `OSError` if the disk fails.
    """
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    farthest, tries = size_of(part), 0
    while (trouble := fetch_rest(url, part, progress)) is not None:
        tries = 0 if size_of(part) > farthest else tries + 1
        farthest = max(farthest, size_of(part))
        if tries >= TRIES:
            raise unreachable(url, trouble)
        time.sleep(WAIT_SECONDS * 2**tries)
    check_gzip(part, url)
    part.replace(target)
    sync_folder(target.parent)
    origin_path(part).unlink(missing_ok=True)
    return target


def fetch_rest(url: str, part: Path, progress: OnBytes) -> str | None:
    """None once `part` is complete, else what went wrong on this connection."""
    offset, origin = size_of(part), read_origin(part, url)
    headers = {"Accept-Encoding": "identity"}  # compressed in transit, the sizes would not be the file's
    if origin and offset:
        headers["Range"] = f"bytes={offset}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)  # http(s) only: see `fetch`
    except HTTPError as error:
        with error:
            return settle(error, url, part)
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    with answer:
        return save(answer, part, origin, Watch(url, progress))


def save(answer: HTTPResponse, part: Path, origin: Origin | None, watch: Watch) -> str | None:
    """None if `answer`, read to its end, makes `part` complete, else what went wrong.

    206: the rest, appended. 200: the whole file, from its beginning, since the server knows no ranges or the file
    has changed since.
    """
    start, total = extent(answer)
    if answer.status == 206 and not (origin and start == size_of(part) and total in (None, origin.total)):
        discard(part)
        return "the file on the server has changed: starting again"
    if answer.status == 206 and origin:
        total = origin.total
    else:
        discard(part)
        write_origin(part, Origin(watch.url, validator_of(answer.headers), total))
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
            watch.progress(file.tell(), total, watch.name)
        file.flush()
        os.fsync(file.fileno())
    if trouble is None and total is not None and size_of(part) != total:
        trouble = f"the connection broke at {size_of(part):,} of {total:,} bytes"
    return trouble


def settle(error: HTTPError, url: str, part: Path) -> str | None:
    """None if a 416 says that `part` is complete already, else what to try again for.

    Raises `FetchError` for a status that no later try would change.
    """
    if error.code == 416:
        _, total = extent(error)
        if total is not None and total == size_of(part):
            return None
        discard(part)
        return "what was kept is longer than the file on the server: starting again"
    if error.code in PASSING:
        return f"status {error.code} {error.reason}"
    raise unreachable(url, f"status {error.code} {error.reason}") from error


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


def read_origin(part: Path, url: str) -> Origin | None:
    """What `part` is half of, or None if that is not known or was another address: then it is of no use."""
    try:
        origin = Origin(**json.loads(origin_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return origin if origin.url == url and part.is_file() else None


def write_origin(part: Path, origin: Origin) -> None:
    """Keep `origin` beside `part`."""
    origin_path(part).write_text(json.dumps(asdict(origin)), encoding="utf-8")


def origin_path(part: Path) -> Path:
    """Where the origin of `part` is kept."""
    return part.with_name(f"{part.name}.json")


def size_of(path: Path) -> int:
    """Bytes in `path`, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def discard(part: Path) -> None:
    """Forget a part and what it was half of."""
    part.unlink(missing_ok=True)
    origin_path(part).unlink(missing_ok=True)


def check_gzip(part: Path, url: str) -> None:
    """Raises `FetchError`, and forgets the file, if it is a page (a log-in, a filter) and not an archive."""
    with part.open("rb") as file:
        if file.read(2) == GZIP_MAGIC:
            return
    discard(part)
    raise unreachable(url, "what came is no .tgz archive")


def unpack(archive: Path, folder: Path, progress: OnBytes = unseen) -> Path:
    """`folder`, holding all files of the .tgz; nothing is done if it is there already, since it appears in one step.

    Raises `FetchError`, naming the member, for one that is a link, a device, or leads out of `folder`; for an archive
    that is damaged or ends early; and for a disk that cannot take it. In each case nothing is left behind.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    draft = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        extract(archive, draft, progress)
        draft.replace(folder)
        sync_folder(folder.parent)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FetchError(
            f"{archive}: a damaged or incomplete archive ({error})", hint="delete it, then run the same command again"
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def extract(archive: Path, draft: Path, progress: OnBytes) -> None:
    """Every file of the .tgz into `draft`, each member checked before it is written."""
    total = archive.stat().st_size
    with archive.open("rb") as raw, gzip.open(raw) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as members:
        for member in members:
            check_member(member, archive)
            members.extract(member, draft, filter="data")  # refuses escapes too, and drops owners and odd modes
            progress(raw.tell(), total, f"unpacking {archive.name}")
        while unzipped.read(BLOCK_BYTES):  # to the end: only there does gzip compare its checksum
            pass


def check_member(member: tarfile.TarInfo, archive: Path) -> None:
    """Raises `FetchError` unless the member is a file or folder below where it is unpacked."""
    steps = re.split(r"[\\/]", member.name)
    if ".." in steps or steps[0] == "" or ":" in steps[0]:
        trouble = "leads out of the folder it is unpacked in"
    elif not (member.isfile() or member.isdir()):
        trouble = "is a link or a device"
    else:
        return
    raise FetchError(
        f"{archive}: refused, its member {member.name!r} {trouble}",
        hint="this is not the archive that Open-i publishes: delete it and fetch it from a source you trust",
    )


def unreachable(url: str, trouble: str) -> FetchError:
    """The error to raise when an archive cannot be had."""
    return FetchError(
        f"{url}: {trouble}",
        hint=f"run the same command again to resume; or download {OPENI_URL}{IMAGES} and {OPENI_URL}{REPORTS} "
        f"elsewhere, unpack the first, and run `cxremb data add iu_xray --images DIR --reports {REPORTS}`",
    )


def unwritable(path: Path, error: OSError) -> FetchError:
    """The error to raise when the disk fails."""
    return FetchError(
        f"{error.filename or path}: {error.strerror or error}",
        hint="free space (4 GB is enough) or mend the permissions, or name another folder with --to",
    )
