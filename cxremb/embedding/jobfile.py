"""Declarative jobs: WHAT to encode, in a TOML file. WHERE it runs is said by the flags of `cxremb embed`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cxremb.errors import DataError
from cxremb.images import ASPECTS
from cxremb.shipped import find_file, shipped_names
from cxremb.store.texts import KEEP, MARKS, WAYS

PRECISIONS = ("full", "half")


@dataclass(frozen=True)
class Encode:
    """One store to bring up to date. All of it enters the store's key, so it is not a matter of the machine."""

    model: str
    weights: Path | None = None  # absolute from here on; in a job file, relative to it
    aspect: str = "squash"
    scaled_jpeg: bool = False
    precision: str = "full"  # of the arithmetic: float32, or half where the machine has it in hardware
    xxxx: str = KEEP  # of texts: what becomes of the marks of removed words, see `store.marks`

    def __post_init__(self) -> None:
        """The store remembers where the weights were, and is asked for again from another folder."""
        if self.weights is not None:
            object.__setattr__(self, "weights", self.weights.absolute())


@dataclass(frozen=True)
class Job:
    """What one file asks for."""

    dataset: str | None
    encodes: tuple[Encode, ...]


def read_job(path: Path) -> Job:
    """The job in a file, or in one that comes with the package, by its name: `demo`.

    Raises `DataError`, naming file and key, for anything that is not understood.
    """
    path = find_file(path, ".toml")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(shipped_names(".toml"))
        raise DataError(f"{path}: cannot be read ({error.strerror})", hint=f"name a file, or one of {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error})", hint="see embed_jobs/example.toml") from error
    refuse_unknown(told, {"dataset": str, "encode": list}, f"{path}")
    if not told.get("encode"):
        raise DataError(f"{path}: asks for nothing", hint="give it an [[encode]] with a model")
    return Job(told.get("dataset"), tuple(read_encode(entry, path) for entry in told["encode"]))


def read_encode(entry: Mapping[str, Any], path: Path) -> Encode:
    """One `[[encode]]`."""
    kinds = {"model": str, "weights": str, "aspect": str, "scaled_jpeg": bool, "precision": str, MARKS: str}
    assert set(kinds) == {field.name for field in fields(Encode)}
    refuse_unknown(entry, kinds, f"{path}: [[encode]]")
    if "model" not in entry:
        raise DataError(f"{path}: an [[encode]] names no model", hint='for example model = "efficientnet_b1"')
    for key, words in (("aspect", ASPECTS), ("precision", PRECISIONS), (MARKS, WAYS)):
        if entry.get(key, words[0]) not in words:
            raise DataError(f"{path}: {key} = {entry[key]!r}", hint=f"it is one of {', '.join(words)}")
    weights = path.parent / entry["weights"] if "weights" in entry else None
    return Encode(**{**entry, "weights": weights})


def refuse_unknown(told: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Raises `DataError` for a key that means nothing here, or a value of another kind."""
    for key, value in told.items():
        if key not in kinds:
            raise DataError(f"{where}: unknown key {key!r}", hint=f"known are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise DataError(f"{where}: {key} is a {type(value).__name__}", hint=f"it should be a {kinds[key].__name__}")
