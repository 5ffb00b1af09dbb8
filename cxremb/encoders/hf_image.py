"""transformers vision networks as frozen image encoders: class token and mean of the patches, the whole film."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cxremb import images
from cxremb.encoders.base import Runtime
from cxremb.encoders.forward import FilmEncoder, FilmNet, film_input
from cxremb.encoders.hf_body import load_body, read_config
from cxremb.encoders.table import TOKENS, EncoderSpec, short_name
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError, reason
from cxremb.store.manifest import Recipe


def load(name: str, spec: EncoderSpec, weights: Path | None, runtime: Runtime) -> FilmEncoder:
    """The encoder for an entry of the table."""
    return encoder_of(name, spec, locate_folder(name, spec, weights), runtime)


def encoder_of(name: str, spec: EncoderSpec, weights: Weights, runtime: Runtime) -> FilmEncoder:
    """The encoder whose folder is found. Raises `EncoderError` if the folder does not say how to prepare a film."""
    side, mean, std = read_preprocessor(weights.path)
    config = read_config(weights.path)
    frame = images.Frame(side, spec.aspect, spec.scaled_jpeg)
    recipe = Recipe(
        encoder=short_name(name),
        model=spec.model,
        weights_sha256=weights.sha256,
        modality="image",
        dim=spec.dim,
        poolings=spec.poolings,
        input=film_input(frame, mean, std),
        precision=runtime.precision_class,
    )

    def build() -> FilmNet:
        network = load_body(weights.path, config)
        prefix = 1 + getattr(config, "num_register_tokens", 0)
        pool = partial(pool_tokens, prefix=prefix) if spec.poolings == TOKENS else pool_map
        return FilmNet(network, pool, mean, std)

    return FilmEncoder(recipe, frame, spec.licence, runtime, build)


def read_preprocessor(folder: Path) -> tuple[int, list[float], list[float]]:
    """(side in pixels, mean and std of pixels in 0 to 1) of preprocessor_config.json. Raises `EncoderError`."""
    path = folder / "preprocessor_config.json"
    try:
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        size = given.get("crop_size") or given["size"]
        side = size if isinstance(size, int) else size.get("height") or size["shortest_edge"]
        if abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3 or not given.get("do_normalize", True):
            raise ValueError("its pixels are not scaled to 0 to 1 and normalised")
        return int(side), list(given["image_mean"]), list(given["image_std"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{path}: does not say how to prepare a film ({type(error).__name__}: {reason(error)})",
            hint="copy the model's whole folder; it must hold the size, image_mean and image_std",
        ) from error


def pool_tokens(network: Any, batch: torch.Tensor, prefix: int) -> tuple[torch.Tensor, ...]:
    """The class token, and the mean of the patches; `prefix` tokens (class, registers) are no patches."""
    tokens = network(pixel_values=batch).last_hidden_state
    return tokens[:, 0], tokens[:, prefix:].mean(1)


def pool_map(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The mean over the last map."""
    return (network(pixel_values=batch).last_hidden_state.mean((2, 3)),)
