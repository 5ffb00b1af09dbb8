"""The networks that can be trained from pixels, as data: this table needs no torch, so listing it is instant."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxremb.errors import TrainError


@dataclass(frozen=True)
class NetworkSpec:
    """A network: (n, 1, side, side) grey films from 0 to 1 -> (n, outputs) logits.

    Either a stack of convolutions and dense layers, or a timm `base` with a head. A convolution is 3 x 3.
    """

    convolutions: Sequence[int] = ()  # filters of each block: Conv, BatchNorm if `norm`, ReLU, MaxPool 2, Dropout
    block_dropout: Sequence[float] = ()  # after each pooling
    norm: bool = False
    padding: int = 0  # of convolutions, pixels on each side
    pool_to: int = 0  # average what the convolutions give to so many pixels a side; 0: flatten it as it is
    widths: Sequence[int] = ()  # of the dense layers between, each with ReLU and dropout
    dropout: float = 0.0
    residual: Sequence[int] = ()  # channels of each stage of a small residual net; then the above are not used
    base: str = ""  # an encoder of `encoders.table` that comes from timm
    binary_outputs: int = (
        1  # logits of a binary task: one is a sigmoid, several are classes of which the first two count
    )

    def outputs(self, task: str, labels: int) -> int:
        """How many logits it has for `labels` columns of y, of which a binary task has one."""
        return self.binary_outputs if task == "binary" else labels


NETWORKS = {
    # 18,379 = 320 + 9,248 + (5 x 5 x 32 + 1) x 11: 3 x 3 filters without padding are the only ones that give it
    "medmnist-sample": NetworkSpec(convolutions=(32, 32), binary_outputs=11),
    # 108,801 = 100,480 + 8,256 + 65: no room for a third layer of 32
    "medmnist-dense": NetworkSpec(widths=(128, 64), dropout=0.3),
    "medmnist-dense-described": NetworkSpec(widths=(128, 64, 32), dropout=0.3),
    "medmnist-custom": NetworkSpec(
        convolutions=(32, 64), block_dropout=(0.3, 0.4), norm=True, widths=(128,), dropout=0.5
    ),
    "medmnist-custom-deep": NetworkSpec(
        convolutions=(32, 64, 128), block_dropout=(0.3, 0.4, 0.5), norm=True, widths=(256,), dropout=0.5
    ),
    "custom-cnn": NetworkSpec(
        convolutions=(32, 64, 128, 256, 512), norm=True, padding=1, pool_to=2, widths=(512, 256), dropout=0.5
    ),
    "small-resnet": NetworkSpec(residual=(16, 32, 64), dropout=0.3),
    "resnet50": NetworkSpec(base="resnet50"),
    "two-stage": NetworkSpec(base="efficientnet_b0", norm=True, widths=(512,), dropout=0.3),
    **{f"efficientnet_b{number}": NetworkSpec(base=f"efficientnet_b{number}") for number in range(8)},
    "cnn": NetworkSpec(base="efficientnet_b1", binary_outputs=2),  # the reference baseline: cross entropy over two
}


def find_network(name: str) -> NetworkSpec:
    """The network called `name`. Raises `TrainError` with the names there are."""
    if name not in NETWORKS:
        raise TrainError(f"no network called {name!r}", hint=f"choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
