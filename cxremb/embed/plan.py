"""What a store should hold, what it holds already, and so what is left to encode."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError
from cxremb.store.dataset import Dataset
from cxremb.store.files import sha256_of
from cxremb.store.layout import JOINED
from cxremb.store.manifest import Manifest, Part, manifest_paths, read_manifest

Key = tuple[str, str]  # (item_id, section)
IDENTITY = ["item_id", "section", "content"]


@dataclass(frozen=True)
class Item:
    """One thing to encode: a film on disk, or one section of one report."""

    item_id: str
    study_id: str
    section: str
    content: str  # SHA-256 of the file or the text
    source: str  # the path, or the text itself

    @property
    def key(self) -> Key:
        return self.item_id, self.section


@dataclass(frozen=True)
class Plan:
    """asked = in `kept` + in `adopted` + `todo`. `stale` parts hold rows that are no longer wanted."""

    asked: int
    todo: tuple[Item, ...]
    kept: tuple[Part, ...]
    adopted: tuple[Part, ...]  # written by a run that was stopped before its commit
    stale: tuple[Part, ...]


def wanted_items(dataset: Dataset, modality: str, sections: Sequence[str]) -> list[Item]:
    """Every film that is on this machine, or every section with text. Raises `DataError` if there is none."""
    items = list(image_items(dataset) if modality == "image" else text_items(dataset, sections))
    if not items:
        what = "images on this machine" if modality == "image" else "report texts"
        raise DataError(
            f"{dataset.name} has no {what}", hint="see `cxremb data show`, then add them with `cxremb data add`"
        )
    return items


def image_items(dataset: Dataset) -> Iterator[Item]:
    """One item for each image that has a file."""
    columns = (dataset.images[name].to_pylist() for name in ("image_id", "study_id", "sha256", "path"))
    for image_id, study_id, content, path in zip(*columns, strict=True):
        if path is not None:
            yield Item(image_id, study_id, "image", content, path)


def text_items(dataset: Dataset, sections: Sequence[str]) -> Iterator[Item]:
    """One item for each study and section with text; findings and impression also joined, whichever there is."""
    texts: dict[str, dict[str, str]] = {}
    columns = (dataset.reports[name].to_pylist() for name in ("study_id", "section", "text"))
    for study_id, section, text in zip(*columns, strict=True):
        texts.setdefault(study_id, {})[section] = text
    for study_id, study in texts.items():
        joined = " ".join(study[section] for section in JOINED if section in study)
        for section in sections:
            text = joined if section == "+".join(JOINED) else study.get(section, "")
            if text:
                yield Item(study_id, study_id, section, hashlib.sha256(text.encode()).hexdigest(), text)


def make_plan(items: Sequence[Item], folder: Path, manifest: Manifest | None) -> Plan:
    """The plan for `items` given the store's current version and any parts a stopped run left behind."""
    wanted = {item.key: item.content for item in items}
    if len(wanted) != len(items):
        raise DataError(
            f"{len(items) - len(wanted)} ids occur twice", hint="add the data set again with `cxremb data add`"
        )
    missing = dict(wanted)
    kept: list[Part] = []
    stale: list[Part] = []
    adopted: list[Part] = []
    for part in manifest.parts if manifest else ():
        identity = read_identity(folder / part.file)
        (kept if all(wanted.get(key) == content for key, content in identity.items()) else stale).append(part)
        for key, content in identity.items():
            if wanted.get(key) == content:
                missing.pop(key, None)
    for path in orphans(folder):
        identity = read_identity(path)
        if identity and all(missing.get(key) == content for key, content in identity.items()):
            adopted.append(describe_part(path))
            for key in identity:
                del missing[key]
    todo = tuple(item for item in items if item.key in missing)
    return Plan(len(items), todo, tuple(kept), tuple(adopted), tuple(stale))


def orphans(folder: Path) -> list[Path]:
    """Parts that no version lists: what a stopped run had finished. Parts are renamed into place, so each is whole."""
    listed = {part.file for path in manifest_paths(folder) for part in read_manifest(path).parts}
    return sorted(path for path in folder.glob("part-*.parquet") if path.name not in listed)


def read_identity(path: Path) -> dict[Key, str]:
    """(item_id, section) -> content of each row of a part."""
    table = pq.ParquetFile(path).read(columns=IDENTITY)
    ids, sections, contents = (table[name].to_pylist() for name in IDENTITY)
    return dict(zip(zip(ids, sections, strict=True), contents, strict=True))


def describe_part(path: Path) -> Part:
    """The manifest's line for a part."""
    return Part(path.name, pq.read_metadata(path).num_rows, path.stat().st_size, sha256_of(path))


def wanted_rows(table: pa.Table, items: Sequence[Item]) -> pa.Table:
    """The rows of a part that are still wanted, with their content as wanted."""
    wanted = {item.key: item.content for item in items}
    ids, sections, contents = (table[name].to_pylist() for name in IDENTITY)
    mask = [wanted.get((i, s)) == c for i, s, c in zip(ids, sections, contents, strict=True)]
    return table.filter(pa.array(mask))
