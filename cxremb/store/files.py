"""Bytes that are either all there or not there, published in one atomic step; and the lock that holds off cleaners."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EEXIST, EINVAL, EISDIR, EMLINK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM
from pathlib import Path
from stat import S_IRWXG, S_IWGRP
from tempfile import TemporaryFile
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import StoreError, VersionTaken, reason
from cxremb.store import remote

UNKNOWN = {EINVAL, EMLINK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM}  # a file system knows no such thing
OTHER_ROOT = "another store root with --root or CXREMB_STORES"


def sha256_of(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename or link inside `folder` survive a power cut, where the file system has a way to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """`folder` and those above it, as far as they are missing: for their owner alone, as they may hold reports.

    In a folder that its group may write they are the group's too. Whoever is to see one that is there already is left
    as it is. Raises `OSError`.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    shared = folder.parent.stat().st_mode & S_IWGRP
    with suppress(FileExistsError):  # somebody else was first
        folder.mkdir(0o700)
        if shared:
            folder.chmod(folder.stat().st_mode | S_IRWXG)  # what mkdir makes depends on the umask


def replace_file(path: Path, write: Callable[[Path], None], *, instead: str = OTHER_ROOT) -> Path:
    """`path`, replaced in one step by what `write` puts into a draft beside it.

    instead: what its user can name. Raises `StoreError` when the folder cannot be written or the disk is full; the old
    file is then untouched.
    """
    draft = path.parent / f".{uuid4().hex}{path.suffix}"
    try:
        make_folder(path.parent)
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        remote.in_place(draft, path, new=False)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error, instead=instead) from error
    finally:
        discard(draft)
    return path


def replace_text(path: Path, text: str, *, instead: str = OTHER_ROOT) -> Path:
    """`path`, replaced in one step by `text` (UTF-8). instead: as for `replace_file`."""

    def write(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8")

    return replace_file(path, write, instead=instead)


def replace_table(path: Path, table: pa.Table) -> Path:
    """`path`, replaced in one step by a Parquet file that every engine reads.

    Floats that are rounded to float16 have 65,536 values at most, so a dictionary makes them as small as half
    floats, and faster to read than plain ones (benchmarks/vector_types.py). Half floats themselves lie plainly.
    """
    halves = any(str(field.type).count("halffloat") for field in table.schema)
    dictionary = [name for name in table.schema.names if name != "embedding"] if halves else True

    def write(draft: Path) -> None:
        with draft.open("wb") as file:  # closed whatever happens: a draft that is open takes room even when removed
            pq.write_table(table, file, compression="zstd", use_dictionary=dictionary)

    return replace_file(path, write)


def publish_file(path: Path, write: Callable[[Path], None]) -> Path:
    """`path`, which must not exist yet, holding what `write` puts into a draft. Readers see none of it or all of it.

    Raises `VersionTaken` if another writer was first.
    """
    draft = path.parent / f".{uuid4().hex}{path.suffix}"
    try:
        make_folder(path.parent)
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        if remote.in_place(draft, path, new=True):
            draft.replace(path)
        else:
            put_new(draft, path)
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


def put_new(draft: Path, path: Path) -> None:
    """The draft under the name `path`. Raises `FileExistsError` if that is taken, where a rename would overwrite it.

    Where there are no hard links, as on a USB disk or some network shares, who renames has the folder locked.
    """
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        with held(path.parent, fcntl.LOCK_EX, wait=True, name=PUBLISH) as locked:
            if not locked:
                raise StoreError(
                    f"{path.parent}: this file system has no hard links and no locks: two writers could lose a version",
                    hint=f"name {OTHER_ROOT}, on a local disk",
                ) from error
            if path.exists():
                raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path)) from None
            draft.replace(path)


def publish_folder(draft: Path, folder: Path, *, last: str) -> None:
    """`folder`, which must not exist yet: a draft beside it that takes its name in one step. last: what makes it count.

    Raises `OSError`, and `StoreError` where it cannot be put into object storage.
    """
    remote.folder_in_place(draft, folder, last=last)
    draft.rename(folder)
    sync_folder(folder.parent)


def publish_text(path: Path, text: str) -> Path:
    """`path`, which must not exist yet, holding `text` (UTF-8). Raises as `publish_file`."""

    def write(draft: Path) -> None:
        draft.write_text(text, encoding="utf-8")

    return publish_file(path, write)


def publish_table(path: Path, table: pa.Table) -> Path:
    """`path`, which must not exist yet, holding a Parquet file. Raises as `publish_file`."""
    return publish_file(path, lambda draft: pq.write_table(table, draft, compression="zstd"))


def remove_files(paths: Sequence[Path]) -> None:
    """Remove what was published: of a root in object storage the objects first. Raises `OSError` and `StoreError`."""
    remote.removed(paths)
    for path in paths:
        path.unlink(missing_ok=True)


def discard(draft: Path) -> None:
    """Remove a draft if it is there; where even that fails, the error that led here says more."""
    with suppress(OSError):
        draft.unlink()


def refuse_unwritable(path: Path, *, instead: str) -> None:
    """Raises `StoreError` if no file `path` can be put where it is to lie; leaves nothing. instead: what to name."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise unwritable(path, error, instead=instead) from error


def unwritable(path: Path, error: OSError, *, instead: str = OTHER_ROOT) -> StoreError:
    """The error to raise when `path` could not be written."""
    return StoreError(
        f"{path}: cannot be written ({error.strerror or error})",
        hint=f"free space or mend the folder's permissions, or name {instead}",
    )


LOCK = ".lock"
PUBLISH = ".publish"  # another: a writer has the first while it publishes
LOCKS = {LOCK, PUBLISH}
TRIES = 100  # to lock a folder that others make and remove
remarks = logging.getLogger("cxremb")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold off cleaners. Several writers may work at once: each part has a name of its own, one publishes first."""
    with held(folder, fcntl.LOCK_SH, create=True):
        yield


@contextmanager
def cleaning(folder: Path) -> Iterator[None]:
    """Have the store alone. Raises `StoreError` while a job writes into it."""
    with held(folder, fcntl.LOCK_EX) as locked:
        if not locked:
            raise StoreError(
                f"{folder}: this file system has no locks, so nobody knows whether a job is at work",
                hint="clean up by hand, when no job runs",
            )
        yield


@contextmanager
def held(folder: Path, kind: int, *, create: bool = False, wait: bool = False, name: str = LOCK) -> Iterator[bool]:
    """An advisory lock on `folder`, which the kernel takes back when the process ends, however it ends.

    Given is whether it is locked: some shared file systems know no locks. create: the folder too. wait: for whoever has
    it; else `StoreError` is raised. name: of the file that stands for it.
    """
    tries = TRIES if create else 1
    while True:
        try:
            if create:
                make_folder(folder)
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            tries -= 1
            if tries and isinstance(error, FileNotFoundError):
                continue  # whoever made the folder has failed, and removed it in between
            raise unwritable(folder, error) from error
        try:
            if folder.stat().st_mode & S_IWGRP:
                with suppress(PermissionError):  # it is somebody else's, or the file system has no modes
                    os.fchmod(descriptor, 0o660)  # the group locks it too
            locked = locks(descriptor, kind, folder, wait=wait)
            if in_place(descriptor, folder / name):
                yield locked
                return
        finally:
            os.close(descriptor)


def locks(descriptor: int, kind: int, folder: Path, *, wait: bool) -> bool:
    """Whether the file is locked now. Raises `StoreError` if somebody else has it and nobody waits."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            raise StoreError(f"{folder}: in use by another cxremb", hint="wait until it has ended") from error
        remarks.warning(f"{folder}: waiting for another cxremb that writes there")
        fcntl.flock(descriptor, kind)
    except OSError:
        return False
    return True


def in_place(descriptor: int, path: Path) -> bool:
    """Whether `path` still is the file that was opened: whoever had the lock before may have removed or moved it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A part's rows. Raises `StoreError`, naming the file, if it is gone or damaged."""
    try:
        return pq.ParquetFile(remote.there(path)).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        store = path.parent.name
        raise StoreError(
            f"{path}: cannot be read ({reason(error)})",
            hint=f"see what is whole: `cxremb store check {store}`; `cxremb store rm {store} --yes`, then embed again",
        ) from error
