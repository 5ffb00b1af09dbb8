"""One version of an embedding store: the parts it lists, what made them, and that the counts add up."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cxremb.errors import StoreError
from cxremb.store import remote
from cxremb.store.expected import HEX64, Unexpected, conform, match, refuse_format
from cxremb.store.files import publish_text
from cxremb.store.layout import FORMAT_VERSION
from cxremb.store.texts import WAYS, way_of

MOST_DIMENSIONS = 100_000  # of an array in DuckDB


@dataclass(frozen=True)
class Recipe:
    """How anything is encoded; all of it enters the key. WHERE it ran (device, workers, batch) never does.

    Nor does WHICH: a store holds every film, or every text, of its data set, and each row says what it is of.
    """

    encoder: str  # the short name, which names the store's folder and its SQL view
    model: str  # full tag and revision
    weights_sha256: str
    modality: str  # image or text
    dim: int
    poolings: tuple[str, ...]  # the first is what readers get unless they ask
    input: Mapping[str, Any]  # transform and decoder for images; tokeniser and length for texts
    precision: str  # full (float32) or half (bfloat16 or float16 arithmetic)
    dtype: str = "float16"  # what its values are rounded to; how they lie in a part is no matter of the key (`layout`)
    format: int = FORMAT_VERSION

    @property
    def key(self) -> str:
        """SHA-256 of the recipe: equal keys mean interchangeable vectors."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def store(self) -> str:
        """The store's folder name."""
        return f"{self.encoder}@{self.key[:12]}"


@dataclass(frozen=True)
class Part:
    """An immutable Parquet file of vectors."""

    file: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a reader needs to know of one version. asked = written + failed, in items: images, or study x section."""

    version: int
    key: str
    recipe: Recipe
    licence: str  # of the encoder
    created: str  # ISO 8601, UTC
    parts: tuple[Part, ...]
    asked: int
    written: int
    failed: int
    failures: str | None  # file name
    provenance: Mapping[str, Any]
    dataset_licence: str = ""  # of the collection; "" in versions that are older than these two
    dataset_citation: str = ""

    def __post_init__(self) -> None:
        """Hold the sum: nothing may go missing between the plan and the store."""
        rows = sum(part.rows for part in self.parts)
        if self.asked != self.written + self.failed or rows != self.written * len(self.recipe.poolings):
            raise StoreError(
                f"{self.recipe.store}: {self.asked} asked, {self.written} written, {self.failed} failed, "
                f"{rows} rows do not add up",
                hint="this is a bug in cxremb: please report it with the command you ran",
            )

    def to_json(self) -> str:
        """The manifest as it is published."""
        return json.dumps({"format": FORMAT_VERSION, "store": self.recipe.store, **asdict(self)}, indent=1) + "\n"


def publish(manifest: Manifest, folder: Path) -> Path:
    """The new version's path. Raises `VersionTaken` if another writer was first; readers never see half of it."""
    remote.sent(folder, [part.file for part in manifest.parts])
    return publish_text(folder / f"{manifest.version:06d}.json", manifest.to_json())


def manifest_paths(folder: Path) -> list[Path]:
    """The published versions in `folder`, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*.json") if re.fullmatch(r"\d+", path.stem, re.ASCII))


def read_manifest(path: Path) -> Manifest:
    """The version that `path` describes. Raises `StoreError` if it is damaged or of another format."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        store, found = fields.pop("store"), fields.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path}: a damaged manifest ({error})", hint="delete this one file to go back to the version before it"
        ) from error
    refuse_format(found, FORMAT_VERSION, path)
    try:
        conform(fields, Manifest, "the manifest")
        recipe = fields["recipe"]
        fields["recipe"] = Recipe(**{**recipe, "poolings": tuple(recipe["poolings"])})
        fields["parts"] = tuple(Part(**part) for part in fields["parts"])
        manifest = Manifest(**fields)
        refuse_unexpected(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise unexpected(path, str(error)) from error
    if manifest.recipe.key != manifest.key:
        raise unexpected(path, "its recipe does not match its key")
    if not store == path.parent.name == manifest.recipe.store or int(path.stem) != manifest.version:
        raise unexpected(path, f"it is version {manifest.version} of {manifest.recipe.store}")
    return manifest


def unexpected(path: Path, why: str) -> StoreError:
    """The error for a version that cxremb has not written, or that was changed or moved since."""
    remedy = f"`cxremb store rm {shlex.quote(path.parent.name)} --yes`"
    return StoreError(
        f"{path}: not as cxremb writes it: {why}",
        hint=f"if it came from elsewhere do not use it; remove the store with {remedy}",
    )


def refuse_unexpected(manifest: Manifest) -> None:
    """Raises `ValueError` for names that cxremb does not give: of files, encoders, poolings, and whatever else has one.

    So each file of a version lies in the store's folder, and no name means anything to SQL or a shell.
    """
    recipe, about = manifest.recipe, manifest.provenance
    asked = about.get("encode", {"model": recipe.encoder})
    conform(asked, Mapping[str, str | bool | None], "provenance.encode")
    named = {
        r"failures-[\w-]+\.parquet": [manifest.failures] if manifest.failures else [],
        r"part-\w+\.parquet": [part.file for part in manifest.parts],
        HEX64: [manifest.key, *(part.sha256 for part in manifest.parts)],
        r"[A-Za-z0-9][\w.+-]*": [recipe.encoder],
        r"\w[\w.:/@+-]*": [asked["model"]],
        r"\w+": recipe.poolings,
        "image|text": [recipe.modality],
        "full|half": [recipe.precision],
        "float16": [recipe.dtype],
        r"20\d\d-\d\d-\d\dT[\d:.]+(\+\d\d:\d\d)?": [manifest.created],
        "|".join(WAYS): [way_of(recipe.input)],
        r"\w+\.parquet": [about["trained_on"]] if "trained_on" in about else [],
        r"\w+\.safetensors": [about["projection"]] if "projection" in about else [],
    }
    for pattern, values in named.items():
        for value in values:
            match(str(value), pattern, "a name in it")
    datetime.fromisoformat(manifest.created)
    conform(about.get("seconds", {}), Mapping[str, float], "provenance.seconds")
    if not recipe.poolings or not 1 <= recipe.dim <= MOST_DIMENSIONS:
        raise Unexpected(f"{recipe.dim} dimensions, {len(recipe.poolings)} poolings")
    if min([manifest.version, *(part.rows for part in manifest.parts)]) < 1:
        raise Unexpected("its version or the rows of a part are below one")


def latest_manifest(folder: Path) -> Manifest | None:
    """The current version of the store in `folder`, or None before its first commit."""
    paths = manifest_paths(folder)
    return read_manifest(paths[-1]) if paths else None
