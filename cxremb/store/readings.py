"""What readers said of a study, and the policies that make labels of it: of unsure readings, and of several readers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.errors import DataError, did_you_mean, name_list
from cxremb.store.dataset import Dataset, verified
from cxremb.types import LabelSet, Policy

YES, NO, UNSURE = 1.0, 0.0, -1.0
Readings = Mapping[str, Mapping[str, float]]  # reader -> label -> yes, no or unsure
UNCERTAIN = {"ignore": "is missing", "zero": "is 0", "one": "is 1"}  # policy -> what it makes of -1
READERS: Mapping[str, Callable[[Sequence[float]], float | None]] = {
    "majority": lambda votes: None if 2 * sum(votes) == len(votes) else float(2 * sum(votes) > len(votes)),
    "any": max,
    "all": min,
}
SAID = {
    "majority": "of several readers the majority, missing where they are even",
    "any": "1 if any reader says so",
    "all": "1 if all readers say so",
}


def decide(policy: Policy, readings: Readings) -> dict[str, float]:
    """Label -> 0 or 1, in the order in which readers name them; a label that stays undecided is left out."""
    votes: dict[str, list[float]] = {}
    for said in readings.values():
        for label, value in said.items():
            if value != UNSURE:
                votes.setdefault(label, []).append(value)
            elif policy.uncertain != "ignore":
                votes.setdefault(label, []).append(float(policy.uncertain == "one"))
    decided = {label: READERS[policy.readers](its) for label, its in votes.items()}
    return {label: value for label, value in decided.items() if value is not None}


def check_policy(policy: Policy) -> Policy:
    """The policy. Raises `DataError` if it says something else than `UNCERTAIN` and `READERS` know."""
    for option, given, known in (
        ("--uncertain", policy.uncertain, list(UNCERTAIN)),
        ("--readers", policy.readers, list(READERS)),
    ):
        if given not in known:
            raise DataError(f"{option} cannot be {given!r}", hint=f"say one of: {', '.join(known)}")
    return policy


def in_words(policy: Policy, several: bool) -> str:
    """What a label set says of its policy. several: whether there are several readers."""
    unsure = f"uncertain (-1) {UNCERTAIN[policy.uncertain]}; blank (not mentioned) is missing"
    return f"{unsure}; {SAID[policy.readers]}" if several else unsure


def decided_sets(sets: Sequence[LabelSet], readings: Mapping[str, Readings]) -> dict[str, dict[str, float]]:
    """Label set -> what its policy makes of one study's readings, of those sets that are made of readings."""
    found = {}
    for about in sets:
        if about.decided:
            values = decide(about.decided, readings.get(about.decided.of, {}))
            named = about.labels or values
            found[about.name] = {label: value for label, value in values.items() if label in named}
    return {name: values for name, values in found.items() if values}


def reading_rows(study: str, readings: Mapping[str, Readings]) -> Iterator[tuple[str, str, str, str, int]]:
    """The rows of the table of one study. Raises `DataError` for a value that is none of 1, 0 and -1."""
    for label_set, readers in readings.items():
        for reader, said in readers.items():
            for label, value in said.items():
                if value not in (YES, NO, UNSURE):  # NaN is in here too
                    raise DataError(
                        f"study {study}, readings {label_set!r}: {label!r} is {value!r}",
                        hint="a reading is 1, 0 or -1; leave out what is not mentioned",
                    )
                yield study, label_set, label, reader, int(value)


def read_readings(dataset: Dataset, label_set: str) -> Iterator[tuple[str, Readings]]:
    """(study, its readings) of one label set. Raises `DataError`, naming those there are, if it has no such readings.

    They are read a row group at a time; those of a study stand together.
    """
    known = reading_sets(dataset)
    if label_set not in known:
        raise DataError(
            f"{dataset.name} has no readings of {label_set!r}; it has readings of {name_list(sorted(known)) or 'none'}",
            hint=f"{did_you_mean(label_set, sorted(known))}say {' or '.join(f'--readings {name}' for name in known)}"
            if known
            else "add the collection again: readings are kept since cxremb 0.1, and of some collections only",
        )
    for study, rows in groupby(rows_of_set(dataset, label_set), itemgetter(0)):
        found: dict[str, dict[str, float]] = {}
        for _, reader, label, value in rows:
            found.setdefault(reader, {})[label] = float(value)
        yield study, found


def reading_sets(dataset: Dataset) -> set[str]:
    """The label sets of which the data set has readings."""
    if "readings" not in dataset.table_names:
        return set()
    column = pq.read_table(verified(dataset, "readings"), columns=["label_set"])["label_set"]
    return set(column.unique().to_pylist())


def rows_of_set(dataset: Dataset, label_set: str) -> Iterator[tuple[str, str, str, int]]:
    """(study, reader, label, value) of one label set, as they stand in the table."""
    for batch in pq.ParquetFile(verified(dataset, "readings")).iter_batches():
        kept = batch.filter(pc.equal(batch["label_set"], label_set))
        yield from zip(*(kept[name].to_pylist() for name in ("study_id", "reader", "label", "value")), strict=True)
