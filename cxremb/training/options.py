"""How a model is trained, as data: options of the loop, and what a network from pixels needs besides. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cxremb.errors import TrainError

SELECT = ("best", "last")
OPTIMISERS = ("adam", "adamw", "sgd")  # of networks; a head has `HEAD_OPTIMISERS`, as its presets do
SCHEDULES = ("constant", "cosine", "plateau")  # of networks; a head has `HEAD_SCHEDULES`
HEAD_OPTIMISERS = ("adam",)
HEAD_SCHEDULES = ("constant",)
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Options:
    """How the loop trains. `select`: keep the epoch with the lowest validation loss (best), or the last one."""

    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 40  # a pass each; of many rows a share of one, where an epoch may be chosen (`stack.EPOCH_ROWS`)
    select: str = "best"
    patience: int | None = 8  # epochs without a lower validation loss before stopping; None runs them all
    standardise: bool = True  # inputs to mean 0 and variance 1, measured on the training rows only
    optimiser: str = "adam"
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0
    schedule: str = "constant"  # cosine: half a wave down; plateau: lower while the validation loss stands still
    class_weights: bool = False  # each class weighs as much in the training loss, however rare it is
    scale_blocks: bool = False  # of a fusion: each block counts as much as it tells, see `training.scales`
    precision: str = "auto"  # of a head's products: bf16 where the hardware multiplies in it, else fp32

    def __post_init__(self) -> None:
        """Refuse what would train nothing, or silently something else."""
        words = {"select": SELECT, "optimiser": OPTIMISERS, "schedule": SCHEDULES, "precision": PRECISIONS}
        for name, known in words.items():
            if (given := getattr(self, name)) not in known:
                raise TrainError(f"{name} is {' or '.join(known)}, not {given!r}")
        if (
            self.learning_rate <= 0
            or min(self.batch_size, self.epochs, 1 if self.patience is None else self.patience) < 1
        ):
            raise TrainError(
                "the learning rate, batch size, epochs and patience must be above zero",
                hint="for example --epochs 40",
            )
        if min(self.momentum, self.weight_decay) < 0:
            raise TrainError("momentum and weight decay must not be below zero", hint="0 leaves them out")

    def check_head(self) -> None:
        """Raises `TrainError` for an optimiser or a schedule that only networks from pixels have."""
        for name, known in (("optimiser", HEAD_OPTIMISERS), ("schedule", HEAD_SCHEDULES)):
            if (given := getattr(self, name)) not in known:
                raise TrainError(
                    f"the {name} of a head is {' or '.join(known)}, not {given!r}",
                    hint=f"leave {name} out; {given!r} is for networks from pixels",
                )

    @property
    def chooses_epoch(self) -> bool:
        """Whether anything is decided by the loss after each epoch: which is kept, when to stop, how fast to go."""
        return self.select == "best" or self.patience is not None or self.schedule == "plateau"


@dataclass(frozen=True)
class Augment:
    """How far a training film may be changed, by chance, each time it is shown. Nothing: as it is.

    flip is off unless a published recipe has it: a mirrored chest has its heart on the right, which is a finding
    (situs inversus, or a film that was hung the wrong way round) and no other view of the same patient.
    """

    rotation: float = 0.0  # degrees either way
    shift: float = 0.0  # share of the side, either way, along both axes
    contrast: float = 0.0  # 0.2: grey values' distance from the film's mean times 0.8 to 1.2
    flip: bool = False  # half of the films mirrored, left to right


@dataclass(frozen=True)
class Stage:
    """One stretch of a training. frozen: the share of the base's layers, from the input on, that stay as they are."""

    epochs: int
    learning_rate: float
    frozen: float = 0.0


@dataclass(frozen=True)
class PixelRecipe:
    """What a network from pixels is shown, and how its training is cut into stages."""

    side: int = 224  # pixels; a film of this size already is taken as stored
    aspect: str = "squash"  # as `images.Frame`
    clahe: bool = False  # contrast limited adaptive histogram equalisation (Zuiderveld 1994)
    blur: int = 0  # pixels across a Gaussian kernel; 0: none
    augment: Augment = field(default_factory=Augment)
    stages: Sequence[Stage] = ()  # none: one stage, as the options say
