"""Labels on their way into the table: checked study by study, completed, and given a version."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cxremb.errors import DataError
from cxremb.types import LabelSet

MADE_HERE = ("sql", "file")  # in dataset.json: where a set that the user made comes from
TASKS = ("binary", "multiclass", "multilabel", "terms")
Write = Callable[..., None]  # study_id, label_set, label, value
Values = Mapping[str, float]  # label -> 0 or 1


class LabelRows:
    """The rows of some label sets. Feed every study once, then `finish`.

    sets: (definition, what dataset.json shall keep beside it). Raises `DataError`, naming study and label, for a value
    that is not 0 or 1, for a label or a set that is not defined, and for what the set's task does not allow.
    """

    def __init__(self, sets: Iterable[tuple[LabelSet, Mapping[str, str]]], write: Write) -> None:
        self.write = write
        self.sets: dict[str, Tally] = {}
        for about, extra in sets:
            if about.name in self.sets:
                raise DataError(f"two label sets are called {about.name!r}", hint="rename one of them")
            self.sets[about.name] = Tally(about, extra)

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
                    for label, value in values.items():
                        self.write(study_id, name, label, float(value))

    def finish(self) -> dict[str, dict[str, Any]]:
        """What dataset.json says of each set. Writes the rows of multi-class sets, whose labels are all known now."""
        for name, tally in self.sets.items():
            for study_id, chosen in tally.chosen.items():
                for label in tally.labels:
                    self.write(study_id, name, label, float(label == chosen))
        return {name: tally.definition() for name, tally in self.sets.items()}


class Tally:
    """What is known of one label set so far."""

    def __init__(self, about: LabelSet, extra: Mapping[str, str]) -> None:
        if about.task not in TASKS:
            raise DataError(f"label set {about.name!r}: no task {about.task!r}", hint=f"use one of {', '.join(TASKS)}")
        self.about, self.extra = about, extra
        self.found: set[str] = set()
        self.chosen: dict[str, str] = {}  # multi-class: study -> the label that is 1
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
        said = sorted(values.items())
        if self.about.task == "multiclass":
            self.chosen[study_id] = self.choose(study_id, values)
            said = [(self.chosen[study_id], 1.0)]
        if self.about.task == "binary" and len(self.labels) > 1:
            raise self.wrong(
                study_id, f"a binary set has one label, not {', '.join(self.labels)}", "define it as multilabel"
            )
        told = json.dumps([study_id, [(label, int(value)) for label, value in said]])
        self.sum += int.from_bytes(hashlib.sha256(told.encode()).digest())

    def choose(self, study_id: str, values: Values) -> str:
        """The one label that is 1."""
        ones = [label for label, value in values.items() if value == 1]
        if len(ones) != 1:
            raise self.wrong(study_id, f"{len(ones)} labels are 1", "a multi-class set has exactly one a study")
        return ones[0]

    def wrong(self, study_id: str, what: str, hint: str) -> DataError:
        """The error for labels that cannot be."""
        return DataError(f"study {study_id}, label set {self.about.name!r}: {what}", hint=hint)

    def definition(self) -> dict[str, Any]:
        """What dataset.json says. version: 12 digits of the SHA-256 of the definition and of all rows."""
        about = {
            "task": self.about.task,
            "means": self.about.means,
            "labels": self.labels,
            "policy": self.about.policy,
            **self.extra,
        }
        told = json.dumps([self.about.name, about, self.sum % 2**256], sort_keys=True)
        return {**about, "version": hashlib.sha256(told.encode()).hexdigest()[:12]}


def made_here(definition: Mapping[str, Any]) -> bool:
    """Whether a label set of dataset.json is the user's own."""
    return any(origin in definition for origin in MADE_HERE)
