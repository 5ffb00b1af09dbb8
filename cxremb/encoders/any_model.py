"""A repository of the Hugging Face hub that is no entry of the table: its files say what it is."""

from dataclasses import replace
from typing import Any

from cxremb.encoders.base import Machine, What
from cxremb.encoders.forward import FilmEncoder
from cxremb.encoders.hf import HfTextEncoder, film_encoder
from cxremb.encoders.open_clip_towers import CONFIG as OPEN_CLIP
from cxremb.encoders.open_clip_towers import load as load_open_clip
from cxremb.encoders.table import JOINT, TOKENS, EncoderSpec
from cxremb.encoders.towers import is_towers, tower_encoder
from cxremb.encoders.weights import locate_folder
from cxremb.errors import EncoderError
from cxremb.store.expected import read_object


def load_any(what: What, spec: EncoderSpec, machine: Machine) -> FilmEncoder | HfTextEncoder:
    """The encoder of a repository or of a local copy of it: its files say whether it reads films, texts or both.

    Raises `EncoderError`.
    """
    found = locate_folder(what.model, spec, what.weights)
    path, both = found.path / "config.json", replace(spec, modality="image", poolings=JOINT)
    if not path.is_file():  # then its files are open_clip's; where both are there, transformers needs no extra
        return load_open_clip(what, both, machine)
    try:
        config: dict[str, Any] = read_object(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: {error}", hint="copy the model's folder again") from error
    if is_towers(config):
        return tower_encoder(what, both, found, machine=machine)
    if (found.path / OPEN_CLIP).is_file():
        return load_open_clip(what, both, machine)
    tokens = config.get("hidden_size") or config.get("dim")  # DistilBERT calls it so
    maps = (config.get("hidden_sizes") or [0])[-1]
    pictures = (found.path / "preprocessor_config.json").is_file()
    if "vision_config" not in config and pictures and (tokens or maps):
        spec = replace(spec, modality="image", dim=tokens or maps, poolings=TOKENS if tokens else ("avg",))
        return film_encoder(what, spec, found, machine=machine)
    if not pictures and tokens:
        return HfTextEncoder(what, replace(spec, modality="text", dim=tokens, poolings=TOKENS), found, machine=machine)
    raise EncoderError(
        f"{spec.model}: neither a plain image encoder nor a plain text encoder ({config.get('model_type')})",
        hint="write a function that returns an encoder, and name it as module:function",
    )
