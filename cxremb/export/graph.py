"""A run's models as one plain torch module: raw vectors, or films, in; the mean of their probabilities out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cxremb.encoders.forward import FilmNet
from cxremb.training.bundle import Bundle
from cxremb.training.data import BINARY, MULTICLASS
from cxremb.training.modules import Batch, forward

FILMS = "films"  # the input in place of the image block, where the encoder is in the file


class Heads(nn.Module):
    """K models of a run. They standardise their input themselves, as `training.inputs.gather` does."""

    def __init__(self, bundle: Bundle, models: Sequence[str]) -> None:
        super().__init__()
        self.spec, self.task, self.masked = bundle.head, bundle.task, masked_blocks(bundle)
        dims: Mapping[str, int] = {block: bundle.run.record.dims[block] for block in self.spec.blocks}
        shapes = self.spec.shapes(dims, self.spec.outputs(bundle.task, len(bundle.labels)))
        weights = [bundle.weights[name] for name in models]
        self.names = {name: f"parameter_{name.replace('.', '_')}" for name in shapes}  # a buffer's has no dot
        for name, shape in shapes.items():
            stacked = np.stack([np.asarray(one[name], dtype=np.float32).reshape(shape) for one in weights])
            self.register_buffer(self.names[name], torch.from_numpy(stacked))
        for side in ("mean", "scale"):
            columns = torch.from_numpy(np.stack([one[side] for one in weights]))  # (K, dims side by side)
            for block, part in zip(dims, torch.split(columns, list(dims.values()), dim=1), strict=True):
                self.register_buffer(f"{side}_{block}", part.clone())
        self.limit = min(float(one["limit"]) for one in weights)  # the same for all models of a run

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(n, k) probabilities. inputs: block -> (n, dim) or (n, views, dim); `present_<block>` -> bool, for some."""
        blocks, present = {}, {}
        for name in self.spec.blocks:
            x, mask = inputs[name].unsqueeze(0), inputs.get(f"present_{name}")
            wide = (-1, *(1,) * (x.dim() - 2), x.shape[-1])  # (K, 1, dim), or (K, 1, 1, dim) for views
            mean, scale = (getattr(self, f"{side}_{name}").view(wide) for side in ("mean", "scale"))
            z = (x - mean) / scale
            z = z.clamp(-self.limit, self.limit) if self.limit < np.inf else z
            there = torch.ones_like(z[..., 0]) if mask is None else mask.to(z.dtype).unsqueeze(0).expand(z.shape[:-1])
            blocks[name], present[name] = z if mask is None else z * there.unsqueeze(-1), there
        parameters = {name: getattr(self, buffer) for name, buffer in self.names.items()}
        values = torch.cat([block.flatten(2) for block in blocks.values()], dim=-1)
        logits = forward(self.spec, parameters, Batch(values, blocks, present))
        return probabilities(logits, self.task).mean(dim=0)


class FilmsAndHeads(nn.Module):
    """The image encoder before the heads: uint8 films in place of image vectors."""

    def __init__(self, encoder: FilmNet, heads: Heads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(n, k) probabilities. Vectors are rounded to float16 on the way, as a store keeps them."""
        vectors = self.encoder(inputs[FILMS])[0].to(torch.float16).to(torch.float32)
        return torch.as_tensor(self.heads({**inputs, "image": vectors}))


def masked_blocks(bundle: Bundle) -> list[str]:
    """The blocks that a row may lack, for which the file takes a mask: all of a run with `missing=keep`, and bags."""
    if bundle.run.record.missing == "keep":
        return list(bundle.head.blocks)
    return [bundle.head.blocks[0]] if bundle.head.kind == "attention" else []


def probabilities(logits: Tensor, task: str) -> Tensor:
    """(K, n, k) of (K, n, outputs); a binary task with two logits is decided by their difference."""
    if task == MULTICLASS:
        return torch.softmax(logits, dim=-1)
    if task == BINARY and logits.shape[-1] == 2:
        logits = logits[..., 1:] - logits[..., :1]
    return torch.sigmoid(logits)
