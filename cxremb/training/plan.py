"""What is to be trained, as data: all of a plan enters the run's key. Needs no torch."""

from dataclasses import dataclass, field
from itertools import product

from cxremb.errors import TrainError
from cxremb.training.presets import PRESETS, Options


@dataclass(frozen=True)
class Place:
    """Where one model of a run stands."""

    repeat: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """The prefix of its weights, less the dot."""
        return f"repeat{self.repeat}.fold{self.fold}.seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What to train: a head and its recipe, one model for every repeat, fold and seed. All of it enters the key."""

    arm: str  # a head of `training.heads.HEADS`
    preset: str = "default"
    options: Options = field(default_factory=lambda: PRESETS["default"].options)
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    repeats: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Refuse a plan of no model, or of the same one twice."""
        for name in ("folds", "repeats", "seeds"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise TrainError(f"{name} are {given}", hint=f"name each of the {name} once")

    @property
    def places(self) -> list[Place]:
        """Every model, in the order of the weights."""
        return [Place(repeat, fold, seed) for repeat, seed, fold in product(self.repeats, self.seeds, self.folds)]
