"""What each kind of head computes, for K members at once: every tensor has a leading member axis.

A member is one slice of it. Its products are batched with those of the others and never mixed with them, so K members
give what each gives alone. A block that is missing from a row comes in as zeros, the mean of the training rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cxremb.training.heads import VOICES, HeadSpec

CHUNK = 1024  # rows per forward pass when only predicting: they stay in a CPU's caches; changes no value

Parameters = Mapping[str, Tensor]  # name -> (K, ...)
Drop = Callable[[Tensor], Tensor]  # (K, B, units) -> the same with some units silenced


@dataclass(frozen=True)
class Batch:
    """B rows of each of K members, standardised."""

    values: Tensor  # (K, B, width): the blocks side by side
    blocks: Mapping[str, Tensor]  # modality -> (K, B, dim), or (K, B, views, dim): parts of `values`
    present: Mapping[str, Tensor]  # modality -> (K, B), or (K, B, views): 1.0, or 0.0 where nothing is there

    def without(self, lost: Mapping[str, Tensor]) -> "Batch":
        """Blocks taken away, where `lost` (K, B) is 1.0 and not 0.0: their values become zeros, in place."""
        present = {}
        for name, there in self.present.items():
            present[name] = there * (1 - lost[name]).reshape(*lost[name].shape, *(1,) * (there.dim() - 2)).to(
                there.dtype
            )
            self.blocks[name].mul_(present[name].unsqueeze(-1))
        return Batch(self.values, self.blocks, present)


def unchanged(hidden: Tensor) -> Tensor:
    """No dropout."""
    return hidden


def forward(spec: HeadSpec, parameters: Parameters, batch: Batch, *, drop: Drop = unchanged) -> Tensor:
    """(K, B, outputs) logits, in the precision of the batch, which is that of the parameters."""
    present = [batch.present[name] for name in spec.blocks]
    if spec.kind == "linear":
        return affine(parameters, "", batch.values)
    if spec.kind in VOICES:
        voices = [perceptron(parameters, f"{name}.", batch.blocks[name], drop=drop) for name in spec.blocks]
        return stacked(parameters, voices, present) if spec.kind == "stacked" else averaged(voices, present)
    if spec.kind == "gated":
        return affine(parameters, "out.", drop(gated(spec.blocks, parameters, batch)))
    if spec.kind == "attention":
        films, *rest = (batch.blocks[name] for name in spec.blocks)
        X = torch.cat([pooled(parameters, films, present[0]), *rest], dim=-1)
        return perceptron(parameters, "", X, drop=drop)
    return perceptron(parameters, "", batch.values, drop=drop)


def logits_of(head: HeadSpec, parameters: Parameters, rows: Tensor, *, gather: Callable[[Tensor], Batch]) -> Tensor:
    """(m, outputs) logits of one model in evaluation mode. gather: (1, B) rows -> their batch, as the weights are."""
    stacked = {name: value.unsqueeze(0) for name, value in parameters.items()}
    with torch.inference_mode():
        parts = torch.split(rows, CHUNK)
        return torch.cat([forward(head, stacked, gather(part[None]))[0].float() for part in parts])


def affine(parameters: Parameters, layer: str, X: Tensor) -> Tensor:
    """(K, B, outputs) of one layer, on (K, B, inputs).

    Weight times input, turned round: the gradient of the weight then comes out as the weight lies, without a copy.
    """
    bias = parameters[f"{layer}bias"].unsqueeze(2)
    return torch.baddbmm(bias, parameters[f"{layer}weight"], X.transpose(1, 2)).transpose(1, 2)


def perceptron(parameters: Parameters, prefix: str, X: Tensor, *, drop: Drop) -> Tensor:
    """(K, B, outputs) of two layers."""
    return affine(parameters, f"{prefix}out.", drop(torch.relu(affine(parameters, f"{prefix}hidden.", X))))


def averaged(voices: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
    """The mean logit of the blocks that are there: one that is not has no say."""
    weights = torch.stack(list(present)).unsqueeze(-1)  # (blocks, K, B, 1)
    return (torch.stack(list(voices)) * weights).sum(0) / weights.sum(0).clamp(min=1)


def stacked(parameters: Parameters, voices: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
    """The voices weighed by one layer, where all are there; else as `averaged`, for it was solved on rows with both."""
    whole = torch.stack(list(present)).amin(dim=0).unsqueeze(-1)
    weighed = affine(parameters, "stack.", torch.cat(list(voices), dim=-1))
    return whole * weighed + (1 - whole) * averaged(voices, present)


def gated(names: Sequence[str], parameters: Parameters, batch: Batch) -> Tensor:
    """(K, B, hidden): tanh of either projection, mixed per unit by a gate that sees both (Arevalo et al. 2017).

    A missing block's projection would be its bias and nothing else, so the gate then stands at the other one.
    """
    first, second = (torch.tanh(affine(parameters, f"{name}.", batch.blocks[name])) for name in names)
    gate = torch.sigmoid(affine(parameters, "gate.", batch.values))
    here, there = (batch.present[name].unsqueeze(-1) for name in names)
    gate = here * (there * gate + (1 - there))  # both: the gate; first alone: 1; second alone: 0
    return gate * first + (1 - gate) * second


def pooled(parameters: Parameters, views: Tensor, present: Tensor) -> Tensor:
    """(K, B, dim): the views' weighted mean, weights by gated attention over those present (Ilse et al. 2018)."""
    members, rows, count, dim = views.shape
    flat = views.reshape(members, rows * count, dim)
    hidden = torch.tanh(affine(parameters, "tanh.", flat)) * torch.sigmoid(affine(parameters, "sigmoid.", flat))
    scores = torch.bmm(hidden, parameters["score.weight"].transpose(1, 2)).view(members, rows, count)
    lowest = torch.finfo(scores.dtype).min  # not minus infinity: a row without any view stays a number
    weights = torch.softmax(scores.masked_fill(present == 0, lowest), dim=-1, dtype=torch.float32) * present
    return (weights.to(views.dtype).unsqueeze(-1) * views).sum(dim=2)
