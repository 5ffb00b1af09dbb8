"""Films that lie at an address, s3://, gs://, az:// or https://: their bytes, into memory and nowhere else."""

import base64
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import chain, islice
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from cxremb.buckets import CONNECT, RETRIES, SCHEMES, SILENT, Bucket, explained, open_bucket
from cxremb.busy import patiently
from cxremb.errors import ImageError, StoreError
from cxremb.processes import in_order

FILM = re.compile(rf"(?P<scheme>{'|'.join(SCHEMES)}|https?):/+(?P<rest>[^/]+/.+)")  # a `Path` takes one slash away
READERS = 16  # threads: a server far away answers each of them slowly
AHEAD = 64  # films that are here before their turn
GONE = "restore it, then embed again"


class Stamp(NamedTuple):
    """What a file system or a server says of a film: if none of it has changed, neither have the bytes, as for make."""

    path: str
    size_bytes: int
    modified_ns: int


class Fetched(NamedTuple):
    """The bytes of a film that does not lie here, and its stamp."""

    content: bytes
    stamp: Stamp


class FilmFile(NamedTuple):
    """A film by its path and the SHA-256 it had when it was added; with its bytes, where they had to be fetched."""

    path: str
    content: str
    fetched: Fetched | None = None


def film_address(path: str | Path) -> str | None:
    """The address that a path, or what `Path` has made of it, is; None for a file."""
    found = FILM.fullmatch(str(path))
    return f"{found['scheme']}://{found['rest']}" if found else None


def folder_address(folder: str | Path) -> str | None:
    """The same of a folder of films."""
    found = film_address(f"{folder}/film")
    return found and found.removesuffix("/film")


def film_name(path: str | Path) -> str:
    """What messages call a film: its address, or its path."""
    return film_address(path) or str(path)


def fetch_film(address: str) -> Fetched:
    """The film at an address. Raises `ImageError` if it is not there, `StoreError` if nobody can be asked."""
    import obstore

    bucket, key = place_of(address)
    try:
        with explained(address, missing=True):
            found = patiently(bucket.address, lambda: obstore.get(bucket.client, key))
            content = bytes(found.bytes())
            if len(content) != found.meta["size"]:
                raise ConnectionError(f"it broke off after {len(content):,} of {found.meta['size']:,} bytes")
            return Fetched(content, stamp_from(address, found.meta))
    except FileNotFoundError as error:
        raise ImageError("is not there", GONE, "read") from error


def distant_stamp(address: str) -> Stamp | None:
    """The stamp of the film at an address, for one question and no bytes; None if it is not there."""
    import obstore

    bucket, key = place_of(address)
    try:
        with explained(address, missing=True):
            return stamp_from(address, patiently(bucket.address, lambda: obstore.head(bucket.client, key)))
    except FileNotFoundError:
        return None


def stamp_from(address: str, meta: Any) -> Stamp:
    """The stamp that an answer holds."""
    return Stamp(address, meta["size"], int(meta["last_modified"].timestamp()) * 1_000_000_000)


def place_of(address: str) -> tuple[Bucket, str]:
    """(the bucket or the server, the key there)."""
    scheme, _, rest = address.partition("://")
    host, _, key = rest.partition("/")
    if scheme in SCHEMES:
        return open_bucket(f"{scheme}://{host}"), key
    if urlsplit(address).query:
        raise StoreError(
            f"{address}: an address with a question in it names no file for long", hint="give one without ?..."
        )
    return open_server(f"{scheme}://{host}"), unquote(key)


@lru_cache(16)
def open_server(address: str) -> Bucket:
    """A server of files by HTTP. A name and a password are those of ~/.netrc, and sent to its host alone, encrypted.

    Raises `StoreError` without the package obstore.
    """
    try:
        from obstore.store import HTTPStore
    except ImportError as error:
        raise StoreError(f"{address}: films there need obstore", hint='pip install "cxremb[remote]"') from error
    options: Any = {"connect_timeout": CONNECT, "read_timeout": SILENT, "timeout": SILENT, "allow_http": True}
    if address.startswith("https://") and (word := password(urlsplit(address).hostname or "")):
        options["default_headers"] = {"authorization": f"Basic {word}"}
    return Bucket(address, HTTPStore.from_url(address, client_options=options, retry_config=RETRIES))


def password(host: str) -> str:
    """What ~/.netrc says of a host, as HTTP wants it; "" if nothing."""
    try:
        found = netrc().hosts.get(host)
    except (OSError, NetrcParseError):
        return ""
    return base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode() if found else ""


def with_bytes(films: Iterable[Sequence[FilmFile]]) -> Generator[Sequence[FilmFile], None, None]:
    """The files of each film, in order, with their bytes, which threads fetch ahead, if the first lies at an address.

    Others that do are fetched by who decodes them.
    """
    coming = iter(films)
    first = list(islice(coming, 1))
    every = chain(first, coming)
    if not any(film_address(file.path) for files in first for file in files):
        yield from every
        return
    with closing(in_order(fetched, every, readers=READERS, ahead=AHEAD)) as found:
        for _, files in found:
            yield files


def fetched(files: Sequence[FilmFile]) -> Sequence[FilmFile]:
    """The same with the bytes of the first that is there: the others hold the same film."""
    found: list[FilmFile] = []
    for file in files:
        address = film_address(file.path)
        try:
            there = fetch_film(address) if address and not any(one.fetched for one in found) else None
        except ImageError:  # whoever reads it says so
            there = None
        found.append(file._replace(fetched=there))
    return found
