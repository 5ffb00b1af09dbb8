"""Bytes that are either all there or not there: drafts, syncs, and one atomic step to publish."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError, VersionTaken


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
    return replace_file(
        path,
        lambda draft: pq.write_table(table, draft, compression="zstd", use_dictionary=dictionary),
    )


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
