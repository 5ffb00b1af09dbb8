"""How the arms are trained and judged."""

from dataclasses import dataclass
from pathlib import Path

from cxremb.errors import TrainError
from cxremb.splits import DEFAULT

FIXED, CHOSEN = "0.5", "val"  # from which probability on a row is called positive
REFERENCE = "fusion"


@dataclass(frozen=True)
class Trial:
    """How to train the arms; `alone` leaves the reference out, so that one arm uses every row it can."""

    preset: str = "default"
    split: str = DEFAULT.name
    allow_leaky: bool = False
    repeat: int = 0  # the first one
    folds: tuple[int, ...] | None = None  # None: all that the split has
    seed: int = 0  # the first one
    alone: bool = False
    repeats: int = 1  # how many: each cuts the folds anew
    seeds: int = 1  # how many: each trains anew on the same folds
    threshold: str = FIXED  # or CHOSEN, on the validation rows of each fold
    reference: str = REFERENCE
    controls: bool = True
    prompts: Path | None = None  # a file of one's own prompts
    margin: float | None = None  # of the AUROC: how much worse than the reference is still as good

    def __post_init__(self) -> None:
        """Refuse what cannot be tried."""
        if min(self.repeats, self.seeds) < 1:
            raise TrainError(f"{self.repeats} repeats, {self.seeds} seeds", hint="ask for 1 or more of each")
        if not self.reference:
            raise TrainError("no reference to compare the arms with", hint="name an arm, or ask for `alone`")
        if self.margin is not None and not 0 < self.margin < 1:
            raise TrainError(f"no margin {self.margin:g} of an AUROC", hint="give one from 0 to 1, such as 0.02")
        if self.threshold not in (FIXED, CHOSEN):
            raise TrainError(f"no threshold {self.threshold!r}", hint=f"choose {FIXED} or {CHOSEN} with --threshold")

    @property
    def repeat_numbers(self) -> tuple[int, ...]:
        return tuple(range(self.repeat, self.repeat + self.repeats))

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.seeds))
