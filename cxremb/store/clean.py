"""What a store or a data set can do without: what nobody needs any more, what stopped writers left, all of one."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import ENOENT, ENOTEMPTY
from pathlib import Path
from uuid import uuid4

from cxremb.errors import StoreError
from cxremb.store import remote
from cxremb.store.commit import unnamed_tables
from cxremb.store.dataset import LOCATIONS, open_dataset, read_dataset
from cxremb.store.files import LOCK, LOCKS, cleaning, held, remove_files, sync_folder
from cxremb.store.layout import DatasetPaths, is_name
from cxremb.store.locations import drop_locations, stale_locations
from cxremb.store.manifest import Manifest, manifest_paths, read_manifest

GRAVE = r"\.([0-9a-f]{32}|[\w.+-]+@[0-9a-f]{12})"  # of a store whose removal was stopped; earlier ones kept their name

DRAFT = r"\.[0-9a-f]{32}(\.\w+)?"  # of a file that is written beside its place (`store.files`)
UNLOCKED = ("audits", "cache", "distances", "maps", "notes", "prompts", "splits", "weights")  # folders of a data set
DAY = 86_400.0  # seconds
TRIES = 100  # to delete a folder into which others write


def versions(folder: Path) -> list[Manifest]:
    """Every version of a store, oldest first."""
    return [read_manifest(path) for path in manifest_paths(folder)]


def files_of(manifests: Iterable[Manifest]) -> set[str]:
    """The names of the files that these versions need."""
    needed: set[str] = set()
    for manifest in manifests:
        needed.update(part.file for part in manifest.parts)
        if manifest.failures:
            needed.add(manifest.failures)
    return needed


def unlisted(folder: Path) -> list[Path]:
    """Parts and failure files that no version names. A version that cannot be read might name any of them."""
    try:
        needed = files_of(versions(folder))
    except StoreError:
        return []
    found = [path for path in remote.sizes(folder) if re.fullmatch(r"(part|failures)-.*\.parquet", path.name)]
    return sorted(path for path in found if path.name not in needed)


def drafts(folder: Path) -> list[Path]:
    """Files of writers that were stopped in the middle of one."""
    return sorted(path for path in folder.glob(".*") if path.is_file() and path.name not in LOCKS)


def reclaimable(folder: Path, keep: int = 1) -> list[Path]:
    """What can go if the newest `keep` versions stay readable. Raises `StoreError` if a version is damaged.

    In object storage, where no lock tells that a job is at work, parts that no version names go when a week old.
    """
    manifests = versions(folder)
    needed = files_of(manifests[-keep:])
    old = files_of(manifests) - needed
    expired = manifest_paths(folder)[: max(len(manifests) - keep, 0)]
    return [
        *expired,
        *sorted(path for path in remote.sizes(folder) if path.name in old),
        *remote.settled(unlisted(folder)),
        *drafts(folder),
    ]


def collect(folder: Path, keep: int = 1) -> tuple[int, int]:
    """Remove what `reclaimable` lists: (files, bytes). Versions go first, so that none ever lists a file that is gone.

    Raises `StoreError` while a job writes into the store.
    """
    with cleaning(folder), deleting(folder):
        paths = reclaimable(folder, keep)
        sizes = remote.sizes(folder)
        remove_files(paths)
    return len(paths), sum(sizes[path] for path in paths)


def remove(folder: Path) -> int:
    """Remove a whole store: the bytes freed. Raises `StoreError` while a job writes into it.

    It leaves its place in one step, under a name that no reader lists, and is deleted there; `clear` finds the rest of
    one whose deletion was stopped. What was derived of its vectors goes with it: matrices in the cache, maps, distances
    and prompts.
    """
    paths = DatasetPaths(folder.parents[2], folder.parents[1].name)
    with cleaning(folder):
        size = size_of(folder)
        bury(folder)
    matrices = [path for path in (paths.cache / "vectors").glob("*") if path.name.rpartition("-")[0] == folder.name]
    derived = [path for path in orphans(paths) if path.stem.partition("~")[0] == folder.name]
    size += sum(map(size_of, (*matrices, *derived)))
    remove_files(derived)
    for path in matrices:
        shutil.rmtree(path, ignore_errors=True)  # somebody reads on, and makes it again
    return size


def contents(paths: DatasetPaths) -> dict[str, int]:
    """What a data set has: folder -> bytes; its files, which are its tables, stand first.

    Raises `DataError` where the root has none of that name, `StoreError` where it is a link.
    """
    if not is_name(paths.name) or not paths.descriptor.is_file():
        open_dataset(paths.root, paths.name)  # which says what there is
    if paths.folder.is_symlink():
        raise StoreError(f"{paths.folder}: a link", hint="remove the link by hand; what it leads to stays")
    inside = sorted(path for path in paths.folder.iterdir() if not path.is_symlink())
    tables = sum(size_of(path) for path in inside if not path.is_dir())
    return {"tables": tables} | {path.name: size_of(path) for path in inside if path.is_dir()}


def remove_dataset(paths: DatasetPaths) -> int:
    """Remove a data set with its stores and runs, as `remove` does a store: the bytes freed.

    A link in it is removed, not what it leads to. Raises as `contents`, and `StoreError` while somebody writes there.
    """
    size = sum(contents(paths).values())
    with ExitStack() as locks:
        locks.enter_context(cleaning(paths.folder))
        for folder, _, files in os.walk(paths.folder):  # which follows no link
            if LOCK in files and Path(folder) != paths.folder:
                locks.enter_context(cleaning(Path(folder)))
        bury(paths.folder)
        drop_locations(paths)
    return size


def bury(folder: Path, prefix: str = ".") -> None:
    """Take a folder out of its place in one step, and delete it. Raises `StoreError` where that cannot be."""
    grave = folder.with_name(f"{prefix}{uuid4().hex}")
    remote.removed([folder])
    with deleting(folder):
        folder.rename(grave)
        sync_folder(grave.parent)
        delete(grave)


def delete(folder: Path) -> None:
    """Remove a folder with all in it, also while others remove it or write into it. Raises `OSError`."""
    for _ in range(TRIES):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in {ENOENT, ENOTEMPTY}:
                raise
        if not folder.exists():
            return


@contextmanager
def deleting(folder: Path) -> Iterator[None]:
    """What the system says against a removal inside `folder`, as a `StoreError`."""
    try:
        yield
    except OSError as error:
        what = error.strerror or error
        raise StoreError(
            f"{error.filename or folder}: cannot be removed ({what})",
            hint="mend the permissions of its folder, then run the command again",
        ) from error


def leftovers(paths: DatasetPaths) -> list[Path]:
    """Of a data set: tables that it does not name, drafts, stores whose removal was stopped, maps of those removed."""
    graves = [path for path in paths.embeddings.glob(".*") if re.fullmatch(GRAVE, path.name) and path.is_dir()]
    return [
        *unnamed_tables(paths),
        *drafts(paths.folder),
        *old_drafts(paths),
        *sorted(graves),
        *orphans(paths),
        *old_locations(paths),
    ]


def old_drafts(paths: DatasetPaths) -> list[Path]:
    """Drafts of splits, notes, audits and caches; their writers hold no lock, but none of them takes a day."""
    found = (path for name in UNLOCKED for path in remote.files_below(paths.folder / name))
    old = []
    for path in (one for one in found if re.fullmatch(DRAFT, one.name)):
        with suppress(FileNotFoundError):  # it has just got its name
            if time.time() - path.stat().st_mtime > DAY:
                old.append(path)
    return sorted(old)


def old_locations(paths: DatasetPaths) -> list[Path]:
    """Where films were said to lie by a commit before; none if dataset.json cannot be read."""
    try:
        return stale_locations(paths, [read_dataset(paths.descriptor).descriptor.get(LOCATIONS, "")])
    except StoreError:
        return []


def orphans(paths: DatasetPaths) -> list[Path]:
    """Maps, distances and prompts of stores that were removed."""
    derived = [path for folder in (paths.maps, paths.distances, paths.prompts) for path in folder.glob("[!.]*.parquet")]
    return sorted(path for path in derived if not (paths.embeddings / path.stem.partition("~")[0]).is_dir())


def clear(paths: DatasetPaths) -> tuple[int, int]:
    """Remove what `leftovers` lists: (how many, bytes). Waits for whoever writes the tables."""
    with held(paths.folder, fcntl.LOCK_EX, wait=True), deleting(paths.folder):
        found = leftovers(paths)
        size = sum(map(size_of, found))
        for path in found:
            if path.is_dir():
                delete(path)
            else:
                remove_files([path])
    return len(found), size


def clear_cache(paths: DatasetPaths) -> None:
    """Remove the derived files. Raises `StoreError` where that cannot be."""
    with deleting(paths.cache):
        delete(paths.cache)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder and below; 0 if it is not there."""
    if path.is_dir():
        return sum(remote.sizes(path).values())
    with suppress(FileNotFoundError):  # somebody is removing it
        return path.stat().st_size
    return 0
