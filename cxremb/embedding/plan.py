"""What a store should hold, what it holds already, and so what is left to encode."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError, VersionTaken
from cxremb.store import remote
from cxremb.store.dataset import Dataset
from cxremb.store.files import read_part, sha256_of
from cxremb.store.manifest import Manifest, Part, latest_manifest, manifest_paths, read_manifest
from cxremb.store.texts import report_texts

Key = tuple[str, str]  # (item_id, section)
Identity = tuple[str, str]  # (content, study_id): a row is as wanted if both are
IDENTITY = ["item_id", "section", "content", "study_id"]


@dataclass(frozen=True)
class Item:
    """One thing to encode: a film on disk, or one text of one report."""

    item_id: str
    study_id: str
    section: str
    content: str  # SHA-256 of the file or the text
    source: str  # the path, or the text itself

    @property
    def key(self) -> Key:
        return self.item_id, self.section


Group = tuple[Item, ...]  # items of equal content: encoded once, stored for each


@dataclass(frozen=True)
class StorePlan:
    """asked = in `kept` + in `adopted` + `todo`. Of each file in `mixed` some rows are wanted, and others are not."""

    asked: int
    todo: tuple[Item, ...]
    kept: tuple[Part, ...]
    adopted: tuple[Part, ...]  # written by a job, maybe one that was stopped, and in no version yet
    mixed: tuple[Path, ...]
    there: tuple[Path, ...] = ()  # every file that was looked at: what it holds under other ids need not be encoded

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the next version lists."""
        return (*self.kept, *self.adopted)


def wanted_items(dataset: Dataset, modality: str) -> list[Item]:
    """Every film that is on this machine, or every text of every report. Raises `DataError` if there is none."""
    items = list(image_items(dataset) if modality == "image" else text_items(dataset))
    if not items:
        what = "images on this machine" if modality == "image" else "report texts"
        raise DataError(
            f"{dataset.name} has no {what}", hint="see `cxremb data show`, then add them with `cxremb data add`"
        )
    if repeated := len(items) - len({item.key for item in items}):
        raise DataError(f"{repeated} ids occur twice", hint="add the data set again with `cxremb data add`")
    return items


def image_items(dataset: Dataset) -> Iterator[Item]:
    """One item for each image that has a file."""
    columns = (dataset.images[name].to_pylist() for name in ("image_id", "study_id", "sha256", "path"))
    for image_id, study_id, content, path in zip(*columns, strict=True):
        if path is not None:
            yield Item(image_id, study_id, "image", content or unread_content(image_id), path)


def unread_content(image_id: str) -> str:
    """What stands for the digest of a film that could not be read: no digest of any file, and no path."""
    return hashlib.sha256(f"id {image_id}".encode()).hexdigest()


def text_items(dataset: Dataset) -> Iterator[Item]:
    """One item for each text of each study: its sections, and the joined ones."""
    for study_id, name, text in report_texts(dataset.reports):
        yield Item(study_id, study_id, name, hashlib.sha256(text.encode()).hexdigest(), text)


def group_by_content(items: Sequence[Item]) -> list[Group]:
    """Items of equal content together, in the order of their first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.content, []).append(item)
    return [tuple(group) for group in groups.values()]


def to_encode(plan: StorePlan) -> list[Group]:
    """What is to do, in groups, but for what can be copied from the files that are there."""
    held = {content for path in plan.there for content in read_part(path, ["content"])["content"].to_pylist()}
    return [group for group in group_by_content(plan.todo) if group[0].content not in held]


def current_plan(items: Sequence[Item], folder: Path) -> tuple[Manifest | None, StorePlan]:
    """The version in force, if there is one, and the plan that follows from it and the parts that no version lists.

    Raises `VersionTaken` if another writer has published while it was made: parts that were in no version when the one
    in force was read are in none of what a plan looks at, once the next version lists them.
    """
    remote.up_to_date(folder)
    manifest = latest_manifest(folder)
    plan = make_plan(items, folder, manifest)
    refuse_newer(folder, manifest)
    return manifest, plan


def refuse_newer(folder: Path, manifest: Manifest | None) -> None:
    """Raises `VersionTaken` if `manifest` is no longer the version in force."""
    now = len(manifest_paths(folder)) and int(manifest_paths(folder)[-1].stem)
    if now != (manifest.version if manifest else 0):
        raise VersionTaken(f"{folder}: another writer published version {now}", hint="run the command again")


def make_plan(items: Sequence[Item], folder: Path, manifest: Manifest | None) -> StorePlan:
    """The plan for `items`, given the store's current version and the parts that no version lists.

    So a job writes its parts first and takes them up from here, whoever wrote them: itself, a job that was stopped,
    another process or another machine.
    """
    missing = {item.key: (item.content, item.study_id) for item in items}
    kept: list[Part] = []
    adopted: list[Part] = []
    mixed: list[Path] = []
    listed = {part.file: part for part in manifest.parts} if manifest else {}
    there = (*(folder / name for name in listed), *orphans(folder))
    for path in there:
        identity = read_identity(path)
        wanted = [key for key, row in identity.items() if missing.get(key) == row]
        if not wanted:
            continue
        if len(wanted) < len(identity):
            mixed.append(path)
        elif path.name in listed:
            kept.append(listed[path.name])
        else:
            adopted.append(describe_part(path))
        if len(wanted) == len(identity):
            for key in wanted:
                del missing[key]
    todo = tuple(item for item in items if item.key in missing)
    return StorePlan(len(items), todo, tuple(kept), tuple(adopted), tuple(mixed), there)


def orphans(folder: Path) -> list[Path]:
    """Parts that no version lists: what a job has finished and not committed. Each was renamed into place whole."""
    listed = {part.file for path in manifest_paths(folder) for part in read_manifest(path).parts}
    return sorted(path for path in folder.glob("part-*.parquet") if path.name not in listed)


def read_identity(path: Path) -> dict[Key, Identity]:
    """(item_id, section) -> content and study of each row of a part."""
    return dict(identities(read_part(path, IDENTITY)))


def identities(table: pa.Table) -> Iterator[tuple[Key, Identity]]:
    """What each row is of."""
    for item, section, content, study in zip(*(table[name].to_pylist() for name in IDENTITY), strict=True):
        yield (item, section), (content, study)


def describe_part(path: Path) -> Part:
    """The manifest's line for a part."""
    return Part(path.name, pq.read_metadata(path).num_rows, path.stat().st_size, sha256_of(path))


def rows_of(table: pa.Table, wanted: Mapping[Key, Identity]) -> pa.Table:
    """The rows of a part that are wanted, of the content and the study that are wanted."""
    return table.filter(pa.array([wanted.get(key) == row for key, row in identities(table)], pa.bool_()))
