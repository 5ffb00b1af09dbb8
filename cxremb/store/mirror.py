"""A store root in object storage: a folder of this machine in front of it, through which all is read and written.

The folder is named by the address, so a path says itself what it is a copy of: in any process, and without a state.
Whatever `store/files` publishes goes to the bucket first and is seen there whole or not at all; the folder follows.
What is asked of a bucket is one conditional put a file: that nothing has its name yet, or that it still is what this
machine has last seen. So no lock is needed between machines.

Fetched when a root is opened: what is small. Parts, predictions and models are fetched by who first reads them
(`remote.there`). What begins with a dot, caches and unpacked archives stay on this machine.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from cxremb.buckets import Bucket, ObjectTaken, Version, address_of, open_bucket, refuse_unconditional
from cxremb.errors import StoreError, VersionTaken

CACHE = "CXREMB_CACHE"  # in the environment: where such folders lie, instead of ~/.cache/cxremb
INDEX = ".index"  # in the folder: which version of an object each file is
MADE = ".made"  # in the folder: that this machine has seen the server keep to conditions
LAZY = re.compile(r"part-\w+\.parquet|predictions\.parquet|model\.safetensors")
# Of a data set, what lies in the bucket. Other objects below a root are somebody else's, such as the films.
SHARED = ("embeddings", "splits", "runs", "weights", "audits", "notes", "maps", "distances", "prompts")
LOCATIONS = ".locations"  # beside the data sets: where films lie, for who sees the same folders; not of pseudonyms
FILES = re.compile(r"dataset\.json|concepts\.csv|\w+(-[0-9a-f]{12})?\.parquet")
AT_ONCE = 16  # requests
WORTH_A_REMARK = 50_000_000  # bytes that somebody has to wait for
CHANGED = "run the command again: it begins with what is there now"
remarks = logging.getLogger("cxremb")

Stat = tuple[int, int, int]  # inode, time, bytes: what a rename keeps and no other file has


def home() -> Path:
    """Where the folders of remote roots lie."""
    return made_home(os.environ.get(CACHE, ""), os.environ.get("XDG_CACHE_HOME", ""))


@lru_cache(8)
def made_home(named: str, caches: str) -> Path:
    """The same, for these words of the environment; without links, since paths are compared with it."""
    return (Path(named) if named else (Path(caches or Path.home() / ".cache") / "cxremb")).resolve() / "roots"


def folder_of(root: str | Path) -> Path:
    """The folder in front of a root that is an address; nobody is asked. Any other root as a path."""
    address = address_of(root)
    return Path(root) if address is None else home() / quote(address, safe="")


def mirror_of(path: Path) -> "Mirror | None":
    """What the file or folder lies in, if that is the folder of a remote root."""
    place, absolute = home(), path.absolute()
    if not absolute.is_relative_to(place) or absolute == place:
        return None
    folder = place / absolute.relative_to(place).parts[0]
    address = address_of(unquote(folder.name))
    return Mirror(folder, open_bucket(address)) if address else None


@dataclass(frozen=True)
class Mirror:
    """A folder in front of a bucket."""

    folder: Path
    bucket: Bucket

    def key(self, path: Path) -> str | None:
        """The key of a file or folder; None for what stays on this machine."""
        parts = path.absolute().relative_to(self.folder).parts
        return "/".join(parts) if is_shared(parts) else None

    def path(self, key: str) -> Path:
        """The file of an object."""
        return self.folder.joinpath(*key.split("/"))

    def refresh(self, below: Path | None = None, *, lazily: bool = True) -> None:
        """Fetch what is new or has changed, remove what is there no more. below: in this folder alone."""
        prefix = self.key(below) if below else ""
        if prefix is None:
            return
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        before = self.known()  # first: what others put there while the listing is made is not in it
        listed = {one.key: one for one in self.bucket.listed(prefix)}
        sets = {key.partition("/")[0] for key in listed if re.fullmatch(r"[^/]+/dataset\.json", key)}
        wanted = {key: one for key, one in listed.items() if (below or dataset_of(key) in sets) and self.belongs(key)}
        for key in before.keys() - wanted.keys():
            if not prefix or key.startswith(f"{prefix}/"):
                forget(self.path(key))
        stale = [one for key, one in wanted.items() if not is_same(one.version, before.get(key))]
        later = [one for one in stale if lazily and LAZY.fullmatch(one.key.rpartition("/")[2])]
        for one in later:  # it is fetched by who reads it
            with suppress(OSError):
                self.path(one.key).unlink()
        now = [one for one in stale if one not in later]
        if (size := sum(one.size_bytes for one in now)) > WORTH_A_REMARK:
            remarks.warning(f"{self.bucket.address}: fetching {size / 1e6:,.0f} MB")
        self.fetch([self.path(one.key) for one in now])

    def belongs(self, key: str) -> bool:
        """Whether cxremb gives such names. No key that it gives leads out of the folder."""
        parts = key.split("/")
        whole = all(part and part.isprintable() and part not in {".", ".."} and "\\" not in part for part in parts)
        return whole and len(parts) > 1 and is_shared(tuple(parts))

    def fetch(self, paths: Sequence[Path], digests: Mapping[Path, str] | None = None) -> None:
        """These files, whole. Raises `StoreError` for one that is not there, or has another digest than it should."""

        def one(path: Path) -> None:
            key = self.key(path) or ""
            draft = path.parent / f".{uuid4().hex}"
            try:
                path.parent.mkdir(0o700, parents=True, exist_ok=True)
                version = self.bucket.fetch(key, draft)
                if (wanted := (digests or {}).get(path)) and sha256(draft) != wanted:
                    raise StoreError(
                        f"{self.bucket.address}/{key}: not the bytes that its version names",
                        hint=f"`cxremb store rm {path.parent.name} --yes`, then embed again",
                    )
                self.note(path, draft, version)
                draft.replace(path)
            except FileNotFoundError as error:
                raise StoreError(f"{self.bucket.address}/{key}: gone", hint=CHANGED) from error
            except OSError as error:
                raise StoreError(
                    f"{path}: cannot be written ({error.strerror or error})", hint=f"free space, or set {CACHE}"
                ) from error
            finally:
                draft.unlink(missing_ok=True)

        at_once(one, paths)

    def put(self, draft: Path, path: Path, key: str, *, new: bool) -> None:
        """See `in_place`."""
        self.make()
        known = None if new else self.known([key]).get(key)
        try:
            version = self.bucket.put(draft, key, known)
        except ObjectTaken as error:
            path.unlink(missing_ok=True)
            with suppress(StoreError):
                self.fetch([path])  # so that whoever reads on reads what is there now
            if new:
                raise FileExistsError(f"{self.bucket.address}/{key}") from error
            raise VersionTaken(
                f"{self.bucket.address}/{key}: changed by another cxremb meanwhile", hint=CHANGED
            ) from error
        self.note(path, draft, version)

    def upload(self, path: Path, draft: Path | None = None) -> None:
        """A file under a name that nothing else will ever have: the one that is in place, or its draft."""
        self.make()
        if key := self.key(path):
            self.note(path, draft or path, self.bucket.upload(draft or path, key))

    def make(self) -> None:
        """Make the root, unless it is. Raises `StoreError` if its server does not keep to conditions."""
        if not (mark := self.folder / MADE).exists():
            refuse_unconditional(self.bucket)
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            mark.touch()

    def remove(self, paths: Sequence[Path]) -> None:
        """See `removed`."""
        keys = [key for path in paths if not path.is_dir() and (key := self.key(path))]
        for key in [key for path in paths if path.is_dir() and (key := self.key(path))]:
            keys += [one.key for one in self.bucket.listed(key) if self.belongs(one.key)]
        ranks: dict[tuple[int, str], list[str]] = {}
        for key in dict.fromkeys(keys):
            ranks.setdefault(rank(key), []).append(key)
        for _, some in sorted(ranks.items()):
            self.bucket.remove(some)

    def note(self, path: Path, draft: Path, version: Version) -> None:
        """Remember which version the file is that `draft` is about to become."""
        line = json.dumps([self.key(path), *version, *(stat_of(draft) or ())]) + "\n"
        with (self.folder / INDEX).open("a", encoding="utf-8") as file:
            file.write(line)

    def known(self, keys: Sequence[str] | None = None) -> dict[str, Version]:
        """Key -> version of every file here, or of some, that still is the one that was noted.

        A line that is lost costs a fetch: nothing is taken for a version that it is not.
        """
        lines = self.lines()
        found = {key: lines[key] for key in (lines if keys is None else keys) if key in lines}
        return {key: version for key, (version, stat) in found.items() if stat_of(self.path(key)) == stat}

    def lines(self) -> dict[str, tuple[Version, Stat]]:
        """What was noted last of each key; a file with many older lines is written anew."""
        found: dict[str, tuple[Version, Stat]] = {}
        try:
            lines = (self.folder / INDEX).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            with suppress(ValueError, TypeError):  # one that was broken off
                key, e_tag, version, inode, time, size = json.loads(line)
                found[key] = Version(e_tag, version), (inode, time, size)
        if len(lines) > 2 * len(found) + 100:
            draft = self.folder / f".{uuid4().hex}"
            rows = (json.dumps([key, *version, *stat]) + "\n" for key, (version, stat) in found.items())
            draft.write_text("".join(rows), encoding="utf-8")
            draft.replace(self.folder / INDEX)
        return found


def is_part(path: Path) -> bool:
    """Whether it is a part of a store by its name, which is given once and means nothing before a version names it."""
    return path.name.startswith("part-") and path.suffix == ".parquet"


def forget(path: Path) -> None:
    """Remove a file whose object is gone, and a folder in which nothing is left but locks."""
    with suppress(OSError):
        path.unlink()
        if all(other.name.startswith(".") for other in path.parent.iterdir()):
            shutil.rmtree(path.parent)


def is_shared(parts: Sequence[str]) -> bool:
    """Whether a file or folder of these names, from the root down, lies in the bucket."""
    if parts[0] == LOCATIONS:
        return len(parts) < 3 or re.fullmatch(r"[0-9a-f]{12}\.json", parts[2]) is not None
    if any(part.startswith(".") for part in parts):
        return False
    return len(parts) < 2 or parts[1] in SHARED or (len(parts) == 2 and FILES.fullmatch(parts[1]) is not None)


def dataset_of(key: str) -> str:
    """Whose data set a file is."""
    first, _, rest = key.partition("/")
    return rest.partition("/")[0] if first == LOCATIONS else first


def is_same(listed: Version, known: Version | None) -> bool:
    """Whether a listing means the version that is known: not all servers list a number of it."""
    if known is None:
        return False
    return listed.e_tag == known.e_tag if listed.e_tag else listed.version == known.version


def rank(key: str) -> tuple[int, str]:
    """Which objects go first: what makes a run or a version count, the oldest first, and a data set's tables last."""
    parts = key.split("/")
    if parts[-1] == "run.json":
        return 0, ""
    if len(parts) == 4 and re.fullmatch(r"\d+\.json", parts[-1]):
        return 1, parts[-1]
    if len(parts) > 2:
        return 2, ""
    return (3, "") if parts[-1] == "dataset.json" else (4, "")


def at_once(work: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """The work for each, several at a time; the first error is raised when all have ended."""
    if len(paths) == 1:
        work(paths[0])
    elif paths:
        with ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
            for done in [pool.submit(work, path) for path in paths]:
                done.result()


def stat_of(path: Path) -> Stat | None:
    """What tells this file from any other; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def sha256(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
