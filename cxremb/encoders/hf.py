"""Any encoder of the Hugging Face hub, as `hf:ORG/MODEL@REVISION`: its files say whether it reads images or texts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxremb.encoders.base import Runtime
from cxremb.encoders.forward import FilmEncoder
from cxremb.encoders.hf_image import encoder_of
from cxremb.encoders.hf_text import HfTextEncoder
from cxremb.encoders.table import TOKENS, EncoderSpec
from cxremb.encoders.weights import locate_folder
from cxremb.errors import EncoderError


def load(name: str, spec: EncoderSpec, weights: Path | None, runtime: Runtime) -> FilmEncoder | HfTextEncoder:
    """The encoder of a repository or of a local copy of it. No code from it is run. Raises `EncoderError`."""
    found = locate_folder(name, spec, weights)
    config = read_config(found.path)
    tokens = config.get("hidden_size") or config.get("dim")  # DistilBERT calls it so
    maps = (config.get("hidden_sizes") or [0])[-1]
    pictures = (found.path / "preprocessor_config.json").is_file()
    if "vision_config" not in config and pictures and (tokens or maps):
        spec = replace(spec, modality="image", dim=tokens or maps, poolings=TOKENS if tokens else ("avg",))
        return encoder_of(name, spec, found, runtime)
    if not pictures and tokens:
        return HfTextEncoder(name, replace(spec, modality="text", dim=tokens, poolings=TOKENS), found, runtime)
    raise EncoderError(
        f"{spec.model}: neither a plain image encoder nor a plain text encoder ({config.get('model_type')})",
        hint="write a function that returns an encoder, and name it as module:function",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises `EncoderError` if it is damaged."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{folder}/config.json: {error}", hint="copy the model's folder again") from error
    return config
