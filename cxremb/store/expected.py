"""What a file says that anybody may have written, held against what cxremb would have written there."""

import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from cxremb.errors import DataError, StoreError
from cxremb.version import VERSION

SHOWN = 60  # characters of a value that an error quotes
DEPTH = 20  # of lists and objects in one another
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal obeys them; tab and line feed do no harm
FOREIGN = "if it came from elsewhere do not use it, and ask where it came from; else report this, please"
HEX64 = r"[0-9a-f]{64}"


class Unexpected(ValueError):
    """A value that cxremb would not have written there."""


def conform(value: Any, kind: Any, where: str, *, depth: int = 0) -> None:
    """Raises `Unexpected` unless a value out of JSON is of this kind: a type as annotations have it.

    Known are str, int, float, bool, None, Any, unions, mappings, sequences and dataclasses. A text holds no control
    character; of a dataclass all fields are there that have no default, and none besides.
    """
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next((one for one in get_args(kind) if fits(value, one)), get_args(kind)[0])
    kind = type(value) if kind is Any else kind
    if depth > DEPTH or not fits(value, kind):
        raise Unexpected(f"{where} is {shown(value)}")
    if isinstance(value, str) and CONTROL.search(value):
        raise Unexpected(f"{where} holds control characters: {shown(value)}")
    for name, one, its in inside(value, kind, where):
        conform(one, its, f"{where}{name}", depth=depth + 1)


def inside(value: Any, kind: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, kind) of all that is in a list or object. Raises `Unexpected` for a field too many or too few."""
    inner = get_args(kind)
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
        if wrong := sorted((value.keys() - kinds.keys()) | (needed - value.keys())):
            raise Unexpected(f"{where} {'has' if wrong[0] in value else 'lacks'} {shown(wrong[0])}")
        yield from ((f".{name}", one, kinds[name]) for name, one in value.items())
    elif isinstance(value, dict):
        yield from ((f", in its names {shown(name)}", name, str) for name in value)
        yield from ((f".{name}", one, inner[1] if inner else Any) for name, one in value.items())
    elif isinstance(value, list):
        yield from ((f"[{place}]", one, inner[0] if inner else Any) for place, one in enumerate(value))


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of this kind at first sight; what is in a list or object may not be."""
    origin = get_origin(kind) or kind
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin in {str, int, bool, types.NoneType}:
        return type(value) is origin
    if is_dataclass(origin) or issubclass(origin, Mapping):
        return isinstance(value, dict)
    return origin is not Any and isinstance(value, list)


def refuse_format(found: Any, newest: int, path: Path) -> None:
    """Raises `StoreError` for a file of a format that is younger than `newest`, or none at all."""
    if type(found) is int and 1 <= found <= newest:
        return
    newer = type(found) is int and found > newest
    raise StoreError(
        f"{path}: format {shown(found)}, this cxremb ({VERSION}) reads {'1' if newest == 1 else f'1 to {newest}'}",
        hint="a newer cxremb wrote it; get that: pip install --upgrade cxremb" if newer else FOREIGN,
    )


def read_object(text: str) -> dict[str, Any]:
    """The object that a text in JSON holds. Raises `Unexpected`, a `ValueError`, for anything else, however deep."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise Unexpected("lists and objects a thousand deep") from error
    if not isinstance(found, dict):
        raise Unexpected(f"not an object but {shown(found)}")
    return found


def tame(value: Any) -> Any:
    """A value out of JSON without control characters, as `conform` takes it."""
    if isinstance(value, str):
        return CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, Mapping):
        return {tame(name): tame(one) for name, one in value.items()}
    return [tame(one) for one in value] if isinstance(value, list | tuple) else value


def refuse_control(names: Iterable[str], what: str) -> None:
    """Raises `DataError` for a name with a control character."""
    if wrong := next(filter(CONTROL.search, names), None):
        raise DataError(f"{what} {shown(wrong)} holds control characters", hint="rename it where it comes from")


def match(value: str, pattern: str, where: str) -> None:
    """Raises `Unexpected` unless all of a text is of this pattern, in ASCII."""
    if not re.fullmatch(pattern, value, flags=re.ASCII):
        raise Unexpected(f"{where} is {shown(value)}")


def shown(value: Any) -> str:
    """A value in an error: quoted, so that no character in it means anything, and short."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def refuse_links(folder: Path, root: Path, levels: int = 1) -> None:
    """Raises `StoreError` if something in a folder, or so many levels below it, is a link that leads out of `root`.

    cxremb makes no links: in a folder from elsewhere one would have it write, or read, in other places.
    """
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # there is none, or somebody has just removed it
        return
    for path in paths:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise StoreError(f"{path}: a link that leads out of {root}", hint="remove it, and put there what it means")
        if levels > 1 and path.is_dir():
            refuse_links(path, root, levels - 1)
