"""The heads that can be trained, as data: this table needs no torch, so listing it is instant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxremb.errors import TrainError


@dataclass(frozen=True)
class HeadSpec:
    """Blocks side by side -> Linear(dim, hidden) -> ReLU -> Dropout -> Linear(hidden, outputs)."""

    blocks: Sequence[str]  # which modalities it reads, in this order
    hidden: int = 256
    dropout: float = 0.3
    outputs: int = 2  # one logit per class, trained with cross entropy

    def dim(self, dims: Mapping[str, int]) -> int:
        """The width of the input, given the width of each block."""
        return sum(dims[block] for block in self.blocks)

    def parameters(self, dims: Mapping[str, int]) -> int:
        """Trainable parameters: weights and biases of both layers."""
        return (self.dim(dims) + 1) * self.hidden + (self.hidden + 1) * self.outputs


HEADS = {
    "fusion": HeadSpec(blocks=("image", "text")),  # the reference MLP: 525,058 parameters on 1280 + 768
    "image": HeadSpec(blocks=("image",)),
    "text": HeadSpec(blocks=("text",)),
}


def find_head(name: str) -> HeadSpec:
    """The head called `name`. Raises `TrainError` with the names there are."""
    if name not in HEADS:
        raise TrainError(f"no head called {name!r}", hint=f"choose one of {', '.join(HEADS)}")
    return HEADS[name]
