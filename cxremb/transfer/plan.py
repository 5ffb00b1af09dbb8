"""What is asked of an external validation, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxremb.errors import TrainError
from cxremb.features import Inputs
from cxremb.splits import DEFAULT
from cxremb.store.concepts import VOCABULARIES

UNITS = ("image", "study")
FEWEST_CASES = 10  # of a collection to recalibrate on: fewer fit nothing


@dataclass(frozen=True)
class TransferPlan:
    """Which collections, concepts and head, and how the figures are made."""

    collections: Sequence[str] = ()  # NAME, or NAME:LABEL_SET; none: all that have a store of the key
    concepts: Sequence[str] = ()  # none: all that two collections have
    vocabulary: str = VOCABULARIES[0]
    train_on: Sequence[str] = ()  # names; none: each
    test_on: Sequence[str] = ()
    leave_one_out: bool = False  # train on all others together, in place of on each alone
    head: str = "image"
    preset: str = "default"
    split: str = DEFAULT.name
    unit: str = "image"  # what a figure counts: a film, or a study, whose films' probabilities are averaged
    sensitivity: float | None = None  # that thresholds aim at; None: the best sensitivity + specificity
    recalibrate: int = 0  # patients of the tested collection to fit probabilities on again; not tested
    near_copies: bool = False  # look at pixels for films that both have
    allow_overlap: bool = False
    site: bool = True
    zero_shot: str = ""  # sets of prompts with + between, asked of the same rows; none: nothing is asked
    prompts: Path | None = None  # a file of one's own prompts
    seed: int = 0
    inputs: Inputs = field(default_factory=Inputs)

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.unit not in UNITS:
            raise TrainError(f"no unit {self.unit!r}", hint=f"choose {' or '.join(UNITS)} with --unit")
        if self.sensitivity is not None and not 0 < self.sensitivity < 1:
            raise TrainError(f"no sensitivity {self.sensitivity:g}", hint="give one from 0 to 1, such as 0.95")
        if self.recalibrate and self.recalibrate < FEWEST_CASES:
            raise TrainError(
                f"{self.recalibrate} cases to recalibrate on", hint=f"give {FEWEST_CASES} patients or more, or none"
            )
