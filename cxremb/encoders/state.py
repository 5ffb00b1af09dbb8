"""Files of weights into timm networks."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from cxremb.errors import EncoderError, reason

HEADS = ("classifier.", "fc.", "head.", "op_threshs")  # trained for classes: not part of the encoder


def read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """The state dict in a safetensors or torch file; nothing but tensors, and torchxrayvision's nets, is unpickled."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with chest_classes(path):
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and header errors share no base class
        raise EncoderError(
            f"{path}: not a file of weights ({reason(error)})",
            hint="give a .safetensors file, or a state dict saved by torch.save",
        ) from error
    if isinstance(state, torch.nn.Module):
        state = state.state_dict()
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EncoderError(f"{path}: holds no state dict", hint="save one with torch.save(model.state_dict(), path)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def chest_classes(path: Path) -> AbstractContextManager[Any]:
    """Lets torch unpickle the layers of torchxrayvision's DenseNet, which its releases hold whole, and nothing else."""
    if not path.name.endswith("-best.pt"):  # as its releases are called; its import takes seconds
        return nullcontext()
    try:
        from torchxrayvision import models
    except ImportError as error:
        raise EncoderError(
            f"{path}: holds a pickled torchxrayvision model", hint='pip install "cxremb[chest]" to read it'
        ) from error
    nn = torch.nn
    layers = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Linear, nn.Sequential, set]
    own = [models.DenseNet, models._DenseBlock, models._DenseLayer, models._Transition]
    return torch.serialization.safe_globals([*layers, *own])


def load_backbone(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, *, architecture: str
) -> None:
    """Load `state` into `network`, all of it but the classifier. Raises `EncoderError` naming what does not fit."""
    if "_conv_stem.weight" in state:
        state = from_lukemelas(state, network)
    wanted = network.state_dict()
    kept = {key: value for key, value in state.items() if key in wanted or not key.startswith(HEADS)}
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
