"""What a split is to be: folds or a hold-out, what must stay together, and the seed; and how a fold is written."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from cxremb.errors import SplitError
from cxremb.store.layout import SPLITS

METHOD = 2  # enters every key: raise it whenever the same input would give other folds
KEY_LENGTH = 12
LINKS = {"patient": "patient", "report": "copied report"}
KINDS = ("kfold", "holdout")
IMAGE_SPLIT = "image-80-20"


@dataclass(frozen=True)
class SplitSpec:
    """What the folds promise. A hold-out is one fold: a `folds`-th is tested, half as much chosen on.

    group: what two studies may share only within one part, some of `LINKS`; empty lets them share anything.
    Raises `SplitError` for what cannot be made.
    """

    name: str = "patient-5fold"
    kind: str = "kfold"
    folds: int = 5
    repeats: int = 1
    group: tuple[str, ...] = tuple(LINKS)
    seed: int = 0

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in KINDS:
            raise SplitError(f"no kind of split is called {self.kind!r}", hint=f"choose {' or '.join(KINDS)}")
        if unknown := sorted(set(self.group) - set(LINKS)):
            raise SplitError(
                f"studies cannot be grouped by {', '.join(unknown)}",
                hint=f"group by {' or '.join(LINKS)}, by both with a comma between, or by none",
            )
        if self.folds < 2 or self.repeats < 1:
            raise SplitError(f"{self.folds} folds, {self.repeats} repeats", hint="ask for 2 folds, 1 repeat or more")

    @property
    def fold_numbers(self) -> range:
        return range(1 if self.kind == "holdout" else self.folds)

    @property
    def bins(self) -> int:
        """The equal shares of the studies that parts are made of: two are tested, one is chosen on."""
        return 2 * self.folds

    @property
    def grouping(self) -> str:
        """What stays together, in words."""
        kept = [words for link, words in LINKS.items() if link in self.group]
        return f"grouped by {' and '.join(kept)}" if kept else "not grouped: patients and report texts may be shared"

    @property
    def means(self) -> str:
        """The split in words."""
        shares = [100 * count / self.bins for count in (self.bins - 3, 1, 2)]
        sizes = ":".join(f"{share:.3g}" for share in shares)
        what = f"hold-out {sizes}" if self.kind == "holdout" else f"{self.folds} folds, {sizes}"
        repeats = f", {self.repeats} repeats" if self.repeats > 1 else ""
        return f"{what}{repeats}, {self.grouping}, seed {self.seed}"

    @property
    def record(self) -> dict[str, Any]:
        """What enters the key: the order in which groupings were named makes no other folds."""
        return asdict(self) | {"group": sorted(self.group)}


def check_name(name: str) -> None:
    """Raises `SplitError` unless `name` can name a split: it becomes part of a file's name, before an @."""
    if not re.fullmatch(r"\w[\w.-]*", name, flags=re.ASCII):
        raise SplitError(f"{name!r} cannot name a split", hint="use letters, digits, _ - and .")


def fold_table(name: str, ids: Mapping[str, Any], parts: Any, *, repeat: int = 0, fold: int = 0) -> pa.Table:
    """One fold as rows of `SPLITS`, in the order given. ids: column -> n ids, image_id only where rows are images."""
    n = len(parts)
    given = {"split": pa.repeat(name, n), "repeat": pa.repeat(repeat, n), "fold": pa.repeat(fold, n), "part": parts}
    table = pa.table({"image_id": pa.nulls(n, pa.string()), **given, **ids})
    return table.select(SPLITS.names).cast(SPLITS)


DEFAULT = SplitSpec()
HOLDOUT = SplitSpec(name="holdout", kind="holdout")
STANDARD = {spec.name: spec for spec in (DEFAULT, HOLDOUT)}
BUILT_IN = (*STANDARD, IMAGE_SPLIT)  # names that always mean the same split
