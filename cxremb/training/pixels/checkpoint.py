"""A training as it stands after an epoch, in one file that is replaced whole: what it needs to go on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cxremb.errors import StoreError
from cxremb.store.files import replace_file

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The weights of the last epoch and of the best, the optimiser's memory, and what is told in words and numbers.

    Chance is not in it: what is drawn in an epoch follows from the seed and the number of the epoch.
    """

    network: Tensors
    kept: Tensors
    optimiser: Mapping[int, Mapping[str, Tensor]]
    told: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """`path`, a safetensors file, replaced in one step. Raises `StoreError` if it cannot be written."""
    named = {f"network.{name}": tensor for name, tensor in checkpoint.network.items()}
    named |= {f"kept.{name}": tensor for name, tensor in checkpoint.kept.items()}
    for number, memory in checkpoint.optimiser.items():
        named |= {f"optimiser.{number}.{name}": tensor for name, tensor in memory.items()}
    # cloned: safetensors refuses two names for one piece of memory, and other layouts than the plain one
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()
    }
    replace_file(path, lambda draft: save_file(tensors, draft, {"told": json.dumps(checkpoint.told)}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """What `path` holds; None if it is not there. Raises `StoreError` if it is damaged."""
    if not path.is_file():
        return None
    found: dict[str, dict[str, Tensor]] = {"network": {}, "kept": {}}
    optimiser: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
            for key in file.keys():  # noqa: SIM118 - not a dict
                kind, _, name = key.partition(".")
                if kind == "optimiser":
                    number, _, name = name.partition(".")
                    optimiser.setdefault(int(number), {})[name] = file.get_tensor(key)
                else:
                    found[kind][name] = file.get_tensor(key)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: damaged ({error})", hint="delete it: the training starts from its beginning"
        ) from error
    return Checkpoint(found["network"], found["kept"], optimiser, told)
