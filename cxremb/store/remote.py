"""What the rest of the store asks of a root that may lie in object storage; of any other root it is nothing to do."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cxremb.buckets import SCHEMES, address_of
from cxremb.errors import StoreError, count_of
from cxremb.store.mirror import CHANGED, folder_of, is_part, mirror_of

SETTLED = timedelta(days=7)  # after which no job can be at work any more that has written a part and will commit it
ADDRESS_LIKE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?:[/\\].*)?")  # of any scheme; a drive of Windows has one letter
remarks = logging.getLogger("cxremb")


def name_of(root: Path) -> str:
    """What the user calls a root: its address, or its path."""
    found = mirror_of(root)
    return found.bucket.address if found else str(root)


def is_remote(path: Path) -> bool:
    """Whether it lies in the folder of a remote root."""
    return mirror_of(path) is not None


def opened(root: str | Path) -> Path:
    """The folder in front of an address, up to date with its bucket; a path as it is.

    Raises `StoreError`, also for an address of another kind: no folder of that name is to be made on this machine.
    """
    if not address_of(root) and ADDRESS_LIKE.fullmatch(str(root)):
        known = " or ".join(f"{scheme}://BUCKET/PREFIX" for scheme in SCHEMES)
        raise StoreError(f"{root}: no store root has such an address", hint=f"name a folder, or {known}")
    folder = folder_of(root)
    if address_of(root) and (found := mirror_of(folder)):
        found.refresh()
    return folder


def refreshed(folder: Path) -> None:
    """The same of one data set, for who has waited for others."""
    if found := mirror_of(folder):
        found.refresh(folder)


def there(path: Path, sha256: str | None = None) -> Path:
    """The path, whose file is here now: it is fetched if it lies in a bucket, and has to have the digest."""
    if not path.exists() and (found := mirror_of(path)):
        found.fetch([path], {path: sha256} if sha256 else {})
    return path


def all_there(digests: Mapping[Path, str]) -> None:
    """The same for several files at once, each with its digest; "": it is not known."""
    lacking = [path for path in digests if not path.exists()]
    if lacking and (found := mirror_of(lacking[0])):
        remarks.warning(f"{found.bucket.address}: fetching {count_of(len(lacking), 'file')}")
        found.fetch(lacking, digests)


def up_to_date(folder: Path) -> None:
    """What others have put into this folder is here, parts too; what they have removed is not."""
    if found := mirror_of(folder):
        found.refresh(folder, lazily=False)


def in_place(draft: Path, path: Path, *, new: bool) -> bool:
    """Put the draft as the object of `path`, if that lies in a bucket, and say whether it does. The caller renames it.

    new: nothing has this name yet, else `FileExistsError` is raised, and what is there has been fetched. Otherwise what
    is there has to be what this machine knows, or `VersionTaken` is raised. Parts wait for `uploaded`.
    """
    found = mirror_of(path)
    if found is None or (key := found.key(path)) is None or is_part(path):
        return False
    found.put(draft, path, key, new=new)
    return True


def folder_in_place(draft: Path, folder: Path, *, last: str) -> None:
    """Put all files of a draft folder as objects of `folder`, if that lies in a bucket. The caller renames it.

    last: the file that makes it count. Raises `FileExistsError` if that is there already; it all has been fetched then.
    """
    found = mirror_of(folder)
    if found and found.key(folder):
        for path in sorted(draft.iterdir(), key=lambda path: path.name == last):
            if path.name != last:
                found.upload(folder / path.name, path)
                continue
            try:
                found.put(path, folder / last, f"{found.key(folder)}/{last}", new=True)
            except FileExistsError:
                found.refresh(folder)
                raise


def sent(folder: Path, names: Iterable[str]) -> None:
    """These files of a folder are in the bucket, if it has one: a version may name them now.

    A part is uploaded as it is written; those that were not, since the writer or the line broke, are sent here.
    """
    if found := mirror_of(folder):
        known = {one.key for one in found.bucket.listed(found.key(folder) or "")}
        for path in (folder / name for name in names):
            if found.key(path) in known:
                continue
            if not path.is_file():
                raise StoreError(f"{found.bucket.address}/{found.key(path)}: gone", hint=CHANGED)
            found.upload(path)


def uploaded(path: Path) -> None:
    """A part that is in place is in its bucket too, if it has one."""
    if found := mirror_of(path):
        found.upload(path)


def removed(paths: Sequence[Path]) -> None:
    """No such objects any more, and nothing below these folders: in an order in which no reader finds half of one.

    The files of this machine are left to the caller.
    """
    if paths and (found := mirror_of(paths[0])):
        found.remove(paths)


def settled(paths: Sequence[Path]) -> list[Path]:
    """Those that no job of another machine can be about to commit: in a bucket, by their age; else all."""
    if not paths or (found := mirror_of(paths[0])) is None:
        return list(paths)
    since = datetime.now(UTC) - SETTLED
    folders = {path.parent for path in paths}
    young = {
        one.key for folder in folders for one in found.bucket.listed(found.key(folder) or "") if one.modified > since
    }
    return [path for path in paths if found.key(path) not in young]


def sizes(folder: Path) -> dict[Path, int]:
    """The files in a folder and below, with their bytes: also those of its bucket that are not here."""
    found = {}
    for path in files_below(folder):
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_size
    if (there := mirror_of(folder)) and (key := there.key(folder)):
        found |= {there.path(one.key): one.size_bytes for one in there.bucket.listed(key) if there.belongs(one.key)}
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and below. Unlike `Path.rglob` it goes on where somebody removes a folder meanwhile."""
    return (path for at, _, names in os.walk(folder) for path in (Path(at, name) for name in names) if path.is_file())
