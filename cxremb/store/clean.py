"""What a store can do without: parts and versions that nobody needs, drafts, and whole stores."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from cxremb.errors import StoreError
from cxremb.store.files import LOCK, cleaning
from cxremb.store.manifest import Manifest, manifest_paths, read_manifest


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
    found = [*folder.glob("part-*.parquet"), *folder.glob("failures-*.parquet")]
    return sorted(path for path in found if path.name not in needed)


def drafts(folder: Path) -> list[Path]:
    """Files of writers that were stopped in the middle of one."""
    return sorted(path for path in folder.glob(".*") if path.is_file() and path.name != LOCK)


def reclaimable(folder: Path, keep: int = 1) -> list[Path]:
    """What can go if the newest `keep` versions stay readable. Raises `StoreError` if a version is damaged."""
    manifests = versions(folder)
    needed = files_of(manifests[-keep:])
    old = files_of(manifests) - needed
    expired = manifest_paths(folder)[: max(len(manifests) - keep, 0)]
    return [
        *expired,
        *sorted(folder / name for name in old if (folder / name).exists()),
        *unlisted(folder),
        *drafts(folder),
    ]


def collect(folder: Path, keep: int = 1) -> tuple[int, int]:
    """Remove what `reclaimable` lists: (files, bytes). Versions go first, so that none ever lists a file that is gone.

    Raises `StoreError` while a job writes into the store.
    """
    with cleaning(folder):
        paths = reclaimable(folder, keep)
        size = sum(path.stat().st_size for path in paths)
        for path in paths:
            path.unlink()
    return len(paths), size


def remove(folder: Path) -> int:
    """Remove a whole store: the bytes freed. Raises `StoreError` while a job writes into it.

    It leaves its place in one step, under a name that no reader lists, and is deleted there.
    """
    with cleaning(folder):
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        grave = folder.with_name(f".{folder.name}")
        folder.rename(grave)
    shutil.rmtree(grave)
    return size
