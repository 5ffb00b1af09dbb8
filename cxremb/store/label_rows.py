"""Labels on their way into the table: checked, completed, given a version; the user's own sets are carried over."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.errors import DataError, StoreError
from cxremb.store.dataset import Dataset, verified
from cxremb.store.expected import refuse_control
from cxremb.types import LabelSet, Note

MADE_HERE = ("sql", "file", "readings", "concepts")  # in dataset.json: where a set that the user made comes from
TASKS = ("binary", "multiclass", "multilabel", "terms")
Write = Callable[..., None]  # study_id, label_set, label, value
Values = Mapping[str, float]  # label -> 0 or 1


class LabelRows:
    """The rows of some label sets. Feed every study once, then `finish`.

    A set in which no label has two values has nothing that could be learned: `finish` leaves it out and says so in
    `notes`. Sets of `kept`, which the user made, stay.

    sets: (definition, what dataset.json shall keep beside it). Raises `DataError`, naming study and label, for a value
    that is not 0 or 1, for a label or a set that is not defined, and for what the set's task does not allow.
    """

    def __init__(
        self, sets: Iterable[tuple[LabelSet, Mapping[str, str]]], write: Write, kept: Collection[str] = ()
    ) -> None:
        self.write, self.kept = write, kept
        self.notes: list[Note] = []
        self.sets: dict[str, LabelTally] = {}
        for about, extra in sets:
            if about.name in self.sets:
                raise DataError(f"two label sets are called {about.name!r}", hint="rename one of them")
            self.sets[about.name] = LabelTally(about, extra)

    def add(self, study_id: str, labels: Mapping[str, Values]) -> None:
        """All labels of one study: label set -> label -> value."""
        for name, values in labels.items():
            if name not in self.sets:
                raise DataError(
                    f"study {study_id} has labels of {name!r}, which the collection does not define",
                    hint="give the collection a LabelSet of that name",
                )
            if values:
                tally = self.sets[name]
                tally.take(study_id, values)
                if tally.about.task != "multiclass":
                    tally.waiting += [(study_id, name, label, float(value)) for label, value in values.items()]
                if tally.differs or name in self.kept:
                    self.write_waiting(tally)

    def finish(self) -> dict[str, dict[str, Any]]:
        """What dataset.json says of each set. Writes the rows of multi-class sets, whose labels are all known now."""
        alike = {
            name: tally
            for name, tally in self.sets.items()
            if tally.studies and not tally.differs and name not in self.kept
        }
        for name, tally in self.sets.items():
            refuse_control(tally.labels, f"in the label set {name} the label")
        rest = {name: tally for name, tally in self.sets.items() if name not in alike}
        for name, tally in rest.items():
            for study_id, chosen in tally.chosen.items():
                for label in tally.labels:
                    self.write(study_id, name, label, float(label == chosen))
        if alike:
            why = [f"{name}: {tally.why_alike()}" for name, tally in alike.items()]
            hint = "the collection was added without them: a label needs studies with 1 and studies with 0"
            self.notes = [Note("label sets in which all studies say the same, left out", len(why), why, hint)]
        return {name: tally.definition() for name, tally in rest.items()}

    def write_waiting(self, tally: "LabelTally") -> None:
        """The rows that waited until it was known that the set is to stay."""
        for row in tally.waiting:
            self.write(*row)
        tally.waiting = []


class LabelTally:
    """What is known of one label set so far."""

    def __init__(self, about: LabelSet, extra: Mapping[str, str]) -> None:
        if about.task not in TASKS:
            raise DataError(f"label set {about.name!r}: no task {about.task!r}", hint=f"use one of {', '.join(TASKS)}")
        self.about, self.extra = about, extra
        self.found: set[str] = set()
        self.chosen: dict[str, str] = {}  # multi-class: study -> the label that is 1
        self.first: dict[str, float] = {}  # label -> its first value
        self.differs = about.task == "terms"  # whether some label has been 1 and 0; terms need not
        self.waiting: list[tuple[str, str, str, float]] = []  # rows of a set of which that is not known yet
        self.studies = 0
        self.sum = 0  # of a digest per study: the order of the studies means nothing

    @property
    def labels(self) -> list[str]:
        """As defined; sorted, if the definition leaves them to be found. Of terms, none: they are only listed."""
        if self.about.task == "terms":
            return []
        return list(self.about.labels) or sorted(self.found)

    def take(self, study_id: str, values: Values) -> None:
        """Check and remember the labels of one study."""
        for label, value in values.items():
            if value not in (0, 1):  # NaN is in here too
                raise self.wrong(study_id, f"{label!r} is {value!r}", "a value is 0 or 1; leave out what is missing")
            if self.about.labels and label not in self.about.labels:
                raise self.wrong(study_id, f"{label!r} is no label of it", f"it has {', '.join(self.about.labels)}")
        self.found |= values.keys()
        self.studies += 1
        rows = sorted(values.items())
        if self.about.task == "multiclass":
            self.chosen[study_id] = self.choose(study_id, values)
            rows = [(self.chosen[study_id], 1.0)]
            self.differs = self.differs or self.chosen[study_id] != next(iter(self.chosen.values()))
        elif not self.differs:
            self.differs = any(self.first.setdefault(label, value) != value for label, value in values.items())
        if self.about.task == "binary" and len(self.labels) > 1:
            raise self.wrong(
                study_id, f"a binary set has one label, not {', '.join(self.labels)}", "define it as multilabel"
            )
        record = json.dumps([study_id, [(label, int(value)) for label, value in rows]])
        self.sum += int.from_bytes(hashlib.sha256(record.encode()).digest())

    def choose(self, study_id: str, values: Values) -> str:
        """The one label that is 1."""
        ones = [label for label, value in values.items() if value == 1]
        if len(ones) != 1:
            raise self.wrong(study_id, f"{len(ones)} labels are 1", "a multi-class set has exactly one a study")
        return ones[0]

    def wrong(self, study_id: str, what: str, hint: str) -> DataError:
        """The error for labels that cannot be."""
        return DataError(f"study {study_id}, label set {self.about.name!r}: {what}", hint=hint)

    def why_alike(self) -> str:
        """What its studies say, in words."""
        says = dict.fromkeys(self.chosen.values(), 1.0) or self.first
        words = ", ".join(f"{label} is {value:.0f}" for label, value in list(says.items())[:EXAMPLES])
        return f"in all {self.studies:,} studies with a value {words}"

    def definition(self) -> dict[str, Any]:
        """What dataset.json says. version: 12 digits of the SHA-256 of the definition and of all rows."""
        about = {
            "task": self.about.task,
            "means": self.about.means,
            "labels": self.labels,
            "policy": self.about.policy,
            **self.extra,
        }
        record = json.dumps([self.about.name, about, self.sum % 2**256], sort_keys=True)
        return {**about, "version": hashlib.sha256(record.encode()).hexdigest()[:12]}


def made_here(definition: Mapping[str, Any]) -> bool:
    """Whether a label set of dataset.json is the user's own."""
    return any(origin in definition for origin in MADE_HERE)


EXAMPLES = 10
MAKE_AGAIN = "make them again with `cxremb data label NAME --file TABLE`"


@dataclass(frozen=True)
class OwnSets:
    """The user's label sets of a data set that is about to be replaced, and notes on those that cannot be kept."""

    sets: Sequence[tuple[LabelSet, Mapping[str, str]]] = ()  # definition, and the SQL or file it came from
    table: Path | None = None  # where their rows are
    notes: Sequence[Note] = field(default=())
    earlier: Mapping[str, Note] = field(default_factory=dict)  # set -> whose labels have gone before


def gone_with(label_set: str) -> str:
    """What a note says of studies that took labels of a set along; it stays until the set is made again."""
    return f"studies that were removed, and their labels of {label_set} with them"


def own_sets(before: Dataset | None, taken: Collection[str]) -> OwnSets:
    """What to keep. taken: label sets that the collection brings with it now, whose names are no longer free."""
    about = before.descriptor.get("label_sets", {}) if before else {}
    own = {name: definition for name, definition in about.items() if made_here(definition)}
    if before is None or not own:
        return OwnSets()
    described = {
        name: f"{name}: {' '.join(about[name][key] for key in MADE_HERE if key in about[name])}" for name in own
    }
    try:
        table = verified(before, "labels")
    except StoreError:
        lost = [described[name] for name in own]
        return OwnSets(notes=[Note("own label sets lost: the labels table was damaged", len(lost), lost, MAKE_AGAIN)])
    gone = [described[name] for name in own if name in taken]
    clash = "own label sets left out: the collection now has one of that name"
    return OwnSets(
        [
            (
                LabelSet(name, one["task"], one["means"], one["labels"], one["policy"]),
                {key: one[key] for key in MADE_HERE if key in one},
            )
            for name, one in own.items()
            if name not in taken
        ],
        table,
        [Note(clash, len(gone), gone, f"{MAKE_AGAIN} under another name")] if gone else (),
        {
            name: Note(**note)
            for name in own
            for note in before.descriptor.get("notes", ())
            if note["what"] == gone_with(name)
        },
    )


def keep_own(own: OwnSets, rows: LabelRows, studies: Collection[str]) -> list[Note]:
    """Feed what the own sets say of `studies` into `rows`. A note for each set that also spoke of others, ever."""
    gone = {about.name: list[str]() for about, _ in own.sets}
    for (name, study), values in groupby(rows_of(own), itemgetter(0, 1)):
        if study in studies:
            rows.add(study, {name: {label: value for _, _, label, value in values}})
        else:
            gone[name].append(study)
    notes = []
    for name, lost in gone.items():
        earlier = own.earlier.get(name, Note("", 0))
        if count := earlier.count + len(lost):
            examples = [*earlier.examples, *lost][:EXAMPLES]
            notes.append(Note(gone_with(name), count, examples, f"if they are back, {MAKE_AGAIN}"))
    return notes


def rows_of(own: OwnSets) -> Iterator[tuple[str, str, str, float]]:
    """(set, study, label, value) of every row of the own sets; the labels of a study in a set stand together."""
    if own.table is None or not own.sets:
        return
    names = pa.array([about.name for about, _ in own.sets])
    for batch in pq.ParquetFile(own.table).iter_batches():
        kept = batch.filter(pc.is_in(batch["label_set"], names))
        yield from zip(*(kept[name].to_pylist() for name in ("label_set", "study_id", "label", "value")), strict=True)
