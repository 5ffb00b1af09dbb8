"""Bytes that are either all there or not there, published in one atomic step; and the lock that holds off cleaners."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError, VersionTaken, reason


def sha256_of(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename or link inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[Path], None]) -> Path:
    """`path`, replaced in one step by what `write` puts into a draft beside it.

    Raises `StoreError` when the folder cannot be written or the disk is full; the old file is then untouched.
    """
    draft = path.parent / f".{uuid4().hex}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        discard(draft)
    return path


def replace_text(path: Path, text: str) -> Path:
    """`path`, replaced in one step by `text` (UTF-8)."""

    def write(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8")

    return replace_file(path, write)


def replace_table(path: Path, table: pa.Table) -> Path:
    """`path`, replaced in one step by a Parquet file that every engine reads.

    Dictionary encoding is off for embeddings alone: it doubles the time to read float lists and saves nothing.
    """
    dictionary = [name for name in table.schema.names if name != "embedding"]

    def write(draft: Path) -> None:
        with draft.open("wb") as file:  # closed whatever happens: a draft that is open takes room even when removed
            pq.write_table(table, file, compression="zstd", use_dictionary=dictionary)

    return replace_file(path, write)


def publish_text(path: Path, text: str) -> Path:
    """`path`, which must not exist yet, holding `text`. Readers see none of it or all of it.

    Raises `VersionTaken` if another writer was first.
    """
    draft = path.parent / f".{uuid4().hex}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.link(draft, path)  # fails if the target exists, where a rename would overwrite it
        sync_folder(path.parent)
    except FileExistsError as error:
        raise VersionTaken(
            f"{path}: another writer published this version first", hint="run the command again"
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        discard(draft)
    return path


def discard(draft: Path) -> None:
    """Remove a draft if it is there; where even that fails, the error that led here says more."""
    with suppress(OSError):
        draft.unlink()


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error to raise when `path` could not be written."""
    return StoreError(
        f"{path}: cannot be written ({error.strerror or error})",
        hint="free space or mend the folder's permissions, or name another store root with --root or CXREMB_STORES",
    )


LOCK = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold off cleaners. Several writers may work at once: each part has a name of its own, one publishes first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    with held(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def cleaning(folder: Path) -> Iterator[None]:
    """Have the store alone. Raises `StoreError` while a job writes into it."""
    with held(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def held(folder: Path, kind: int) -> Iterator[None]:
    """An advisory lock that the kernel takes back when the process ends, however it ends."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(folder / LOCK, error) from error
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{folder}: in use by another cxremb", hint="wait until it has ended") from error
        except OSError as error:
            if kind == fcntl.LOCK_EX:  # some shared file systems know no locks: writers need none, a cleaner does
                reason = f"{folder}: this file system cannot say whether a job is at work ({error.strerror})"
                raise StoreError(reason, hint="clean up by hand, when no job runs") from error
        yield
    finally:
        os.close(descriptor)


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A part's rows. Raises `StoreError`, naming the file, if it is gone or damaged."""
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        store = path.parent.name
        raise StoreError(
            f"{path}: cannot be read ({reason(error)})",
            hint=f"see what is whole: `cxremb store check {store}`; `cxremb store rm {store} --yes`, then embed again",
        ) from error
