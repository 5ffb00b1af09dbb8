"""What a data set says of itself, and what is said of it in another place: where it lies, under which pseudonyms."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.errors import DataError
from cxremb.store.dataset import Dataset
from cxremb.store.expected import tame
from cxremb.store.layout import DatasetPaths
from cxremb.store.locations import Locations, common_folder, token
from cxremb.store.pseudonyms import Pseudonyms, made_key
from cxremb.types import Collection, Note


def chosen_names(before: Dataset | None, key: Path | None, paths: DatasetPaths) -> Pseudonyms | None:
    """The pseudonyms to write; None: ids as they are. Raises `DataError` if the data set that is there has others."""
    known = before.pseudonyms if before else ""
    other = "or give this one another --name"
    if key is None:
        if known:
            raise DataError(
                f"{paths.name} is here under pseudonyms", hint=f"give the same key with --pseudonymise KEYFILE, {other}"
            )
        return None
    if before and not known:
        raise DataError(
            f"{paths.name} is here under its own ids", hint=f"remove it first: `cxremb data rm {paths.name}`; {other}"
        )
    if known and not key.exists():
        raise DataError(
            f"{key}: no such file; {paths.name} is here under pseudonyms of a key", hint=f"name it, {other}"
        )
    names = made_key(key, paths.root)
    if known and names.fingerprint != known:
        raise DataError(
            f"{key}: not the key that the pseudonyms of {paths.name} were made with", hint=f"name it, {other}"
        )
    return names


def located(images: Path, collection: Collection, names: Pseudonyms | None) -> Locations:
    """Where the films of a draft lie, whose paths are whole, and what the collection was read from."""
    films = pq.read_table(images, columns=["image_id", "path"])
    there = films.filter(pc.is_valid(films["path"]))
    paths = there["path"].to_pylist()
    source = {name: path for name, path in collection.source.items() if Path(path).is_absolute()}
    if names is None:
        return Locations(common_folder(paths), source=source)
    files = {token(image, path): path for image, path in zip(there["image_id"].to_pylist(), paths, strict=True)}
    return Locations(files=files, source=source, key=str(names.path))


def in_short(note: Note, locations: Locations) -> Note:
    """A note that names no folder of this machine."""
    examples = tuple(map(locations.hidden, note.examples))
    return replace(note, what=locations.hidden(note.what), examples=examples, hint=locations.hidden(note.hint))


def unnamed(notes: Sequence[Note]) -> list[Note]:
    """Notes without examples, which may say who somebody is."""
    return [replace(note, examples=()) for note in notes]


def description_of(collection: Collection, notes: Sequence[Note], names: Pseudonyms | None) -> dict[str, Any]:
    """What dataset.json says of the collection itself."""
    source = collection.source.items()
    said = {
        "licence": collection.licence,
        "citation": collection.citation,
        "source": {name: Path(said).name if Path(said).is_absolute() else said for name, said in source},
        "notes": [{**asdict(note), "examples": list(note.examples)} for note in notes],
        "simulated": collection.simulated,
        **({"pseudonyms": names.fingerprint} if names else {}),
    }
    return {name: tame(value) for name, value in said.items()}
