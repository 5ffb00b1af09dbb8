"""What adapters hand over: a collection of studies and images, and notes on what did not pair."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

EXAMPLES = 10  # of a note: enough to see the pattern, few enough for a screen
PARTS = ("train", "val", "test")  # of a fold
SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validate", "validation", "dev"),
    "test": ("test", "testing"),
}


def part_named(word: str) -> str | None:
    """The part of `PARTS` that a word means, in whatever case, `test set` too; None if it means none."""
    said = re.sub(r"[ _-]*(set|data|split)$", "", word.strip().lower())
    return next((part for part in PARTS if said in SPELLINGS[part]), None)


class Progress(Protocol):
    """Hands the items through and lets somebody watch: the command line draws a bar, the library draws nothing.

    total: None where nobody knows it. what: in words; a function where the words change as the work goes on.
    """

    def __call__(self, items: Iterable[T], total: int | None, what: str | Callable[[], str]) -> Iterator[T]: ...


@contextmanager
def stages(
    progress: Progress, what: str, names: Sequence[str], *, quiet: bool = False
) -> Iterator[Callable[[], object]]:
    """A function to call as each of the named stages begins; who watches sees which one is under way.

    Between two calls nothing else may be watched. quiet: say nothing at the end, as `ticks`.
    """
    now = what

    def begun() -> Iterator[str]:
        nonlocal now
        for name in names:
            now = f"{what}: {name}"
            yield name
        now = what

    watched = progress(begun(), len(names), lambda: now)
    try:
        yield lambda: next(watched)
        if not quiet:
            list(watched)
    finally:
        if isinstance(watched, Generator):
            watched.close()  # an error, which holds on to this frame, would leave the bar on the screen


@contextmanager
def ticks(progress: Progress, what: str | Callable[[], str], total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more are done, for work that cannot hand its items through.

    At the end nothing is said, so a file that is written to has lines of what takes long, and none of what does not.
    """
    watched = progress(range(total), total, what)

    def done(n: int) -> None:
        for _ in islice(watched, n):
            pass

    try:
        yield done
    finally:
        if isinstance(watched, Generator):
            watched.close()


def unwatched(items: Iterable[T], total: int | None, what: str | Callable[[], str]) -> Iterator[T]:
    """The items as they come."""
    yield from items


@dataclass(frozen=True, slots=True)
class Study:
    """One examination: who, what the report says per section, its labels, and its place in published splits."""

    study_id: str
    patient_id: str
    sections: Mapping[str, str] = field(default_factory=dict)  # only sections with text
    terms: Mapping[str, Sequence[str]] = field(default_factory=dict)  # "mesh" -> ("Cardiomegaly/mild", ...)
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # label set -> label -> 0 or 1
    parts: Mapping[str, str] = field(default_factory=dict)  # published split -> train, val or test
    facts: Mapping[str, str] = field(default_factory=dict)  # name -> what a table says: age, sex, laboratory values
    # label set -> reader ("" where there is one) -> label -> 1 (yes), 0 (no) or -1 (unsure)
    readings: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """One film. `path` is None when the collection lists it and the file is not here.

    view: a word of `datasets.views`, or None; view_raw: what the collection itself says of it.
    """

    image_id: str
    study_id: str
    patient_id: str
    view: str | None
    path: Path | None
    view_raw: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)  # as of a study


@dataclass(frozen=True)
class Note:
    """Something that was counted while reading a collection: what, how often, the first few, and the remedy."""

    what: str
    count: int
    examples: Sequence[str] = ()
    hint: str = ""

    @property
    def in_words(self) -> str:
        """All of it in one line, with the first three examples."""
        some = self.examples[:3]
        more = f" and {self.count - len(some):,} more" if self.count > len(some) else ""
        which = f" ({', '.join(some)}{more})" if some else ""
        return f"{self.what}: {self.count:,}{which}" + (f"; {self.hint}" if self.hint else "")


@dataclass
class NoteCounter:
    """A note in the making: things are counted as they come, and the first few kept as examples."""

    what: str
    hint: str = ""
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: object) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(str(example))


def notes_of(*counters: NoteCounter) -> list[Note]:
    """A note for each that counted anything."""
    return [Note(it.what, it.count, tuple(it.examples), it.hint) for it in counters if it.count]


@dataclass(frozen=True)
class Policy:
    """How the readings of a label set become labels (`store.readings`).

    uncertain: what an unsure reading is: `ignore` (none), `zero` or `one`. readers: what several make together:
    `majority` (missing where they are even), `any` (1 if one says so) or `all` (0 if one says so).
    """

    of: str  # the label set whose readings they are
    uncertain: str = "ignore"
    readers: str = "majority"


@dataclass(frozen=True)
class LabelSet:
    """What a label set says. A value that is absent is missing: neither yes nor no.

    task: `binary` (one label), `multiclass` (exactly one label of a study is 1; an adapter may leave the zeros out),
    `multilabel` (any may be 1), or `terms` (only what is there is listed: to be queried, not to be trained on).
    """

    name: str
    task: str
    means: str  # in one sentence
    labels: Sequence[str] = ()  # in this order; empty: as found
    policy: str = ""  # a choice that was made, such as "uncertain (-1) is missing"
    decided: Policy | None = None  # its values are made of readings; else `Study.labels` has them


@dataclass(frozen=True)
class Collection:
    """Everything an adapter found, before any pixel is read.

    `studies` and `images` are each read once, studies first, and may be generators that fill `notes` as they go.
    """

    name: str
    studies: Iterable[Study]
    images: Iterable[Image]
    licence: str
    citation: str
    source: Mapping[str, str]  # where it came from: argument -> value, kept in dataset.json
    notes: Sequence[Note] = ()
    simulated: bool = False  # True marks every figure that rests on these images
    label_sets: Sequence[LabelSet] = ()  # one for each name in `Study.labels`
    default_label_set: str = ""  # what commands use where no label set is named; empty: the only one, if there is one
    roles: Mapping[str, str] = field(default_factory=dict)  # section -> a role of `store.layout`, if not the usual one
