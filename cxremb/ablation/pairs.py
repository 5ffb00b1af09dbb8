"""What a trained head says of any image with any text: what it makes of each alone is computed once per row."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxremb.evaluation.arrays import BINARY, Reals
from cxremb.evaluation.emap import PairLogits
from cxremb.training.fit import FitJob, rows_of
from cxremb.training.inputs import gather, saved_scaling, tensors_of
from cxremb.training.modules import pooled

Parameters = Mapping[str, Tensor]


def pair_logits(job: FitJob, weights: Mapping[str, NDArray[Any]], index: NDArray[np.intp]) -> PairLogits:
    """The logits of any pairing of the images and texts of the rows `index`, all of which have both.

    A pairing then costs one sum and one layer. For heads of kind mlp, gated and attention, whose two sides meet in
    their second layer.
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
    sides = (gated_sides if head.kind == "gated" else mlp_sides)(parameters, image[0], text[0], blocks=head.blocks)

    def logits_of(images: NDArray[np.intp], texts: NDArray[np.intp]) -> Reals:
        a, b = torch.from_numpy(images), torch.from_numpy(texts)
        with torch.inference_mode():
            hidden = (gated_hidden if head.kind == "gated" else mlp_hidden)(sides, a, b)
            logits = hidden @ parameters["out.weight"].T + parameters["out.bias"]
        if features.task == BINARY:
            logits = logits[..., 1:] - logits[..., :1]
        return np.asarray(logits.double().numpy(), dtype=np.float64)

    return logits_of


def halves(weight: Tensor, bias: Tensor, image: Tensor, *, text: Tensor) -> list[Tensor]:
    """What one layer makes of the image and of the text, (n, units) each: their sum is the layer's output."""
    width = image.shape[1]
    return [image @ weight[:, :width].T + bias, text @ weight[:, width:].T]


def mlp_sides(parameters: Parameters, image: Tensor, text: Tensor, *, blocks: Any) -> list[Tensor]:
    """The halves of the first layer."""
    return halves(parameters["hidden.weight"], parameters["hidden.bias"], image, text=text)


def mlp_hidden(sides: list[Tensor], images: Tensor, texts: Tensor) -> Tensor:
    """(a, b, units) after the first layer."""
    return torch.relu_(sides[0][images].unsqueeze(1) + sides[1][texts])


def gated_sides(parameters: Parameters, image: Tensor, text: Tensor, *, blocks: Any) -> list[Tensor]:
    """Either projection, and the halves of the gate."""
    projected = [
        torch.tanh(block @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"])
        for name, block in zip(blocks, (image, text), strict=True)
    ]
    return [*projected, *halves(parameters["gate.weight"], parameters["gate.bias"], image, text=text)]


def gated_hidden(sides: list[Tensor], images: Tensor, texts: Tensor) -> Tensor:
    """(a, b, units): either projection, mixed by a gate that sees both."""
    gate = torch.sigmoid_(sides[2][images].unsqueeze(1) + sides[3][texts])
    return gate * sides[0][images].unsqueeze(1) + (1 - gate) * sides[1][texts]
