"""Who is at work in a store: writers share it, and a cleaner has it alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxremb.errors import StoreError
from cxremb.store.files import unwritable

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
