"""The heads and networks that can be trained, as data: these tables need no torch, so listing them is instant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from cxremb.errors import TrainError, did_you_mean, name_list
from cxremb.training.data import BINARY

KINDS = ("mlp", "linear", "gated", "late", "stacked", "attention")
VOICES = ("late", "stacked")  # of them, those with a perceptron for each block
ATTENTION = 128  # units that score a view, as many as Ilse et al. 2018 use

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class HeadSpec:
    """What a head reads and how it mixes it. Blocks may be missing from a row; see `modules` for what each then does.

    mlp: the blocks side by side -> Linear(dim, hidden) -> ReLU -> Dropout -> Linear(hidden, outputs).
    linear: logistic regression on the blocks side by side.
    gated: each block projected to `hidden`, a sigmoid gate per unit mixes the two (GMU, Arevalo et al. 2017).
    late: one mlp per block, logits averaged; it adds what the blocks say and cannot find an interaction of them.
    stacked: as late, but the logits are weighed by a logistic regression that is solved on validation rows.
    attention: the views of a study pooled by gated attention (Ilse et al. 2018), then as mlp.
    """

    blocks: Sequence[str]  # which modalities it reads, in this order
    kind: str = "mlp"
    hidden: int = 256
    dropout: float = 0.3
    modality_dropout: float = 0.0  # chance that a training row loses one of its blocks; never its only one

    def __post_init__(self) -> None:
        """Refuse what is no head."""
        if self.kind not in KINDS:
            raise TrainError(f"no kind of head called {self.kind!r}", hint=f"choose one of {', '.join(KINDS)}")
        if self.kind == "gated" and len(self.blocks) != 2:
            raise TrainError(f"a gated head mixes two blocks, not {len(self.blocks)}", hint="use kind mlp")
        if not self.blocks or self.hidden < 1 or not (0 <= self.dropout < 1 and 0 <= self.modality_dropout <= 1):
            raise TrainError(f"{self} cannot be a head", hint="name its blocks; a dropout lies between 0 and 1")

    @property
    def drops(self) -> int:
        """How often dropout comes into one pass."""
        voices = len(self.blocks) if self.kind in VOICES else 1
        return voices if self.dropout and self.kind != "linear" else 0

    def outputs(self, task: str = BINARY, labels: int = 1) -> int:
        """How many logits: two classes of a binary task, one of logistic regression; else one per label."""
        return labels if task != BINARY else 1 if self.kind == "linear" else 2

    def dim(self, dims: Mapping[str, int]) -> int:
        """The width of the input, given the width of each block."""
        return sum(dims[block] for block in self.blocks)

    def shapes(self, dims: Mapping[str, int], outputs: int) -> Shapes:
        """Parameter -> shape, as in `torch.nn.Linear`, in the order in which they are drawn."""
        if self.kind == "linear":
            return affine("", self.dim(dims), outputs)
        if self.kind in VOICES:
            layers = [(f"{block}.", dims[block]) for block in self.blocks]
            voices = join(perceptron(prefix, dim, hidden=self.hidden, outputs=outputs) for prefix, dim in layers)
            stack = affine("stack.", outputs * len(layers), outputs) if self.kind == "stacked" else {}
            return voices | stack
        if self.kind == "gated":
            projected = [affine(f"{block}.", dims[block], self.hidden) for block in self.blocks]
            gate = affine("gate.", self.dim(dims), self.hidden)
            return join([*projected, gate, affine("out.", self.hidden, outputs)])
        mixed = perceptron("", self.dim(dims), hidden=self.hidden, outputs=outputs)
        if self.kind == "mlp":
            return mixed
        film = dims[self.blocks[0]]  # views are those of the first block
        scored: Shapes = {"score.weight": (1, ATTENTION)}  # no bias: a softmax does not see one
        return join([affine("tanh.", film, ATTENTION), affine("sigmoid.", film, ATTENTION), scored, mixed])

    def parameters(self, dims: Mapping[str, int], task: str = BINARY, labels: int = 1) -> int:
        """Trainable parameters, given the width of each block."""
        return sum(map(prod, self.shapes(dims, self.outputs(task, labels)).values()))


def affine(prefix: str, inputs: int, outputs: int) -> Shapes:
    """Weight and bias of one layer."""
    return {f"{prefix}weight": (outputs, inputs), f"{prefix}bias": (outputs,)}


def perceptron(prefix: str, inputs: int, *, hidden: int, outputs: int) -> Shapes:
    """Weights and biases of two layers."""
    return affine(f"{prefix}hidden.", inputs, hidden) | affine(f"{prefix}out.", hidden, outputs)


def join(parts: Iterable[Shapes]) -> Shapes:
    """All the parts in one, in order."""
    return {name: shape for part in parts for name, shape in part.items()}


BOTH = ("image", "text")
HEADS = {
    "fusion": HeadSpec(BOTH),  # the reference MLP: 525,058 parameters on 1280 + 768
    "image": HeadSpec(("image",)),
    "text": HeadSpec(("text",)),
    "linear": HeadSpec(BOTH, "linear"),
    "linear-image": HeadSpec(("image",), "linear"),
    "linear-text": HeadSpec(("text",), "linear"),
    "gated": HeadSpec(BOTH, "gated"),
    "late": HeadSpec(BOTH, "late"),
    "stacked": HeadSpec(BOTH, "stacked"),  # for few rows: two numbers are weighed, not two thousand
    "attention": HeadSpec(BOTH, "attention"),  # a row is a study with all its views
    "attention-image": HeadSpec(("image",), "attention"),
    "either": HeadSpec(BOTH, modality_dropout=0.5),  # scores a row whose image or report is missing
}


def find_head(name: str) -> HeadSpec:
    """The head called `name`. Raises `TrainError` with the names there are, those that begin so before all."""
    if name not in HEADS:
        begun = [head for head in HEADS if name and head.startswith(name.lower())]
        near = f"did you mean {name_list(begun)}? " if begun else did_you_mean(name, HEADS)
        raise TrainError(f"no head called {name!r}", hint=f"{near}choose one of {name_list(HEADS)}")
    return HEADS[name]


def head_called(spec: Mapping[str, Any]) -> str | None:
    """The name of the head that is so, as a job or run.json has it, whose lists were tuples; None if it has none."""
    wanted = {**spec, "blocks": tuple(spec.get("blocks", ()))}
    return next((name for name, head in HEADS.items() if asdict(head) == wanted), None)


def heads_of_less(name: str) -> dict[str, str]:
    """Modality -> the head of the same first word that reads it alone: of linear, linear-image and linear-text."""
    return {HEADS[head].blocks[0]: head for head in HEADS if head.startswith(f"{name}-")}


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
    "efficientnet_b0": NetworkSpec(base="efficientnet_b0"),
    "efficientnet_b1": NetworkSpec(base="efficientnet_b1"),
    "efficientnet_b2": NetworkSpec(base="efficientnet_b2"),
    "efficientnet_b3": NetworkSpec(base="efficientnet_b3"),
    "efficientnet_b4": NetworkSpec(base="efficientnet_b4"),
    "efficientnet_b5": NetworkSpec(base="efficientnet_b5"),
    "efficientnet_b6": NetworkSpec(base="efficientnet_b6"),
    "efficientnet_b7": NetworkSpec(base="efficientnet_b7"),
    "cnn": NetworkSpec(base="efficientnet_b1", binary_outputs=2),  # the reference baseline: cross entropy over two
}


def find_network(name: str) -> NetworkSpec:
    """The network called `name`. Raises `TrainError` with the names there are."""
    if name not in NETWORKS:
        raise TrainError(f"no network called {name!r}", hint=f"choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]
