"""Where the films of a data set lie: the one file that knows, beside the data set's folder and no part of it.

Tables, manifests, runs and pages say `ward7/0001.png`, which tells nobody whose machine it was. What that is below lies
in `ROOT/.locations/NAME/`, so whoever copies or sends the data set's folder leaves it behind; the films are then not on
that machine, which is true.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from stat import S_IWGRP

from cxremb.errors import StoreError
from cxremb.store import remote
from cxremb.store.expected import FOREIGN, Unexpected, conform
from cxremb.store.files import remove_files, replace_file
from cxremb.store.layout import DatasetPaths

LETTERS = 12  # of the digest that names a file: two commits of one data set never share one
OWN = ".own.json"  # of pseudonyms: how the file of their locations ends
WEIGHTS = "weights.json"  # beside them: where weights lie that stores were made with
PACKED = re.compile(r"(?i)(\.(?:parquet|pq|parq))/[^/]+/\d+$")  # of a film in a Parquet file: `images.packed`
SUFFIX_LETTERS = 8  # of a film's file name, at most


@dataclass(frozen=True)
class Locations:
    """What lies where on this machine."""

    films: str | None = None  # the folder that the paths of `images` are below
    files: Mapping[str, str] = field(default_factory=dict)  # of pseudonyms: what `images` says -> where the film lies
    source: Mapping[str, str] = field(default_factory=dict)  # argument -> a path that dataset.json has the end of alone
    key: str = ""  # the file of the key that pseudonyms are made with; the key itself is nowhere in a store

    def whole(self, path: str | None) -> str | None:
        """Where a film lies of which `images` says `path`; None where nobody knows."""
        if path is None:
            return None
        if self.files:
            return self.files.get(path)
        if "://" in path:  # an address that is below no other one
            return path
        return None if self.films is None else f"{self.films}/{path}"

    @cached_property
    def stored(self) -> Mapping[str, str]:
        """The other way round, of pseudonyms."""
        return {whole: path for path, whole in self.files.items()}

    def short(self, path: str) -> str:
        """What `images` says of a film that lies at `path`, also where it is not of the data set."""
        if self.files:
            return path if path in self.files else self.stored.get(path, "a film")
        return path if self.films is None else path.removeprefix(f"{self.films}/")

    def hidden(self, text: str) -> str:
        """A text without the folders of this machine that it names."""
        for path in filter(None, (self.films, *sorted(self.source.values(), key=len, reverse=True))):
            text = text.replace(f"{path}/", "").replace(path, PurePosixPath(path).name)
        return text


def common_folder(paths: Iterable[str]) -> str | None:
    """The folder that all films lie in or below, without a slash at its end; None without a film.

    Of addresses it is one too, while all are of one server or bucket; else they are below nothing, and stay whole.
    """
    found: str | None = None
    for path in paths:
        folder = PACKED.sub(r"\1", path).rpartition("/")[0]
        if found is None:
            found = folder
        elif not f"{folder}/".startswith(f"{found}/"):
            names = takewhile(lambda pair: pair[0] == pair[1], zip(found.split("/"), folder.split("/"), strict=False))
            found = "/".join(name for name, _ in names)
            found = "" if found.rstrip("/").endswith(":") else found
    return found


def token(image_id: str, path: str) -> str:
    """What `images` says of a film whose file name may tell who it is of: its id, and what kind of file it is."""
    suffix = PurePosixPath(path).suffix
    return image_id + (suffix if suffix[1:].isalnum() and len(suffix) <= SUFFIX_LETTERS else "")


def write_locations(paths: DatasetPaths, locations: Locations) -> str:
    """The name by which dataset.json knows them, once they are on the disk. Raises `StoreError` if they cannot be."""
    content, name = asdict(locations), name_of(locations)
    path = locations_path(paths, name, own=bool(locations.files))
    if not path.is_file():
        write_private(path, content)
    return name


def name_of(locations: Locations) -> str:
    """What dataset.json calls them."""
    return hashlib.sha256(json.dumps(asdict(locations)).encode()).hexdigest()[:LETTERS]


def remember_weights(paths: DatasetPaths, weights: Path, sha256: str) -> str:
    """What a manifest says of a file or folder of weights: its place in the data set's folder, else its name alone.

    Where it lies is kept beside the locations of films, by its digest, so that it is found again.
    """
    whole = weights.resolve()
    if whole.is_relative_to(paths.folder.resolve()):
        return whole.relative_to(paths.folder.resolve()).as_posix()
    known = weights_known(paths)
    if known.get(sha256) != str(weights):
        write_private(paths.locations / WEIGHTS, {**known, sha256: str(weights)})
    return weights.name


def recall_weights(paths: DatasetPaths, said: str, sha256: str) -> Path:
    """Where the weights lie of which a manifest says `said`; of an earlier cxremb that is the whole path."""
    inside = paths.folder / said
    return inside if inside.exists() else Path(weights_known(paths).get(sha256, said))


def weights_known(paths: DatasetPaths) -> Mapping[str, str]:
    """SHA-256 -> where the weights lie, or lay once; nothing where that cannot be read."""
    try:
        found = json.loads((paths.locations / WEIGHTS).read_text(encoding="utf-8"))
        conform(found, Mapping[str, str], WEIGHTS)
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(found)


def write_private(path: Path, content: Mapping[str, object]) -> None:
    """`path` as JSON that its owner alone reads, or the group whose folder it is. Raises `StoreError`."""

    def write(draft: Path) -> None:
        draft.touch(0o600)
        if draft.parent.stat().st_mode & S_IWGRP:
            draft.chmod(0o660)
        draft.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    replace_file(path, write)


def locations_path(paths: DatasetPaths, name: str, *, own: bool = False) -> Path:
    """Where the ones of that name lie, or would. own: of pseudonyms; of a root in object storage here alone."""
    return paths.locations / f"{name}{OWN if own else '.json'}"


def read_locations(paths: DatasetPaths, name: str) -> Locations:
    """Those of that name; empty ones where the data set came here without. Raises `StoreError` if they are damaged.

    Of pseudonyms where another machine has added the data set since: those that this one knew last. A film has one
    pseudonym on all of them, and whoever reads it compares its SHA-256.
    """
    path = locations_path(paths, name, own=True)
    if not path.exists():
        path = locations_path(paths, name)
        with suppress(StoreError):
            remote.there(path)
    if not path.exists():
        path = newest_own(paths) or path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        conform(found, Locations, path.name)
        return Locations(**found)
    except FileNotFoundError:
        return Locations()
    except (Unexpected, ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{path}: not as cxremb writes it: {error}", hint=FOREIGN) from None
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror})", hint="ask who made the store root to let you read it"
        ) from error


def newest_own(paths: DatasetPaths) -> Path | None:
    """The file of pseudonyms that this machine wrote last."""
    return max(paths.locations.glob(f"*{OWN}"), key=lambda path: path.stat().st_mtime_ns, default=None)


def drop_locations(paths: DatasetPaths, kept: Sequence[str] = ()) -> None:
    """Remove what is of no name in `kept`; the folder too if nothing is left. Without names nothing stays."""
    with suppress(OSError, StoreError):  # what is left costs space, and is found again
        remove_files(stale_locations(paths, kept) if kept else sorted(paths.locations.glob("*")))
    for folder in (paths.locations, paths.locations.parent):
        try:
            folder.rmdir()
        except OSError:  # not there, or not empty
            return


def stale_locations(paths: DatasetPaths, kept: Iterable[str]) -> list[Path]:
    """The files of films that are not of these names. Where none of these is here the last of pseudonyms stays."""
    names = {WEIGHTS, *(f"{name}{end}" for name in kept for end in (OWN, ".json"))}
    if not any((paths.locations / name).exists() for name in names - {WEIGHTS}) and (own := newest_own(paths)):
        names.add(own.name)
    return sorted(path for path in paths.locations.glob("*") if path.name not in names)
