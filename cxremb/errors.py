"""What can go wrong, as one tree. Only `cxremb.cli` turns an error into an exit code.

CxrembError            any of the below: `str(error)` says what and where, `error.hint` what to do next
├── DataError          a collection, its tables or its text cannot be used as they are
├── ImageError         one file cannot be decoded (recorded as a failure row, the job goes on)
├── FetchError         a download or an archive failed
├── EncoderError       an encoder is unknown, or its weights cannot be found or do not fit
├── StoreError         the files under the store root are missing, damaged or cannot be written
│   └── VersionTaken   another writer published this version first
├── SplitError         no folds can be made that keep what they promise
├── TrainError         a head cannot be trained on what was asked for
└── QueryError         an SQL statement is wrong or not allowed

Messages share words: `name_list` names what there is, `count_of` says how many, `label_title` which label,
`did_you_mean` the likely one, `reason` is what a library says went wrong.
"""

from collections.abc import Iterable
from difflib import get_close_matches

WORDS = 160  # characters of a library's reason: some explain themselves at length


class CxrembError(Exception):
    """A failure that the user can mend: what happened, and a hint that says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DataError(CxrembError):
    """A collection, its tables or its text cannot be used as they are."""


class ImageError(CxrembError):
    """One file cannot be decoded as an image. `stage` says where it stopped: read, decode or content."""

    def __init__(self, message: str, hint: str = "", stage: str = "decode") -> None:
        super().__init__(message, hint)
        self.stage = stage


class FetchError(CxrembError):
    """A download or an archive failed."""


class EncoderError(CxrembError):
    """An encoder is unknown, or its weights cannot be found or do not fit."""


class StoreError(CxrembError):
    """The files under the store root are missing, damaged or cannot be written."""


class VersionTaken(StoreError):
    """Another writer published this version first."""


class SplitError(CxrembError):
    """No folds can be made that keep what they promise."""


class TrainError(CxrembError):
    """A head cannot be trained on what was asked for."""


class QueryError(CxrembError):
    """An SQL statement is wrong or not allowed."""


def name_list(names: Iterable[str], shown: int = 12) -> str:
    """Names side by side, with semicolons if they hold commas; where only the first are shown, it says so."""
    every = list(names)
    some = every[:shown]
    joined = ("; " if any("," in name for name in some) else ", ").join(some)
    return joined if len(some) == len(every) else f"{joined} and {len(every) - len(some):,} more"


def count_of(n: int, noun: str) -> str:
    """`1 table`, `2 tables`, `2 studies`."""
    return f"{n:,} {noun if n == 1 else noun.removesuffix('y') + 'ies' if noun.endswith('y') else noun + 's'}"


def label_title(label: str, label_set: str) -> str:
    """`abnormal (normal_abnormal)`; a set that is called like its label is not said twice."""
    return label if label == label_set else f"{label} ({label_set})"


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """`did you mean NAME? ` to start a hint with; nothing if no name is like the one given, whatever its case."""
    known = {name.lower(): name for name in names}
    near = get_close_matches(given.lower(), known, n=1, cutoff=0.7)
    return f"did you mean {known[near[0]]}? " if near else ""


def reason(error: BaseException) -> str:
    """What a library says went wrong, in one line that is cut between words."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= WORDS else f"{line[:WORDS].rsplit(' ', 1)[0]} ..."
