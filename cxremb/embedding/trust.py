"""What a store says of its own making is data: what of it may be done again without being named by the user."""

import hashlib
import shlex
from pathlib import Path

from cxremb.encoders.base import What
from cxremb.encoders.hub import weight_files
from cxremb.encoders.table import ENCODERS, OWN, TIMM, find_spec
from cxremb.encoders.weights import WEIGHT_SUFFIXES, locate_file, locate_folder
from cxremb.errors import EncoderError
from cxremb.store.files import sha256_of
from cxremb.store.reader import Store

SAFE = ".safetensors"


def refuse_code(store: Store, what: What) -> None:
    """Raises `EncoderError`, with the command that names it, for what a version names and could run code.

    An encoder of the table may be built, with the weights that the table means. Any other weights are opened if they
    are safetensors and the very ones that the store was made with. A function is never called, and nothing unpickled,
    on the word of a store.
    """
    spec = find_spec(what.model)
    hint = f"if you trust it, name it: {command(what)}"
    if code := named_code(what):
        raise EncoderError(f"{store.name} was made with {code}: its word alone does not run it", hint)
    if what.weights is not None and not what.weights.exists():
        raise EncoderError(f"{store.name} was made with {what.weights}, which is not here", hint)
    if what.weights is None and what.model in ENCODERS:
        return
    path = what.weights or (locate_file if spec.build == TIMM else locate_folder)(what.model, spec, None).path
    files = files_of(path)
    digests = [sha256_of(file) for file in files]
    if not files or any(file.suffix != SAFE for file in files):
        raise EncoderError(f"{store.name} was made with {path}, which is not safetensors: it may run code", hint)
    one = digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    if one != store.manifest.recipe.weights_sha256:
        raise EncoderError(f"{path} is not what {store.name} was made with: its SHA-256 is {one[:12]}...", hint)


def named_code(what: What) -> str:
    """What would run code, in words; "" if nothing would by its name. No file is opened."""
    if find_spec(what.model).build == OWN:
        return f"the function {what.model}"
    unsafe = what.weights is not None and what.weights.suffix in WEIGHT_SUFFIXES and what.weights.suffix != SAFE
    return f"{what.weights}, which is not safetensors" if unsafe else ""


def command(what: What) -> str:
    """What to type to name it."""
    weights = f" --weights {shlex.quote(str(what.weights))}" if what.weights else ""
    return f"`cxremb embed --model {what.model}{weights}`"


def files_of(path: Path) -> list[Path]:
    """The files of weights that an encoder would read from a file or folder."""
    if not path.is_dir():
        return [path]
    return weight_files(path) or sorted(child for child in path.iterdir() if child.suffix in WEIGHT_SUFFIXES)
