"""What a trained head says of any image with any text: what it makes of each alone is computed once per row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.evaluation.arrays import BINARY, Reals
from cxremb.evaluation.emap import Means
from cxremb.training.fit import FitJob, rows_of
from cxremb.training.inputs import gather, saved_scaling, tensors_of
from cxremb.training.loop import one_thread
from cxremb.training.modules import pooled

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pairings:
    """The logits of any pairing of the images and texts of some rows, all of which have both, and their means."""

    sides: Sequence[Tensor]  # what meets in the second layer, (n, units) each
    hidden_of: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]
    weight: Tensor  # (outputs, units) of the last layer
    bias: Tensor
    task: str

    def logits(self, images: NDArray[np.intp], texts: NDArray[np.intp]) -> Reals:
        """(a, b, k) of all pairings: each costs one sum and one layer."""
        a, b = torch.from_numpy(images), torch.from_numpy(texts)
        with torch.inference_mode(), one_thread():
            hidden = self.hidden_of(self.sides, a.unsqueeze(1), b)
            return self.as_logits((hidden @ self.weight.T + self.bias).double().numpy())

    @property
    def means(self) -> Means | None:
        """The means over all pairings in closed form, of a head whose second layer is a sum and its positive part."""
        return self.means_of if self.hidden_of is mlp_hidden else None

    def means_of(self, rows: NDArray[np.intp]) -> tuple[Reals, Reals, Reals]:
        """(own logits, the mean of each image over the texts, of each text over the images), (m, k) each."""
        image, text = (side.numpy()[rows].astype(np.float64) for side in self.sides)
        hidden = np.maximum(image + text, 0), mean_positive(image, text), mean_positive(text, image)
        weight, bias = self.weight.numpy().astype(np.float64), self.bias.numpy()
        own, of_image, of_text = (self.as_logits(units @ weight.T + bias) for units in hidden)
        return own, of_image, of_text

    def as_logits(self, outputs: NDArray[np.float64]) -> Reals:
        """Of a binary task, how far the second output is above the first."""
        return outputs[..., 1:] - outputs[..., :1] if self.task == BINARY else outputs


def mean_positive(a: Reals, b: Reals) -> Reals:
    """(n, units) the mean over the rows of b (m, units) of max(0, a + b), unit by unit.

    What is left of the sum are the greatest of b: sorted once, and summed from the end, they answer for every a.
    """
    m, found = len(b), np.empty_like(a)
    for unit in range(a.shape[1]):
        ascending = np.sort(b[:, unit])
        sums = np.append(np.cumsum(ascending[::-1])[::-1], 0.0)
        first = np.searchsorted(ascending, -a[:, unit], side="right")
        found[:, unit] = ((m - first) * a[:, unit] + sums[first]) / m
    return found


def pairings_of(job: FitJob, weights: Mapping[str, NDArray[Any]], index: NDArray[np.intp]) -> Pairings:
    """The pairings of the rows `index`, all of which have both.

    For heads of kind mlp, gated and attention, whose two sides meet in their second layer.
    """
    head, features = job.head, job.features
    table = tensors_of(rows_of(features, head.blocks), head)
    batch = gather(table, torch.from_numpy(index)[None], [saved_scaling(weights, table)])
    shapes = head.shapes(table.dims, head.outputs(features.task, len(features.labels)))
    parameters = {name: torch.from_numpy(weights[name]).reshape(shape) for name, shape in shapes.items()}
    image, text = (batch.blocks[name] for name in head.blocks)
    if head.kind == "attention":  # films are pooled without a look at the text
        stacked = {name: value.unsqueeze(0) for name, value in parameters.items()}
        image = pooled(stacked, image, batch.present[head.blocks[0]])
    sides_of, hidden_of = (gated_sides, gated_hidden) if head.kind == "gated" else (mlp_sides, mlp_hidden)
    sides = sides_of(parameters, image[0], text[0], blocks=head.blocks)
    return Pairings(sides, hidden_of, parameters["out.weight"], parameters["out.bias"], features.task)


def halves(weight: Tensor, bias: Tensor, image: Tensor, *, text: Tensor) -> list[Tensor]:
    """What one layer makes of the image and of the text, (n, units) each: their sum is the layer's output."""
    width = image.shape[1]
    return [image @ weight[:, :width].T + bias, text @ weight[:, width:].T]


def mlp_sides(parameters: Parameters, image: Tensor, text: Tensor, *, blocks: Any) -> list[Tensor]:
    """The halves of the first layer."""
    return halves(parameters["hidden.weight"], parameters["hidden.bias"], image, text=text)


def mlp_hidden(sides: Sequence[Tensor], images: Tensor, texts: Tensor) -> Tensor:
    """(a, b, units) after the first layer. images: (a, 1)."""
    return torch.relu_(sides[0][images] + sides[1][texts])


def gated_sides(parameters: Parameters, image: Tensor, text: Tensor, *, blocks: Any) -> list[Tensor]:
    """Either projection, and the halves of the gate."""
    projected = [
        torch.tanh(block @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"])
        for name, block in zip(blocks, (image, text), strict=True)
    ]
    return [*projected, *halves(parameters["gate.weight"], parameters["gate.bias"], image, text=text)]


def gated_hidden(sides: Sequence[Tensor], images: Tensor, texts: Tensor) -> Tensor:
    """(a, b, units): either projection, mixed by a gate that sees both. images: (a, 1)."""
    gate = torch.sigmoid_(sides[2][images] + sides[3][texts])
    return gate * sides[0][images] + (1 - gate) * sides[1][texts]
