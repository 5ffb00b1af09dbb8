"""Your own encoder, as `module:function`: what it returns satisfies a protocol of encoders/base.py."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder, What
from cxremb.encoders.table import EncoderSpec, short_name
from cxremb.errors import EncoderError
from cxremb.store.manifest import Recipe

NEEDED = {"image": ("frame", "encode"), "text": ("max_tokens", "lengths", "encode")}


def load(what: What, spec: EncoderSpec, machine: Machine) -> ImageEncoder | TextEncoder:
    """What the function returns, called with (weights, machine); the SHA-256 of its source file enters the key.

    Raises `EncoderError` if there is no such function or it returns no encoder.
    """
    name = what.model
    function = find_function(name)
    encoder = function(what.weights, machine)
    recipe = getattr(encoder, "recipe", None)
    if not isinstance(recipe, Recipe) or recipe.modality not in NEEDED:
        raise EncoderError(
            f"{name} returned no encoder: it has no recipe", hint="set `recipe` to a cxremb.store.manifest.Recipe"
        )
    lacking = [part for part in ("licence", *NEEDED[recipe.modality]) if not hasattr(encoder, part)]
    if lacking:
        raise EncoderError(
            f"{name} returned an encoder without {', '.join(lacking)}",
            hint="see cxremb.encoders.base for what it needs",
        )
    encoder.recipe = replace(
        recipe, encoder=short_name(name), input={**recipe.input, "source_sha256": source_digest(function)}
    )
    if not hasattr(encoder, "notes"):
        encoder.notes = []
    found: ImageEncoder | TextEncoder = encoder
    return found


def find_function(name: str) -> Callable[[Path | None, Machine], Any]:
    """The function that `name` means; its module may lie in the current folder. Raises `EncoderError`."""
    module, attribute = name.split(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` does
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EncoderError(
            f"{name}: {error}", hint=f"put {module.split('.')[0]}.py into this folder or install its package"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(function):
        raise EncoderError(
            f"{name} is no function", hint="name a function of (weights, machine) that returns an encoder"
        )
    found: Callable[[Path | None, Machine], Any] = function
    return found


def source_digest(function: Callable[..., Any]) -> str:
    """The SHA-256 of the file that defines `function`. Raises `EncoderError` if there is none."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
        return hashlib.sha256(Path(path or "").read_bytes()).hexdigest()
    except (TypeError, OSError) as error:
        raise EncoderError(f"{function!r} has no source file", hint="define it in a .py file") from error
