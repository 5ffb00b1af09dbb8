"""timm networks as frozen image encoders: the model's own mean, std and pooling, the whole film."""

from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg

from cxremb import images
from cxremb.encoders.base import Machine, What
from cxremb.encoders.forward import FilmEncoder, FilmNet, film_input, pool_average
from cxremb.encoders.state import load_backbone, read_state
from cxremb.encoders.table import TOKENS, EncoderSpec, short_name
from cxremb.encoders.weights import locate_file
from cxremb.errors import EncoderError, name_list
from cxremb.store.manifest import Recipe


def load(what: What, spec: EncoderSpec, machine: Machine) -> FilmEncoder:
    """The encoder for a timm entry of the table, or for `timm:NAME.TAG`. Raises `EncoderError`."""
    name = what.model
    if not spec.dim:
        name, spec = resolve(spec)
    found = locate_file(name, spec, what.weights)
    config = get_pretrained_cfg(spec.model)
    mean = config.mean if spec.mean is None else (spec.mean,) * spec.channels
    std = config.std if spec.std is None else (spec.std,) * spec.channels
    frame = images.Frame(spec.side, what.aspect, what.scaled_jpeg)
    recipe = Recipe(
        encoder=short_name(name),
        model=spec.model,
        weights_sha256=found.sha256,
        modality="image",
        dim=spec.dim,
        poolings=spec.poolings,
        input=film_input(frame, mean, std),
        precision=machine.precision_class,
    )

    def build() -> FilmNet:
        network = timm.create_model(spec.model.split(".")[0], pretrained=False, num_classes=0, in_chans=spec.channels)
        load_backbone(network, read_state(found.path), found.path, architecture=spec.model.split(".")[0])
        pool = partial(pool_tokens, prefix=network.num_prefix_tokens) if spec.poolings == TOKENS else pool_average
        return FilmNet(network, pool, mean, std)

    return FilmEncoder(recipe, frame, spec.licence, machine, build)


def resolve(spec: EncoderSpec) -> tuple[str, EncoderSpec]:
    """`timm:` and the full tag that a bare timm name means today, and all that timm knows of that model.

    Raises `EncoderError` for an unknown name or tag, or a model without weights.
    """
    if not timm.is_model(spec.model.split(".")[0]):
        near = get_close_matches(spec.model, timm.list_models(pretrained=True), 5)
        raise EncoderError(
            f"timm has no model {spec.model!r}",
            hint=f"close to it: {', '.join(near)}" if near else "see timm.list_models()",
        )
    try:
        config = get_pretrained_cfg(spec.model)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{spec.model.split('.')[0]}.*")
        raise EncoderError(f"timm: {error}", hint=f"its tags: {', '.join(tags)}") from error
    if not config.has_weights:
        raise EncoderError(
            f"timm has no weights for {spec.model!r}",
            hint=f"there are some for {name_list(timm.list_pretrained(f'*{spec.model}*'), 5) or 'others: see timm'}",
        )
    with torch.device("meta"):
        network = timm.create_model(config.architecture, pretrained=False, num_classes=0)
    full = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    return f"timm:{full}", replace(
        spec,
        model=full,
        dim=output_dim(network),
        licence=config.license or spec.licence,
        poolings=TOKENS if getattr(network, "num_prefix_tokens", 0) else ("avg",),
        side=config.input_size[-1],
    )


def output_dim(network: Any) -> int:
    """Dimensions of a timm network without classifier; some have a wider layer before it than their features."""
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def pool_tokens(network: Any, batch: torch.Tensor, prefix: int) -> tuple[torch.Tensor, ...]:
    """The class token, and the mean of the patches; `prefix` tokens (class, registers) are no patches."""
    tokens = network.forward_features(batch)
    return tokens[:, 0], tokens[:, prefix:].mean(1)
