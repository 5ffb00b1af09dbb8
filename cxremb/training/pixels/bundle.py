"""The networks of a finished run, ready to look at films that they have not seen. Nothing is unpickled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxremb.errors import StoreError, TrainError
from cxremb.images import Frame, Grey, fit
from cxremb.training.options import Augment, Options, PixelRecipe, Stage
from cxremb.training.pixels.augment import clean
from cxremb.training.pixels.forward import Job, predict
from cxremb.training.pixels.networks import new_network
from cxremb.training.pixels.source import Films
from cxremb.training.pixels.specs import NetworkSpec
from cxremb.training.runs import Run


@dataclass(frozen=True)
class Networks:
    """The models of one run, by name such as `repeat0.fold0.seed0`."""

    run: Run
    job: Job
    networks: Mapping[str, nn.Module]

    def predict(
        self, films: Sequence[Grey], model: str | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(probabilities, logits), each (n, k), of n decoded films of any size; resized and cleaned as in training.

        model: one of `networks`; the mean over all of them if left out. Raises `TrainError` for an unknown one.
        """
        if model is not None and model not in self.networks:
            raise TrainError(f"{self.run.folder}: no model {model!r}", hint=f"it has {', '.join(self.networks)}")
        recipe = self.job.recipe
        framed = np.stack([fit(film, Frame(recipe.side, recipe.aspect)) for film in films])
        rows = np.arange(len(framed))
        shown = Films(recipe, None, [], rows, clean(framed, recipe))
        task = str(self.run.record["task"])
        found = [
            predict(self.networks[name], shown, rows, job=self.job, task=task)
            for name in ([model] if model else self.networks)
        ]
        prob, logit = (np.mean(both, axis=0) for both in zip(*found, strict=True))
        return prob, logit


def load_networks(run: Run, device: str = "cpu") -> Networks:
    """The networks of a run. Raises `TrainError` if it is of a head, `StoreError` if its files are not whole."""
    spec = run.record["spec"]
    if "network" not in spec:
        raise TrainError(
            f"{run.folder}: a head on stored vectors, not a network from pixels",
            hint="load it with cxremb.training.bundle.load_bundle",
        )
    shape = NetworkSpec(**{one.name: spec[one.name] for one in fields(NetworkSpec)})
    recipe = recipe_of(spec["pixels"])
    networks = {}
    for name, arrays in run.weights().items():
        network = new_network(shape, recipe.side, spec["outputs"], seed=0)
        try:
            network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in arrays.items()})
        except RuntimeError as error:
            raise StoreError(f"{run.folder}: weights that do not fit {spec['network']}", "train it again") from error
        networks[name] = network.to(device).eval()
    return Networks(run, Job(shape, recipe, Options(), device=device), networks)


def recipe_of(told: Mapping[str, Any]) -> PixelRecipe:
    """The recipe as run.json holds it."""
    stages = tuple(Stage(**stage) for stage in told["stages"])
    return PixelRecipe(**{**told, "augment": Augment(**told["augment"]), "stages": stages})
