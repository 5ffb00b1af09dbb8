"""Declarative jobs: WHAT to encode, in a TOML file. The flags of `cxremb embed` say WHERE it runs."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cxremb.encoders.base import What
from cxremb.errors import DataError
from cxremb.images import ASPECTS
from cxremb.shipped import find_file, shipped_names
from cxremb.store.texts import MARKS, WAYS

PRECISIONS = ("full", "half")


def read_job(path: Path) -> tuple[str | None, list[What]]:
    """(the data set, if it is named; what to encode), as a file says it.

    The file may also be one that comes with the package, by its name: `demo`. Raises `DataError`, naming file and key,
    for anything that is not understood.
    """
    path = find_file(path, ".toml")
    try:
        job = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(shipped_names(".toml"))
        raise DataError(f"{path}: cannot be read ({error.strerror})", hint=f"name a file, or one of {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error})", hint="see embed_jobs/example.toml") from error
    refuse_unknown(job, {"dataset": str, "encode": list}, f"{path}")
    if not job.get("encode"):
        raise DataError(f"{path}: asks for nothing", hint="give it an [[encode]] with a model")
    return job.get("dataset"), [read_encode(entry, path) for entry in job["encode"]]


def read_encode(entry: Mapping[str, Any], path: Path) -> What:
    """One `[[encode]]`."""
    kinds = {"model": str, "weights": str, "aspect": str, "scaled_jpeg": bool, "precision": str, MARKS: str}
    assert set(kinds) == {field.name for field in fields(What)}
    refuse_unknown(entry, kinds, f"{path}: [[encode]]")
    if "model" not in entry:
        raise DataError(f"{path}: an [[encode]] names no model", hint='for example model = "efficientnet_b1"')
    for key, words in (("aspect", ASPECTS), ("precision", PRECISIONS), (MARKS, WAYS)):
        if entry.get(key, words[0]) not in words:
            raise DataError(f"{path}: {key} = {entry[key]!r}", hint=f"it is one of {', '.join(words)}")
    weights = path.parent / entry["weights"] if "weights" in entry else None
    return What(**{**entry, "weights": weights})


def refuse_unknown(given: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Raises `DataError` for a key that means nothing here, or a value of another kind."""
    for key, value in given.items():
        if key not in kinds:
            raise DataError(f"{where}: unknown key {key!r}", hint=f"known are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise DataError(f"{where}: {key} is a {type(value).__name__}", hint=f"it should be a {kinds[key].__name__}")
