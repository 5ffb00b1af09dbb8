"""Where an encoder's weights are: the path given, a package, the hub or its cache; and which of the table are here."""

import hashlib
import importlib
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from cxremb.encoders.hub import OPEN_CLIP_FILES, hub_file, hub_folder, refuse_unreachable, weight_files
from cxremb.encoders.table import ENCODERS, TIMM, EncoderSpec
from cxremb.errors import EncoderError
from cxremb.store.files import sha256_of

CONFIGS = ("config.json", "open_clip_config.json")  # of transformers and of open_clip
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Weights:
    """Weights on this machine: `path` is a file (timm) or folder (transformers); `source` says where they came from."""

    path: Path
    source: str
    sha256: str


def locate_file(name: str, spec: EncoderSpec, given: Path | None) -> Weights:
    """One file of weights for a timm encoder. Raises `EncoderError` that says where it looked and the ways out."""
    path, source = given_path(given) or packaged_path(spec) or released_file(name, spec) or hub_file(name, spec)
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if child.suffix in WEIGHT_SUFFIXES)
        if len(found) != 1:
            raise EncoderError(
                f"{path}: {len(found)} weight files in the folder, one is needed", "name the file itself"
            )
        path = found[0]
    return Weights(path, source, sha256_of(path))


def locate_folder(name: str, spec: EncoderSpec, given: Path | None, *, of_open_clip: bool = False) -> Weights:
    """A transformers encoder's folder: configuration, weights, vocabulary or preprocessor. Raises as above.

    of_open_clip: its weights are those that open_clip loads.
    """
    path, source = given_path(given) or packaged_path(spec) or hub_folder(name, spec)
    if not path.is_dir():
        raise EncoderError(
            f"{path}: this encoder needs a folder", "name the folder with config.json, weights and all beside them"
        )
    files = weight_files(path, OPEN_CLIP_FILES) if of_open_clip else weight_files(path)
    if not any((path / name).is_file() for name in CONFIGS) or not files:
        lacking = "weights (model.safetensors or pytorch_model.bin)" if not files else "config.json"
        raise EncoderError(f"{path}: holds no {lacking}", hint="copy the model's whole folder, not single files")
    digests = "".join(sha256_of(file) for file in files)
    one = digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest()
    return Weights(path, source, one)


def check_weights(name: str, given: Path | None) -> None:
    """Raises `EncoderError` if the weights of an encoder of the table are neither here nor to be had.

    Asks the hub for nothing but an answer, and imports no library of networks: what cannot be is said in seconds.
    """
    spec = ENCODERS.get(name)
    if spec is None or given_path(given) or local_source(spec) or released_file(name, spec):
        return
    refuse_unreachable(name, spec)


def weights_here(spec: EncoderSpec, given: Path | None) -> Path | None:
    """The file or folder of an encoder's weights on this machine, or nothing; asks no network."""
    if given is not None:
        return given if given.exists() else None
    if found := packaged_path(spec):
        return found[0]
    if spec.url:
        return release_path(spec) if release_path(spec).is_file() else None
    path = cached_path(spec)
    return path.parent if path and spec.build != TIMM else path


def given_path(given: Path | None) -> tuple[Path, str] | None:
    """What --weights named, checked."""
    if given is None:
        return None
    if not given.exists():
        raise EncoderError(f"{given}: no such file or folder", hint="check the path given with --weights")
    return given, "local"


def packaged_path(spec: EncoderSpec) -> tuple[Path, str] | None:
    """The weights inside an installed Python package, if the entry names one and it is installed."""
    if spec.package is None:
        return None
    module, attributes = spec.package.split(":")
    try:
        locate = reduce(getattr, attributes.split("."), importlib.import_module(module))
    except ImportError:
        return None
    return Path(str(locate())), f"package {module}"  # type: ignore[operator]


def released_file(name: str, spec: EncoderSpec) -> tuple[Path, str] | None:
    """The local copy of a file that is on no hub, where torchxrayvision keeps it. Raises `EncoderError` without one."""
    if spec.url is None:
        return None
    path = release_path(spec)
    if not path.is_file():
        raise EncoderError(
            f"no weights for {name}: {path} is not there",
            hint=f"fetch {spec.url} on a machine with network, then copy it there or name it with --weights FILE",
        )
    return path, f"file {path}"


def release_path(spec: EncoderSpec) -> Path:
    """Where torchxrayvision keeps what it fetched from `spec.url`."""
    return Path("~/.torchxrayvision/models_data").expanduser() / str(spec.url).rsplit("/", 1)[-1]


def local_source(spec: EncoderSpec) -> str:
    """Where the weights of an encoder are on this machine, or nothing; asks no network."""
    if not spec.source:
        return "built in"
    if found := packaged_path(spec):
        return found[1]
    path = (release_path(spec) if release_path(spec).is_file() else None) if spec.url else cached_path(spec)
    return str(path or "")


def cached_path(spec: EncoderSpec) -> Path | None:
    """The hub's local copy of an entry's weights, if there is one; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    repo = spec.source.removeprefix("https://huggingface.co/")
    names = ("model.safetensors", "pytorch_model.bin")
    for file in (*names, "open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        if isinstance(path := try_to_load_from_cache(repo, file, revision=spec.revision), str):
            return Path(path)
    return None


BUILT_IN = frozenset(name for name, spec in ENCODERS.items() if not spec.source)  # tiny ones: random, for tests
USUAL = {"image": "efficientnet_b1", "text": "biobert"}
TEXT_TOKENS = 512  # what every text encoder of the table reads at most


@dataclass(frozen=True)
class EncoderRow:
    """One encoder. `reads` is in pixels a side or tokens; `here` is where its weights are, or empty."""

    name: str
    modality: str
    dim: int
    reads: int | None
    unit: str
    poolings: tuple[str, ...]
    licence: str
    model: str
    source: str
    here: str
    package: str  # that carries the weights, for pip; empty if there is none


def list_encoders() -> list[EncoderRow]:
    """Every encoder of the table, in its order. Asks no network and imports no library of networks."""
    return [
        EncoderRow(
            name=name,
            modality=spec.modality,
            dim=spec.dim,
            reads=spec.side if spec.modality == "image" else None if name == "tiny_text" else TEXT_TOKENS,
            unit="px" if spec.modality == "image" else "tokens",
            poolings=spec.poolings,
            licence=spec.licence,
            model=spec.model,
            source=spec.source,
            here=local_source(spec),
            package=spec.carrier,
        )
        for name, spec in ENCODERS.items()
    ]


def suggested(modality: str) -> str:
    """The encoder to name in a hint: the usual one, or else the first whose weights are on this machine.

    The two built-in ones, which mean nothing, are never it. Asks no network: without any weights here it is the usual.
    """
    candidates = [USUAL[modality], *(name for name, spec in ENCODERS.items() if spec.modality == modality)]
    found = (name for name in candidates if name not in BUILT_IN and local_source(ENCODERS[name]))
    return next(found, USUAL[modality])
