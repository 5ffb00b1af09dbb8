"""The torch modules behind the table of networks, and the weights that a timm base starts from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from torch.nn.functional import relu

from cxremb.encoders.forward import FilmNet
from cxremb.encoders.state import load_backbone, read_state
from cxremb.encoders.table import find_spec
from cxremb.encoders.weights import locate_file
from cxremb.errors import EncoderError
from cxremb.training.heads import NetworkSpec

RANDOM = "RANDOM WEIGHTS: no ImageNet weights were found, so this base learns from nothing"


@dataclass(frozen=True)
class Start:
    """What a network starts from. `path`: weights of its base; `note` must be told where there are none."""

    path: Path | None = None
    source: str = "random"
    sha256: str = ""
    note: str = ""


def find_start(spec: NetworkSpec, weights: Path | None = None, *, pretrained: bool = True) -> Start:
    """ImageNet weights for the base of `spec`: from the file `weights`, else a package, the hub or its cache.

    Without a base, or with `pretrained` off, random ones. Where none are found they are random too, and `note` says
    so loudly. Raises `EncoderError` only for a file that was named and is not there.
    """
    if not spec.base:
        return Start()
    if not pretrained:
        return Start(note=f"{RANDOM} (as asked)")
    try:
        found = locate_file(spec.base, find_spec(spec.base), weights)
    except EncoderError as error:
        if weights is not None:
            raise
        return Start(note=f"{RANDOM}. {error.hint}")
    return Start(found.path, found.source, found.sha256)


def new_network(spec: NetworkSpec, side: int, outputs: int, *, seed: int, start: Start = Start()) -> nn.Module:
    """An untrained network, the same for the same seed; torch's own random state is left as it was.

    Raises `EncoderError` if the weights of `start` do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.base:
            return Based(spec, outputs, start)
        if spec.residual:
            return SmallResNet(spec, outputs)
        return initialised(plain(spec, side, outputs))


def plain(spec: NetworkSpec, side: int, outputs: int) -> nn.Sequential:
    """Blocks of convolution, then dense layers."""
    layers: list[nn.Module] = []
    channels = 1
    for index, filters in enumerate(spec.convolutions):
        layers.append(nn.Conv2d(channels, filters, 3, padding=spec.padding))
        if spec.norm:
            layers.append(nn.BatchNorm2d(filters))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        if spec.block_dropout:
            layers.append(nn.Dropout(spec.block_dropout[index]))
        channels, side = filters, (side - 2 + 2 * spec.padding) // 2
    if spec.pool_to:
        layers.append(nn.AdaptiveAvgPool2d(spec.pool_to))
        side = spec.pool_to
    return nn.Sequential(*layers, nn.Flatten(), dense(spec, channels * side**2, outputs))


def dense(spec: NetworkSpec, inputs: int, outputs: int) -> nn.Sequential:
    """The dense layers of `spec`, each with ReLU and dropout, and the last one that gives the logits."""
    layers: list[nn.Module] = []
    for width in spec.widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(spec.dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def initialised(network: nn.Module) -> nn.Module:
    """The network with Glorot's uniform weights and biases of 0, as the published ones start (Glorot & Bengio 2010)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a way around them (He et al. 2016)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])
        same = stride == 1 and inputs == channels
        around = (nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.around = nn.Identity() if same else nn.Sequential(*around)

    def forward(self, X: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, channels, h / stride, w / stride)."""
        Z = relu(self.norms[0](self.first(X)))
        return relu(self.norms[1](self.second(Z)) + self.around(X))


class SmallResNet(nn.Module):
    """A stem, one residual block a stage, the mean over the film: takes any side, made for small ones."""

    def __init__(self, spec: NetworkSpec, outputs: int) -> None:
        super().__init__()
        first = spec.residual[0]
        self.stem = nn.Sequential(nn.Conv2d(1, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        inputs = (first, *spec.residual[:-1])
        self.stages = nn.Sequential(
            *(
                Residual(a, b, 1 if index == 0 else 2)
                for index, (a, b) in enumerate(zip(inputs, spec.residual, strict=True))
            )
        )
        self.head = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(spec.residual[-1], outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Logits."""
        Z = self.stages(self.stem((X - 0.5) / 0.25))  # grey films have a mean near 0.5 and a spread near 0.25
        logits: Tensor = self.head(Z.mean(dim=(2, 3)))
        return logits


class Based(nn.Module):
    """A timm base without its classifier, BatchNorm if `norm`, dense layers. It scales pixels as the base expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec, outputs: int, start: Start) -> None:
        super().__init__()
        tag = find_spec(spec.base).model
        name, config = tag.split(".")[0], get_pretrained_cfg(tag)
        self.base = timm.create_model(name, pretrained=False, num_classes=0)
        if start.path:
            load_backbone(self.base, read_state(start.path), start.path, architecture=name)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1))
        width: int = self.base.num_features
        norm = [nn.BatchNorm1d(width)] if spec.norm else []
        self.head = nn.Sequential(*norm, dense(spec, width, outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Logits; the grey film goes into all three channels."""
        logits: Tensor = self.head(self.base((X - self.mean) / self.std))
        return logits


def freeze(network: nn.Module, share: float) -> list[nn.Module]:
    """The layers of the base that stay as they are, `share` of them from the input on; all others can learn.

    A layer is a module that has parameters of its own. Keep those returned in evaluation mode while training: a
    frozen batch norm must not move its statistics.
    """
    network.requires_grad_(True)
    layers = list(layers_of(network.base if isinstance(network, Based) else network))
    frozen = layers[: int(len(layers) * share)]
    for layer in frozen:
        layer.requires_grad_(False)
    return frozen


def layers_of(network: nn.Module) -> Iterator[nn.Module]:
    """Modules with parameters of their own, from input to output."""
    return (module for module in network.modules() if next(module.parameters(recurse=False), None) is not None)


def parameters_of(network: nn.Module) -> int:
    """How many parameters can learn."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class Tunable(nn.Module):
    """An encoder as it embeds, with a linear head on its first pooling that starts as `training.probe` solved it."""

    def __init__(self, base: FilmNet, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.base = base
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, X: Tensor) -> Tensor:
        """Logits of grey films (n, 1, side, side) from 0 to 1."""
        logits: Tensor = self.head(self.base.vectors(X)[0])
        return logits


def tunable(build: Callable[[], FilmNet], weight: Tensor, bias: Tensor) -> Tunable:
    """The encoder that `build` makes, ready to be fine-tuned; torch's own random state is left as it was.

    weight: (outputs, dim) and bias: (outputs,) of the head.
    """
    with torch.random.fork_rng(devices=[]):
        return Tunable(build(), weight, bias)
