"""What is to be trained, as data. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from cxremb.errors import TrainError
from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.data import Place
from cxremb.training.heads import HeadSpec, find_head
from cxremb.training.presets import PRESETS, Options

LABELS = "labels"  # what a job may shuffle; else a modality


@dataclass(frozen=True)
class Plan:
    """What to train: a head and its recipe, one model for every repeat, fold and seed. All of it enters the key."""

    arm: str  # a head of `training.heads.HEADS`, or an arm that says more than its head
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


@dataclass(frozen=True)
class FitJob:
    """One run that is wanted: a plan, and the rows and split that it is for.

    What is no head on stored vectors, a network from pixels or a rule of a control, says in `other` what it is, enough
    to build it again, and in `reads` which modalities it looks at.
    """

    dataset: Dataset
    features: Features
    split: StoredSplit
    plan: Plan
    given_head: HeadSpec | None = None  # None: the one that `plan.arm` names
    other: Mapping[str, Any] | None = None
    reads: Sequence[str] = ()
    reads_stores: bool = True  # False: it reads something else of these modalities, such as the words of a text
    train_fraction: float = 1.0  # the share of each fold's training patients that it learns from
    shots: int | None = None  # training rows of each class, of as many patients, drawn anew for each model; None: all
    label_policy: str | None = None  # what becomes of unsure readings in training, as the arm's name has it
    prior: bool = False  # whether its films come with what has changed since the examination before
    missing: str | None = None  # a modality that is taken away when the trained model is tested
    caveats: Sequence[str] = ()  # what must stand beside its figures, beside what follows from what it reads
    shuffles: str | None = None  # `LABELS`, or a modality: exchanged among rows, so that it says nothing

    @property
    def head(self) -> HeadSpec:
        """Raises `TrainError` if there is none of that name."""
        return self.given_head or find_head(self.plan.arm)

    @property
    def blocks(self) -> Sequence[str]:
        """The modalities that it reads."""
        return self.head.blocks if self.other is None else self.reads

    @property
    def spec(self) -> dict[str, Any]:
        """What it is, enough to build it again. It enters the key."""
        if self.other is not None:
            return dict(self.other)
        if self.shuffles:  # each model learns labels of its own; runs of before had one draw for all folds of a seed
            anew = {"drawn_for": "each model"} if self.shuffles == LABELS else {}
            return {"shuffled": self.shuffles, **anew, "head": asdict(self.head)}
        return asdict(self.head)
