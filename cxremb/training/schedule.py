"""What the next epoch of a training is, from the losses so far alone: so a resumed training goes the same way.

One for heads and networks: a head has one stage at a constant rate, so all that changes with its losses is the end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxremb.training.options import Options, PixelRecipe, Stage

STAND_STILL = 3  # epochs without a lower watched loss after which the plateau schedule slows down
SLOWER = 0.3  # the share of the rate that is left: two steps down are an order of magnitude


@dataclass(frozen=True)
class Step:
    """One epoch to come."""

    stage: int
    first: bool  # of its stage: a new optimiser, from the best weights so far
    learning_rate: float
    frozen: float  # share of the base's layers


def stages_of(options: Options, recipe: PixelRecipe) -> tuple[Stage, ...]:
    """The stages of a recipe; one, if it names none. None is longer than `options.epochs`."""
    stages = recipe.stages or (Stage(options.epochs, options.learning_rate),)
    return tuple(Stage(min(stage.epochs, options.epochs), stage.learning_rate, stage.frozen) for stage in stages)


def next_step(losses: Sequence[float], options: Options, recipe: PixelRecipe) -> Step | None:
    """What comes after epochs with these watched losses; None: nothing, the training is over.

    A stage ends after its epochs, or once `patience` of them have brought no lower loss than it had.
    """
    begin = 0
    for number, stage in enumerate(stages_of(options, recipe)):
        here = losses[begin : begin + stage.epochs]
        used = epochs_used(here, options.patience)
        if used is None and len(here) < stage.epochs:
            return Step(number, not here, learning_rate(here, options.schedule, stage), stage.frozen)
        begin += len(here) if used is None else used
    return None


def finished(losses: Sequence[float], options: Options) -> bool:
    """Whether a training of one stage is over after epochs with these watched losses."""
    return len(losses) >= options.epochs or epochs_used(losses, options.patience) is not None


def epochs_used(losses: Sequence[float], patience: int | None) -> int | None:
    """After how many epochs patience ran out; None if it has not."""
    lowest, since = math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        lowest, since = (loss, 0) if loss < lowest else (lowest, since + 1)
        if patience is not None and since >= patience:
            return epoch
    return None


def learning_rate(losses: Sequence[float], schedule: str, stage: Stage) -> float:
    """The rate of the epoch that follows `losses`, those of its own stage.

    cosine: half a wave from the full rate down, the last epoch still learning (Loshchilov & Hutter 2017). plateau:
    times `SLOWER` whenever `STAND_STILL` epochs have brought no lower loss.
    """
    if schedule == "cosine":
        return stage.learning_rate * (1 + math.cos(math.pi * len(losses) / stage.epochs)) / 2
    rate, lowest, since = stage.learning_rate, math.inf, 0
    for loss in losses if schedule == "plateau" else ():
        lowest, since = (loss, 0) if loss < lowest else (lowest, since + 1)
        if since >= STAND_STILL:
            rate, since = rate * SLOWER, 0
    return rate
