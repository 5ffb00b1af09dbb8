"""timm networks as frozen image encoders: global average pooling, the model's own mean and std, no crop."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.models import get_pretrained_cfg

from cxremb import images
from cxremb.encoders.base import Runtime, Vectors
from cxremb.encoders.table import EncoderSpec
from cxremb.encoders.weights import Weights, locate_file
from cxremb.errors import EncoderError
from cxremb.store.manifest import Recipe

HEADS = ("classifier.", "fc.", "head.")  # trained for ImageNet classes: not part of the encoder


class TimmEncoder:
    """A frozen timm network in evaluation mode."""

    def __init__(self, name: str, spec: EncoderSpec, weights: Weights, runtime: Runtime) -> None:
        config = get_pretrained_cfg(spec.model)
        self.architecture = spec.model.split(".")[0]
        self.licence = spec.licence
        self.side = spec.side
        self.weights = weights
        self.runtime = runtime
        self.recipe = Recipe(
            encoder=name,
            model=spec.model,
            weights_sha256=weights.sha256,
            modality="image",
            dim=spec.dim,
            poolings=spec.poolings,
            sections=("image",),
            input={
                "side": spec.side,
                "aspect": "squash",
                "crop": 1.0,  # timm's own crop cuts off apices and bases
                "interpolation": "bicubic",
                "mean": list(config.mean),
                "std": list(config.std),
                "decoder": images.RECIPE,
            },
            precision=runtime.precision_class,
        )

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network with its weights, on its device."""
        network: torch.nn.Module = timm.create_model(self.architecture, pretrained=False, num_classes=0)
        load_backbone(network, read_state(self.weights.path), self.weights.path, self.architecture)
        network.eval().requires_grad_(False)
        return network.to(self.runtime.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode(self, films: NDArray[np.uint8]) -> Vectors:
        """{"avg": (n, dim)} for films of shape (n, side, side)."""
        grey = torch.from_numpy(films).to(self.runtime.device).float().div_(255).unsqueeze(1)
        mean = torch.tensor(self.recipe.input["mean"], device=grey.device).view(1, 3, 1, 1)
        std = torch.tensor(self.recipe.input["std"], device=grey.device).view(1, 3, 1, 1)
        batch = ((grey - mean) / std).contiguous(memory_format=torch.channels_last)
        with precision(self.runtime):
            return {"avg": self.network(batch).float().cpu().numpy()}


def load(name: str, spec: EncoderSpec, weights: Path | None, runtime: Runtime) -> TimmEncoder:
    """The encoder for a timm entry of the table."""
    return TimmEncoder(name, spec, locate_file(name, spec, weights), runtime)


def precision(runtime: Runtime) -> torch.autocast:
    """The autocast context of a runtime; switched off for fp32."""
    half = torch.float16 if runtime.precision == "fp16" else torch.bfloat16
    return torch.autocast(runtime.device.split(":")[0], dtype=half, enabled=runtime.precision != "fp32")


def read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """The state dict in a safetensors or torch file; nothing but tensors is ever unpickled."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and header errors share no base class
        raise EncoderError(
            f"{path}: not a file of weights ({str(error).splitlines()[0][:120]})",
            hint="give a .safetensors file, or a state dict saved by torch.save",
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EncoderError(f"{path}: holds no state dict", hint="save one with torch.save(model.state_dict(), path)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_backbone(network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, architecture: str) -> None:
    """Load `state` into `network`, all of it but the classifier. Raises `EncoderError` naming what does not fit."""
    if "_conv_stem.weight" in state:
        state = from_lukemelas(state, network)
    kept = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(kept) - {key for key in wanted if key.endswith("num_batches_tracked")})
    extra = sorted(set(kept) - set(wanted))
    misshapen = sorted(key for key in set(kept) & set(wanted) if kept[key].shape != wanted[key].shape)
    for what, keys in (("lacks", missing), ("has unknown", extra), ("has misshapen", misshapen)):
        if keys:
            raise EncoderError(
                f"{path}: does not fit {architecture}: {what} {', '.join(keys[:3])} ({len(keys)} in all)",
                hint=f"give weights of timm's {architecture}",
            )
    network.load_state_dict(kept, strict=False)


def from_lukemelas(state: Mapping[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """State of lukemelas/EfficientNet-PyTorch (which the lite1 package uses) under timm's names.

    Its blocks are numbered through, timm's by stage; a block without expansion has one convolution less.
    """
    names = list(
        dict.fromkeys(m.group(1) for key in network.state_dict() if (m := re.match(r"(blocks\.\d+\.\d+)\.", key)))
    )
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    renamed = {}
    for key, value in state.items():
        if found := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key):
            index, layer, leaf = found.groups()
            inner = expanded if f"_blocks.{index}._expand_conv.weight" in state else plain
            renamed[f"{names[int(index)]}.{inner[layer]}.{leaf}"] = value
        else:
            layer, leaf = key.rsplit(".", 1)
            renamed[f"{outer[layer]}.{leaf}"] = value
    return renamed
