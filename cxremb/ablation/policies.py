"""Arms that differ in what becomes of readings: they learn other labels and are judged on the same certain ones.

`label=uncertain-zero`, `label=readers-any` and their siblings make training labels of the readings that came with the
collection. Validation and test rows are those whose label is the same under every one of the policies, for all arms of
the table. So a policy cannot win by changing what is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.errors import DataError, TrainError
from cxremb.features import Features, label_rows
from cxremb.labels import Labels, read_labels
from cxremb.splits import StoredSplit
from cxremb.splits.group import TOGETHER, copied_texts, group_numbers, report_texts
from cxremb.store.dataset import Dataset
from cxremb.store.layout import SPLITS
from cxremb.store.readings import READERS, SAID, UNCERTAIN, Readings, decide, read_readings, reading_sets
from cxremb.types import Policy

AXIS, UNSURE, VOTES = "label", "uncertain-", "readers-"  # as `arms.AXES` has them
OWN = "as the label set says"
Values = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyLabels:
    """The labels of n studies under every policy, those of a label set that is made of readings."""

    known: Labels  # every study of which something is known under some policy
    certain: Labels  # what is the same under all of them, else NaN
    taught: Mapping[str, Labels]  # a value of the axis, or `OWN` -> what is learnt

    def given_to(self, features: Features, policy: str | None) -> Features:
        """The features with certain labels to be judged by, and those of a policy to be learnt.

        Raises `TrainError` for a policy of several readers where each film has one.
        """
        if policy and policy not in self.taught:
            raise TrainError(
                f"{self.known.label_set} has one reader of each study, so {AXIS}={policy} changes nothing",
                hint=f"compare {AXIS}={'|'.join(f'{UNSURE}{name}' for name in UNCERTAIN)}",
            )
        judged, taught = (
            label_rows(labels, features.study_ids) for labels in (self.certain, self.taught[policy or OWN])
        )
        unsure = int(np.isnan(judged).any(axis=1).sum())
        note = (
            f"{unsure:,} of {len(judged):,} rows have a label that is not the same under every policy: it is learnt as "
            "the arm says, and nobody is judged by it"
        )
        return replace(features, y=judged, learnt=taught, notes=(*features.notes, note))


def policy_labels(dataset: Dataset, label_set: str | None) -> PolicyLabels:
    """The label set under every policy. Raises `DataError` if it is not made of readings, `TrainError` for classes that
    exclude each other: an unsure one of them is of no class.
    """
    own = read_labels(dataset, label_set)
    about = dataset.descriptor["label_sets"][own.label_set]
    source, there = about.get("readings", own.label_set), reading_sets(dataset)
    if source not in there:
        raise DataError(
            f"{own.label_set} is not made of readings, so no policy changes it",
            hint=f"name a label set that is: --label-set {' or '.join(sorted(there))}"
            if there
            else "readings come with collections that know what is uncertain, such as chexpert, and with a table that "
            "says -1 in a column of yes and no: here nothing is unsure",
        )
    if own.task == "multiclass":
        raise TrainError(f"{own.label_set} has classes that exclude each other", hint="use a binary or multilabel set")
    readings = dict(read_readings(dataset, source))
    several = any(len(said) > 1 for said in readings.values())
    readers = next((name for name, words in SAID.items() if words in about["policy"]), "majority")
    unsure = next((name for name, words in UNCERTAIN.items() if f"(-1) {words};" in about["policy"]), "ignore")
    studies = tuple(dict.fromkeys((*own.study_ids, *readings)))
    stored = label_rows(own, np.array(studies, dtype=np.str_))
    tables = {
        (uncertain, votes): decided_table(readings, studies, Policy(source, uncertain, votes), names=own.names)
        for uncertain, votes in product(UNCERTAIN, READERS if several else (readers,))
    }
    first, *others = tables.values()
    same = np.logical_and.reduce([first == other for other in others])
    known = np.where(np.isnan(stored), tables["one", "any" if several else readers], stored)
    arms = {f"{UNSURE}{name}": tables[name, readers] for name in UNCERTAIN}
    arms |= {f"{VOTES}{name}": tables[unsure, name] for name in READERS if several}

    def labels(values: Values) -> Labels:
        return replace(own, study_ids=studies, values=values)

    return PolicyLabels(
        labels(known),
        labels(np.where(same, first, np.nan)),
        {OWN: labels(stored), **{name: labels(values) for name, values in arms.items()}},
    )


def decided_table(
    readings: Mapping[str, Readings], studies: tuple[str, ...], policy: Policy, *, names: tuple[str, ...]
) -> Values:
    """(n, k) what a policy makes of the readings of each study."""
    nothing: Readings = {}
    found = [decide(policy, readings.get(study, nothing)) for study in studies]
    return np.array([[values.get(name, np.nan) for name in names] for values in found], dtype=np.float64)


def with_unsure(dataset: Dataset, split: StoredSplit, features: Features) -> StoredSplit:
    """The split with the studies to learn from that it does not list, since its label set has nothing of them.

    They are in train where nothing that hangs together with them (`splits.group`) is in val or test, else in no part:
    nobody is judged on them.
    """
    if split.by_image:
        return split
    listed = set(split.table["study_id"].to_pylist())
    wanted = [study for study in dict.fromkeys(features.study_ids.tolist()) if study not in listed]
    if not wanted:
        return split
    studies, patients = (dataset.studies[name].to_pylist() for name in ("study_id", "patient_id"))
    texts = report_texts(dataset.reports)
    written = [texts.get(study, "") for study in studies]
    copies = copied_texts(patients, written, together=TOGETHER, most=max(1, len(studies) // 5))
    group_of = dict(zip(studies, group_numbers([patients, copies], len(studies)).tolist(), strict=True))
    patient_of = dict(zip(studies, patients, strict=True))
    kept: dict[tuple[int, int], set[int]] = {}  # (repeat, fold) -> groups of which something is in val or test
    for repeat in split.repeats:
        kept |= {(repeat, fold): set() for fold in split.folds}
    for row in split.table.select(["repeat", "fold", "study_id", "part"]).to_pylist():
        if row["part"] != "train" and row["study_id"] in group_of:
            kept[row["repeat"], row["fold"]].add(group_of[row["study_id"]])
    name = split.table["split"][0].as_py()
    rows = [
        {
            "split": name,
            "repeat": repeat,
            "fold": fold,
            "patient_id": patient_of[study],
            "study_id": study,
            "part": "train",
        }
        for (repeat, fold), judged in kept.items()
        for study in wanted
        if group_of[study] not in judged
    ]
    table = pa.concat_tables([split.table, pa.Table.from_pylist(rows, schema=SPLITS)])
    return replace(split, table=table)


def certain_rows(features: Features) -> Features:
    """The rows that may be judged, with the labels that they are judged by: what a control learns and answers."""
    if features.learnt is None:
        return features
    return replace(features.take(np.flatnonzero(~np.isnan(features.y).all(axis=1))), learnt=None)
